"""ESPnet as its own users run it, to measure against: decoding one by one and in batches, synthesis one by one, its own trainer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cycle.data.batch import Batch
from cycle.models.espnet_asr import EspnetRecognizer
from cycle.models.espnet_tts import EspnetSynthesizer

BEAM, CTC_WEIGHT = 10, 0.3
type Mel = NDArray[np.float32]


def speech2text(folder: Path, device: str) -> Any:
    """Stock `Speech2Text` on `folder/asr`, beam 10, CTC weight 0.3, without a language model."""
    from espnet2.bin.asr_inference import Speech2Text

    return Speech2Text(folder / "asr/config.yaml", folder / "asr/model.pth", device=device, beam_size=BEAM, ctc_weight=CTC_WEIGHT,
                       lm_weight=0.0, penalty=0.0)  # fmt: skip


def transcribe_each(stock: Any, mels: Sequence[Mel]) -> list[str]:
    """One call an utterance; tokens joined by spaces."""
    return [" ".join(stock(mel)[0][1]) for mel in mels]


def transcribe_batch(stock: Any, mels: Sequence[Mel]) -> list[str]:
    """One `batch_decode` of all."""
    lengths = torch.tensor([len(mel) for mel in mels])
    padded = torch.nn.utils.rnn.pad_sequence([torch.as_tensor(mel) for mel in mels], batch_first=True)
    return [" ".join(nbest[0][1]) for nbest in stock.batch_decode(padded, lengths)]


def synthesize_each(folder: Path, device: str) -> Callable[[Sequence[str], Tensor | None], list[Tensor]]:
    """Stock `Text2Speech` on `folder/tts`, one call a text (tokens joined by spaces), speakers by their embeddings."""
    from espnet2.bin.tts_inference import Text2Speech

    stock = Text2Speech(folder / "tts/config.yaml", folder / "tts/model.pth", device=device)

    def synthesize(texts: Sequence[str], speakers: Tensor | None) -> list[Tensor]:
        given = [{} if speakers is None else {"spembs": speakers[i]} for i in range(len(texts))]
        return [stock(text, **spk)["feat_gen"] for text, spk in zip(texts, given, strict=True)]

    return synthesize


def inputs(model: EspnetRecognizer | EspnetSynthesizer, batch: Batch) -> tuple[list[str], dict[str, Tensor]]:
    """A batch as ESPnet's iterators would hand it to a model: utterance ids, and keyword arguments on the host."""
    assert batch.speech is not None
    if isinstance(model, EspnetSynthesizer):
        return list(batch.utt_ids), model.inputs(batch)
    ids, lengths = model.vocabulary.encode(batch.texts, torch.device("cpu"), -1)
    given = {"speech": batch.speech.feats, "speech_lengths": batch.speech.lengths, "text": ids, "text_lengths": lengths}
    return list(batch.utt_ids), given


class Bare(torch.nn.Module):
    """A synthesiser for ESPnet's trainer without ESPnet's wrapper, which would extract pitch from waveforms."""

    def __init__(self, tts: torch.nn.Module):
        super().__init__()
        self.tts = tts

    def forward(self, utt_id: list[str], **batch: Tensor) -> Any:
        return self.tts(**batch)


def train_epoch(model: Any, optimizer: torch.optim.Optimizer, batches: Iterator[tuple[list[str], dict[str, Tensor]]], device: str) -> None:
    """One epoch of ESPnet's own trainer in single precision, its default.

    Args:
        model: an ESPnet model; keyword arguments of its forward are the keys of a batch.
        batches: (utterance ids, tensors on the host).
    """
    from espnet2.train.distributed_utils import DistributedOption
    from espnet2.train.reporter import Reporter
    from espnet2.train.trainer import Trainer, TrainerOptions

    given: dict[str, Any] = dict.fromkeys(TrainerOptions.__dataclass_fields__)
    given |= {"ngpu": int(device == "cuda"), "train_dtype": "float32", "accum_grad": 1, "grad_clip": 1.0, "grad_clip_type": 2.0}
    given |= {"log_interval": 20, "output_dir": ".", "max_epoch": 1, "seed": 0, "keep_nbest_models": 1, "nbest_averaging_interval": 0}
    flags = ("resume", "use_amp", "grad_noise", "no_forward_run", "use_matplotlib", "use_tensorboard", "use_wandb", "use_adapter")
    given |= dict.fromkeys((*flags, "sharded_ddp", "unused_parameters", "create_graph_in_tensorboard", "gradient_as_bucket_view"), False)
    given |= {"adapter": "lora", "save_strategy": "all", "early_stopping_criterion": [], "best_model_criterion": []}
    given |= {"val_scheduler_criterion": []}
    reporter = Reporter()
    reporter.set_epoch(1)
    with reporter.observe("train") as observer:
        Trainer.train_one_epoch(
            model=model, iterator=batches, optimizers=[optimizer], schedulers=[None], scaler=None, reporter=observer, summary_writer=None,
            options=TrainerOptions(**given), distributed_option=DistributedOption(),
        )  # fmt: skip
