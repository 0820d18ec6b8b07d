"""One typed configuration: conf/base.yaml < recipe < corpus < preset < key=value, checked at the door."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from cycle.errors import UserError

ROOT = Path(__file__).resolve().parent.parent


@dataclass
class Corpus:
    language: str = "cmn"  # a spelling of cycle.data.text: cmn, letters
    options: dict[str, Any] = field(default_factory=dict)  # handed to egs/<corpus>/prepare.py


@dataclass
class Pools:
    paired: int = 500  # utterances with speech and text
    speech: int = 3000  # utterances of which only the speech is used
    text: int = 16000  # sentences of which only the text is used
    dev: int = 200
    test: int = 800


@dataclass
class Features:
    fs: int = 16000  # Hz
    n_fft: int = 1024  # samples, also the window
    hop: int = 256  # samples
    n_mels: int = 80
    fmin: float = 80.0  # Hz
    fmax: float = 7600.0  # Hz
    trim_db: float | None = 40.0  # silence at both ends, so far below the peak, is cut; null keeps it
    max_seconds: float = 20.0  # longer recordings are rejected


@dataclass
class Model:
    config: str = ""  # an ESPnet YAML, relative to the repository
    conf: dict[str, Any] = field(default_factory=dict)  # merged over that YAML
    init: str | None = None  # an ESPnet checkpoint to start from (config.yaml beside it)


@dataclass
class FrameModel:
    channels: int = 128
    layers: int = 1  # BLSTM layers
    subsample: int = 1
    updates: int = 400
    lr: float = 2e-3
    batch_frames: int = 4000


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
    asr_updates: int = 2000
    tts_updates: int = 2000
    batch_frames: int = 6000
    asr: Optimizer = field(default_factory=Optimizer)
    tts: Optimizer = field(default_factory=Optimizer)


@dataclass
class Search:
    method: str = "ctc_beam"  # ctc_greedy, ctc_beam, joint (ESPnet's beam search)
    beam: int = 8
    top_k: int = 16  # tokens that may extend a hypothesis in one frame
    nbest: int = 1
    ctc_weight: float = 0.3  # of joint
    prior_weight: float = 0.0  # token n-gram of the paired and text pools, log-linear
    prior_length: float = 0.0  # reward per token, against the prior's love of short hypotheses
    tune: bool = False  # choose prior_weight and prior_length on dev


@dataclass
class Prior:
    order: int = 4
    pools: list[str] = field(default_factory=lambda: ["paired", "text"])


@dataclass
class Label:
    search: Search = field(default_factory=lambda: Search(nbest=8, tune=True))
    source: str = "asr"  # asr, or oracle: the control with the true transcripts
    judged: int = 4  # hypotheses an utterance that the synthesiser scores; 0 is none
    batch_frames: int = 20000


@dataclass
class Speak:
    count: int = 0  # sentences spoken a round, others each round; 0 is the whole pool
    batch_frames: int = 20000
    duration_noise: float = 0.1  # standard deviation of log-duration, per token
    speed_noise: float = 0.1  # the same per utterance
    pitch_noise: float = 0.3  # in standard deviations of the corpus, per utterance
    energy_noise: float = 0.3


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
    mix: dict[str, float] = field(default_factory=dict)  # stream: share of the batch (paired, pseudo, synthetic, text, speech)
    batch_frames: int = 6000
    args: dict[str, Any] = field(default_factory=dict)


@dataclass
class Rounds:
    count: int = 3
    updates: int = 1000
    label: Label = field(default_factory=Label)
    speak: Speak = field(default_factory=Speak)
    select_labels: list[Rule] = field(default_factory=list)
    select_synthetic: list[Rule] = field(default_factory=list)
    objectives: dict[str, ObjectiveConf] = field(default_factory=dict)
    asr: Optimizer = field(default_factory=Optimizer)
    tts: Optimizer = field(default_factory=Optimizer)
    collapse_margin: float = 0.3  # dev error may rise by this share of the best before a round counts as collapsed
    on_collapse: str = "rollback"  # or stop


@dataclass
class Judge:
    seed_offset: int = 1000
    model: FrameModel = field(default_factory=lambda: FrameModel(channels=160, layers=2, subsample=2, updates=1500))


@dataclass
class Score:
    bootstrap: int = 2000  # resamples for the confidence intervals


@dataclass
class Run:
    checkpoint_seconds: float = 30.0
    log_every: int = 20  # updates between two lines of metrics
    workers: int = 0  # processes for audio; 0 is one a core


@dataclass
class Config:
    seed: int = 1
    preset: str = ""
    corpus: Corpus = field(default_factory=Corpus)
    pools: Pools = field(default_factory=Pools)
    features: Features = field(default_factory=Features)
    asr: Model = field(default_factory=Model)
    tts: Model = field(default_factory=Model)
    aligner: FrameModel = field(default_factory=FrameModel)
    pretrain: Pretrain = field(default_factory=Pretrain)
    prior: Prior = field(default_factory=Prior)
    rounds: Rounds = field(default_factory=Rounds)
    decode: Search = field(default_factory=Search)
    lm: Search = field(default_factory=lambda: Search(tune=True))
    judge: Judge = field(default_factory=Judge)
    score: Score = field(default_factory=Score)
    run: Run = field(default_factory=Run)


def _fitting(path: Path, merged: DictConfig) -> dict[str, Any]:
    """A preset's or control's YAML, less what it says of objectives that the recipe does not have."""
    value = read_yaml(path)
    rounds = value.get("rounds") or {}
    if "objectives" in rounds:
        rounds["objectives"] = {k: v for k, v in rounds["objectives"].items() if k in merged.rounds.objectives}
    return value


def available(folder: str, pattern: str = "*.yaml") -> list[str]:
    """Names of what lies in a folder of the repository: recipes, controls, corpora."""
    return sorted(p.stem for p in (ROOT / folder).glob(pattern))


def corpora() -> list[str]:
    return sorted(p.parent.name for p in (ROOT / "egs").glob("*/prepare.py"))


def _named(folder: str, name: str, kind: str) -> Path:
    path = ROOT / folder / f"{name}.yaml"
    if name not in available(folder):
        raise UserError(f"no {kind} {name!r}", folder, f"choose one of: {', '.join(available(folder))}")
    return path


def read_yaml(path: Path) -> dict[str, Any]:
    """Reads a mapping by the safe loader.

    Raises:
        UserError: unreadable, not YAML, or no mapping; names file and line.
    """
    try:
        value = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot be read ({error.strerror})", path) from error
    except UnicodeDecodeError as error:
        raise UserError("is not UTF-8", path, "save it as UTF-8") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else path
        raise UserError(f"is not valid YAML ({getattr(error, 'problem', error)})", where) from error
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise UserError("holds no mapping of keys to values", path)
    return value


def _merge(base: DictConfig, value: Any, where: str | Path) -> DictConfig:
    try:
        return OmegaConf.merge(base, value)  # type: ignore[return-value]
    except OmegaConfBaseException as error:
        key = getattr(error, "full_key", None) or getattr(error, "key", None)
        raise UserError(f"key {key!r}: {str(error.msg or error).splitlines()[0]}", where, "conf/base.yaml lists every key") from error


def _split(overrides: list[str]) -> tuple[str | None, list[str]]:
    """Takes `preset=NAME` out of the key=value words."""
    preset, rest = None, []
    for word in overrides:
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise UserError(f"{word!r} is not key=value", None, "write -- seed=2 rounds.count=4")
        if key == "preset":
            preset = value
        else:
            rest.append(word)
    return preset, rest


def load(corpus: str, recipe: str, overrides: list[str], device: str = "cpu", control: str | None = None) -> Config:
    """Merges all layers into one checked configuration.

    Args:
        overrides: `key=value` words; `preset=NAME` picks the sizes, else the device does.
        control: a control system, laid over everything else.

    Raises:
        UserError: unknown corpus, recipe, preset or key, or a value of the wrong type.
    """
    if corpus not in corpora():
        raise UserError(f"no corpus {corpus!r}", "egs", f"choose one of: {', '.join(corpora())}")
    preset, words = _split(overrides)
    preset = preset or ("gpu" if device == "cuda" else "cpu")
    preset_file = _named("conf/presets", preset, "preset")
    corpus_file = ROOT / "egs" / corpus / "conf.yaml"
    own = read_yaml(corpus_file)
    sizes = own.pop("presets", {}) or {}
    layers: list[tuple[Any, str | Path]] = [
        (read_yaml(ROOT / "conf/base.yaml"), "conf/base.yaml"),
        (read_yaml(_named("conf/recipes", recipe, "recipe")), f"conf/recipes/{recipe}.yaml"),
        (own, f"egs/{corpus}/conf.yaml"),
        (preset_file, f"conf/presets/{preset}.yaml"),
        (sizes.get(preset) or {}, f"egs/{corpus}/conf.yaml (presets.{preset})"),
    ]
    merged = OmegaConf.structured(Config)
    for value, where in layers:
        merged = _merge(merged, _fitting(value, merged) if isinstance(value, Path) else value, where)
    for word in words:
        try:
            value = OmegaConf.from_dotlist([word])
        except Exception as error:  # the word is the user's, whatever the parser makes of it
            raise UserError(f"{word!r} cannot be read as key=value", None) from error
        merged = _merge(merged, value, f"-- {word}")
    if control:  # last: no setting may give a control what it must not have
        merged = _merge(merged, _fitting(_named("conf/controls", control, "control"), merged), f"conf/controls/{control}.yaml")
    merged.preset = preset
    _check(merged)
    config: Config = OmegaConf.to_object(merged)  # type: ignore[assignment]
    return config


def _check(merged: DictConfig) -> None:
    """What types cannot say.

    Raises:
        UserError: a value outside of its choices.
    """
    for pool in merged.prior.pools:
        if pool not in ("paired", "text"):
            raise UserError(f"prior.pools: {pool!r} is not open to the prior", None, "choose among: paired, text")
    choices: dict[str, tuple[str, ...]] = {"rounds.on_collapse": ("rollback", "stop"), "rounds.label.source": ("asr", "oracle")}
    choices |= {f"{search}.method": ("ctc_greedy", "ctc_beam", "joint") for search in ("decode", "lm", "rounds.label.search")}
    for key, allowed in choices.items():
        if OmegaConf.select(merged, key) not in allowed:
            raise UserError(f"{key}: {OmegaConf.select(merged, key)!r}", None, f"choose one of: {', '.join(allowed)}")
    if merged.aligner.subsample != 1:
        raise UserError(f"aligner.subsample: {merged.aligner.subsample}", None, "durations need 1")


def as_dict(config: Config) -> dict[str, Any]:
    return OmegaConf.to_container(OmegaConf.structured(config))  # type: ignore[return-value]


def flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    """{"rounds.count": 3, ...}: what stamps compare."""
    if isinstance(value, dict) and value:
        return {k: v for key, sub in value.items() for k, v in flatten(sub, f"{prefix}{key}.").items()}
    return {prefix[:-1]: value}
