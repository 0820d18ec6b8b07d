"""What a reader may listen to: a recording beside the synthetic speech of each round, round trips, what selection kept and rejected."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from cycle.data import kaldi
from cycle.eval import sound
from cycle.eval.oracle import true_texts
from cycle.eval.samples import Array, Sample
from cycle.eval.story import UNREADABLE, Story, reason
from cycle.settings import Features

TITLES = {
    "test": "A test recording and its text",
    "speech": "Round trip of an unpaired recording: ASR, then TTS",
    "text": "Round trip of an unpaired sentence: TTS, then ASR",
}


@dataclass(frozen=True)
class Take:
    """One thing to listen to: `sound` and `picture` are data: addresses, None where there is nothing."""

    label: str
    words: str = ""
    sound: str | None = None
    picture: str | None = None


@dataclass
class Session:
    """Takes of one utterance."""

    title: str
    utt: str
    spk: str
    why: str
    text: str
    tokens: str
    takes: list[Take] = field(default_factory=list)


def sessions(story: Story) -> list[Session]:
    """Everything that there is to hear."""
    return [_session(story, sample) for sample in story.samples]


def _session(story: Story, sample: Sample) -> Session:
    conf = story.exp.config.features
    session = Session(TITLES[sample.kind], sample.utt, sample.spk, sample.why, sample.text, sample.tokens)
    if sample.kind == "speech":  # monitors may look; no model does
        truth = story.attempt(f"True text of {sample.utt}", true_texts, story.exp, {sample.utt}) or {}
        session.tokens = truth.get(sample.utt, "")
    if sample.feats is not None:
        session.takes.append(_recorded(story, sample, conf))
        session.takes.append(_take(story, "recording, vocoded", "", sample.feats, conf))
    for view in sample.views:
        words = {"test": "ASR hears the recording as: ", "speech": "ASR hears: ", "text": "ASR hears the synthetic speech as: "}[
            sample.kind
        ]
        session.takes.append(_take(story, f"round {view.round}, synthetic", words + (view.hyp or "(nothing)"), view.spoken, conf))
    return session


def _recorded(story: Story, sample: Sample, conf: Features) -> Take:
    picture = sound.spectrogram(sample.feats) if sample.feats is not None else None
    path = Path(sample.wav) if sample.wav else None
    if path is None or not path.is_file():
        story.lacks(f"Recording of {sample.utt}: it is no longer where the data directory says.")
        return Take("recording (moved away)", "", None, picture)
    heard = story.attempt(f"Recording of {sample.utt}", sound.recording, path, conf)
    return Take("recording", "", heard, picture)


def _take(story: Story, label: str, words: str, feats: Array | None, conf: Features) -> Take:
    if feats is None or len(feats) < 2:
        return Take(f"{label} (nothing to say)", words)
    try:
        return Take(label, words, sound.rendered(feats, conf), sound.spectrogram(feats))
    except UNREADABLE as error:
        story.lacks(f"Sound of {label}: {reason(error)}.")
        return Take(label, words)


def heard_recordings(story: Story, utts: list[str]) -> dict[str, str]:
    """Recordings of the speech pool by utterance, those that are still there."""
    wanted = set(utts)
    paths = {u.utt_id: u.wav for u in kaldi.read(story.exp.data("speech")) if u.utt_id in wanted and u.wav and u.wav.is_file()}
    return {utt: sound.recording(path, story.exp.config.features) for utt, path in sorted(paths.items())}
