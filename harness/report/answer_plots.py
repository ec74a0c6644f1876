"""Plots of what the final models answered, image by image: confusion and calibration."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.colors import Normalize
from numpy.typing import NDArray

from lorisbench.common.errors import InputError
from lorisbench.metrics.predictions import read_stored
from lorisbench.report.heatmaps import bar, beside, colour_map, figure_in, ink, room_for
from lorisbench.report.plots import LETTER, name_x, ticks
from lorisbench.report.stored import Stored
from lorisbench.report.style import GREY, LINE, Drawing, Sheet, Theme, axes_at, fit, short
from lorisbench.report.summary import Summary, number

BINS = 10
CLASSES = 5000  # a larger number is damage
Counts = NDArray[np.float64]


@dataclass(frozen=True)
class Answered:
    """What is drawn from the answers (predictions.npz) of an output's finished runs, which are read when it is."""

    stored: Stored
    theme: Theme

    def _last(self, label: str, scores: bool = False) -> Iterator[dict[str, np.ndarray]]:
        """predicted, label (images,) and, if wanted, scores (images, classes) after the last experience, by run.

        Runs without them, or with a damaged file, are passed over.
        """
        for run in self.stored.done(label)["run_id"]:
            file = self.stored.out / "runs" / str(run) / "predictions.npz"
            if "/" in str(run) or not file.is_file():
                continue
            try:
                found = read_stored(file, with_scores=scores)
            except InputError:
                continue
            last = {"predicted": found.predicted[-1], "label": found.label}
            if scores:
                if found.scores is None or not np.isfinite(found.scores[-1]).all():
                    continue
                last["scores"] = found.scores[-1].astype(np.float64)
            yield last

    def confusion(self, means: Summary) -> Drawing | None:
        """Images of each class taken for each class, of the strategy that the report is about and of the best other."""
        known = [label for label in self.stored.labels if np.isfinite(means[label]["accuracy_last"].mean)]
        ranked = sorted(known, key=lambda label: -means[label]["accuracy_last"].mean)
        wanted = list(dict.fromkeys([*[label for label in self.stored.about if label in known][:1], *ranked[:2]]))[:2]
        names = self._classes()
        found: dict[str, Counts] = {}
        for label in wanted:
            counts = np.zeros((0, 0))
            for run in self._last(label):
                counts = _added(counts, _counts(run["label"], run["predicted"]))
            if counts.sum():
                found[label] = counts
        if not found:
            return None
        size = max(max(map(len, found.values())), min(len(names), 1))
        found = {label: _added(np.zeros((size, size)), counts) for label, counts in found.items()}
        names = [*names[:size], *(f"class {k}" for k in range(len(names), size))]
        return self._confused(found, names)

    def _classes(self) -> list[str]:
        classes = self.stored.data.get("classes")
        return [str(name) for name in classes] if isinstance(classes, list) else []

    def _confused(self, found: dict[str, Counts], names: list[str]) -> Drawing:
        theme, size, norm = self.theme, len(names), Normalize(0, 100)
        across = 1 if theme.narrow else len(found)
        down = -(-len(found) // across)
        before = beside(names)
        side = min((theme.inches - before - 0.7) / across - 0.1, 0.2 * size if size > 6 else 1.4, 3.4)
        figure = Sheet(figsize=(theme.inches, 1.5 + down * (side + 0.3)))
        shares = {
            label: 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1) for label, counts in found.items()
        }
        for place, (label, share) in enumerate(shares.items()):
            row, column = divmod(place, across)
            axes = axes_at(figure, before + column * (side + 0.12), 1.0 + (down - 1 - row) * (side + 0.25), side, side)
            axes.imshow(share, cmap=colour_map(), norm=norm, aspect="auto", interpolation="nearest", resample=False)
            axes.tick_params(length=0, pad=2)
            axes.set_xticks([])
            axes.set_yticks([])
            for spine in axes.spines.values():
                spine.set_visible(False)
            axes.set_title(short(label, int(side * 72 / LETTER / 1.1)), loc="left")
            if side * 72 / size >= room_for(share):
                for (true, taken), value in np.ndenumerate(share):
                    if value >= 0.5:
                        figure_in(axes, taken, true, f"{value:.0f}", ink(colour_map()(norm(value))))
            if place + across >= len(shares):
                name_x(axes, names, side)
                axes.set_xlabel("taken for", color=GREY)
            if column == 0:
                axes.set_yticks(*ticks(names, int(side * 72 / LINE)))
                axes.set_ylabel("class", color=GREY)
        low = 1.0 + (down - 1) * (side + 0.25)
        bar(
            figure,
            norm,
            axes_at(figure, before + across * (side + 0.12) - 0.04, low, 0.09, side),
            "of the class's images (%)",
        )
        fit(figure, theme.inches, square=True, fill=False)
        worst = [_worst(label, share, names) for label, share in shares.items()]
        return Drawing(
            figure, "confusion",
            "Test images of each class (row) taken for each class (column) by the final model of "
            f"{' and of '.join(found)}, over all finished runs, in per cent of the row. Most often taken for another "
            f"class: {'; '.join(worst)}.",
            "Confusion matrices of " + ", ".join(found),
            pd.concat([
                pd.DataFrame(
                    [(label, names[i], names[j], int(n)) for (i, j), n in np.ndenumerate(counts) if n],
                    columns=["strategy", "class", "predicted", "images"],
                ) for label, counts in found.items()
            ]),
        )  # fmt: skip

    def calibration(self) -> Drawing | None:
        """How often answers of a confidence are right, of the chosen strategies; None where no scores are stored."""
        found: dict[str, pd.DataFrame] = {}
        for label in self.theme.chosen:
            runs = [_confident(run) for run in self._last(label, scores=True)]
            if runs:
                found[label] = _binned(
                    np.concatenate([sure for sure, _ in runs]), np.concatenate([ok for _, ok in runs])
                )
        if not found:
            return None
        theme = self.theme
        side = 2.1 if theme.narrow else 3.0
        figure = Sheet(figsize=(theme.inches, side + 1))
        axes = axes_at(figure, 0.45, 0.5, side, side)
        axes.plot([0, 100], [0, 100], color=GREY, linewidth=0.7, linestyle=(0, (4, 3)), zorder=1)
        errors = {label: _error(table) for label, table in found.items()}
        for label, table in found.items():
            look = theme.looks[label]
            axes.plot(
                table["confidence"], table["accuracy"], color=look.colour, linestyle=look.line, marker=look.marker,
                label=f"{short(label, 18)}  {number(errors[label], 1)}", zorder=3,
            )  # fmt: skip
        axes.set_xlim(0, 100)
        axes.set_ylim(0, 100)
        axes.set_xlabel("confidence (%)")
        axes.set_ylabel("accuracy (%)")
        axes.grid()
        axes.legend(
            loc="upper left", bbox_to_anchor=(1.02, 1), frameon=False, title="calibration error", alignment="left",
            borderaxespad=0, handlelength=1.6,
        )  # fmt: skip
        fit(figure, theme.inches, square=True, fill=False)
        return Drawing(
            figure, "calibration",
            f"How often the final model is right where it is so sure: test images in {BINS} bins of the highest score, "
            "of all finished runs. On the dashed line confidence is accuracy; below it a model is too sure. Figures: "
            "the expected calibration error, the mean distance weighted by images, in points.",
            "Line plot; calibration error: "
            + "; ".join(f"{label} {number(error, 1)} points" for label, error in errors.items()),
            pd.concat([table.assign(strategy=label) for label, table in found.items()])[
                ["strategy", "bin", "confidence", "accuracy", "images"]
            ],
        )  # fmt: skip


def _counts(true: np.ndarray, predicted: np.ndarray) -> Counts:
    """Images of each class taken for each class; those that were not tested do not count."""
    tested = (predicted >= 0) & (true >= 0) & (np.maximum(predicted, true) < CLASSES)
    size = int(max(true[tested].max(initial=-1), predicted[tested].max(initial=-1))) + 1
    counts = np.zeros((size, size))
    np.add.at(counts, (true[tested], predicted[tested]), 1)
    return counts


def _added(first: Counts, second: Counts) -> Counts:
    """The sum of two square arrays, the smaller one with zeros where the other has more."""
    size = max(len(first), len(second))
    total = np.zeros((size, size))
    total[: len(first), : len(first)] += first
    total[: len(second), : len(second)] += second
    return total


def _worst(label: str, share: Counts, names: list[str]) -> str:
    wrong = share - np.diag(np.diag(share))
    true, taken = np.unravel_index(int(wrong.argmax()), wrong.shape)
    if wrong[true, taken] == 0:
        return f"{label}, none"
    return f"{label}, {names[true]} for {names[taken]} ({number(float(wrong[true, taken]), 0)} %)"


def _confident(run: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The highest score of each image, in per cent, and whether the answer is right (0 or 100)."""
    tested = run["predicted"] >= 0
    return 100 * run["scores"][tested].max(axis=1), 100.0 * (run["predicted"] == run["label"])[tested]


def _binned(confidence: np.ndarray, right: np.ndarray) -> pd.DataFrame:
    """Mean confidence and accuracy (%), and images, of each of `BINS` equal bins that has images."""
    bins = np.clip((confidence * BINS / 100).astype(int), 0, BINS - 1)
    rows = [
        {
            "bin": k,
            "confidence": confidence[bins == k].mean(),
            "accuracy": right[bins == k].mean(),
            "images": int((bins == k).sum()),
        }
        for k in np.unique(bins)
    ]
    return pd.DataFrame(rows)


def _error(table: pd.DataFrame) -> float:
    """Expected calibration error (Naeini et al. 2015), in points."""
    return float(np.average((table["confidence"] - table["accuracy"]).abs(), weights=table["images"]))
