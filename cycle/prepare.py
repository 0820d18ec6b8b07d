"""Stage 1, `prepare`: a corpus becomes five validated data directories, one a pool."""

from __future__ import annotations

import importlib.util
import logging
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from types import ModuleType
from typing import Any

from cycle.check import directory_faults
from cycle.config import ROOT, Config
from cycle.data import audio, kaldi, pool
from cycle.data.pool import Item
from cycle.data.text import NoReading, Spelling, spelling
from cycle.data.types import POOLS, Utterance
from cycle.errors import UserError
from cycle.experiment import Experiment
from cycle.files import write_json, write_tsv

log = logging.getLogger("cycle")


class Rejects:
    """Items that cannot be used, each with its reason; where too many of them are bad, the corpus is."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, str, str, str]] = []
        self.seen: Counter[str] = Counter()

    def add(self, split: str, utt: Utterance, reason: str, detail: str = "") -> None:
        self.rows.append((reason, split, utt.utt_id, detail or str(utt.wav or utt.text)))

    @property
    def reasons(self) -> dict[str, int]:
        return dict(Counter(row[0] for row in self.rows).most_common())

    def save(self, path: Path) -> None:
        """Writes the list; no file where nothing was left out.

        Raises:
            UserError: more than half of a split is bad, or nothing of it is left.
        """
        path.unlink(missing_ok=True)
        if self.rows:
            write_tsv(path, ("reason", "split", "utt", "what"), sorted(self.rows))
        for split, total in self.seen.items():
            reasons = Counter(row[0] for row in self.rows if row[1] == split)
            bad = reasons.total()
            if total == 0:
                raise UserError(f"the corpus holds nothing for {split!r}", None, "give the corpus's own folder: --data DIR")
            if 2 * bad > total:
                counts = ", ".join(f"{n} {reason}" for reason, n in reasons.most_common())
                what = f"{bad} of {total} items of {split!r} cannot be used ({counts})"
                raise UserError(what, path, "mend the corpus or give another: --data DIR")

    def warn(self, path: Path) -> None:
        """One line for all that was left out."""
        if self.rows:
            counts = ", ".join(f"{n} {reason}" for reason, n in self.reasons.items())
            log.warning("left out %d of %d items (%s): see %s", len(self.rows), self.seen.total(), counts, path)


def recipe(corpus: str) -> ModuleType:
    """Loads egs/<corpus>/prepare.py: `utterances(root, split, options)`, `SPLITS`, and perhaps `fetch(target, options)`."""
    path = ROOT / "egs" / corpus / "prepare.py"
    spec = importlib.util.spec_from_file_location(f"egs_{corpus.replace('-', '_')}_prepare", path)
    if spec is None or spec.loader is None or not path.is_file():
        raise UserError("no such file", path, "a corpus is a folder egs/NAME with prepare.py and conf.yaml")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def corpus_root(exp: Experiment, module: ModuleType, options: dict[str, Any]) -> Path:
    """The corpus's folder: the user's, or fetched into the experiment where the recipe can."""
    if exp.data_root is None:
        if not hasattr(module, "fetch"):
            what = f"corpus {exp.corpus!r} cannot be downloaded"
            raise UserError(what, f"egs/{exp.corpus}/README.md", "get it and give its folder: --data DIR")
        root: Path = module.fetch(exp.root / "corpus", options)
        return root.absolute()
    root = exp.data_root.absolute()
    if not root.is_dir():
        raise UserError("no such folder" if not root.exists() else "is no folder", exp.data_root, "give the corpus's folder: --data DIR")
    if not any(root.iterdir()):
        raise UserError("is empty", exp.data_root, "give the folder that holds the corpus")
    return root


def form_fault(utt: Utterance, doubled: set[str]) -> str | None:
    """What is wrong with an item before its recording is opened."""
    if kaldi.bad_id(utt.utt_id) or kaldi.bad_id(utt.spk):
        return "bad id"
    if utt.utt_id in doubled:
        return "duplicate id"
    if utt.wav is None:
        return "text without audio"
    if utt.text is None:
        return "audio without text"
    if kaldi.bad_path(str(utt.wav)):
        return "bad path"
    return None


def spelled(utt: Utterance, language: Spelling, split: str, rejects: Rejects) -> Item | None:
    """The utterance with its tokens, None where it cannot be spelled."""
    text = " ".join((utt.text or "").split())
    try:
        tokens = language.spell(text)
    except NoReading as error:
        rejects.add(split, utt, "character without reading", str(error))
        return None
    if not tokens:
        rejects.add(split, utt, "empty text")
        return None
    return Item(replace(utt, text=text), " ".join(tokens))


def recorded(
    utts: list[Utterance], split: str, doubled: set[str], language: Spelling, config: Config, rejects: Rejects, kinds: Counter[str]
) -> list[Item]:
    """Items with a recording that can be used; `kinds` counts rates and channels.

    Fast speakers stay in official dev and test sets: to leave out what is hard would flatter the result.
    """
    rejects.seen[split] += len(utts)
    items: list[Item] = []
    for utt in utts:
        fault = form_fault(utt, doubled)
        if fault:
            rejects.add(split, utt, fault)
        elif (item := spelled(utt, language, split, rejects)) is not None:
            items.append(item)
    good = []
    for item, found in zip(items, inspected([i.utt.wav for i in items if i.utt.wav], config), strict=True):
        if isinstance(found, audio.BadAudio):
            rejects.add(split, item.utt, str(found))
        elif split not in ("dev", "test") and audio.too_short(
            found.seconds, item.tokens.split(" "), config.features.fs, config.features.hop
        ):
            rejects.add(split, item.utt, "too short for its text")
        else:
            kinds[f"{found.fs} Hz, {found.channels} channel{'s' if found.channels > 1 else ''}"] += 1
            good.append(Item(replace(item.utt, wav=Path(os.path.abspath(item.utt.wav or "")), seconds=found.seconds), item.tokens))
    return good


def inspected(paths: list[Path], config: Config) -> Iterator[audio.Recording | audio.BadAudio]:
    """Decodes recordings side by side (libsndfile works outside Python's lock, so threads do); results in order."""

    def look(path: Path) -> audio.Recording | audio.BadAudio:
        try:
            return audio.inspect(path, config.features.max_seconds)
        except audio.BadAudio as error:
            return error

    with ThreadPoolExecutor(config.run.workers or os.cpu_count()) as workers:
        for number, found in enumerate(workers.map(look, paths), 1):
            if number % 2000 == 0:
                log.info("looked at %d of %d recordings", number, len(paths))
            yield found


def texts(utts: Iterable[Utterance], language: Spelling, rejects: Rejects) -> Iterator[Item]:
    """Text-only items in the recipe's order, spelled as they are asked for."""
    ids: set[str] = set()
    for utt in utts:
        rejects.seen["text"] += 1
        if kaldi.bad_id(utt.utt_id) or utt.utt_id in ids:
            rejects.add("text", utt, "duplicate id" if utt.utt_id in ids else "bad id")
        elif (item := spelled(utt, language, "text", rejects)) is not None:
            ids.add(utt.utt_id)
            yield item


def collect(exp: Experiment, rejects: Rejects, kinds: Counter[str]) -> dict[str, list[Item]]:
    """The usable items of the corpus by pool."""
    module, config = recipe(exp.corpus), exp.config
    options = {**config.corpus.options, "pools": asdict(config.pools)}
    root = corpus_root(exp, module, options)
    language = spelling(config.corpus.language)
    given = {split: list(module.utterances(root, split, options)) for split in module.SPLITS if split != "text"}
    ids = Counter(utt.utt_id for utts in given.values() for utt in utts)
    doubled = {key for key, n in ids.items() if n > 1}  # whichever is right, the other is wrong
    splits: dict[str, Iterable[Item]] = {}
    for split, utts in given.items():
        splits[split] = recorded(utts, split, doubled, language, config, rejects, kinds)
    if len(kinds) > 1:
        log.info("recordings are resampled and mixed down: %s", "; ".join(f"{n} at {kind}" for kind, n in kinds.most_common()))
    rejects.save(exp.root / "data" / "rejected.tsv")
    if "text" in module.SPLITS:
        splits["text"] = texts(module.utterances(root, "text", options), language, rejects)
    return pool.assign(splits, asdict(config.pools))


def write(exp: Experiment, pools: dict[str, list[Item]]) -> None:
    """Writes the five directories; the speech pool's true text goes to `oracle` and nowhere else.

    Raises:
        UserError: what was written does not hold together (the disk, or a fault of ours).
    """
    for name, items in pools.items():
        hidden = name == "speech"
        utts = [replace(item.utt, text=None) if hidden else item.utt for item in items]
        kaldi.write(exp.data(name), utts, {} if hidden else {item.utt.utt_id: item.tokens for item in items})
        for fault in directory_faults(exp.data(name), decode=False) if items else []:
            raise fault.error()
    truth = exp.oracle / "speech"
    kaldi.write_table(truth / "text", {item.utt.utt_id: item.utt.text or "" for item in pools["speech"]})
    kaldi.write_table(truth / "tokens", {item.utt.utt_id: item.tokens for item in pools["speech"]})


def summary(pools: dict[str, list[Item]], rejects: Rejects, kinds: Counter[str]) -> dict[str, Any]:
    """Counts of what was prepared."""

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

    return {"pools": {name: one(pools[name]) for name in POOLS}, "recordings": dict(kinds), "rejected": rejects.reasons}


def main(exp: Experiment) -> None:
    """Prepares the corpus of an experiment.

    Writes `data/<pool>` for every pool, `oracle/speech`, `data/summary.json`, and `data/rejected.tsv` where items were left out.

    Raises:
        UserError: the corpus is missing, mostly unusable or too small; names the file and the remedy.
    """
    rejects, kinds = Rejects(), Counter[str]()
    pools = collect(exp, rejects, kinds)
    rejects.save(exp.root / "data" / "rejected.tsv")
    rejects.warn(exp.root / "data" / "rejected.tsv")
    write(exp, pools)
    counts = summary(pools, rejects, kinds)
    write_json(exp.root / "data" / "summary.json", counts)
    for name, row in counts["pools"].items():
        numbers = (row[key] for key in ("utterances", "hours", "speakers", "tokens", "alphabet"))
        log.info("%-6s %6d utterances, %6.2f h, %d speakers, %d tokens of %d kinds", name, *numbers)
