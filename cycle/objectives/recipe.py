"""From a recipe's lines to its objectives."""

from __future__ import annotations

from cycle.data.kinds import LISTED, OF_TTS, STREAMS, TEXTS
from cycle.errors import UserError
from cycle.log import log
from cycle.objectives.base import Objective, create
from cycle.objectives.judging import TextJudge
from cycle.rewards import units
from cycle.settings import Config, ObjectiveConf


def objectives(config: Config) -> dict[str, Objective]:
    """The objectives by name that have a weight and a stream in any round, and a model to train.

    Built before anything runs, they tell of a mistake in the recipe at once and not after pretraining.

    Raises:
        UserError: an objective, an argument or a stream that does not exist, or that does not have what the objective needs; or a round
            without any.
    """
    _refuse_without_tts(config)
    made = {}
    for name, conf in config.rounds.objectives.items():
        where = f"rounds.objectives.{name}"
        for stream in conf.mix:
            if stream not in STREAMS:
                raise UserError(f"no stream {stream!r}", f"{where}.mix.{stream}", f"choose among: {', '.join(sorted(STREAMS))}")
        if not conf.streams():
            continue
        objective = create(conf.use, conf.args, where)
        if not objective.trains <= set(config.models):
            log.info("%s is left out: it trains the %s, and there is none", name, ", ".join(sorted(objective.trains)))
            continue
        usable = getattr(objective, "streams", frozenset(STREAMS))
        if not conf.streams() <= usable:
            stranger = min(conf.streams() - usable)
            raise UserError(f"it has no use for {stranger!r}", f"{where}.mix", f"choose among: {', '.join(sorted(usable))}")
        if getattr(objective, "needs_texts", False):
            _refuse_without_texts(conf, config.rounds.count, where)
        if getattr(objective, "lists", False):
            _refuse_half_listed(conf, config.rounds.count, where)
        if getattr(objective, "needs_labels", False):
            _refuse_without_labels(conf, where)
        judge = getattr(objective, "judge", None)
        if isinstance(judge, TextJudge):
            _refuse_level(config.corpus.language, judge.level, where)
        made[name] = objective
    for number in range(1, config.rounds.count + 1):
        if not any(config.rounds.objectives[name].shares(number) for name in made):
            what = f"nothing is trained in round {number}: no objective has both a weight above 0 and a mix"
            raise UserError(what, "rounds.objectives", "give one of them both")
    return made


def _refuse_without_tts(config: Config) -> None:
    """Raises UserError for a stream that only a synthesiser can make, where none is trained; names recipes that go without."""
    for name, objective in config.rounds.objectives.items() if "tts" not in config.models else ():
        for stream in sorted(objective.streams() & OF_TTS):
            what = f"{stream!r} needs a synthesiser, and models are {config.models}"
            remedy = "take another recipe or control; for captions: caption, caption_scst, caption_dpo, scheduled_sampling"
            raise UserError(what, f"rounds.objectives.{name}.mix.{stream}", remedy)


def _refuse_level(language: str, level: str, where: str) -> None:
    try:
        units(language, level)
    except UserError as error:
        raise UserError(f"level: {error.what}", f"{where}.args", error.remedy) from error


def _refuse_without_texts(conf: ObjectiveConf, rounds: int, where: str) -> None:
    """Raises UserError for a round in which every stream is without texts: all of its batches would be skipped."""
    for number in range(1, rounds + 1):
        streams = conf.shares(number)
        if streams and not set(streams) & TEXTS:
            what = f"its reward needs texts, and {' and '.join(streams)} have none"
            raise UserError(what, where, "take the stream labelled, or the reward round_trip, with error_rate: 0")


def _refuse_half_listed(conf: ObjectiveConf, rounds: int, where: str) -> None:
    """Raises UserError where some streams of a round have lists: a batch of both has none."""
    for number in range(1, rounds + 1):
        listed, others = conf.shares(number).keys() & LISTED, conf.shares(number).keys() - LISTED
        if listed and others:
            what = f"{' and '.join(sorted(listed))} have N-best lists, and {' and '.join(sorted(others))} have none"
            raise UserError(what, f"{where}.mix", "give each an objective of its own")


def _refuse_without_labels(conf: ObjectiveConf, where: str) -> None:
    """Raises UserError for a stream whose lists have no probabilities, or that has none."""
    for stream in sorted(conf.streams()):
        if stream != "labelled":
            raise UserError(f"the reward teacher needs labels, and {stream} has none", f"{where}.mix", "give it the stream labelled alone")
