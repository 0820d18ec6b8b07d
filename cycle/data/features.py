"""The one log-mel that both models see, pitch beside it, and the store they are read back from.

mel = slaney mel filters on |STFT| (Hann, centred), feats = (ln max(mel, 1e-5) + SHIFT) / SCALE. The constants bring speech near zero
mean and unit variance and are fixed, so that features, models and experiments can be exchanged without a file of statistics.
"""

from __future__ import annotations

import contextlib
import math
import os
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache, partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cycle.data.kaldi import NOBODY
from cycle.data.schemas import RECORDING
from cycle.data.table import Table
from cycle.data.table import write as write_table
from cycle.data.types import Utterance
from cycle.errors import UserError
from cycle.files import atomic_write, read_json, write_json
from cycle.settings import Features

SHIFT, SCALE, FLOOR = 6.0, 2.0, 1e-5
SHARD = 256  # utterances
LAYOUTS, OPEN = 4096, 64  # files whose layout is remembered, and that are held open
FRAMES_PER_TOKEN = 12
FEATS, PITCH = ".feats.npy", ".f0.npy"
F0_RANGE = (60.0, 500.0)  # Hz
Array = NDArray[np.float32]


def read_audio(path: Path, fs: int) -> Array:
    """Reads a recording as mono float samples at `fs` Hz.

    Raises:
        UserError: not readable as audio, or empty.
    """
    import librosa
    import soundfile

    try:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, OSError) as error:
        raise UserError(f"cannot be read as audio ({error})", path, "convert it to WAV or FLAC") from error
    mono = samples.mean(axis=1)
    if mono.size == 0:
        raise UserError("holds no samples", path)
    if not np.isfinite(mono).all():
        raise UserError("holds samples that are not numbers", path, "record or convert it again")
    return mono if rate == fs else librosa.resample(mono, orig_sr=rate, target_sr=fs)


def trim(samples: Array, conf: Features) -> Array:
    """Cuts silence at both ends."""
    import librosa

    if conf.trim_db is None:
        return samples
    trimmed, _ = librosa.effects.trim(samples, top_db=conf.trim_db, frame_length=conf.n_fft, hop_length=conf.hop)
    return trimmed if trimmed.size else samples


def log_mel(samples: Array, conf: Features) -> Array:
    """(samples,) -> (T, n_mels) scaled log-mel, T = samples // hop + 1."""
    import librosa

    mel = librosa.feature.melspectrogram(
        y=samples, sr=conf.fs, n_fft=conf.n_fft, hop_length=conf.hop, n_mels=conf.n_mels, fmin=conf.fmin, fmax=conf.fmax, power=1.0,
        pad_mode="constant",
    )  # fmt: skip
    return ((np.log(np.maximum(mel.T, FLOOR)) + SHIFT) / SCALE).astype(np.float32)


def unscale(feats: Array) -> Array:
    """(T, n_mels) features -> linear mel magnitudes, for a vocoder."""
    return np.exp(feats.astype(np.float32) * SCALE - SHIFT)


def log_f0(samples: Array, conf: Features) -> Array:
    """(T,) natural log of the pitch in Hz by YIN, interpolated over silence and unvoiced stretches; T as in `log_mel`."""
    import librosa

    f0 = librosa.yin(samples, fmin=F0_RANGE[0], fmax=F0_RANGE[1], sr=conf.fs, frame_length=conf.n_fft, hop_length=conf.hop)
    rms = librosa.feature.rms(y=samples, frame_length=conf.n_fft, hop_length=conf.hop)[0]
    voiced = (rms > 0.05 * rms.max()) & (f0 < 0.98 * F0_RANGE[1]) & (f0 > 1.02 * F0_RANGE[0])
    if not voiced.any():
        return np.full(len(f0), np.log(150.0), np.float32)
    times = np.arange(len(f0))
    return np.interp(times, times[voiced], np.log(f0[voiced])).astype(np.float32)


def extract(path: Path, conf: Features, pitch: bool = True) -> tuple[Array, Array]:
    """A recording's features (T, n_mels) and log pitch (T,), which is zero where nobody wants it."""
    samples = trim(read_audio(path, conf.fs), conf)
    feats = log_mel(samples, conf)
    return feats, log_f0(samples, conf) if pitch else np.zeros(len(feats), np.float32)


def recording_mel(path: Path, conf: Features) -> Array:
    """A recording's features (T, n_mels): what `cycle transcribe` gives the recogniser."""
    return extract(path, conf, pitch=False)[0]


def sounding(text: str) -> int:
    """About how many frames a text of tokens will be."""
    return FRAMES_PER_TOKEN * (1 + text.count(" "))


class ShardWriter:
    """Writes one shard of a store: features and pitch end to end, the table of its utterances last."""

    def __init__(self, folder: Path, number: int, schema: pa.Schema = RECORDING):
        self.stem, self.schema = folder / f"{number:05d}", schema
        self.rows: list[dict[str, object]] = []
        self.feats: list[NDArray[np.float16]] = []
        self.f0: list[NDArray[np.float16]] = []

    @property
    def done(self) -> bool:
        return self.stem.with_suffix(".arrow").exists()

    def add(self, utt_id: str, feats: NDArray[np.floating[Any]], f0: Array | None = None, **extra: object) -> None:
        self.rows.append({"utt": utt_id, "frames": len(feats), **extra})
        self.feats.append(feats.astype(np.float16, copy=False))
        self.f0.append(f0.astype(np.float16) if f0 is not None else np.zeros(len(feats), np.float16))

    def close(self) -> None:
        with atomic_write(self.stem.with_suffix(FEATS), "wb") as handle:
            # Row by row: mels come transposed, and numpy would keep that order on disk, where rows are read one by one.
            np.save(handle, np.ascontiguousarray(np.concatenate(self.feats)) if self.feats else np.zeros((0, 1), np.float16))
        with atomic_write(self.stem.with_suffix(PITCH), "wb") as handle:
            np.save(handle, np.concatenate(self.f0) if self.f0 else np.zeros(0, np.float16))
        write_table(self.stem.with_suffix(".arrow"), self.rows, self.schema)


class FeatureStore:
    """Features of one or several folders, read where they are asked for.

    Attributes:
        table: utt, spk, text (tokens), frames, and whatever the schema adds.
        frames: (N,) of each utterance.
    """

    def __init__(self, *folders: Path, schema: pa.Schema = RECORDING):
        files = [file for folder in folders for file in sorted(folder.glob("[0-9]*.arrow"))]
        self.table = Table(files, schema)
        self.frames: NDArray[np.int32] = self.table.numbers("frames").astype(np.int32, copy=False)
        self._stems = [str(file.with_suffix("")) for file in files]
        self._layout, self._open = lru_cache(LAYOUTS)(_layout), lru_cache(OPEN)(_Open)
        self._ends = np.cumsum(self.table.sizes, dtype=np.int64).tolist()  # of each file's utterances
        self._begins = lru_cache(LAYOUTS)(partial(_first_frames, self.frames, self._ends))

    def __len__(self) -> int:
        return len(self.frames)

    def feats(self, index: int) -> NDArray[np.float16]:
        """(T, M) of one utterance."""
        return self._one(index, pitch=False)

    def f0(self, index: int) -> NDArray[np.float16]:
        """(T,) of one utterance, log pitch."""
        return self._one(index, pitch=True)

    def _one(self, index: int, pitch: bool) -> NDArray[np.float16]:
        out = np.zeros((1, self.frames[index], *self.shape(pitch)), np.float16)
        self.read(np.array([index]), out, [0], pitch)
        return out[0]

    def shape(self, pitch: bool = False) -> tuple[int, ...]:
        """Of one frame: (M,), of pitch (). A file without utterances does not know."""
        stem = next(stem for stem, size in zip(self._stems, self.table.sizes, strict=True) if size)
        return self._layout(stem + (PITCH if pitch else FEATS))[1]

    def read(self, rows: NDArray[np.integer[Any]], out: NDArray[np.float16], places: Sequence[int], pitch: bool = False) -> None:
        """Reads utterances into a batch, (B, T, M) or, of pitch, (B, T): utterance `rows[n]` to the beginning of `out[places[n]]`.

        Not mapped: pages of a mapped file count as this process's memory, and a large pool would grow into it.
        """
        suffix, size = PITCH if pitch else FEATS, out.itemsize * math.prod(out.shape[2:])
        for row, frames, place in zip(rows.tolist(), self.frames[rows].tolist(), places, strict=True):
            shard = bisect_right(self._ends, row)
            file, first = self._stems[shard] + suffix, self._ends[shard] - self.table.sizes[shard]
            (offset, shape), before = self._layout(file), int(self._begins(shard)[row - first])
            assert shape == out.shape[2:] and frames <= out.shape[1], f"{file} does not fit"
            start = offset + before * size
            held = self._open(file)  # by name: a thread beside this one may push the file out of the cache, which closes what nobody holds
            got = os.preadv(held.handle, [out[place, :frames]], start)  # one call, and threads share no place in the file
            assert got == frames * size, f"{file} is short"


def _first_frames(frames: NDArray[np.int32], ends: Sequence[int], shard: int) -> NDArray[np.int32]:
    """(n,) where each utterance of a shard begins in its file. Summed up when asked for: a shard is short, a pool is not."""
    sizes = frames[ends[shard - 1] if shard else 0 : ends[shard]]
    return np.cumsum(sizes, dtype=np.int32) - sizes


class _Open:
    """A file that is open for reading as long as somebody knows it."""

    def __init__(self, file: str):
        self.handle = os.open(file, os.O_RDONLY)

    def __del__(self) -> None:
        if hasattr(self, "handle"):
            os.close(self.handle)


def _layout(file: str) -> tuple[int, tuple[int, ...]]:
    """Where the numbers of a .npy file begin, and the shape of one row."""
    with open(file, "rb") as handle:
        np.lib.format.read_magic(handle)
        shape, by_columns, _ = np.lib.format.read_array_header_1_0(handle)
        if by_columns:
            raise UserError("was written by an earlier version", Path(file), "add --stage 2 --redo")
        return handle.tell(), shape[1:]


type Spoken = tuple[Utterance, str]  # with its tokens, empty where a pool has no text
type Rejected = list[tuple[str, str]]  # (utt_id, reason) of what could not be used


def _extract_shard(job: tuple[Path, int, Sequence[Spoken], Features, bool]) -> Rejected:
    """Writes one shard; returns what could not be used."""
    folder, number, utterances, conf, pitch = job
    writer, bad = ShardWriter(folder, number), []
    if writer.done:
        return list(map(tuple, read_json(writer.stem.with_suffix(".bad"))))
    for utt, tokens in utterances:
        assert utt.wav is not None
        try:
            feats, f0 = extract(utt.wav, conf, pitch)
        except UserError as error:
            bad.append((utt.utt_id, error.what))
            continue
        spk = utt.utt_id if utt.spk == NOBODY else utt.spk  # a recording of nobody known has a voice of its own, as Kaldi does it
        writer.add(utt.utt_id, feats, f0, spk=spk, text=tokens)
    write_json(writer.stem.with_suffix(".bad"), bad)
    writer.close()
    return bad


@contextlib.contextmanager
def processes(workers: int, conf: Features) -> Iterator[ProcessPoolExecutor]:
    """Processes for audio; 0 is one a core. Spawned: a fork of a process that has threads may hang."""
    _compile(conf)
    with ProcessPoolExecutor(workers or os.cpu_count(), get_context("spawn"), _use_one_thread) as pool:
        try:
            yield pool
        except BaseException:
            pool.shutdown(cancel_futures=True)  # else all that was begun would be finished first
            raise


def _compile(conf: Features) -> None:
    """Lets librosa compile what it needs and keep it on disk, once and here: many processes that write that at the same time crash."""
    tone = np.sin(np.arange(conf.fs, dtype=np.float32) / 10)
    log_f0(trim(tone, conf), conf), log_mel(tone, conf)


def _use_one_thread() -> None:
    """The products of a filter bank are small, and there are as many processes as cores: threads of theirs would wait for each other."""
    import librosa  # noqa: F401  # with what it computes with
    from threadpoolctl import threadpool_limits

    threadpool_limits(1)


def compute(
    folder: Path, utterances: Sequence[Spoken], conf: Features, pool: ProcessPoolExecutor, pitch: bool = True
) -> Iterable[Rejected]:
    """Computes the features of a pool in parallel processes, shard by shard; finished shards are kept.

    Args:
        pitch: whether anybody will want it; a synthesiser does.

    Returns:
        per shard as it comes, what could not be used.
    """
    folder.mkdir(parents=True, exist_ok=True)
    jobs = [(folder, n, utterances[i : i + SHARD], conf, pitch) for n, i in enumerate(range(0, len(utterances), SHARD))]
    return pool.map(_extract_shard, jobs)
