"""All plots of a finished output, drawn but not yet written."""

from dataclasses import dataclass

from lorisbench.report import heatmaps, kept, kept_plots, plots, ranking_plot, style, timeline
from lorisbench.report.frame import Stored
from lorisbench.report.kept import Kept
from lorisbench.report.standing import standing
from lorisbench.report.style import Drawing
from lorisbench.report.summary import Summary


@dataclass(frozen=True)
class Drawings:
    """The plots that could be drawn, and a sentence for each that could not."""

    matrices: Drawing | None
    single: list[Drawing]
    others: list[Drawing]
    timelines: list[Drawing]
    kept: list[Drawing]
    omitted: list[str]

    def all(self) -> list[Drawing]:
        return [*self.single, *self.others, *self.timelines, *self.kept, *([self.matrices] if self.matrices else [])]


def draw(stored: Stored, means: Summary, tables: list[Kept] | None = None) -> Drawings:
    """Every plot there is data for. Call it within `style.plain_style`, which gives the figures their look.

    tables : those that strategies kept, if they have been read already.
    """
    looks = style.looks(stored.labels)
    single, together = heatmaps.matrices(stored)
    wanted = {
        "No finished run has an accuracy on the last row, so there is no ranking.": ranking_plot.ranking(
            standing(stored), looks
        ),
        "Curves need a finished run with a matrix of two experiences; they are left out.": plots.curves(stored, looks),
        "Forgetting is undefined for every strategy, so its plot is left out.": plots.forgetting(stored, means, looks),
        "No finished run has a latency, so that plot is left out.": plots.latency(stored, means, looks),
    }
    others = [drawing for drawing in wanted.values() if drawing is not None]
    omitted = [sentence for sentence, drawing in wanted.items() if drawing is None]
    drawn, more = kept_plots.draw(kept.read(stored) if tables is None else tables)
    return Drawings(together, single, others, timeline.draw(stored), drawn, omitted + more)
