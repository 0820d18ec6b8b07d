"""Numbers that cannot be are told at the door."""

import pytest

from cycle import limits
from cycle.config import defaults, load
from cycle.errors import UserError

WRONG = {
    "rounds.asr.lr": (0, -1, "nan"),
    "aligner.lr": ("nan", ".inf"),
    "rounds.label.search.beam": (0, -3),
    "decode.beam": (-2,),
    "lm.nbest": (0,),
    "rounds.objectives.asr_supervised.every": (0, -1),
    "rounds.objectives.asr_supervised.batch_frames": (-5,),
    "rounds.objectives.asr_supervised.start": (2, 1, -0.1),
    "rounds.objectives.asr_supervised.weight": (-1, "nan"),
    "features.hop": (0, 2048),
    "features.n_fft": (0, 100),
    "features.fmax": (20, 9000, "nan"),
    "features.max_seconds": (0, "nan"),
    "prior.order": (0,),
    "pools.dev": (0,),
    "pools.test": (0,),
    "pools.paired": (0, -5),
    "pools.speech": (-1,),
    "score.bootstrap": (0, -1),
    "rounds.count": (0, -1),
    "rounds.updates": (0, -1),
    "rounds.collapse_margin": ("nan", -1),
    "rounds.speak.count": (-4,),
    "rounds.speak.pitch_noise": (-0.1,),
    "pretrain.batch_frames": (-1,),
    "pretrain.asr.ema": (1.5,),
    "pretrain.tts.warmup": (-0.5,),
    "pretrain.asr_updates": (-1,),
    "judge.model.updates": (0,),
    "voices.size": (0,),
    "decode.ctc_weight": ("nan", 7),
    "run.log_every": (0,),
    "run.workers": (-1,),
}


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in WRONG.items() for value in values])
def test_what_cannot_be_is_named(key, value):
    with pytest.raises(
        UserError, match=r"^features\.(hop|fmax): " if key == "features.n_fft" and value else f"^{key}: ".replace(".", r"\.")
    ):
        load("mini", "cycle", [f"{key}={value}"])


@pytest.mark.parametrize("word", ["pools.speech=0", "pools.text=null", "rounds.speak.count=0", "aligner.layers=0", "features.trim_db=null",
                                  "pretrain.tts_updates=0",
                                  "rounds.objectives.asr_supervised.weight=0", "corpus.options.anything=-3", "decode.prior_length=-1",
                                  "asr.conf.encoder_conf.num_blocks=-1", "rounds.asr.floor=0", "features.fmax=8000"])  # fmt: skip
def test_what_may_be_passes(word):
    load("mini", "cycle", [word])


def test_the_groups_know_every_number_of_base_yaml():
    grouped = [limits.FROM_ONE, limits.FROM_ZERO, limits.ABOVE_ZERO, limits.SHARES, limits.BEGINNINGS]
    numbers = {k for k, v in defaults().items() if isinstance(v, (int, float)) and not isinstance(v, bool)}
    free = {"seed", "judge.seed_offset", *(f"{search}.prior_length" for search in limits.SEARCHES)}
    assert {key for key in numbers if not any(limits._among(key, group) for group in grouped)} == free
