"""What is heard in a synthetic acoustic scene, and how five people would put it: the grammar of `scenes`.

A scene is one to three events in order, over a sustained sound or not, each loud, faint or neither, some of them once or several times.
The five wordings of a clip are drawn apart: other words, another order of clauses, and, as people do, not always everything that is there.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

# What makes the sound, and what it does: present, gerund.
WORDS: dict[str, tuple[tuple[str, ...], tuple[tuple[str, str], ...]]] = {
    "dog": (("a dog", "an animal", "a small dog"), (("barks", "barking"), ("yaps", "yapping"))),
    "bird": (("a bird", "a small bird", "a songbird"), (("chirps", "chirping"), ("sings", "singing"), ("tweets", "tweeting"))),
    "bell": (("a bell", "a church bell", "a metal bell"), (("rings", "ringing"), ("chimes", "chiming"), ("tolls", "tolling"))),
    "siren": (("a siren", "an emergency siren", "an ambulance"), (("wails", "wailing"), ("sounds", "sounding"), ("blares", "blaring"))),
    "horn": (("a car", "a horn", "a vehicle"), (("honks", "honking"), ("beeps", "beeping"))),
    "engine": (("an engine", "a motor", "a truck"), (("runs", "running"), ("hums", "humming"), ("idles", "idling"))),
    "rain": (("rain", "heavy rain", "water"), (("falls", "falling"), ("pours down", "pouring down"), ("patters", "pattering"))),
    "thunder": (("thunder", "a thunderstorm", "a storm"), (("rumbles", "rumbling"), ("rolls", "rolling"), ("roars", "roaring"))),
    "wind": (("the wind", "a strong wind", "a breeze"), (("blows", "blowing"), ("howls", "howling"))),
    "knock": (("someone", "a person", "a hand"), (("knocks on a door", "knocking on a door"), ("taps on wood", "tapping on wood"))),
    "clock": (("a clock", "an old clock", "a watch"), (("ticks", "ticking"), ("clicks", "clicking"))),
    "water": (("water", "a tap", "a faucet"), (("drips", "dripping"), ("drops into a sink", "dropping into a sink"))),
    "phone": (("a phone", "a telephone", "an old phone"), (("rings", "ringing"), ("buzzes", "buzzing"))),
    "whistle": (("someone", "a man", "a person"), (("whistles", "whistling"), ("blows a whistle", "blowing a whistle"))),
    "steps": (("someone", "a person", "a man"), (("walks", "walking"), ("walks on a hard floor", "walking on a hard floor"))),
    "glass": (("glass", "a window", "a bottle"), (("breaks", "breaking"), ("shatters", "shattering"))),
}
SUSTAINED = ("rain", "wind", "engine", "siren", "clock", "steps")  # may go on behind others
COUNTED = ("dog", "bell", "horn", "phone", "knock")
MANNER = {"loud": ("loudly", "very loudly"), "faint": ("quietly", "softly", "faintly", "in the distance")}
OFTEN = {1: ("once", "one time"), 3: ("three times", "several times", "repeatedly")}

# How one, two or three parts are put together; by gerunds (true) or by sentences.
ORDER: dict[tuple[int, bool], tuple[str, ...]] = {
    (1, True): ("{}",),
    (1, False): ("{}",),
    (2, True): ("{} followed by {}", "{} followed by {}", "{} and then {}", "{1} after {0}"),
    (2, False): ("{} and then {}", "{} before {}", "first {} and then {}", "{} and after that {}"),
    (3, True): ("{} followed by {} and then {}", "{} then {} and finally {}"),
    (3, False): ("{} then {} and then {}", "first {} then {} and finally {}", "{} and {} before {}"),
}


@dataclass(frozen=True)
class Event:
    """name: of `local.sound_events`; times: how often it sounds; level: loud, faint or plain."""

    name: str
    times: int
    level: str


@dataclass(frozen=True)
class Scene:
    """Events one after another, and what goes on behind them."""

    events: tuple[Event, ...]
    behind: Event | None


def scene(chance: random.Random) -> Scene:
    behind = chance.choice(SUSTAINED) if chance.random() < 0.4 else None
    count = chance.choices((1, 2, 3), (3, 5, 2) if behind is None else (6, 4, 0))[0]
    names = chance.sample([name for name in WORDS if name != behind], count)
    return Scene(tuple(_event(chance, name) for name in names), Event(behind, 1, "plain") if behind else None)


def _event(chance: random.Random, name: str) -> Event:
    level = chance.choices(("plain", "loud", "faint"), (5, 2, 3))[0]
    return Event(name, chance.choice((1, 3)) if name in COUNTED else 1, level)


def captions(heard: Scene, chance: random.Random, count: int = 5) -> list[str]:
    """Differently worded descriptions of one scene."""
    found: list[str] = []
    while len(found) < count:
        text = _caption(heard, chance)
        if text not in found:
            found.append(text)
    return found


def _caption(heard: Scene, chance: random.Random) -> str:
    events = list(heard.events)
    if len(events) == 3 and chance.random() < 0.15:
        events.pop(1)  # not everybody mentions everything
    behind = heard.behind if chance.random() < 0.85 else None
    nouns = chance.random() < 0.5
    said = [_part(event, nouns, chance) for event in events]
    text = _in_order(said, nouns, chance)
    if behind is None:
        return text
    if nouns:
        form = chance.choice(("{0} with {1} in the background", "{0} over the sound of {1}", "{0} and {1} in the background"))
    else:
        form = chance.choice(("{0} while {1}", "{0} as {1}", "{1} while {0}"))
    return form.format(text, _part(behind, nouns, chance))


def _part(event: Event, noun: bool, chance: random.Random) -> str:
    """`a dog barking loudly` or `a dog barks loudly`, `a dog is barking loudly`."""
    subjects, verbs = WORDS[event.name]
    subject = chance.choices(subjects, (5, 2, 2))[0]
    present, gerund = chance.choices(verbs, (4, 2, 1)[: len(verbs)])[0]
    words = [subject, gerund if noun else chance.choice((present, present, f"is {gerund}"))]
    if event.name in COUNTED and chance.random() < 0.4:
        words.append(chance.choice(OFTEN[event.times]))
    if event.level in MANNER and chance.random() < 0.5:
        words.append(chance.choice(MANNER[event.level]))
    return " ".join(words)


def _in_order(said: list[str], nouns: bool, chance: random.Random) -> str:
    return chance.choice(ORDER[len(said), nouns]).format(*said)
