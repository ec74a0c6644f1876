"""The plot of the lives of a dynamic network's heads, and of what each answers."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, LinearSegmentedColormap, Normalize
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

from lorisbench.report.heatmaps import bar, colour_map, ink, room_for
from lorisbench.report.lives import Timeline, structure
from lorisbench.report.plots import name_x
from lorisbench.report.stored import Matrix, Stored
from lorisbench.report.style import GREY, SMALL, TEXT, TITLE, Drawing, Sheet, Theme, axes_at, fit, short
from lorisbench.report.texts import file_names

BORN = "#D55E00"
BORN_TEXT = "#a83b00"
FIGURES = 260
"""Up to this many measured cells, all carry figures; beyond that, only those of the best and of the trained heads."""
WIDE, HIGH = 0.43, 0.36
"""Half a cell, in columns and lanes; branches run in the gutters between the cells."""


@dataclass(frozen=True)
class OfRun:
    """The timeline of one run: of which strategy, order and seed, of how many finished runs, and its file's name."""

    label: str
    order: int
    seed: int
    runs: int
    timeline: Timeline
    name: str


def find(stored: Stored) -> list[OfRun]:
    """The timeline of each strategy that stored decisions, of its finished run with the lowest order and seed."""
    found = []
    for label in stored.labels:
        runs = stored.done(label)
        for run, order, seed in zip(*(runs[key] for key in ("run_id", "order", "seed")), strict=True):
            if (decisions := stored.kept(run, "decisions")) is not None:
                timeline = structure(decisions, stored.kept(run, "answers"), len(stored.names))
                if timeline is not None:
                    found.append((label, int(order), int(seed), len(runs), timeline))
                break
    names = file_names(label for label, *_ in found)
    return [OfRun(*each, f"timeline_{names[each[0]]}") for each in found]


def draw(stored: Stored, run: OfRun, theme: Theme) -> Drawing:
    """The timeline of a run."""
    timeline, label = run.timeline, run.label
    which = f"order {run.order}, seed {run.seed}" if len(stored.orders) > 1 else f"seed {run.seed}"
    experiences = stored.names_in(run.order)
    heads, columns = timeline.gaps.shape
    width = min(theme.inches - 1.25, max(0.36 * columns, 2.7))
    cell = width * 72 / columns  # points
    figures = cell * 2 * WIDE >= room_for(100 * timeline.gaps) - 1  # it has a border of white
    lane = 0.17
    two = timeline.shares is not None
    upper = lane * (heads + 1)
    lower = lane * (heads if timeline.shares is None else len(timeline.shares))
    left, bottom, between = 0.65, 1.0, 0.3
    height = bottom + upper + (lower + between if two else 0) + 0.9
    figure = Sheet(figsize=(theme.inches, height))
    names = [*experiences, *(f"experience {step}" for step in range(len(experiences), columns))]
    top = axes_at(figure, left, height - 0.9 - upper, width, upper)
    _lanes(top, timeline, figures, words=cell * 2 * WIDE >= 17)
    _key(top, _copied(timeline), f"{short(label, 30)}, {which}", 2 if theme.narrow else 3)
    if np.isfinite(timeline.gaps).any():
        tall = min(max(upper - lane, 1.25), 1.6)  # down from the first lane; there is room below
        beside = axes_at(figure, left + width + 0.1, height - 0.9 - lane - tall, 0.09, tall)
        bar(figure, Normalize(0, 100), beside, "before training (%)")
    lowest = top
    if timeline.shares is not None:
        lowest = axes_at(figure, left, bottom, width, lower)
        _answers(lowest, timeline.shares, heads, figures)
        after = names[timeline.after] if timeline.after is not None and timeline.after < columns else "the last one"
        lowest.set_title(f"test images answered after {short(after, 18)} (%)", loc="left", fontsize=TEXT, pad=3)
        top.set_xticks([])
    name_x(lowest, names, width)
    lowest.tick_params(length=0)
    fit(figure, theme.inches, fill=columns > 6)
    caption = _caption(timeline, which, run.runs, stored.settings.get(label, {}))
    return Drawing(figure, run.name, caption, _told(timeline, label, which, names), _data(timeline, names))


def _data(timeline: Timeline, names: list[str]) -> pd.DataFrame:
    """A line for each head and experience."""
    heads, columns = timeline.gaps.shape
    head, step = np.indices((heads, columns))
    trained = {(lane.head, column) for lane in timeline.lanes for column in lane.distilled}
    born = {(lane.head, lane.birth): lane.source for lane in timeline.lanes}
    pairs = list(zip(head.ravel().tolist(), step.ravel().tolist(), strict=True))
    data = pd.DataFrame({"head": head.ravel(), "experience": step.ravel(), "name": [names[c] for _, c in pairs]})
    data["made"] = [int(pair in born) for pair in pairs]
    data["copied_from"] = [born.get(pair) for pair in pairs]
    data["distilled"] = [int(pair in trained) for pair in pairs]
    data["accuracy_before"] = timeline.gaps.ravel()
    data["known"] = timeline.known[step.ravel()]
    if timeline.shares is not None:
        data["answers"] = timeline.shares[:heads].ravel()
    return data


def _frame(axes: Axes, heads: int, columns: int, above: int) -> None:
    axes.set_xlim(-0.5, columns - 0.5)
    axes.set_ylim(heads - 0.5, -0.5 - above)
    names = [f"head {head}" for head in range(heads)]
    axes.set_yticks(range(-above, heads), ["known (%)", *names] if above else names)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _box(axes: Axes, column: int, lane: int, fill: object, edge: str = "none", line: float = 0) -> None:
    axes.add_patch(
        Rectangle(
            (column - WIDE, lane - HIGH), 2 * WIDE, 2 * HIGH, facecolor=fill, edgecolor=edge, linewidth=line, zorder=3,
        )  # type: ignore[arg-type]
    )  # fmt: skip


def _text(axes: Axes, column: int, lane: int, text: str, colour: str, weight: str = "normal") -> None:
    written = axes.text(
        column, lane, text, ha="center", va="center_baseline", fontsize=SMALL, color=colour, weight=weight, zorder=4
    )
    written.set_in_layout(False)  # it lies inside the axes: measuring it costs time and changes nothing


def _lanes(axes: Axes, timeline: Timeline, figures: bool, words: bool) -> None:
    """Lanes from birth on; a cell where the head was measured; how it was made and where it was trained.

    figures, words : whether there is room for two digits in a cell, and for "new".
    """
    heads, columns = timeline.gaps.shape
    colours, gaps = colour_map(), timeline.gaps
    _frame(axes, heads, columns, above=1)
    measured = np.isfinite(gaps)
    best = [int(np.nanargmax(gaps[:, step])) if measured[:, step].any() else -1 for step in range(columns)]
    trained = {(lane.head, step) for lane in timeline.lanes for step in lane.distilled}
    for head, step in np.argwhere(measured).tolist():
        fill = colours(gaps[head, step])
        distilled = (head, step) in trained
        _box(axes, step, head, fill, "black" if distilled else "none", 1.3 if distilled else 0)
        if figures and (measured.sum() <= FIGURES or distilled or best[step] == head):
            weight = "bold" if best[step] == head else "normal"
            _text(axes, step, head, f"{100 * gaps[head, step]:.0f}", ink(fill), weight)
    for lane in timeline.lanes:
        axes.plot([lane.birth, columns - 0.5], [lane.head] * 2, color="#a9afb6", linewidth=1.0, zorder=1)
        _box(axes, lane.birth, lane.head, "white", BORN, 1.2)
        if words:
            _text(axes, lane.birth, lane.head, "new", BORN_TEXT, "bold")
        if lane.source is not None:
            gutter = lane.birth - 0.5
            axes.plot([gutter] * 2, [lane.source, lane.head], color=BORN, linewidth=1.1, zorder=2)
            axes.plot([gutter, lane.birth - WIDE], [lane.head] * 2, color=BORN, linewidth=1.1, zorder=2)
            axes.plot(gutter, lane.source, marker="o", markersize=2.6, color=BORN, zorder=5)
    for step, share in enumerate(timeline.known):
        if np.isfinite(share) and figures:
            _text(axes, step, -1, f"{100 * share:.0f}", GREY)


def _key(axes: Axes, copied: bool, title: str, columns: int) -> None:
    handles: list[Artist] = [
        Patch(facecolor="white", edgecolor=BORN, linewidth=1.2, label="new head"),
        Line2D([], [], color=BORN, linewidth=1.1, marker="o", markersize=2.6, markevery=[0], label="copied from"),
        Patch(facecolor="white", edgecolor="black", linewidth=1.3, label="trained by distillation"),
    ]
    if not copied:
        del handles[1]
    axes.legend(
        handles=handles, loc="lower left", bbox_to_anchor=(0, 1), ncols=columns, frameon=False, title=title,
        title_fontsize=TITLE, alignment="left", borderpad=0, borderaxespad=0.3, handlelength=1.5, columnspacing=1.2,
        labelspacing=0.3,
    )  # fmt: skip


def _answers(axes: Axes, shares: Matrix, heads: int, figures: bool) -> None:
    """A cell for each head and test experience, darker the more of its images the head answers; below, no head."""
    rows, columns = shares.shape
    colours = share_colours()
    _frame(axes, rows, columns, above=0)
    if rows > heads:
        axes.set_yticks(range(rows), [*(f"head {head}" for head in range(heads)), "no head"])
    axes.set_facecolor("#f4f5f7")
    for head, step in np.argwhere(shares > 0).tolist():
        fill = colours(shares[head, step])
        _box(axes, step, head, fill)
        if figures and shares[head, step] >= 0.005:
            _text(axes, step, head, f"{100 * shares[head, step]:.0f}", ink(fill))


def share_colours() -> Colormap:
    """From nearly white to dark blue, one hue, unlike the map of accuracies."""
    return LinearSegmentedColormap.from_list("shares", ["#e3eef7", "#0072B2", "#003f66"])


def _caption(timeline: Timeline, which: str, runs: int, settings: dict[str, Any]) -> str:
    which += ", the lowest of the finished ones" if runs > 1 else ""
    below = settings.get("expand_below")
    text = (
        f"The heads of the dynamic network over the experiences, in one run ({which}). A cell's figure is the accuracy "
        "(%) of a head on the training images of the new experience before training on them, bold for the best: the "
        "domain gap. A framed cell is where a head was trained by distillation, “new” where one was born"
        + (", with a line from the head it was copied from" if _copied(timeline) else "")
        + "; “known” is the share of the images that the head distilled classified correctly beforehand."
    )
    if isinstance(below, int | float) and settings.get("expand_at") is None:
        text += f" A head is born where the best is below {100 * below:g} %."
    if timeline.shares is not None:
        text += " The lower part: the share of each experience's test images that each head answers in the end."
        if len(timeline.shares) > len(timeline.gaps):
            text += " “No head”: images held to be of a new domain, answered by the statistics of the classes."
    return text


def _copied(timeline: Timeline) -> bool:
    return any(lane.source is not None for lane in timeline.lanes)


def _told(timeline: Timeline, label: str, which: str, names: list[str]) -> str:
    """The timeline in words."""
    parts = []
    for lane in timeline.lanes:
        made = f"head {lane.head} made for {names[lane.birth]}"
        if lane.source is not None:
            made += f" from head {lane.source}"
        if lane.distilled:
            made += ", distilled on " + ", ".join(names[step] for step in lane.distilled)
        if timeline.shares is not None:
            mostly = [names[step] for step in np.flatnonzero(timeline.shares[lane.head] > 0.5)]
            made += ", answers " + (", ".join(mostly) or "no experience for the most part")
        parts.append(made)
    return f"Timeline of {label}, {which}: " + "; ".join(parts)
