"""Stage 1, `prepare`: a corpus becomes five validated data directories, one a pool."""

from __future__ import annotations

import importlib.util
import traceback
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from types import ModuleType
from typing import Any

from cycle.check import directory_faults
from cycle.config import ROOT
from cycle.data import kaldi, pool
from cycle.data.intake import EVALUATION, Intake, doubled
from cycle.data.kaldi import Fault
from cycle.data.pool import Item
from cycle.data.rejects import Rejects
from cycle.data.text import Pronounced, Spelling, spelling
from cycle.data.types import POOLS, Utterance
from cycle.errors import UserError
from cycle.experiment import Experiment
from cycle.files import write_json, write_tsv
from cycle.log import log


def recipe(corpus: str) -> ModuleType:
    """Loads egs/<corpus>/prepare.py: `SPLITS` and `utterances(root, split, options)`.

    It may have `fetch(target, options)` to download the corpus, `choose_splits(root, options)` where they depend on what there is of
    it, and `pronounce(text)` for a spelling of its own. `utterances` may yield a Fault in place of an utterance: a line that cannot be
    read, to be counted like any other bad item.
    """
    path = ROOT / "egs" / corpus / "prepare.py"
    spec = importlib.util.spec_from_file_location(f"egs_{corpus.replace('-', '_')}_prepare", path)
    if spec is None or spec.loader is None or not path.is_file():
        raise UserError("no such file", path, "a corpus is a folder egs/NAME with prepare.py and conf.yaml")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except UserError:
        raise
    except Exception as error:
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
        line = error.lineno if isinstance(error, SyntaxError) else lines[-1] if lines else None
        raise UserError(f"{type(error).__name__}: {error}", f"{path}:{line}" if line else path, "mend it") from error
    return module


def named_root(exp: Experiment, module: ModuleType) -> Path | None:
    """The corpus's folder as the user gave it; None where the recipe fetches the corpus.

    Raises:
        UserError: nothing is there, or none was given and the recipe cannot fetch.
    """
    if exp.data_root is None and not hasattr(module, "fetch"):
        what = f"corpus {exp.corpus!r} cannot be downloaded"
        raise UserError(what, f"egs/{exp.corpus}/README.md", "get it and give its folder: --data DIR")
    return None if exp.data_root is None else _filled(exp.data_root)


def corpus_root(exp: Experiment, module: ModuleType, options: dict[str, Any]) -> Path:
    """The corpus's folder: the user's, or fetched into the experiment where the recipe can."""
    root = named_root(exp, module) or _filled(module.fetch(exp.root / "corpus", options))
    return root.absolute()


def _filled(root: Path) -> Path:
    """Raises UserError for a folder in which nothing is."""
    if not root.is_dir():
        raise UserError("no such folder" if not root.exists() else "is no folder", root, "give the corpus's folder: --data DIR")
    if not any(root.iterdir()):
        raise UserError("is empty", root, "give the folder that holds the corpus")
    return root


def language_of(corpus: str, code: str) -> Spelling:
    """How a corpus is spelled: its language's way, with the recipe's own pronunciation where it has a function `pronounce`."""
    hook = getattr(recipe(corpus), "pronounce", None)
    return Pronounced(spelling(code), hook) if hook else spelling(code)


def incomplete(given: dict[str, list[Utterance | Fault]], expected: dict[str, int]) -> bool:
    """Whether the corpus is a part of what its upstream ships; any difference is told."""
    counts = {split: sum(isinstance(u, Utterance) and None not in (u.wav, u.text) for u in given.get(split, [])) for split in expected}
    for split, count in expected.items():
        if counts[split] != count:
            log.warning("%r holds %d utterances with their text, the full corpus %d", split, counts[split], count)
    return any(counts[split] < count for split, count in expected.items())


def collect(exp: Experiment, rejects: Rejects, kinds: Counter[str]) -> dict[str, list[Item]]:
    """The usable items of the corpus by pool."""
    module, config = recipe(exp.corpus), exp.config
    options = {**config.corpus.options, "pools": asdict(config.pools)}
    root = corpus_root(exp, module, options)
    official = _official(exp, options)
    names = module.choose_splits(root, options) if hasattr(module, "choose_splits") else module.SPLITS
    given = {split: list(module.utterances(root, split, options)) for split in names if split != "text"}
    given = {split: given[split] for split in sorted(given, key=lambda split: split not in EVALUATION)}
    sample = incomplete(given, options.get("expected", {}))
    twice = doubled(utt for utts in given.values() for utt in utts)
    intake = Intake(language_of(exp.corpus, config.corpus.language), config.features, rejects, official, config.run.workers)
    splits: dict[str, Iterable[Item]] = {split: intake.recorded(utts, split, twice) for split, utts in given.items()}
    kinds.update(intake.kinds)
    if len(kinds) > 1:
        log.info("recordings are resampled and mixed down: %s", "; ".join(f"{n} at {kind}" for kind, n in kinds.most_common()))
    rejects.save(exp.root / "data" / "rejected.tsv")
    if "text" in names:
        splits["text"] = intake.texts(module.utterances(root, "text", options))
    pools = pool.assign(splits, asdict(config.pools), official, sample)
    if intake.tagged:
        log.warning("%s; take out of the transcripts what nobody says", intake.tagged)
    return pools


def _official(exp: Experiment, options: dict[str, Any]) -> list[str]:
    """Evaluation sets that stand as their corpus has published them.

    Raises:
        UserError: it is no list of them.
    """
    found = options.get("official", [])
    if not isinstance(found, list) or not all(name in EVALUATION for name in found):
        raise UserError(f"corpus.options.official: {found}", f"egs/{exp.corpus}/conf.yaml", f"write a list of: {', '.join(EVALUATION)}")
    return found


def learnable(pools: dict[str, list[Item]]) -> None:
    """Refuses texts that hold one token over and over.

    Raises:
        UserError: they do.
    """
    tokens = {token for item in pools["paired"] for token in item.tokens.split()}
    if len(tokens) < 2:
        what = f"every text of the paired pool is spelled with {', '.join(map(repr, tokens))} alone"
        raise UserError(what, None, "check the transcripts, and the language that the corpus names in its conf.yaml")


def tell_shared(exp: Experiment, pools: dict[str, list[Item]], official: list[str]) -> list[tuple[str, str, str]]:
    """Lists and counts what published evaluation sets share with training."""
    path, rows = exp.root / "data" / "shared.tsv", pool.shared(pools, official)
    path.unlink(missing_ok=True)
    if rows:
        write_tsv(path, ("set", "utt", "shared"), sorted(rows))
    for name in official:
        kinds = [kind for split, _, kind in rows if split == name]
        if kinds:
            texts, spks = (sum(what in kind for kind in kinds) for what in ("text", "speaker"))
            scored = (
                "the error without them is scored too" if len(kinds) < len(pools[name]) else "without them nothing is left to be scored"
            )
            told = "training shares the text of %d and the speaker of %d of the %d utterances of %s (%s); %s"
            log.warning(told, texts, spks, len(pools[name]), name, path, scored)
    return rows


def write(exp: Experiment, pools: dict[str, list[Item]]) -> None:
    """Writes the five directories; the speech pool's true text goes to `oracle` and nowhere else.

    Raises:
        UserError: what was written does not hold together (the disk, or a fault of ours).
    """
    for name, items in pools.items():
        hidden = name == "speech"
        utts = [replace(item.utt, text=None) if hidden else item.utt for item in items]
        references = {item.utt.utt_id: [item.tokens, *item.others] for item in items}
        several = not hidden and any(item.others for item in items)
        tokens = {} if hidden else {item.utt.utt_id: item.tokens for item in items}
        kaldi.write(exp.data(name), utts, tokens, references if several else None)
        for fault in directory_faults(exp.data(name), decode=False) if items else []:
            raise fault.error()
    truth, known = exp.oracle / "speech", [item for item in pools["speech"] if item.tokens]
    kaldi.write_table(truth / "text", {item.utt.utt_id: item.utt.text or "" for item in known})
    kaldi.write_table(truth / "tokens", {item.utt.utt_id: item.tokens for item in known})


def summary(exp: Experiment, pools: dict[str, list[Item]], rejects: Rejects, kinds: Counter[str]) -> dict[str, Any]:
    """Counts of what was prepared, and how it was split: by text, by speaker, or as published."""
    options = exp.config.corpus.options

    def one(items: list[Item]) -> dict[str, Any]:
        counts = [len(item.tokens.split()) for item in items]
        return {
            "utterances": len(items),
            "hours": round(sum(item.utt.seconds or 0.0 for item in items) / 3600, 4),
            "speakers": len({item.utt.spk for item in items} - {kaldi.NOBODY}),
            "distinct": len({item.tokens for item in items}),
            "tokens": sum(counts),
            "alphabet": len({token for item in items for token in item.tokens.split()}),
        }

    return {
        "pools": {name: one(pools[name]) for name in POOLS},
        "split": options.get("split", "official" if "official" in options else "text"),
        "official": options.get("official", []),
        "features": {"fs": exp.config.features.fs, "hop": exp.config.features.hop},
        "recordings": dict(kinds),
        "rejected": rejects.reasons,
    }


def main(exp: Experiment) -> None:
    """Prepares the corpus of an experiment.

    Writes `data/<pool>` for every pool, `oracle/speech`, `data/summary.json`, and `data/rejected.tsv` where items were left out.

    Raises:
        UserError: the corpus is missing, mostly unusable or too small; names the file and the remedy.
    """
    rejects, kinds = Rejects(divided=exp.config.corpus.options.get("split") == "speaker"), Counter[str]()
    pools = collect(exp, rejects, kinds)
    rejects.save(exp.root / "data" / "rejected.tsv")
    rejects.warn(exp.root / "data" / "rejected.tsv")
    learnable(pools)
    write(exp, pools)
    tell_shared(exp, pools, exp.config.corpus.options.get("official", []))
    counts = summary(exp, pools, rejects, kinds)
    write_json(exp.root / "data" / "summary.json", counts)
    for name, row in counts["pools"].items():
        numbers = (row[key] for key in ("utterances", "hours", "speakers", "tokens", "alphabet"))
        log.info("%-6s %6d utterances, %6.2f h, %d speakers, %d tokens of %d kinds", name, *numbers)
