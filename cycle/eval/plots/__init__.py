"""The figures of a report: for each, a function from a story to a table, one that draws the table, and an entry here."""

from __future__ import annotations

from collections.abc import Callable

from cycle.eval.figures import Figure, Rows
from cycle.eval.plots import alignment, changes, comparison, curves, errors, flow, health
from cycle.eval.plots.comparison import Told
from cycle.eval.story import Story

SAMPLES = 3  # test utterances with a figure of their own

FIGURES = (
    Figure("systems", "results", "Systems", "Test score of each system with its 95 % interval.",
           curves.systems_table, curves.draw_systems, curves.say_systems),
    Figure("flow", "run", "Data flow",
           "Drawn from the configuration: which pool becomes which stream, and which model each objective trains on it.",
           flow.flow_table, flow.draw_flow, flow.say_flow),
    Figure("rounds", "curves", "Error per round",
           "Dev chooses the round, test is only reported. Lines without marks are the other systems on test.",
           curves.rounds_table, curves.draw_rounds, curves.say_rounds),
    Figure("losses", "curves", "Losses", "By update: ASR blue, TTS red; dotted lines part the phases.",
           lambda s: curves.training_table(s, losses=True), curves.draw_training, curves.say_training),
    Figure("training", "curves", "Other training metrics",
           "Accuracy under teacher forcing (acc), gradient norms (norm), share of sentences that fit their frames (fits).",
           lambda s: curves.training_table(s, losses=False), curves.draw_training, curves.say_training),
    Figure("kinds", "errors", "Kinds of errors", "Replaced, inserted and lost units in per cent of the test reference.",
           errors.kinds_table, errors.draw_kinds, errors.say_kinds),
    Figure("lengths", "errors", "Errors by length", "Test error by units in the reference, 95 % intervals.",
           errors.lengths_table, errors.draw_groups("length", "units in the reference"), errors.say_groups("length")),
    Figure("speakers", "errors", "Errors by speaker", "The speakers with most test data, 95 % intervals.",
           errors.speakers_table, errors.draw_groups("speaker", "speaker"), errors.say_groups("speaker")),
    Figure("parts", "errors", "Errors by part of the syllable",
           "Initials, finals (whatever the tone) and tones of the reference that are wrong or lost.",
           errors.parts_table, errors.draw_bars("part", "part of the syllable"), errors.say_groups("part")),
    Figure("tones", "errors", "Errors by tone", "Bars: syllables of this tone that are wrong in any way. Marks: those whose tone is wrong.",
           errors.tones_table, errors.draw_bars("tone", "tone of the reference"), errors.say_groups("tone")),
    Figure("confusions", "errors", "Confusions", "The tokens with most errors and what is heard in their place; counts, shaded by row.",
           errors.confusions_table, errors.draw_confusions, errors.say_confusions),
    Figure("changes", "changes", "Repaired and broken",
           "Units of the test references that one round gets right and the one before did not; and the reverse.",
           changes.changes_table, changes.draw_changes, changes.say_changes),
    *(Figure(f"closeup_{n}", "alignment", f"Utterance {n}",
             "From above: forced alignment over the spectrogram, CTC posteriors, decoder attention, the synthesiser's durations.",
             alignment.closeup_table(n), alignment.draw_closeup, alignment.say_closeup) for n in range(1, SAMPLES + 1)),
    Figure("ranking", "health", "Label quality against share kept",
           "Token error of the most confident labels; diamonds: what selection kept. Below its line, selection beats mere confidence.",
           health.ranking_table, health.draw_ranking, health.say_ranking),
    Figure("labels", "health", "Pseudo-labels", "What selection kept and how wrong it is.",
           lambda s: health.monitors_table(s, health.LABELS), health.draw_lines(health.LABELS), health.say_monitors(health.LABELS)),
    Figure("gap", "health", "Synthetic and real speech",
           "Errors by a judge outside the loop, and by the own ASR (on synthetic speech: that of the round before). "
           "Synthetic speech that only the own ASR understands is made to please it.",
           lambda s: health.monitors_table(s, health.GAP), health.draw_lines(health.GAP), health.say_monitors(health.GAP)),
    Figure("collapse", "health", "Collapse monitors", "Empty outputs that rise, a vocabulary or a voice that narrows, announce a collapse.",
           lambda s: health.monitors_table(s, health.COLLAPSE), health.draw_collapse, health.say_monitors(health.COLLAPSE)),
)  # fmt: skip


def of_comparison(told: list[Told]) -> list[Figure]:
    """The figures of several experiments in one report."""

    def over(table: Callable[[list[Told]], Rows]) -> Callable[[Story], Rows]:
        return lambda story: table(told)

    amounts = over(comparison.amounts_table)
    return [
        Figure("compared", "comparison", "Systems of all experiments", "Test score with its 95 % interval.",
               over(comparison.compared_table), comparison.draw_compared, comparison.say_compared),
        Figure("bootstrap", "comparison", "Who beats whom",
               "Each experiment's system against each other's, on the same utterances: difference in points, two-sided paired bootstrap.",
               over(comparison.bootstrap_table), comparison.draw_bootstrap, comparison.say_bootstrap),
        Figure("amounts", "comparison", "Score over the amount of paired data", "One curve a corpus and system, 95 % intervals.",
               lambda story: amounts(story) or None, comparison.draw_amounts, comparison.say_amounts),
    ]  # fmt: skip
