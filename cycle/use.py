"""Using a finished experiment: `transcribe`, `synthesize`, and a report of any experiment folder."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from cycle.config import ROOT, lenient
from cycle.device import resolve, set_products
from cycle.errors import UserError
from cycle.experiment import Experiment
from cycle.files import atomic_write, read_json
from cycle.log import log, setup
from cycle.yaml_file import read_yaml

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from cycle.settings import Features

LONG = 3  # times features.max_seconds: attention's memory grows with the square


def open_finished(path: Path, device: str = "cpu") -> Experiment:
    """An experiment from its folder alone; what an older one does not say is as in conf/base.yaml.

    Raises:
        UserError: no experiment lies there, or one of settings that this version does not have.
    """
    if not (path / "experiment.json").is_file():
        raise UserError("is no experiment", path, "name a folder that ./run.sh has made, such as exp/mini")
    about = read_json(path / "experiment.json")
    config, unknown = lenient(read_yaml(path / "config.yaml"))
    if unknown:
        raise UserError(f"another version made this experiment. {unknown[0]}", path / "config.yaml", "use that version")
    return Experiment(path.resolve(), config, about["corpus"], about["recipe"], None, device)


def _round(exp: Experiment, number: int | None) -> Path:
    """The round that was asked for, else the best on dev."""
    done = exp.rounds_done()
    if not done:
        raise UserError("holds no trained models yet", exp.path, "run stages 1 to 4 first")
    if number is None:
        rounds = exp.path / "rounds.json"
        number = int(read_json(rounds)["best"]) if rounds.exists() else done[-1]
    if number not in done:
        raise UserError(f"has no round {number}", exp.path, f"rounds: {', '.join(map(str, done))}")
    log.info("round %d", number)
    return exp.round(number)


def _exact(wanted: str) -> torch.device:
    """The device that was asked for, which computes as scores are computed."""
    import torch

    device = resolve(wanted)
    set_products(device, exact=True)
    return torch.device(device)


def transcribe(options: argparse.Namespace) -> int:
    """Prints `FILE<TAB>tokens` for each recording that can be used, then what is wrong with the others (exit code 2)."""
    from cycle.data.batch import speech_of

    exp = open_finished(options.path)
    folder = _round(exp, options.round)
    heard, bad = [], []
    for file in options.files:
        try:
            heard.append((file, _recording(file, exp.config.features)))
        except UserError as error:
            bad.append(error)
    if not heard:
        raise bad[0]

    from cycle.device import fabric
    from cycle.exchange.evaluate import tuned
    from cycle.models.fusion import chosen, listing
    from cycle.models.ngram import NGram
    from cycle.models.pair import load_asr

    device = _exact(options.device)
    changes = {"method": options.search, "beam": options.beam, "ctc_weight": options.ctc_weight}
    search = replace(exp.config.decode, nbest=1, **{k: v for k, v in changes.items() if v is not None})
    if options.ctc_weight is not None and search.method != "joint":
        raise UserError(f"--ctc-weight says nothing to the search {search.method}", None, "add --search joint")
    asr, prior = load_asr(folder, exp.config, device), None
    if search.prior_weight or search.tune:  # as scores are made
        prior = NGram.load(exp.prior)
        search = tuned(exp, asr, search, prior, fabric(device.type, "exact"))
    for file, feats in heard:
        print(f"{file}\t{chosen(asr.transcribe(speech_of([feats]).to(device), listing(search)), search, prior)[0]}")
    for fault in bad:
        print(f"error: {fault}", file=sys.stderr)
    return 2 if bad else 0


def _recording(file: Path, conf: Features) -> NDArray[np.float32]:
    """Its features (T, n_mels).

    Raises:
        UserError: there is none, or none that can be used.
    """
    from cycle.data.features import recording_mel

    if not file.is_file():
        raise UserError("is a folder" if file.is_dir() else "no such recording", file)
    feats, most = recording_mel(file, conf), LONG * conf.max_seconds
    if len(feats) * conf.hop > most * conf.fs:
        raise UserError(f"is longer than {most:g} s, {LONG} times what the models have learnt from", file, "cut it where there is a pause")
    return feats


def _tokens(exp: Experiment, text: str) -> list[str]:
    """A text as tokens, of which it may already consist.

    Raises:
        UserError: it holds none, or one that the experiment does not know.
    """
    from cycle.prepare import language_of

    known = set((exp.vocabulary).read_text(encoding="utf-8").split())
    words = text.split()
    tokens = words if words and set(words) <= known else language_of(exp.corpus, exp.config.corpus.language).spell(text)
    strangers = [t for t in tokens if t not in known]
    if not tokens or strangers:
        why = f": token {strangers[0]!r} is unknown" if strangers else ": nothing in it is spoken"
        raise UserError(f"cannot say {text!r}{why}", exp.vocabulary, "this file lists what the experiment can say")
    return tokens


def _look(path: Path, ending: str) -> None:
    """Raises UserError for a path under which a file of this kind cannot or should not be written."""
    if path.is_dir():
        raise UserError("is a folder", path, f"name a file in it: {path.name or 'NAME'}{ending}")
    if path.suffix.lower() != ending:
        raise UserError(f"would hold what {ending} files hold", path, f"name it {path.stem}{ending}")
    if not path.parent.is_dir():
        raise UserError("no such folder", path.parent)


def synthesize(options: argparse.Namespace) -> int:
    """Speaks a text in the corpus's own writing, or in tokens, into a WAV file."""
    exp = open_finished(options.path)
    if "tts" not in exp.config.models:
        raise UserError("has no synthesiser", options.path, "its models are those that `models` in its config.yaml names")
    folder = _round(exp, options.round)
    tokens = _tokens(exp, options.text)
    for path, ending in ((options.out, ".wav"), (options.feats, ".npy")):
        if path is not None:
            _look(path, ending)

    from cycle.models.pair import load_tts, read_voices
    from cycle.models.vocoder import griffin_lim

    voices = read_voices(exp)
    spk = options.spk or voices.speakers[0]
    if spk not in voices.speakers:
        raise UserError(f"no speaker {spk!r}", "--spk", f"choose one of: {', '.join(voices.speakers[:20])}")
    tts = load_tts(folder, exp.config, voices, _exact(options.device))
    feats = tts.synthesize([" ".join(tokens)], [spk]).speech.feats[0].cpu().numpy()
    if options.feats:
        import numpy as np

        with atomic_write(options.feats, "wb") as handle:
            np.save(handle, feats)
    import soundfile

    with atomic_write(options.out, "wb") as handle:
        soundfile.write(handle, griffin_lim(feats, exp.config.features), exp.config.features.fs, format="WAV", subtype="PCM_16")
    return 0


def open_any(path: Path) -> tuple[Experiment, list[str]]:
    """An experiment in whatever state: begun, finished, or of an older version; and what had to be left out.

    Raises:
        UserError: no experiment lies there.
    """
    if not (path / "experiment.json").is_file() and not (path / "summary.json").is_file():
        raise UserError("is no experiment", path, "name a folder that ./run.sh has made, such as exp/mini")
    notes = []
    try:
        about = dict(read_json(path / "experiment.json"))
    except (OSError, ValueError, TypeError):
        about = {}
        notes.append("Corpus, recipe and command line (experiment.json): cannot be read.")
    try:
        config, unknown = lenient(read_yaml(path / "config.yaml"))
        notes += unknown
    except UserError:
        config = lenient({})[0]
        notes.append("Settings (config.yaml): cannot be read, those of conf/base.yaml are shown.")
    names = [str(about.get(key) or other) for key, other in (("corpus", path.resolve().name), ("recipe", "cycle"), ("device", "cpu"))]
    return Experiment(path.resolve(), config, names[0], names[1], None, names[2]), notes


def report(options: argparse.Namespace) -> int:
    """Makes the report of the first experiment anew; the others stand beside it in a section of their own."""
    from cycle.report import main

    paths: list[Path] = options.paths or [Path(options.exp) if options.exp else ROOT / "exp" / options.corpus]
    opened = [open_any(path) for path in paths]
    setup(None)
    twice = {path.resolve() for path in paths if [p.resolve() for p in paths].count(path.resolve()) > 1}
    if twice:
        raise UserError("is named twice", min(twice), "name each experiment once")
    (exp, notes), *others = opened
    main(
        exp,
        options.style or "plain",
        [other for other, _ in others],
        [*notes, *(f"{e.path.name}: {note}" for e, said in others for note in said)],
    )
    return 0
