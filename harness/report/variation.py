"""Plots of what a strategy's accuracy depends on: the order of the experiences, the run, the factor and its level."""

import numpy as np
import pandas as pd

from lorisbench.metrics.intervals import Interval, mean_interval
from lorisbench.report.chosen import told
from lorisbench.report.plots import Row, left_out, legend_columns, name_x, over_orders, rows_data, rows_plot
from lorisbench.report.stored import Stored
from lorisbench.report.style import REST, Drawing, Sheet, Theme, axes_at, fit, short
from lorisbench.report.summary import number
from lorisbench.report.summary import over_orders as by_order
from lorisbench.suite.orders import permutation


def orders(stored: Stored, theme: Theme) -> Drawing | None:
    """Accuracy on the last row by the order of the experiences, the best mean first; None with a single order."""
    if len(stored.orders) < 2:
        return None
    rows, worst = [], []
    for label in stored.labels:
        found = by_order(stored, label)
        means = tuple(each.mean for each in found.intervals.values())
        known = [mean for mean in means if np.isfinite(mean)]
        if known:
            rows.append(Row(label, Interval(found.mean, np.nan, len(known)), means, (min(known), max(known))))
            worst.append(f"{label} {number(found.worst, 1)} to {number(max(known), 1)} %")
    if not rows:
        return None
    rows.sort(key=lambda row: -row.interval.mean)
    data = rows_data(rows).drop(columns="ci95")
    data = data.rename(columns={f"value_{k}": f"order_{order}" for k, order in enumerate(stored.orders)})
    return Drawing(
        rows_plot(rows, theme, "accuracy after the last experience (%)"), "orders",
        f"Accuracy after the last experience in each of {len(stored.orders)} orders of the experiences (white dots, "
        "each a mean over seeds), their mean (marker and figure), and the reach from the worst order to the best."
        + left_out(len(rows)),
        "Rows; " + "; ".join(worst),
        data,
    )  # fmt: skip


def ranks(stored: Stored, theme: Theme) -> Drawing | None:
    """The rank of each strategy by accuracy on the last row, in each run; None unless two can be ranked.

    A run here is a seed in an order. Strategies that lack one of them are left out, as a rank among fewer is another.
    """
    done = stored.runs[(stored.runs["status"] == "done") & stored.runs["accuracy_last"].notna()]
    found = done.pivot_table(index=["order", "seed"], columns="strategy", values="accuracy_last") if len(done) else done
    whole = found.dropna(axis="columns") if len(done) else found
    if len(done) == 0 or whole.shape[1] < 2:
        return None
    ranked = whole.rank(axis="columns", ascending=False)
    rows = [
        Row(str(label), mean_interval(ranked[label]), tuple(ranked[label]))
        for label in sorted(ranked.columns, key=lambda label: ranked[label].mean())
    ]
    absent = [label for label in stored.labels if label not in whole.columns]
    lacking = f" Not ranked, for want of some runs: {', '.join(absent)}." if absent else ""
    runs = "seeds and orders" if len(stored.orders) > 1 else "seeds"
    return Drawing(
        rows_plot(rows, theme, f"rank among {len(rows)} (1 is the best)"), "ranks",
        f"Rank by accuracy after the last experience in each of {len(whole)} {runs} (white dots; equal values share "
        f"their ranks), and the mean with its 95 % interval.{lacking}{left_out(len(rows))}",
        "Rows; " + "; ".join(f"{row.label} {number(row.interval.mean, 1)}" for row in rows),
        rows_data(rows),
    )  # fmt: skip


def factors(stored: Stored, theme: Theme) -> Drawing | None:
    """Accuracy on the last row by factor and level, a panel for each factor; None where experiences have no levels."""
    table = stored.experiences
    if not {"factor", "level"} <= set(table.columns) or len(table) != len(stored.own_names):
        return None
    kinds = list(dict.fromkeys(zip(table["factor"], table["level"], strict=True)))
    kinds = [(factor, level) for factor, level in kinds if factor and level]
    of_factor = {
        factor: sorted({level for other, level in kinds if other == factor}, key=_as_number) for factor, _ in kinds
    }
    if not any(len(levels) > 1 for levels in of_factor.values()) and len(of_factor) < 2:
        return None
    found: dict[str, dict[tuple[str, str], Interval]] = {}
    for label in stored.labels:
        rows = _last_rows(stored, label)
        if np.isfinite(rows).any():
            found[label] = {
                (factor, level): mean_interval(
                    100 * rows[:, ((table["factor"] == factor) & (table["level"] == level)).to_numpy()].mean(axis=1)
                )
                for factor, level in kinds
            }
    if not found or not any(np.isfinite(each.mean) for of in found.values() for each in of.values()):
        return None
    names = list(of_factor)[:12]
    across = min(len(names), 2 if theme.narrow else 4)
    down = -(-len(names) // across)
    figure = Sheet(figsize=(theme.inches, 1.5 + 2 * down))
    width = (theme.inches - 0.45 - 0.12 * (across - 1)) / across
    named = [label for label in theme.chosen if label in found]
    first = None
    for place, factor in enumerate(names):
        row, column = divmod(place, across)
        axes = axes_at(
            figure, 0.45 + column * (width + 0.12), 0.5 + (down - 1 - row) * 1.85, width, 1.35,
            **({"sharey": first} if first is not None else {}),
        )  # fmt: skip
        first = first or axes
        levels = of_factor[factor]
        for label, means in found.items():
            look, chosen = theme.looks[label], label in named
            axes.plot(
                range(len(levels)), [means[factor, level].mean for level in levels],
                color=look.colour if chosen else REST, linestyle=look.line if chosen else "-",
                marker=look.marker if chosen else None,
                linewidth=1.2 if chosen else 0.7, zorder=3 if chosen else 1, label=short(label, 18) if chosen else None,
            )  # fmt: skip
        name_x(axes, levels, width)
        axes.set_xlim(-0.3, len(levels) - 0.7)
        axes.set_title(short(factor, 16), loc="left")
        axes.grid(axis="y")
        if column:
            axes.tick_params(labelleft=False)
        else:
            axes.set_ylabel("accuracy (%)")
        if place + across >= len(names):
            axes.set_xlabel("level")
    if first is not None and named:
        first.legend(
            loc="lower left", bbox_to_anchor=(0, 1.16), ncols=legend_columns(named, theme), frameon=False,
            borderaxespad=0, columnspacing=1, handlelength=2, labelspacing=0.25, handletextpad=0.4, borderpad=0,
        )  # fmt: skip
    fit(figure, theme.inches)
    ends = {label: [each.mean for each in means.values()] for label, means in found.items()}
    return Drawing(
        figure, "factors",
        "Accuracy after the last experience by factor and level, means over the experiences of a level and seeds"
        f"{' and orders' if over_orders(stored) else ''}.{told(theme.chosen, list(found))}",
        "Line plots; lowest and highest level: " + "; ".join(
            f"{label} {number(min(values), 1)} to {number(max(values), 1)} %" for label, values in ends.items()
        ),
        pd.DataFrame([
            {
                "strategy": label, "factor": factor, "level": level, "mean": each.mean, "ci95": each.half_width,
                "n": each.n,
            }
            for label, means in found.items() for (factor, level), each in means.items()
        ]),
    )  # fmt: skip


def _as_number(level: str) -> tuple[float, str]:
    try:
        return float(level), level
    except ValueError:
        return np.inf, level


def _last_rows(stored: Stored, label: str) -> np.ndarray:
    """Accuracy on each experience, in the stream's own order, after the last: (seeds, T), means over the orders."""
    found: dict[int, list[np.ndarray]] = {}
    done = stored.done(label)
    size = len(stored.own_names)
    for run, order, seed in zip(*(done[key] for key in ("run_id", "order", "seed")), strict=True):
        if run in stored.matrices:
            row = np.full(size, np.nan)
            row[permutation(int(order), size) if order else np.arange(size)] = stored.matrices[run][-1]
            found.setdefault(int(seed), []).append(row)
    return np.array([np.mean(rows, axis=0) for _, rows in sorted(found.items())]).reshape(len(found), size)
