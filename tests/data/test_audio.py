import numpy as np
import pytest
import soundfile

from cycle.data import audio
from tests.tiny_corpus import tone


@pytest.mark.parametrize(
    ("fs", "channels", "kind"), [(16000, 1, "wav"), (8000, 2, "wav"), (44100, 2, "flac"), (22050, 1, "mp3"), (48000, 1, "ogg")]
)
def test_rates_channels_and_formats_are_read(tmp_path, fs, channels, kind):
    path = tone(tmp_path / f"a b'c\".{kind}", 1.5, fs, channels)
    found = audio.inspect(path)
    assert (found.fs, found.channels) == (fs, channels)
    assert found.seconds == pytest.approx(1.5, abs=0.1)


def write(path, content: bytes):
    path.write_bytes(content)
    return path


def samples(path, values):
    soundfile.write(path, np.asarray(values, dtype="float32"), 16000, subtype="FLOAT")
    return path


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda d: d / "missing.wav", "no such file"),
        (lambda d: write(d / "a.wav", b""), "empty file"),
        (lambda d: write(d / "a.wav", b"this is no audio at all"), "unreadable audio"),
        (lambda d: write(d / "a.mp3", b"\x00" * 4000), "unreadable audio"),
        (lambda d: d, "unreadable audio"),
        (lambda d: samples(d / "a.wav", []), "zero length"),
        (lambda d: samples(d / "a.wav", np.zeros(16000)), "silent"),
        (lambda d: tone(d / "a.wav", peak=2e-5), "silent"),
        (lambda d: samples(d / "a.wav", [0.1, np.nan, 0.1]), "not a number in the samples"),
        (lambda d: tone(d / "a.wav", 2.5), "longer than 2 s"),
    ],
)
def test_bad_recordings_have_a_reason(tmp_path, make, reason):
    with pytest.raises(audio.BadAudio, match=f"^{reason}$"):
        audio.inspect(make(tmp_path), max_seconds=2)


def test_too_short_for_its_tokens():
    """0.48 s are 31 frames of 16 ms, 7 encoder frames of four."""
    assert not audio.too_short(0.48, list("abcdefg"))
    assert audio.too_short(0.48, list("abcdefgh"))
    assert audio.too_short(0.48, list("aabcdef"))  # CTC needs a blank between the two
    assert audio.too_short(0.0, ["a"])
