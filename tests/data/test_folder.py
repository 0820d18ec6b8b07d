"""Which folder of the recordings' paths names the speaker."""

from __future__ import annotations

import pytest

from cycle.data.folder import speaker_level


@pytest.mark.parametrize(
    ("paths", "level"),
    [
        (["anna/1.wav", "anna/2.wav", "ben/1.wav", "ben/2.wav"], 0),
        (["clips/anna/1.wav", "clips/anna/2.wav", "clips/ben/1.wav", "clips/ben/2.wav"], 1),
        (["train/anna/1.wav", "train/anna/2.wav", "test/ben/1.wav", "test/ben/2.wav"], 1),
        (["19/198/1.wav", "19/227/2.wav", "26/495/3.wav", "26/496/4.wav"], 0),  # LibriSpeech: chapters below speakers
        (["1/a.wav", "2/b.wav", "3/c.wav"], None),  # a folder for each recording says nothing of who speaks
        (["anna/1.wav", "2.wav", "ben/3.wav", "ben/4.wav"], None),
        (["part1/1.wav", "part1/2.wav", "part2/3.wav", "part2/4.wav"], None),
        (["1.wav", "2.wav"], None),
        ([], None),
    ],
)
def test_which_folder_names_the_speaker(paths, level):
    assert speaker_level(paths) == level
