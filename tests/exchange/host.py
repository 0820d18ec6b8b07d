"""What the host does for an utterance of the exchange while a GPU would do the rest: `python -m tests.exchange.host N FOLDER`.

The models are stand-ins that hand over, at once, what their kernels would have left on the device: beams to be traced back, paths to be
collapsed, features. Reading batches, spelling, the prior, scoring, choosing and writing are what a run uses. Utterances have 64 frames (a
second). Prints one JSON line: microseconds of processor time an utterance, the best of five runs, all threads together, on one core.
`exchange` is a whole one, of as many recordings as texts: labels, judged, synthetic speech, selection, alignment, tables to read, monitors.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

from cycle.config import ROOT, load
from cycle.data.batch import Hypothesis
from cycle.data.types import Speech
from cycle.device import fabric as make_fabric
from cycle.exchange import label, round_data, speak
from cycle.exchange.engine import run
from cycle.experiment import Experiment
from cycle.models import ctc_search
from cycle.models.synthesizer import Rendering
from cycle.models.vocabulary import Vocabulary
from tests.exchange.memory import TOKENS, Aligner, pools
from tests.exchange.memory import Tts as Short

FRAMES, OUTPUTS, TOKENS_EACH, BEAM, RUNS = 64, 31, 6, 8, 5
VOCABULARY = Vocabulary(["<blank>", "<unk>", *TOKENS, "<sos/eos>"])


class Asr:
    """Answers from made-up lattices; `spent` is the processor time that making them up took."""

    spent = 0.0

    def listen(self, speech, search):
        start = time.process_time()
        size, random = len(speech.lengths), torch.Generator().manual_seed(0)

        def sparse(*shape):
            return torch.randint(2, 52, shape, generator=random) * (torch.rand(shape, generator=random) < TOKENS_EACH / OUTPUTS)

        if search.method == "ctc_greedy":
            logp = torch.zeros(size, OUTPUTS, len(VOCABULARY)).scatter_(2, sparse(size, OUTPUTS)[..., None], 1.0)
        else:
            grown = [sparse(size, BEAM) for _ in range(OUTPUTS)]
            parents = [torch.randint(0, BEAM, (size, BEAM), generator=random) for _ in range(OUTPUTS)]
            score = torch.randn(size, BEAM, generator=random)
        Asr.spent += time.process_time() - start
        if search.method == "ctc_greedy":
            found = ctc_search.greedy(logp, torch.full((size,), OUTPUTS)).fetch()
        else:
            found = ctc_search._trace(score, parents, grown).fetch()
        return lambda: [[Hypothesis(VOCABULARY.decode(ids), value) for ids, value in beam[: search.nbest]] for beam in found()]


class Tts(Short):
    def synthesize(self, texts, spks, variation=None, generator=None):
        shape = (len(texts), FRAMES)
        durations = torch.full((len(texts), TOKENS_EACH + 1), FRAMES // (TOKENS_EACH + 1))
        return Rendering(Speech(torch.zeros(*shape, 80), torch.full(shape[:1], FRAMES)), durations, torch.zeros(len(texts), TOKENS_EACH))


def microseconds(work: Callable[[Path], object], folder: Path, size: int) -> int:
    """The best of some runs, each into a folder of its own."""
    found = []
    for n in range(RUNS):
        Asr.spent, start = 0.0, time.process_time()
        work(folder / str(n))
        found.append(time.process_time() - start - Asr.spent)
    return round(min(found) / size * 1e6)


def main(size: int, folder: Path) -> None:
    os.chdir(ROOT)
    torch.set_num_threads(1)
    keys = ["rounds.label.search.tune=false", "rounds.speak.count=0", "preset=gpu"]
    exp = Experiment(folder, load("mini", "cycle", keys, "cpu"), "mini", "cycle")
    pools(exp, size, FRAMES, TOKENS_EACH)
    for module in (label, round_data, speak):
        for name, value in (("open_asr", Asr()), ("open_tts", Tts()), ("open_aligner", Aligner())):
            if hasattr(module, name):
                setattr(module, name, lambda *_, value=value: value)
    fabric, search = make_fabric("cpu", "32"), exp.config.rounds.label.search
    works = {
        "label": lambda to: run(label.LabelJob(exp, folder, to, search, judge=False), fabric),
        "label_and_judge": lambda to: run(label.LabelJob(exp, folder, to, search, judge=True), fabric),
        "speak": lambda to: run(speak.SpeakJob(exp, 1, folder, to), fabric),
        "exchange": lambda to: round_data.exchange(exp, 1, folder, to, fabric),
    }
    print(json.dumps({"utterances": size, **{name: microseconds(work, folder / name, size) for name, work in works.items()}}))


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
