"""Synthetic sounds of `scenes`: each a function from a generator of chances and a number of samples to a waveform of peak 1.

They sound like what they are named after to a forgiving ear, and differ in what a recogniser can hear: pitch, noise, rhythm, decay.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.signal import butter, sosfilt

FS = 8000  # Hz
Wave = NDArray[np.float64]
Chance = np.random.Generator


def _time(n: int) -> Wave:
    return np.arange(n) / FS


def _tone(hertz: Wave | float, n: int, partials: tuple[float, ...] = (1.0,)) -> Wave:
    """A tone of a pitch that may glide, with the amplitudes of its harmonics."""
    phase = 2 * np.pi * np.cumsum(np.broadcast_to(hertz, n)) / FS
    return sum((a * np.sin((k + 1) * phase) for k, a in enumerate(partials)), np.zeros(n))


def _noise(rng: Chance, n: int, low: float, high: float) -> Wave:
    return np.asarray(sosfilt(_band(low, high), rng.standard_normal(n)))


@cache
def _band(low: float, high: float) -> Wave:
    return np.asarray(butter(2, [low, high], "bandpass", fs=FS, output="sos"))


def _fade(n: int, seconds: float) -> Wave:
    return np.exp(-_time(n) / seconds)


def _hump(n: int) -> Wave:
    return np.sin(np.pi * (np.arange(n) + 0.5) / n)


def _spread(rng: Chance, n: int, every: float, one: Callable[[], Wave], times: int = 99) -> Wave:
    """The same kind of sound again and again, about every so many seconds, until the time or the number is used up."""
    out, place = np.zeros(n), 0
    for _ in range(times):
        piece = one()[: n - place]
        out[place : place + len(piece)] += piece
        place += round(FS * every * rng.uniform(0.85, 1.15))
        if place >= n:
            break
    return out


def dog(rng: Chance, n: int, times: int) -> Wave:
    pitch = rng.uniform(300, 450)

    def bark() -> Wave:
        m = round(FS * rng.uniform(0.12, 0.18))
        glide = np.linspace(pitch * 1.2, pitch * 0.7, m)
        return (_tone(glide, m, (1, 0.8, 0.9, 0.6, 0.4)) + 0.8 * _noise(rng, m, 300, 2000)) * _hump(m)

    return _spread(rng, n, 0.32, bark, times)


def bird(rng: Chance, n: int, times: int) -> Wave:
    low = rng.uniform(1900, 2500)
    return _spread(rng, n, 0.16, lambda: _tone(np.linspace(low, low + 1100, 640), 640) * _hump(640), 3 * times)


def bell(rng: Chance, n: int, times: int) -> Wave:
    pitch = rng.uniform(500, 800)

    def strike() -> Wave:
        return sum((_tone(pitch * r, n) * _fade(n, 0.5 / r) / r for r in (1.0, 2.76, 4.1)), np.zeros(n))

    return _spread(rng, n, 0.45, strike, times)


def siren(rng: Chance, n: int, times: int) -> Wave:
    middle, rate = rng.uniform(700, 900), rng.uniform(1.0, 1.6)
    return _tone(middle + 300 * np.sin(2 * np.pi * rate * _time(n) + rng.uniform(0, 6)), n, (1, 0.4, 0.2))


def horn(rng: Chance, n: int, times: int) -> Wave:
    pitch, m = rng.uniform(330, 420), round(FS * 0.3)
    honk = (_tone(pitch, m, (1, 0.9, 0.8, 0.6, 0.5)) + _tone(pitch * 1.26, m, (1, 0.8, 0.6, 0.4))) * np.minimum(1, 6 * _hump(m))
    return _spread(rng, n, 0.42, lambda: honk, times)


def engine(rng: Chance, n: int, times: int) -> Wave:
    pitch = rng.uniform(45, 70) * (1 + 0.05 * np.sin(2 * np.pi * 0.8 * _time(n)))
    return _tone(pitch, n, (1, 0.9, 0.8, 0.7, 0.5, 0.4, 0.3)) + 0.3 * _noise(rng, n, 100, 400)


def rain(rng: Chance, n: int, times: int) -> Wave:
    drops = (rng.random(n) < 0.004) * rng.uniform(2, 6, n)
    return _noise(rng, n, 1500, 3800) + np.asarray(sosfilt(_band(2000, 3500), drops))


def thunder(rng: Chance, n: int, times: int) -> Wave:
    roll = 0.4 + 0.6 * np.abs(np.sin(2 * np.pi * rng.uniform(1.5, 3) * _time(n) + rng.uniform(0, 3)))
    return _noise(rng, n, 30, 160) * roll * _fade(n, 0.6)


def wind(rng: Chance, n: int, times: int) -> Wave:
    gusts = 0.35 + 0.65 * np.sin(np.pi * rng.uniform(0.5, 1.0) * _time(n) + rng.uniform(0, 3)) ** 2
    return _noise(rng, n, 200, 700) * gusts


def knock(rng: Chance, n: int, times: int) -> Wave:
    m, pitch = 800, rng.uniform(150, 220)
    return _spread(rng, n, 0.2, lambda: (_tone(pitch, m) + 0.5 * _noise(rng, m, 200, 900)) * _fade(m, 0.02), 3 * times)


def clock(rng: Chance, n: int, times: int) -> Wave:
    every = rng.uniform(0.22, 0.3)
    return _spread(rng, n, every, lambda: _noise(rng, 240, 2400, 3700) * _fade(240, 0.006))


def water(rng: Chance, n: int, times: int) -> Wave:
    low = rng.uniform(600, 900)
    return _spread(rng, n, 0.3, lambda: _tone(np.linspace(low, 2 * low, 700), 700) * _fade(700, 0.025), 2 * times)


def phone(rng: Chance, n: int, times: int) -> Wave:
    high, m = rng.uniform(1200, 1600), round(FS * 0.3)
    trill = np.where(np.arange(m) // 200 % 2, high, high * 0.8)
    return _spread(rng, n, 0.45, lambda: _tone(trill, m, (1, 0.3)), times)


def whistle(rng: Chance, n: int, times: int) -> Wave:
    m, pitch = min(n, round(FS * rng.uniform(0.7, 1.0))), rng.uniform(1300, 1700)
    glide = np.linspace(pitch, pitch * rng.uniform(1.2, 1.4), m) + 25 * np.sin(2 * np.pi * 6 * _time(m))
    return np.pad(_tone(glide, m) * np.minimum(1, 4 * _hump(m)), (0, n - m))


def steps(rng: Chance, n: int, times: int) -> Wave:
    return _spread(rng, n, 0.34, lambda: _noise(rng, 900, 80, 500) * _fade(900, 0.03) + 0.1 * _noise(rng, 900, 1000, 3000) * _hump(900))


def glass(rng: Chance, n: int, times: int) -> Wave:
    shards = _spread(rng, n, 0.05, lambda: _tone(rng.uniform(2200, 3700), 1200) * _fade(1200, 0.03) * rng.uniform(0.3, 1), 9)
    return _noise(rng, n, 1000, 3900) * _fade(n, 0.05) + shards


EVENTS: dict[str, Callable[[Chance, int, int], Wave]] = {
    f.__name__: f for f in (dog, bird, bell, siren, horn, engine, rain, thunder, wind, knock, clock, water, phone, whistle, steps, glass)
}


def sound(name: str, rng: Chance, seconds: float, times: int) -> Wave:
    """One event, its peak at 1.

    Args:
        times: how often what can be counted sounds; sustained sounds fill the time.
    """
    wave = EVENTS[name](rng, round(FS * seconds), times)
    return wave / max(1e-9, float(np.abs(wave).max()))
