"""All plots of an output: which there are, and how each is drawn when it is wanted."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from lorisbench.common.errors import InputError
from lorisbench.common.registry import nearest
from lorisbench.report import (
    answer_plots,
    heatmaps,
    kept,
    kept_plots,
    pareto,
    plots,
    ranking_plot,
    style,
    timeline,
    variation,
)
from lorisbench.report.chosen import MOST, chosen
from lorisbench.report.kept import Kept
from lorisbench.report.standing import standing
from lorisbench.report.stored import Stored
from lorisbench.report.style import WIDE, Drawing
from lorisbench.report.summary import Summary
from lorisbench.report.texts import file_names

ALL = "all"


@dataclass(frozen=True)
class Plan:
    """A plot that can be drawn: its name, how, and what is said if there is nothing to draw.

    extra : it is only drawn when it is asked for.
    """

    name: str
    draw: Callable[[], Drawing | None]
    omitted: str = ""
    extra: bool = False


@dataclass(frozen=True)
class Plans:
    """The plots of an output in the order in which they are shown, and sentences on those that there cannot be."""

    plans: list[Plan]
    omitted: list[str] = field(default_factory=list)

    def wanted(self, names: Sequence[str] = ()) -> list[Plan]:
        """Those with these names; all but the extra ones if there are no names, and all for "all".

        Raises InputError for a name that there is not.
        """
        if not names:
            return [plan for plan in self.plans if not plan.extra]
        known = {plan.name: plan for plan in self.plans}
        for name in names:
            if name != ALL and name not in known:
                raise InputError(f"no plot {name!r}{nearest(name, known)}")
        return self.plans if ALL in names else [plan for plan in self.plans if plan.name in names]


def plans(stored: Stored, means: Summary, tables: list[Kept] | None = None, inches: float = 0.0) -> Plans:
    """Every plot that there may be. Draw them within `style.plain_style`, which gives the figures their look.

    tables : those that strategies kept, if they have been read already. inches : the width of the plots, 0: `WIDE`.
    """
    theme = style.theme(stored.labels, chosen(stored, means), inches or WIDE)
    matrices = heatmaps.means_of(stored)
    answers = answer_plots.Answered(stored, theme)
    ranked = standing(stored)
    general: dict[str, tuple[Callable[[], Drawing | None], str]] = {
        "ranking": (
            partial(ranking_plot.ranking, ranked, theme),
            "No finished run has an accuracy on the last row, so there is no ranking.",
        ),
        "curves": (
            partial(plots.curves, stored, theme),
            "Curves need a finished run with a matrix of two experiences; they are left out.",
        ),
        "pareto": (
            partial(pareto.pareto, stored, means, theme),
            "No finished run has a latency or a size, so the plot of accuracy against costs is left out.",
        ),
        "ranks": (partial(variation.ranks, stored, theme), ""),
        "improvement": (partial(ranking_plot.improvement, ranked, theme), ""),
        "forgetting": (
            partial(plots.forgetting, stored, means, theme),
            "Forgetting is undefined for every strategy, so its plot is left out.",
        ),
        "orders": (partial(variation.orders, stored, theme), ""),
        "factors": (
            partial(variation.factors, stored, theme),
            "The experiences have no factors and levels of their own, so the plot of these is left out.",
        ),
        "confusion": (partial(answers.confusion, means), "No answers are stored, so there is no confusion matrix."),
        "calibration": (
            answers.calibration,
            "Scores are not stored (evaluation.scores: true), so calibration is left out.",
        ),
        "matrices": (partial(heatmaps.matrices, stored, matrices, theme), ""),
    }
    found = [Plan(name, draw, omitted) for name, (draw, omitted) in general.items()]
    many = len(matrices) > MOST
    names = file_names(matrices)
    for label in matrices:
        draw = partial(heatmaps.matrix, stored, matrices, label, f"matrix_{names[label]}", theme)
        found.append(Plan(f"matrix_{names[label]}", draw, extra=many and label not in stored.about))
    for place, run in enumerate(timeline.find(stored)):
        draw = partial(timeline.draw, stored, run, theme)
        asked_for = place >= (1 if many else MOST) or (many and run.label not in theme.chosen)
        found.append(Plan(run.name, draw, extra=asked_for))
    shown, omitted = kept_plots.plotted(kept.read(stored) if tables is None else tables)
    found += [Plan(each.file, partial(kept_plots.draw, each, theme)) for each in shown]
    if extra := sum(plan.extra for plan in found):
        omitted = [
            f"{extra} plots of single strategies are drawn when they are asked for: `lorisbench report OUT --plots "
            "all`, or by name.", *omitted,
        ]  # fmt: skip
    return Plans(found, omitted)
