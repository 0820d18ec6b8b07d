"""The streams of a round, with models that answer at once: who is in them, and with what."""

import pytest

from cycle.config import load
from cycle.data import table
from cycle.data.schemas import LABEL
from cycle.device import fabric
from cycle.exchange import label, round_data, speak
from cycle.experiment import Experiment
from tests.exchange.memory import Aligner, Asr, Tts, pools

SIZE = 300
SETTINGS = ["rounds.label.search.tune=false"]


@pytest.fixture
def made(tmp_path, monkeypatch):
    """Makes the round's streams, with settings."""
    loaded = []
    for module in (round_data, label, speak):
        for name, value in (("open_asr", Asr()), ("open_tts", Tts()), ("open_aligner", Aligner())):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, lambda *_, name=name, value=value: loaded.append(name) or value)

    def make(recipe, *settings, size=SIZE):
        exp = Experiment(tmp_path / "exp", load("mini", recipe, [*SETTINGS, *settings], "cpu"), "mini", recipe)
        pools(exp, size)
        return round_data.exchange(exp, 1, tmp_path, tmp_path / "work", fabric("cpu", "32")), set(loaded)

    return make


@pytest.mark.parametrize("models", ["[asr,tts]", "[asr]"])
def test_labels_of_all_recordings_with_their_probabilities(made, tmp_path, models):
    data, loaded = made("mwer", f"models={models}")
    stream = data.streams["labelled"]
    assert list(stream.utt_ids) == [f"speech-{n:08d}" for n in range(SIZE)]
    rows = {row["utt"]: row for row in table.Table([tmp_path / "work/labels/00000.arrow"], LABEL).rows()}
    for utt, text, hyps in zip(stream.utt_ids, stream.texts, stream.nbest, strict=True):
        assert text == hyps[0][0] and [t for t, _ in hyps] == rows[utt]["nbest"] and len(hyps) == 8
        shares = [p for _, p in hyps]
        assert sum(shares) == pytest.approx(1.0) and shares == sorted(shares, reverse=True)
    assert "open_tts" not in loaded  # nobody asked for its opinion
    assert "pseudo" not in data.streams and data.monitors["kept_share"] == 1.0 and "label_error" in data.monitors
    assert data.streams["paired"].durations is not None if "tts" in models else data.streams["paired"].durations is None


def test_the_oracle_control_is_certain_of_the_truth(made):
    data, _ = made("mwer", "rounds.label.source=oracle")
    stream = data.streams["labelled"]
    assert len(stream) == SIZE and all(hyps == [(text, 1.0)] for text, hyps in zip(stream.texts, stream.nbest, strict=True))


def test_what_was_judged_alone_is_no_list(made):
    """The risk of one hypothesis is zero, whatever its score."""
    data, _ = made("cycle", "rounds.label.judged=1")
    assert len(data.streams["speech"]) == 0 < len(data.streams["pseudo"])


def test_labels_beside_pseudo_labels(made):
    """One exchange serves both: the selection takes nothing from the lists."""
    data, loaded = made("cycle", "rounds.objectives.asr_supervised.mix.labelled=1")
    assert len(data.streams["labelled"]) == SIZE > len(data.streams["pseudo"]) > 0 and "open_tts" in loaded
    assert len(data.streams["speech"]) == SIZE and all(score <= 0 for _, score in data.streams["speech"].nbest[0])


def test_without_recordings_there_is_nothing_to_label(made):
    data, loaded = made("mwer", size=0)
    assert set(data.streams) == {"paired"} and "open_asr" not in loaded
