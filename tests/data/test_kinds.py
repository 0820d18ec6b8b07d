"""What streams have, against what they once were said to have by hand."""

from cycle.data.kinds import ALIGNED, HEARD, LISTED, OF_TTS, READ, STREAMS, TEXTS, having


def test_groups_by_hand():
    assert {"paired", "pseudo"} == ALIGNED
    assert ALIGNED | {"synthetic", "speech", "labelled"} == TEXTS
    assert TEXTS | {"recordings"} == HEARD
    assert TEXTS | {"text"} == READ
    assert {"speech", "labelled"} == LISTED
    assert {"synthetic", "text", "speech"} == OF_TTS
    assert having() == set(STREAMS) == HEARD | READ and having("durations", "lists") == set()
