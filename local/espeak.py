"""Speech by espeak-ng (the library inside the PyPI package espeakng-loader): a list of jobs becomes WAV files.

Run as a program of its own, always: espeak is not thread-safe, and some of its state (the flutter of the voice) outlives an
utterance, so that only a fresh process that speaks the same list in the same order gives the same bytes.
Variants with `breath` (f2, f3, f5) never do: they draw on the clock.
"""

from __future__ import annotations

import ctypes
import errno
import importlib.util
import json
import os
import random
import subprocess
import sys
import tempfile
import wave
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

RETRIEVAL, SYNCHRONOUS, UTF8 = 1, 2, 1  # constants of speak_lib.h
RATE, PITCH, RANGE = 1, 3, 4


@dataclass(frozen=True)
class Job:
    """One utterance: file name, text in the voice's writing, espeak's voice, words a minute, pitch and range (0-100)."""

    wav: str
    text: str
    voice: str
    rate: int
    pitch: int
    range: int

    @property
    def spk(self) -> str:
        return self.voice.partition("+")[2]


def casual(name: str, text: str, pinyin: str, voices: list[str], seed: int) -> Job:
    """A job in one of espeak's variants, at a speed and pitch of its own; both hang on the text and seed alone."""
    chance = random.Random(f"{seed} {text}")
    voice = chance.choice(voices)
    rate, pitch, span = chance.randint(170, 230), chance.randint(35, 65), chance.randint(35, 65)
    return Job(f"{voice}-{name}.wav", pinyin, f"cmn-latn-pinyin+{voice}", rate, pitch, span)


class Espeak:
    """The library, initialised; `fs` is its sampling rate in Hz."""

    def __init__(self, home: str):
        import espeakng_loader  # the one place that does

        # espeak keeps the path of its data in 160 bytes: a short link serves environments that lie deep.
        os.symlink(espeakng_loader.get_data_path(), os.path.join(home, "espeak-ng-data"))
        self.lib = ctypes.CDLL(espeakng_loader.get_library_path())
        self.lib.espeak_TextToPhonemes.restype = ctypes.c_char_p
        self.fs = self.lib.espeak_Initialize(SYNCHRONOUS, 0, home.encode(), 0)
        if self.fs <= 0:
            raise RuntimeError("espeak-ng does not start: is the package espeakng-loader whole?")
        self.pieces: list[bytes] = []
        kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)
        self.callback = kind(self._receive)  # kept alive: the library holds no reference
        self.lib.espeak_SetSynthCallback(self.callback)

    def _receive(self, samples: int | None, count: int, events: int | None) -> int:
        if samples and count > 0:
            self.pieces.append(ctypes.string_at(samples, 2 * count))
        return 0

    def voice(self, name: str) -> None:
        if self.lib.espeak_SetVoiceByName(name.encode()) != 0:
            raise RuntimeError(f"espeak-ng has no voice {name!r}")

    def speak(self, job: Job) -> bytes:
        """16-bit samples at `fs`."""
        self.voice(job.voice)
        for parameter, value in ((RATE, job.rate), (PITCH, job.pitch), (RANGE, job.range)):
            self.lib.espeak_SetParameter(parameter, value, 0)
        self.pieces.clear()
        text = job.text.encode()
        self.lib.espeak_Synth(text, len(text) + 1, 0, 0, 0, UTF8, None, None)
        self.lib.espeak_Synchronize()
        return b"".join(self.pieces)

    def phonemes(self, text: str) -> str:
        """How a text is read in the voice set last, in espeak's notation."""
        rest, out = ctypes.c_char_p(text.encode()), []
        while rest.value:
            out.append(self.lib.espeak_TextToPhonemes(ctypes.byref(rest), UTF8, 0).decode())
        return " ".join(out)


def with_espeak[T](use: Callable[[Espeak], T]) -> T:
    with tempfile.TemporaryDirectory(prefix="espeak") as home:
        return use(Espeak(home))


def speak_all(jobs: Iterable[Job], folder: Path) -> None:
    """Speaks all jobs into WAV files of a folder; some 150 times faster than real time."""
    from cycle.errors import UserError  # not for the program below, which runs without the repository on its path

    listing = "".join(json.dumps(asdict(job)) + "\n" for job in jobs)
    if importlib.util.find_spec("espeakng_loader") is None:
        raise UserError("the package espeakng-loader is missing", None, "set the environment up again: tools/install.sh")
    done = subprocess.run([sys.executable, __file__, str(folder)], input=listing, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode in (errno.ENOSPC, errno.EDQUOT):
        raise OSError(done.returncode, os.strerror(done.returncode), str(folder))
    if done.returncode != 0:
        raise RuntimeError(f"espeak-ng failed with exit code {done.returncode}:\n{done.stderr}")


def main(folder: str) -> None:
    jobs = [Job(**json.loads(line)) for line in sys.stdin]

    def run(espeak: Espeak) -> None:
        for job in jobs:
            with wave.open(os.path.join(folder, job.wav), "wb") as file:
                file.setparams((1, 2, espeak.fs, 0, "NONE", "not compressed"))
                file.writeframes(espeak.speak(job))

    try:
        with_espeak(run)
    except OSError as error:  # a full disk is the caller's to report
        sys.exit(error.errno or 1)


if __name__ == "__main__":
    main(*sys.argv[1:])
