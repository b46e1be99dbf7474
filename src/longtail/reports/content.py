"""What a report says, in memory: its tables, notes and figures."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from longtail.reports import notes, posthoc, protocol, summary
from longtail.reports.comparison import Comparison
from longtail.reports.formats import Table
from longtail.reports.pictures import Picture, left_out, panels_of, pictures
from longtail.reports.published import published


@dataclass(frozen=True)
class Content:
    """What a report says.

    Attributes:
        title: of the page.
        pivots: methods against conditions, a table per metric.
        combinations: a row per combination.
        short: the same with the main columns alone, narrow enough for print.
        named: what cells of an experiment stand for that are compared by name, if there are any.
        papers: a paper's figures beside ours, if there are any.
        adjusted: what the runs give after adjustments without training, a table per kind, if there are any.
        every_run: a row per run.
        notes: sentences below the tables.
        warnings: those of them that a user should read first.
        incomplete: a line per run without a result.
        facts: of the fingerprint; each with its values and how many runs have each.
        pictures: the figures.
    """

    title: str
    pivots: Sequence[Table]
    combinations: Table
    short: Table
    named: Table | None
    papers: Table | None
    adjusted: Sequence[Table]
    every_run: Table
    notes: Sequence[str]
    warnings: Sequence[str]
    incomplete: Sequence[str]
    facts: Sequence[tuple[str, Sequence[tuple[str, int]]]]
    pictures: Sequence[Picture]

    @property
    def tables(self) -> list[Table]:
        """All tables but that of every run."""
        return [*self.pivots, self.combinations, *filter(None, (self.papers, self.named)), *self.adjusted]


def content(title: str, compared: Comparison, baseline: Mapping[str, str], across: Sequence[str]) -> Content:
    """Put together everything that a report says.

    Args:
        title: of the page.
        compared: the runs.
        baseline: options of the baseline; empty for none.
        across: the options whose values stand side by side; empty for no such table.
    """
    papers = published(compared)
    panels = panels_of(compared, baseline)
    combinations = summary.combinations(compared, baseline, papers)
    without_classes = notes.without_classes(panels)
    return Content(
        title=title,
        pivots=[summary.pivot(compared, metric, across) for metric in compared.task.compared if across],
        combinations=combinations,
        short=summary.short(compared, combinations),
        named=summary.named(compared),
        papers=summary.papers(compared, papers),
        adjusted=posthoc.tables(compared),
        every_run=summary.every_run(compared),
        notes=[*notes.sentences(compared, baseline, papers), *without_classes, *left_out(compared, panels)],
        warnings=[*notes.repetitions(compared), *without_classes],
        incomplete=notes.incomplete(compared.runs),
        facts=facts(compared),
        pictures=list(pictures(compared, baseline, panels)),
    )


def facts(compared: Comparison) -> list[tuple[str, list[tuple[str, int]]]]:
    """Return each fact of the fingerprint with its values and how many runs have each."""
    values: dict[str, Counter[str]] = {}
    for run in compared.used:
        for name, value in protocol.fingerprint(run).items():
            values.setdefault(name, Counter())[value] += 1
    return [(name, list(times.items())) for name, times in values.items()]
