"""What the wrappers take from ESPnet, imported without what it says on stderr of optional packages: an error is to stand there alone.

ESPnet has typeguard check the arguments of some 200 functions, each of which it parses and compiles anew: more than half the time of the
import. Few of them are ever called, so each gets its checks at its first call.
"""

import contextlib
import functools
import inspect
import io
from collections.abc import Callable
from typing import Any
from unittest import mock

import typeguard


def at_first_call(decorate: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator that begins its work when a function is called; with anything else, such as a class, it does it at once."""

    def late(target: Any = None, **options: Any) -> Any:
        if not inspect.isfunction(target):
            return decorate(target, **options)
        decorated = functools.cache(lambda: decorate(target, **options))

        @functools.wraps(target)
        def call(*args: Any, **kwargs: Any) -> Any:
            return decorated()(*args, **kwargs)

        return call

    return late


with contextlib.redirect_stderr(io.StringIO()), mock.patch.object(typeguard, "typechecked", at_first_call(typeguard.typechecked)):
    from espnet2.asr.decoder.transformer_decoder import BaseTransformerDecoder
    from espnet2.asr.espnet_model import ESPnetASRModel
    from espnet2.asr.specaug.specaug import SpecAug
    from espnet2.gan_tts.abs_gan_tts import AbsGANTTS
    from espnet2.layers.mask_along_axis import MaskAlongAxis, MaskAlongAxisVariableMaxWidth
    from espnet2.legacy.nets.pytorch_backend.tacotron2.decoder import Prenet
    from espnet2.tasks.asr import ASRTask
    from espnet2.tasks.tts import TTSTask, tts_choices
    from espnet2.tts.fastspeech2 import FastSpeech2
    from espnet2.tts.tacotron2 import Tacotron2

__all__ = ["ASRTask", "AbsGANTTS", "BaseTransformerDecoder", "ESPnetASRModel", "FastSpeech2", "MaskAlongAxis",
           "MaskAlongAxisVariableMaxWidth", "Prenet", "SpecAug", "TTSTask", "Tacotron2", "tts_choices"]  # fmt: skip
