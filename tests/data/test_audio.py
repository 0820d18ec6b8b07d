import os

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


@pytest.mark.parametrize(("gain", "clipped"), [(1.0, False), (1.02, True), (0.6, False), (1.5, True)])
def test_flat_tops_are_clipping_and_loud_tones_are_not(tmp_path, gain, clipped):
    wave = np.clip(gain * np.sin(2 * np.pi * 220 * np.arange(16000) / 16000), -1, 1)
    assert (audio.inspect(samples(tmp_path / "a.wav", wave)).clipped > audio.CLIPPED) == clipped


def test_hiss_of_few_bits_is_not_clipping(tmp_path):
    assert audio.inspect(samples(tmp_path / "a.wav", np.tile([0, 0, 1, 1, 1, 1], 3000) / 2**15 * 8)).clipped == 0


def test_copies_of_one_recording_have_one_digest(tmp_path):
    a = tone(tmp_path / "a.wav")
    soundfile.write(tmp_path / "b.flac", *soundfile.read(a, dtype="int16"))
    tone(tmp_path / "c.wav")
    digests = [audio.inspect(tmp_path / name).digest for name in ("a.wav", "b.flac", "c.wav")]
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda d: (d / "a.wav").symlink_to(d / "a.wav"), "no such file"),
        (lambda d: os.mkfifo(d / "a.wav"), "unreadable audio"),
    ],
)
def test_links_in_a_circle_and_named_pipes_do_not_hang(tmp_path, make, reason):
    make(tmp_path)
    with pytest.raises(audio.BadAudio, match=reason):
        audio.inspect(tmp_path / "a.wav")


def test_sphere_files_are_read(tmp_path):
    """NIST's header, then samples: what the LDC ships."""
    header = b"NIST_1A\n   1024\nchannel_count -i 1\nsample_rate -i 16000\nsample_n_bytes -i 2\nsample_byte_format -s2 01\n"
    header += b"sample_coding -s3 pcm\nsample_count -i 16000\nend_head\n"
    wave = (8000 * np.sin(np.arange(16000) / 9)).astype("<i2")
    (tmp_path / "a.sph").write_bytes(header.ljust(1024) + wave.tobytes())
    assert audio.inspect(tmp_path / "a.sph").seconds == 1.0


def test_too_short_for_its_tokens():
    """0.24 s are 16 frames of 16 ms, 8 encoder frames of two."""
    assert not audio.too_short(0.24, list("abcdefgh"), 16000, 256)
    assert audio.too_short(0.24, list("abcdefghi"), 16000, 256)
    assert not audio.too_short(0.24, list("abcdefghi"), 16000, 128)
    assert audio.too_short(0.24, list("aabcdefg"), 16000, 256)  # CTC needs a blank between the two
    assert audio.too_short(0.0, ["a"], 16000, 256)


def test_too_long_for_its_tokens():
    assert not audio.too_long(6.9, ["a"])
    assert audio.too_long(7.1, ["a"])
