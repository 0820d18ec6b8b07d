"""What the wrappers take from ESPnet, imported without what it says on stderr of optional packages: an error is to stand there alone."""

import contextlib
import io

with contextlib.redirect_stderr(io.StringIO()):
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
