"""The types of the configuration: what each key of conf/base.yaml holds. How its layers are merged: cycle.config."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


def of_round(value: Any, number: int) -> Any:
    """A schedule's value in a round: of a list, whose last value stays, the number-th (from 1); anything else is the same in all rounds."""
    return value[min(number, len(value)) - 1] if isinstance(value, (list, tuple)) else value


@dataclass
class Corpus:
    language: str  # a spelling of cycle.data.text
    options: dict[str, Any]  # handed to egs/<corpus>/prepare.py


@dataclass
class Pools:
    """Utterances by pool; None takes everything that there is."""

    paired: int | None  # utterances with speech and text
    speech: int | None  # utterances of which only the speech is used
    text: int | None  # sentences of which only the text is used
    dev: int | None
    test: int | None


@dataclass
class Features:
    fs: int  # Hz
    n_fft: int  # samples, also the window
    hop: int  # samples
    n_mels: int
    fmin: float  # Hz
    fmax: float  # Hz
    trim_db: float | None  # silence at both ends, so far below the peak, is cut; null keeps it
    max_seconds: float  # longer recordings are rejected


@dataclass
class Model:
    config: str = ""  # an ESPnet YAML, relative to the repository
    conf: dict[str, Any] = field(default_factory=dict)  # merged over that YAML
    init: str | None = None  # an ESPnet checkpoint to start from (config.yaml beside it)


@dataclass
class Augment:
    """How far the recogniser's training speech is varied (cycle.models.augment)."""

    speed: float = 0.0  # length times 1 - speed to 1 + speed
    warp: float = 0.0  # the same for the mel axis
    gain: float = 0.0  # standard deviation of an utterance's loudness, in units of the features
    noise: float = 0.0  # largest standard deviation of the noise on each value

    @property
    def any(self) -> bool:
        return any((self.speed, self.warp, self.gain, self.noise))


@dataclass
class FrameModel:
    channels: int
    convs: int  # convolutions of five frames, the last one with the stride
    layers: int  # BLSTM layers behind them; with none, an output sees 4 * convs + 1 frames
    label_prior: float  # power of the labels' prior that the scores are divided by
    subsample: int
    updates: int
    lr: float
    batch_frames: int


@dataclass
class VoiceModel:
    channels: int
    size: int  # numbers an embedding
    temperature: float  # of the contrastive loss
    longest: int  # frames of each part that the encoder hears
    updates: int
    lr: float
    batch_frames: int


@dataclass
class Optimizer:
    lr: float = 1e-3
    warmup: float = 0.1  # share of the updates
    floor: float = 0.02  # last learning rate, as a share of lr
    weight_decay: float = 1e-2
    clip: float = 1.0
    ema: float = 0.99  # decay of the averaged weights, which are the ones saved


@dataclass
class Pretrain:
    asr_updates: int
    tts_updates: int
    batch_frames: int
    asr: Optimizer
    tts: Optimizer


@dataclass
class Search:
    method: str = "ctc_beam"  # ctc_greedy, ctc_beam, joint (ESPnet's beam search), attention (the same by the decoder alone)
    beam: int = 8
    top_k: int = 16  # tokens that may extend a hypothesis in one frame
    nbest: int = 1
    ctc_weight: float = 0.3  # of joint
    prior_weight: float = 0.0  # token n-gram of the paired and text pools, log-linear
    prior_length: float = 0.0  # reward per token, against the prior's love of short hypotheses
    tune: bool = False  # choose prior_weight and prior_length on dev


@dataclass
class Prior:
    order: int
    pools: list[str]


@dataclass
class Label:
    search: Search
    source: str  # asr, or oracle: the control with the true transcripts
    judged: int  # hypotheses an utterance that the synthesiser scores; 0 is none
    batch_frames: int


@dataclass
class Speak:
    count: int  # sentences spoken a round, others each round; 0 is the whole pool
    speakers: list[str]  # pools whose speakers lend their voices
    batch_frames: int
    duration_noise: float  # standard deviation of log-duration, per token
    speed_noise: float  # the same per utterance
    pitch_noise: float  # in standard deviations of the corpus, per utterance
    energy_noise: float


@dataclass
class Rule:
    rule: str = ""  # a function of cycle.exchange.select
    args: dict[str, Any] = field(default_factory=dict)


@dataclass
class ObjectiveConf:
    use: str = ""  # package.module:Class
    weight: float = 1.0
    every: int = 1  # applied on every n-th update
    start: float = 0.0  # share of the round's updates after which it begins
    mix: dict[str, Any] = field(default_factory=dict)  # stream: share of the batch, or a list with one a round, the last one staying
    batch_frames: int = 6000
    args: dict[str, Any] = field(default_factory=dict)

    def shares(self, number: int) -> dict[str, float]:
        """The streams that it draws on in a round, with their shares; none where it has no weight."""
        shares = {stream: float(of_round(share, number)) for stream, share in self.mix.items()}
        return {stream: share for stream, share in shares.items() if share > 0 and self.weight > 0}

    def streams(self) -> set[str]:
        """The streams that it draws on in any round."""
        last = max([len(share) for share in self.mix.values() if isinstance(share, (list, tuple))], default=1)
        return {stream for number in range(1, last + 1) for stream in self.shares(number)}


@dataclass
class Rounds:
    count: int
    updates: int
    label: Label
    speak: Speak
    select_labels: list[Rule]
    select_synthetic: list[Rule]
    objectives: dict[str, ObjectiveConf]
    asr: Optimizer
    tts: Optimizer
    collapse_margin: float  # dev error may rise by this share of the best before a round counts as collapsed
    on_collapse: str  # rollback, or stop


@dataclass
class Judge:
    seed_offset: int
    model: FrameModel


@dataclass
class Score:
    bootstrap: int  # resamples for the confidence intervals


@dataclass
class Run:
    checkpoint_seconds: float
    log_every: int  # updates between two lines of metrics
    workers: int  # processes for audio; 0 is one a core


@dataclass
class Config:
    seed: int
    preset: str
    precision: str
    few_shapes: bool
    graphs: bool
    models: list[str]  # asr, tts: those that are trained
    corpus: Corpus
    pools: Pools
    features: Features
    asr: Model
    tts: Model
    augment: Augment
    aligner: FrameModel
    voices: VoiceModel
    pretrain: Pretrain
    prior: Prior
    rounds: Rounds
    decode: Search
    lm: Search
    judge: Judge
    score: Score
    run: Run

    @property
    def even_batches(self) -> bool:
        """Whether supervised batches have few shapes, which recorded steps need."""
        return self.few_shapes or self.graphs
