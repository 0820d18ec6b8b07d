"""`python -m cycle <verb>`: options in, exit code out. Torch and ESPnet are imported by the stages that need them, not here."""

from __future__ import annotations

import argparse
import errno
import importlib
import signal
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn

from cycle.errors import UserError

SETTINGS = ("seed", "preset", "precision", "graphs")  # which one might take for options
VERBS = {"prepare": 1, "tokens": 2, "pretrain": 3, "rounds": 4, "decode": 5, "score": 6}


class Parser(argparse.ArgumentParser):
    """argparse whose complaints are UserErrors, and which takes no half of an option's name."""

    def __init__(self, *args: Any, **settings: Any):
        super().__init__(*args, **{"allow_abbrev": False, **settings})

    def error(self, message: str) -> NoReturn:
        strange = message.partition("unrecognized arguments: ")[2].split()
        typed = [word for word in strange if "=" in word and not word.startswith("-")]
        typed += [f"{word[2:]}={after}" for word, after in pairwise([*strange, "VALUE"]) if word.removeprefix("--") in SETTINGS]
        raise UserError(message, None, f"settings come last, behind --: -- {' '.join(typed)}" if typed else f"see {self.prog} --help")


def stage_number(text: str) -> int:
    if text not in tuple("1234567"):
        raise argparse.ArgumentTypeError("stages are 1 to 7")
    return int(text)


def positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError("must be a whole number from 1 on")
    return int(text)


def share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError("must be a number from 0 to 1")
    return value


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """The options of run.sh."""
    add = parser.add_argument
    add("--corpus", default="mini", metavar="NAME", help="egs/NAME (default: mini, made on the spot)")
    add("--data", metavar="DIR", help="the corpus as its upstream ships it; without it a recipe that may download does so")
    add("--exp", metavar="DIR", help="experiment folder (default: exp/NAME)")
    add("--recipe", default="cycle", metavar="NAME", help="conf/recipes/NAME.yaml (default: cycle)")
    add("--controls", default="none", metavar="a,b|all", help="also train: more_steps, pseudo_only, tts_only, lm, oracle")
    add("--jobs", type=positive, default=1, metavar="N", help="controls side by side")
    add("--stage", type=stage_number, default=1, metavar="N", help="first stage, 1 to 7")
    add("--stop-stage", type=stage_number, default=7, metavar="N", help="last stage")
    add("--rounds", type=positive, metavar="N", help="rounds of the cycle")
    add("--device", choices=("auto", "cpu", "cuda"), default="auto")
    add("--redo", action="store_true", help="forget the stages from --stage on and run them again")
    add("--cluster", metavar="NAME", help="run the exchange on conf/cluster/NAME.yaml: local, slurm, pbs, sge")
    add("--one-of-jobs", dest="control", help=argparse.SUPPRESS)


def parser() -> Parser:
    top = Parser(prog="cycle", description=__doc__)
    verbs = top.add_subparsers(dest="verb", required=True, parser_class=Parser, metavar="VERB")
    add_run_options(
        verbs.add_parser("run", help="all stages", epilog="-- key=value ... changes settings of conf/base.yaml; preset=smoke|cpu|gpu")
    )
    for verb, number in VERBS.items():
        add_run_options(verbs.add_parser(verb, help=f"stage {number} alone"))
    report = verbs.add_parser("report", help="pages and figures of an experiment, finished or not; of several, beside each other")
    report.add_argument("paths", nargs="*", type=Path, metavar="EXP")
    report.add_argument("--style", choices=("plain", "icml", "neurips", "acl"), help="column width and fonts of the figures (plain)")
    add_run_options(report)
    check = verbs.add_parser("check", help="validate a data directory or corpus folder")
    check.add_argument("path", type=Path, metavar="DIR")
    check.add_argument("--list", type=Path, metavar="FILE", dest="listing", help="all faults as a table; long lists are cut on the screen")
    new = verbs.add_parser("new-corpus", help="a recipe from a folder of recordings and a transcript")
    new.add_argument("name", metavar="NAME", help="the recipe becomes egs/NAME")
    new.add_argument("--audio", type=Path, required=True, metavar="DIR", help="recordings, or Kaldi data directories")
    text_help = "Kaldi text, a table with header, id|text, JSON lines, ...; not needed where Kaldi's lies beside wav.scp"
    new.add_argument("--text", type=Path, metavar="FILE", help=text_help)
    new.add_argument("--lang", metavar="CODE", help="such as en, cmn, ja; told by the script unless given")
    new.add_argument("--sentences", type=Path, metavar="FILE", help="sentences for the text pool, one a line")
    transcribe = verbs.add_parser("transcribe", help="recordings to text")
    transcribe.add_argument("path", type=Path, metavar="EXP")
    transcribe.add_argument("files", nargs="+", type=Path, metavar="FILE")
    transcribe.add_argument("--search", choices=("ctc_greedy", "ctc_beam", "joint", "attention"), help="default: that of the experiment")
    transcribe.add_argument("--beam", type=positive, metavar="N")
    transcribe.add_argument("--ctc-weight", type=share, metavar="W", help="of joint search, which is stock ESPnet's")
    synthesize = verbs.add_parser("synthesize", help="text to a WAV file")
    synthesize.add_argument("path", type=Path, metavar="EXP")
    synthesize.add_argument("text")
    synthesize.add_argument("--spk", metavar="ID")
    synthesize.add_argument("--out", type=Path, required=True, metavar="FILE.wav")
    synthesize.add_argument("--feats", type=Path, metavar="FILE.npy", help="also keep the log-mel")
    for use in (transcribe, synthesize):
        use.add_argument("--round", type=int, metavar="N", help="default: the best on dev")
        use.add_argument("--device", choices=("auto", "cpu", "cuda"), default="cpu")
    bench = verbs.add_parser("bench", help="measure against stock ESPnet, side by side; or what the reward costs")
    bench.add_argument("what", choices=("exchange", "train", "reward"))
    bench.add_argument("path", nargs="?", type=Path, metavar="EXP", help="a pretrained experiment (default: pretrains mini in exp/bench)")
    bench.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    bench.add_argument("--utterances", type=positive, default=200, metavar="N", help="of the test pool (exchange; default: 200)")
    bench.add_argument("--steps", type=positive, default=100, metavar="N", help="of training (train, reward; default: 100)")
    bench.add_argument("--json", type=Path, metavar="FILE")
    captions = verbs.add_parser("captions", help="score captions against several references: CIDEr-D, BLEU, ROUGE-L")
    captions.add_argument("references", type=Path, metavar="REFS.csv", help="file_name,caption_1,caption_2,...")
    captions.add_argument(
        "hypotheses", nargs="?", type=Path, metavar="HYPS.csv", help="default: each clip's first caption, against its others"
    )
    compare = verbs.add_parser("compare", help="one table over experiments")
    compare.add_argument("paths", nargs="+", type=Path, metavar="EXP")
    compare.add_argument("--json", type=Path, metavar="FILE")
    compare.add_argument("--markdown", action="store_true")
    return top


def dispatch(argv: Sequence[str]) -> int:
    """Runs a verb."""
    words, overrides = list(argv), []
    if "--" in words:
        cut = words.index("--")
        words, overrides = words[:cut], words[cut + 1 :]
    options = parser().parse_args(words)
    options.overrides = overrides
    if overrides and not hasattr(options, "corpus"):
        raise UserError(f"{options.verb} takes no settings behind --")
    if options.verb == "report" and (options.paths or options.style):
        return importlib.import_module("cycle.use").report(options)  # type: ignore[no-any-return]
    if options.verb in VERBS or options.verb == "report":
        options.stage = options.stop_stage = VERBS.get(options.verb, 7)
    if options.verb in ("run", "report", *VERBS):
        return importlib.import_module("cycle.run").main(options)  # type: ignore[no-any-return]
    if options.verb == "check":
        return importlib.import_module("cycle.check").main(options.path, options.listing)  # type: ignore[no-any-return]
    if options.verb == "captions":
        return importlib.import_module("cycle.captions").main(options.references, options.hypotheses)  # type: ignore[no-any-return]
    if options.verb == "bench":
        return importlib.import_module("cycle.bench").main(options)  # type: ignore[no-any-return]
    if options.verb == "new-corpus":
        return importlib.import_module("cycle.new_corpus").main(options)  # type: ignore[no-any-return]
    if options.verb == "compare":
        return importlib.import_module("cycle.compare").main(options.paths, json_file=options.json, markdown=options.markdown)  # type: ignore[no-any-return]
    return getattr(importlib.import_module("cycle.use"), options.verb)(options)  # type: ignore[no-any-return]


def _stop(number: int, _: object) -> NoReturn:
    """A batch system's signal is Ctrl-C to us: what is at work is told, and says how to go on."""
    signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def main() -> int:
    """Exit codes: 0 done, 2 the user's mistake, 130 interrupted; a fault of ours ends in its traceback."""
    signal.signal(signal.SIGTERM, _stop)
    try:
        return dispatch(sys.argv[1:])
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS):
            raise
        print(
            f"error: {error.filename or 'output'}: {(error.strerror or '').lower()}; make room for it, or choose another folder",
            file=sys.stderr,
        )
    except KeyboardInterrupt as error:
        print(f"interrupted; {error.args[0] if error.args else 'the same command'} goes on from here", file=sys.stderr)
        return 130
    return 2


if __name__ == "__main__":
    sys.exit(main())
