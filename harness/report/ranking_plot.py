"""What the statistics say as pictures: intervals in a ranking, chances of being better, mean ranks over streams."""

import numpy as np
import pandas as pd

from lorisbench.metrics.intervals import Interval
from lorisbench.metrics.paired import Ranking, joined
from lorisbench.report.plots import LETTER, ROWS, Row, left_out, rows_plot
from lorisbench.report.standing import Standing
from lorisbench.report.style import FAINT, GREY, SMALL, Drawing, Sheet, Theme, axes_at, fit, short
from lorisbench.report.summary import number

ROW = 0.152  # inches a strategy takes


def ranking(found: Standing, theme: Theme) -> Drawing | None:
    """Mean and intervals of each strategy, best first; None without a finished run."""
    every = list(found.estimates)
    if not every:
        return None
    labels = every[:ROWS]
    figure = Sheet(figsize=(theme.inches, 12))
    before = max(len(short(label, 24)) for label in labels) * LETTER / 72 + 0.1
    axes = axes_at(figure, before, 0.6, theme.inches - before - 0.3, ROW * len(labels) + 0.06)
    for place, label in enumerate(labels):
        estimate, look = found.estimates[label], theme.looks[label]
        for spread, width in ((estimate.together, 1.0), (estimate.by_source["seeds"], 3.0)):
            if spread.low == spread.low:
                axes.plot([*spread], [place, place], color=look.colour, linewidth=width, solid_capstyle="butt")
        axes.plot(
            [estimate.mean], [place], marker=look.marker, color=look.colour, markersize=4.6, markeredgecolor="white",
            markeredgewidth=0.5, zorder=3,
        )  # fmt: skip
    axes.set_yticks(range(len(labels)), [short(label, 24) for label in labels])
    for tick, label in zip(axes.get_yticklabels(), labels, strict=True):
        tick.set_color(theme.looks[label].text if label in theme.chosen else GREY)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("accuracy after the last experience (%)")
    axes.grid(axis="x")
    axes.hlines(range(len(labels)), *axes.get_xlim(), color=FAINT, linewidth=0.4, zorder=0)
    groups = [[label for label in group if label in labels] for group in found.groups]
    for number_of, group in enumerate(group for group in groups if len(group) > 1):
        across = 1.015 + 0.07 / theme.inches * number_of
        first, last = labels.index(group[0]), labels.index(group[-1])
        axes.plot(
            [across, across], [first - 0.25, last + 0.25], color=GREY, linewidth=1.5, clip_on=False,
            transform=axes.get_yaxis_transform(), solid_capstyle="butt",
        )  # fmt: skip
    fit(figure, theme.inches)
    over = ", ".join(found.over) or "nothing"
    return Drawing(
        figure, "ranking",
        f"Accuracy on the last row, best mean first. Thin: 95 % interval over {over} together; thick: over seeds "
        "alone. Bars at the right join each strategy with those below it that cannot be told from it, corrected for "
        f"its comparisons (Holm).{left_out(len(every))}",
        "Ranked intervals; " + "; ".join(f"{label} {number(found.estimates[label].mean, 2)} %" for label in every),
        pd.DataFrame([
            {
                "strategy": label, "mean": each.mean, "low": each.together.low, "high": each.together.high,
                "seeds_low": each.by_source["seeds"].low, "seeds_high": each.by_source["seeds"].high,
            }
            for label, each in found.estimates.items()
        ]),
    )  # fmt: skip


def improvement(found: Standing, theme: Theme) -> Drawing | None:
    """How likely a run of a strategy is better than one of each other one; None without a test.

    The strategy is the best of those that the report is about, or else the best of all.
    """
    known = [test for test in found.tests if np.isfinite(test.improvement)]
    if not known:
        return None
    first = next(label for label in found.estimates if any(test.first == label for test in known))
    tests = [test for test in known if test.first == first]
    tests.sort(key=lambda test: -test.improvement)
    rows = [
        Row(test.second, Interval(test.improvement, np.nan, test.pairs), reach=(0.5, test.improvement))
        for test in tests
    ]
    apart = ", ".join(test.second for test in tests if test.apart) or "none"
    return Drawing(
        rows_plot(rows, theme, f"P({short(first, 18)} is better)", decimals=2, line=0.5), "improvement",
        f"Probability that a run of {first} is better than a run of each other strategy on an experience's test set, "
        "over all pairs of runs and experiences (Agarwal et al. 2021); 0.5 (line) is a draw. Told apart on the last "
        f"row, corrected for all tests (Holm): {apart}.{left_out(len(rows))}",
        f"Rows; {first} against " + "; ".join(f"{test.second} {number(test.improvement, 2)}" for test in tests),
        pd.DataFrame([
            {"first": test.first, "second": test.second, "improvement": test.improvement, "apart": test.apart}
            for test in found.tests
        ]),
    )  # fmt: skip


def critical_difference(labels: list[str], ranking: Ranking, inches: float) -> Drawing:
    """Mean ranks over streams on one axis, as Demšar 2006 draws them: bars join those that differ by less than the
    critical difference."""
    order = sorted(range(len(labels)), key=lambda place: ranking.ranks[place])
    names, ranks = [labels[place] for place in order], [float(ranking.ranks[place]) for place in order]
    groups, half = joined(ranks, ranking.critical), (len(names) + 1) // 2
    beside = (max(len(short(name, 18)) for name in names) + 5) * LETTER / 72 + 0.1
    depth = -0.3 - 0.14 * len(groups)
    down = depth - 0.34 * half
    figure = Sheet(figsize=(inches, 6))
    axes = axes_at(figure, beside, 0.2, inches - 2 * beside, 0.42 * (0.75 - down))
    low, high = 1.0, float(len(names))
    axes.set_xlim(low, high)
    axes.set_ylim(down, 0.75)
    axes.axis("off")
    axes.plot([low, high], [0, 0], color="black", linewidth=0.9)
    for tick in range(1, len(names) + 1, max(1, round((high - low) / 8))):
        axes.plot([tick, tick], [0, 0.08], color="black", linewidth=0.8)
        axes.annotate(str(tick), (tick, 0.12), ha="center", fontsize=SMALL)
    shown = min(ranking.critical, high - low)
    axes.plot([low, low + shown], [0.5, 0.5], color=GREY, linewidth=1.5)
    axes.annotate(f"critical difference {ranking.critical:.2f}", (low, 0.56), fontsize=SMALL, color=GREY)
    for place, (name, rank) in enumerate(zip(names, ranks, strict=True)):
        left = place < half
        height = depth - 0.34 * (place if left else len(names) - 1 - place)
        end = low + (-0.02 if left else 1.02) * (high - low)
        axes.plot([rank, rank, end], [0, height, height], color="#3c4043", linewidth=0.6, clip_on=False)
        axes.annotate(
            f"{short(name, 18)} {rank:.2f}" if left else f"{rank:.2f} {short(name, 18)}", (end, height), va="center",
            ha="right" if left else "left", fontsize=SMALL, annotation_clip=False, xytext=(-3 if left else 3, 0),
            textcoords="offset points",
        )  # fmt: skip
    for place, (first, last) in enumerate(groups):
        height = -0.14 - 0.14 * place
        axes.plot([ranks[first] - 0.03, ranks[last] + 0.03], [height, height], color="black", linewidth=2)
    fit(figure, inches)
    return Drawing(
        figure, "critical_difference",
        f"Mean rank over {ranking.streams} streams, 1 for the best. Bars join strategies whose mean ranks differ by "
        "less than Nemenyi's critical difference, which cannot be told apart (Demšar 2006).",
        "Mean ranks; " + "; ".join(f"{name} {rank:.2f}" for name, rank in zip(names, ranks, strict=True)),
        pd.DataFrame({"strategy": names, "mean_rank": ranks, "critical_difference": ranking.critical}),
    )  # fmt: skip
