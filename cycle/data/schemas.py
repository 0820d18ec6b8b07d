"""The columns of every table on disk."""

from __future__ import annotations

import pyarrow as pa

# A recording, or a sentence of a text pool (frames: about how long it will sound). text: tokens joined by spaces.
RECORDING = pa.schema([("utt", pa.string()), ("spk", pa.string()), ("text", pa.string()), ("frames", pa.int32())])

# Synthetic speech. heard: what the recogniser makes of it (greedy); the deviations are those of log-duration and of pitch (in standard
# deviations of the corpus) over the sentence's tokens.
SPOKEN = pa.schema([
    *RECORDING, ("heard", pa.string()), ("finite", pa.bool_()), ("duration_std", pa.float64()), ("pitch_std", pa.float64()),
])  # fmt: skip

# An utterance of the speech pool as the recogniser hears it. text: the chosen hypothesis, of `tokens` tokens; logp: its log-probability
# given the speech, all paths; prior: that of the text alone; posterior: its share of the N-best list, prior included; nbest: hypotheses,
# best first; posteriors: the share of each; tts: the synthesiser's score of the first few, null where it cannot judge; judged: how many
# it could.
LABEL = pa.schema([
    ("utt", pa.string()), ("text", pa.string()), ("frames", pa.int32()), ("tokens", pa.int32()), ("logp", pa.float64()),
    ("prior", pa.float64()), ("posterior", pa.float64()), ("nbest", pa.list_(pa.string())),
    ("posteriors", pa.list_(pa.float64())), ("tts", pa.list_(pa.float64())), ("judged", pa.int32()),
])  # fmt: skip
