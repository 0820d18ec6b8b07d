"""What of a corpus can be used: utterances in, items with tokens out, the rest counted."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from cycle.data import audio, kaldi
from cycle.data.kaldi import Fault
from cycle.data.pool import Item
from cycle.data.rejects import Rejects
from cycle.data.text import NoReading, Spelling
from cycle.data.types import Utterance
from cycle.log import log
from cycle.settings import Features

EVALUATION = ("test", "dev")
BRACKETS = re.compile(r"[\[{(<（【][^\[\]{}()<>（）【】]*[\]})>）】]")


def doubled(utts: Iterable[Utterance | Fault]) -> set[str]:
    """Ids that stand for two utterances; a line that only stands there twice says nothing else."""
    return {key for key, n in Counter(utt.utt_id for utt in set(utts) if isinstance(utt, Utterance)).items() if n > 1}


def form_fault(utt: Utterance, doubled: Collection[str], needs_text: bool = True) -> str | None:
    """What is wrong with an item before its recording is opened."""
    if kaldi.bad_id(utt.utt_id) or kaldi.bad_id(utt.spk):
        return "bad id"
    if utt.utt_id in doubled:
        return "duplicate id"
    if utt.wav is None:
        return "text without audio"
    if utt.text is None and needs_text:
        return "audio without text"
    why = kaldi.bad_path(str(utt.wav))
    return f"bad path ({why})" if why else None


def inspected(paths: list[Path], max_seconds: float, workers: int = 0) -> Iterator[audio.Recording | audio.BadAudio]:
    """Decodes recordings side by side (libsndfile works outside Python's lock, so threads do); results in order."""

    def look(path: Path) -> audio.Recording | audio.BadAudio:
        try:
            return audio.inspect(path, max_seconds)
        except audio.BadAudio as error:
            return error

    with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        for number, found in enumerate(pool.map(look, paths), 1):
            if number % 2000 == 0:
                log.info("looked at %d of %d recordings", number, len(paths))
            yield found


class Intake:
    """Takes splits of one corpus, evaluation sets first.

    Args:
        official: evaluation sets that stand as published. What is hard or loud in them stays: to leave it out would flatter the result.

    Attributes:
        kinds: how many recordings came at which rate and number of channels.
        tags: what texts hold in brackets, which may be a note that nobody says.
    """

    def __init__(self, language: Spelling, features: Features, rejects: Rejects, official: Collection[str] = (), workers: int = 0):
        self.language, self.features, self.rejects, self.official, self.workers = language, features, rejects, official, workers
        self.kinds: Counter[str] = Counter()
        self.tags: Counter[str] = Counter()
        self._heard: set[str] = set()
        self._seen: set[Utterance] = set()

    def spelled(self, utt: Utterance, split: str) -> Item | None:
        """The utterance with its tokens, None where it cannot be spelled; of several texts the empty ones are left out."""
        texts = [" ".join(text.split()) for text in (utt.text or "", *utt.others)]
        self.tags.update(tag for text in texts if self.language.read_aloud for tag in BRACKETS.findall(text))
        try:
            spelled = [(text, " ".join(tokens)) for text in texts if (tokens := self.language.spell(text))]
        except NoReading as error:
            self.rejects.add(split, utt, "character without reading", str(error))
            return None
        if not spelled:
            self.rejects.add(split, utt, "empty text")
            return None
        (text, first), *others = spelled
        return Item(replace(utt, text=text, others=tuple(t for t, _ in others)), first, tuple(tokens for _, tokens in others))

    @property
    def tagged(self) -> str:
        """What to say of the tags; nothing where there are none."""
        most = ", ".join(f"{tag} {n}" for tag, n in self.tags.most_common(5))
        return f"{self.tags.total()} times something stands in brackets, and is read aloud as it stands: {most}" if most else ""

    def recorded(self, utts: Iterable[Utterance | Fault], split: str, doubled: Collection[str]) -> list[Item]:
        """Items with a recording that can be used. In the speech pool a recording without text will do: its tokens are empty.

        Args:
            doubled: ids that stand for two utterances; whichever is right, the other is wrong, so both are left out.
        """
        items: list[Item] = []
        self.rejects.seen[split] += 0  # a split with nothing in it is told as such
        for utt in utts:
            self.rejects.seen[split] += 1
            if isinstance(utt, Fault):
                self.rejects.add(split, utt, utt.what)
            elif utt in self._seen:
                self.rejects.add(split, utt, "line doubled")
            elif fault := form_fault(utt, doubled, needs_text=split != "speech"):
                self.rejects.add(split, utt, fault)
            elif utt.text is None:
                items.append(Item(utt, ""))
            elif (item := self.spelled(utt, split)) is not None:
                items.append(item)
            if isinstance(utt, Utterance):
                self._seen.add(utt)
        paths = [item.utt.wav for item in items if item.utt.wav]
        longest = float("inf") if split in self.official else self.features.max_seconds
        return list(self._heard_well(items, inspected(paths, longest, self.workers), split))

    def _heard_well(self, items: list[Item], found: Iterable[audio.Recording | audio.BadAudio], split: str) -> Iterator[Item]:
        for item, sound in zip(items, found, strict=True):
            reason = str(sound) if isinstance(sound, audio.BadAudio) else self._fault(sound, item, split)
            if reason:
                self.rejects.add(split, item.utt, reason)
                continue
            assert isinstance(sound, audio.Recording)
            self._heard.add(sound.digest)
            self.kinds[f"{sound.fs} Hz, {sound.channels} channel{'s' if sound.channels > 1 else ''}"] += 1
            yield replace(item, utt=replace(item.utt, wav=Path(os.path.abspath(item.utt.wav or "")), seconds=sound.seconds))

    def _fault(self, sound: audio.Recording, item: Item, split: str) -> str | None:
        """Why a recording that decodes is left out all the same."""
        if split in self.official:
            return None
        if sound.digest in self._heard:
            return "recording doubled"
        if sound.clipped > audio.CLIPPED:
            return "clipped"
        tokens = item.tokens.split() if self.language.read_aloud else []
        if tokens and audio.too_short(sound.seconds, tokens, self.features.fs, self.features.hop):
            return "too short for its text"
        return "too long for its text" if tokens and audio.too_long(sound.seconds, tokens) else None

    def texts(self, utts: Iterable[Utterance | Fault]) -> Iterator[Item]:
        """Text-only items in the recipe's order, spelled as they are asked for."""
        ids: set[str] = set()
        for utt in utts:
            self.rejects.seen["text"] += 1
            if isinstance(utt, Fault):
                self.rejects.add("text", utt, utt.what)
            elif kaldi.bad_id(utt.utt_id) or utt.utt_id in ids:
                self.rejects.add("text", utt, "duplicate id" if utt.utt_id in ids else "bad id")
            elif (item := self.spelled(utt, "text")) is not None:
                ids.add(utt.utt_id)
                yield item
