"""The ranked picture: each strategy's interval on one axis, and what cannot be told apart joined."""

from matplotlib.figure import Figure

from lorisbench.metrics.paired import Ranking, joined
from lorisbench.report.standing import Standing
from lorisbench.report.style import FAINT, GREY, Drawing, Look, Sheet, short
from lorisbench.report.summary import number

ROW = 0.27  # inches a strategy takes


def ranking(found: Standing, looks: dict[str, Look]) -> Drawing | None:
    """Mean and intervals of each strategy, best first; None without a finished run."""
    labels = list(found.estimates)
    if not labels:
        return None
    figure = Sheet(figsize=(7.2, 0.9 + ROW * len(labels)), layout="constrained")
    axes = figure.add_subplot()
    for place, label in enumerate(labels):
        estimate, look = found.estimates[label], looks[label]
        for spread, width in ((estimate.together, 1.6), (estimate.by_source["seeds"], 4.5)):
            if spread.low == spread.low:
                axes.plot([*spread], [place, place], color=look.colour, linewidth=width, solid_capstyle="butt")
        axes.plot(
            [estimate.mean], [place], marker=look.marker, color=look.colour, markersize=7, markeredgecolor="white",
            zorder=3,
        )  # fmt: skip
    axes.set_yticks(range(len(labels)), [short(label) for label in labels])
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.set_xlabel("accuracy after the last experience (%)")
    axes.grid(axis="x")
    axes.hlines(range(len(labels)), *axes.get_xlim(), color=FAINT, linewidth=0.5, zorder=0)
    for number_of, group in enumerate(found.groups):
        across = 1.02 + 0.022 * number_of
        first, last = labels.index(group[0]), labels.index(group[-1])
        axes.plot(
            [across, across], [first - 0.25, last + 0.25], color=GREY, linewidth=2.2, clip_on=False,
            transform=axes.get_yaxis_transform(), solid_capstyle="butt",
        )  # fmt: skip
    over = ", ".join(found.over) or "nothing"
    return Drawing(
        figure, "ranking",
        f"Accuracy on the last row, best mean first. Thin: 95 % interval over {over} together; thick: over seeds "
        "alone. Bars at the right join each strategy with those below it that cannot be told from it, corrected for "
        "its comparisons (Holm).",
        "Ranked intervals; " + "; ".join(f"{label} {number(found.estimates[label].mean, 2)} %" for label in labels),
    )  # fmt: skip


def critical_difference(labels: list[str], ranking: Ranking) -> Drawing:
    """Mean ranks over streams on one axis, as Demšar 2006 draws them: bars join those that differ by less than the
    critical difference."""
    order = sorted(range(len(labels)), key=lambda place: ranking.ranks[place])
    names, ranks = [labels[place] for place in order], [float(ranking.ranks[place]) for place in order]
    groups, half = joined(ranks, ranking.critical), (len(names) + 1) // 2
    figure = Figure(figsize=(7.2, 1.1 + 0.24 * half + 0.1 * len(groups)))
    axes = figure.add_axes((0.28, 0.02, 0.44, 0.8))
    low, high = 1.0, float(len(names))
    depth = -0.3 - 0.14 * len(groups)
    axes.set_xlim(low, high)
    axes.set_ylim(depth - 0.34 * half, 0.6)
    axes.axis("off")
    axes.plot([low, high], [0, 0], color="black", linewidth=1.2)
    step = max(1, round((high - low) / 8))
    for tick in range(1, len(names) + 1, step):
        axes.plot([tick, tick], [0, 0.08], color="black", linewidth=1)
        axes.annotate(str(tick), (tick, 0.12), ha="center", fontsize=9)
    shown = min(ranking.critical, high - low)
    axes.plot([low, low + shown], [0.42, 0.42], color=GREY, linewidth=2)
    axes.annotate(f"critical difference {ranking.critical:.2f}", (low, 0.48), fontsize=9, color=GREY)
    for place, (name, rank) in enumerate(zip(names, ranks, strict=True)):
        left = place < half
        across = -0.02 if left else 1.02
        height = depth - 0.34 * (place if left else len(names) - 1 - place)
        end = low + across * (high - low)
        axes.plot([rank, rank, end], [0, height, height], color="#3c4043", linewidth=0.8, clip_on=False)
        axes.annotate(
            f"{short(name)} {rank:.2f}" if left else f"{rank:.2f} {short(name)}", (end, height), va="center",
            ha="right" if left else "left", fontsize=9, annotation_clip=False, xytext=(-3 if left else 3, 0),
            textcoords="offset points",
        )  # fmt: skip
    for place, (first, last) in enumerate(groups):
        height = -0.14 - 0.14 * place
        axes.plot([ranks[first] - 0.03, ranks[last] + 0.03], [height, height], color="black", linewidth=3)
    return Drawing(
        figure, "critical_difference",
        f"Mean rank over {ranking.streams} streams, 1 for the best. Bars join strategies whose mean ranks differ by "
        "less than Nemenyi's critical difference, which cannot be told apart (Demšar 2006).",
        "Mean ranks; " + "; ".join(f"{name} {rank:.2f}" for name, rank in zip(names, ranks, strict=True)),
    )  # fmt: skip
