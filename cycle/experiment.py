"""Where everything lies in an experiment folder: the one place that spells paths."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from cycle.settings import Config


@dataclass
class Experiment:
    """An experiment folder with its configuration.

    A control is an experiment of its own inside the main one: it trains in `controls/NAME` and reads data, tokens and
    pretrained models from `main`.
    """

    path: Path
    config: Config
    corpus: str
    recipe: str
    data_root: Path | None = None  # the corpus as its upstream ships it
    device: str = "cpu"
    cluster: str | None = None  # conf/cluster/NAME.yaml, where the exchange runs; None is here
    control: str | None = None
    main: Experiment | None = field(default=None, repr=False)

    @property
    def root(self) -> Path:
        """The main experiment's folder."""
        return self.main.path if self.main else self.path

    @property
    def system(self) -> str:
        """The name in summary.json."""
        return self.control or self.recipe

    def data(self, pool: str) -> Path:
        """Kaldi data directory of a pool, with `tokens` beside `text`."""
        return self.root / "data" / pool

    @property
    def oracle(self) -> Path:
        """True transcripts of the speech pool; only `cycle.eval` may open it."""
        return self.root / "oracle"

    def feats(self, pool: str) -> Path:
        return self.root / "feats" / pool

    @property
    def tokens(self) -> Path:
        return self.root / "tokens"

    @property
    def vocabulary(self) -> Path:
        """The token list, a token a line."""
        return self.tokens / "tokens.txt"

    @property
    def prior(self) -> Path:
        return self.tokens / "prior.json"

    @property
    def aligner(self) -> Path:
        return self.root / "aligner"

    @property
    def voices(self) -> Path:
        """Speakers with their embeddings, and the encoder that made them."""
        return self.root / "voices"

    @property
    def judge(self) -> Path:
        return self.root / "judge"

    def round(self, number: int) -> Path:
        """A complete round; number 0 is pretraining and always the main experiment's."""
        return (self.root if number == 0 else self.path) / f"round_{number:02d}"

    def work(self, number: int) -> Path:
        """A round in the making."""
        return self.path / "work" / f"round_{number:02d}"

    def decoded(self, system: str) -> Path:
        """Hypotheses of one system: `<set>.jsonl`."""
        return self.root / "decode" / system

    def decoded_round(self, number: int) -> Path:
        """What a round of this experiment's own system makes of test."""
        return self.decoded(self.system) / f"round_{number:02d}.jsonl"

    @property
    def samples(self) -> Path:
        """A few utterances as every round's models see and say them, made for the report."""
        return self.root / "samples"

    @property
    def stamps(self) -> Path:
        return self.path / "stamps"

    @property
    def summary(self) -> Path:
        return self.root / "summary.json"

    @property
    def report(self) -> Path:
        return self.root / "report"

    @property
    def scores(self) -> Path:
        """Per-utterance errors and aligned hypotheses, a folder per system."""
        return self.root / "score"

    def rounds_done(self) -> list[int]:
        done = [int(p.name[6:]) for p in self.path.glob("round_[0-9][0-9]*") if p.is_dir() and p.name[6:].isdigit()]
        return sorted(set(done) | ({0} if self.round(0).is_dir() else set()))
