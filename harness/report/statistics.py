"""The tables of what the statistics say: how sure each mean is, and each difference from the reference."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pandas as pd

from lorisbench.metrics.bootstrap import SOURCES, Spread
from lorisbench.metrics.paired import pairs_needed
from lorisbench.report.standing import Standing, Test, standing
from lorisbench.report.stored import Stored
from lorisbench.report.summary import DASH, MINUS, Summary, number, replay, signed
from lorisbench.report.tabular import DAGGER, Cell, Head, Note, Table


def statistics(stored: Stored, summary: Summary) -> list[Table]:
    """The ranking with its intervals, and the tests; none without a finished run."""
    found = standing(stored)
    if not found.estimates:
        return []
    return [ranking(found, summary), *([tests(found, summary)] if found.tests else [])]


def ranking(found: Standing, summary: Summary) -> Table:
    """A row for each strategy, best first: its mean on the last row and the interval of each source of variance."""
    drawn = next((s for s in found.over if s.startswith("test ")), "test images")
    heads = [
        Head("Strategy", number=False, key="strategy", data=("strategy",)),
        Head("Mean", key="mean", data=("mean",)),
        *(
            Head(text, key=source, data=(f"{source}_low", f"{source}_high"))
            for text, source in zip(("All", "Seeds", "Orders", drawn.capitalize()), ("all", *SOURCES), strict=True)
        ),
        Head("Interquartile mean", key="interquartile_mean", data=("interquartile_mean",)),
    ]
    rows, values = [], []
    for label, estimate in found.estimates.items():
        spreads = [estimate.together, *(estimate.by_source[source] for source in SOURCES)]
        mark = DAGGER if label in summary and replay(summary, label) else ""
        mean = Cell(
            number(estimate.mean, 2), bold=label == found.best,
            underlined=label in found.alike and label != found.best, value=estimate.mean,
        )  # fmt: skip
        rows.append([Cell(label, mark=mark), mean, *map(_between, spreads), _plain(found.middle[label])])
        values.append([label, estimate.mean, *(end for each in spreads for end in each), found.middle[label]])
    columns = [f"{source}_{end}" for source in ("all", *SOURCES) for end in ("low", "high")]
    notes = [
        "Accuracy on the last row (%) with 95 % intervals by a bootstrap over seeds, orders of the experiences and "
        f"{drawn}, each drawn alone, and all together; {DASH} where there is only one to draw from.",
        "Bold: best mean; underlined: cannot be told from it by all together, corrected for the number of comparisons "
        "(Holm).",
        "Interquartile mean: of all accuracies on single test sets in single runs, without the lowest and the highest "
        "quarter (Agarwal et al. 2021).",
        *found.caveats,
    ]
    frame = pd.DataFrame(values, columns=["strategy", "mean", *columns, "interquartile_mean"])
    return Table("standing", "How sure the ranking is", heads, rows, frame, [*map(Note, notes), *_dagger(rows)])


def tests(found: Standing, summary: Summary) -> Table:
    """A row for each test of `Standing.tests`."""
    named = {
        "Difference": ("difference",), "95 % interval": ("low", "high"), "p": ("p",), "p (Holm)": ("p_holm",),
        "Told apart": ("apart",), "Permutation p": ("permutation_p",), "McNemar p": ("mcnemar_p", "mcnemar_chi2_p"),
        "Only first": ("only_first",), "Only second": ("only_second",), "P(improvement)": ("improvement",),
        "Runs": ("runs",),
    }  # fmt: skip
    heads = [Head(text, number=False, key=text.lower(), data=(text.lower(),)) for text in ("First", "Second")]
    heads += [
        Head(text, key="interval" if len(data) > 1 and "low" in data else data[0], data=data)
        for text, data in named.items()
    ]
    rows = [_row(test, summary) for test in found.tests]
    values = [
        [
            test.first, test.second, test.difference.mean, *test.difference.together, test.difference.p, test.p_holm,
            test.apart, test.permutation, *(test.mcnemar or (np.nan,) * 4), test.improvement, test.pairs,
        ]
        for test in found.tests
    ]  # fmt: skip
    columns = [
        "first", "second", "difference", "low", "high", "p", "p_holm", "apart", "permutation_p", "only_first",
        "only_second", "mcnemar_p", "mcnemar_chi2_p", "improvement", "runs",
    ]  # fmt: skip
    notes = [
        f"First {MINUS} second on the last row, in points, over runs of the same order and seed; interval and p by a "
        f"bootstrap over {' and '.join(found.over) or 'nothing'} together. Told apart: the p corrected for all tests "
        "of the first (Holm 1979) is below 0.05, there are two seeds, and the answers to single images are known.",
        f"Permutation: exact paired test over runs, all assignments of signs; it needs {pairs_needed()} runs to fall "
        "below 0.05.",
        "McNemar's exact test is of the first run that both have: of the images that only the first and only the "
        "second answers rightly. It takes images as independent, which frames of one recording are not, and knows one "
        "seed.",
        "P(improvement): that a run of the first is better than one of the second on an experience's test set, over "
        "all pairs of runs and experiences (Agarwal et al. 2021).",
    ]
    frame = pd.DataFrame(values, columns=columns)
    return Table("tests", "Who can be told apart", heads, rows, frame, [*map(Note, notes), *_dagger(rows)])


def _row(test: Test, summary: Summary) -> list[Cell]:
    names = [Cell(label, mark=DAGGER if replay(summary, label) else "") for label in (test.first, test.second)]
    counts = [Cell(str(count)) for count in test.mcnemar[:2]] if test.mcnemar else [Cell(DASH), Cell(DASH)]
    return [
        *names, Cell(signed(test.difference.mean), value=test.difference.mean),
        _between(test.difference.together, signed),
        _p(test.difference.p), _p(test.p_holm), Cell("yes" if test.apart else "no"), _p(test.permutation),
        _p(test.mcnemar.exact if test.mcnemar else np.nan), *counts, _plain(test.improvement), Cell(str(test.pairs)),
    ]  # fmt: skip


def _between(spread: Spread, shown: Callable[[float], str] = partial(number, decimals=2)) -> Cell:
    return Cell(DASH if np.isnan(spread.low) else f"{shown(spread.low)} to {shown(spread.high)}")


def _plain(value: float) -> Cell:
    return Cell(DASH) if np.isnan(value) else Cell(number(value, 2), value=value)


def _p(value: float) -> Cell:
    return Cell(DASH) if np.isnan(value) else Cell("< 0.0001" if value < 0.0001 else f"{value:.4f}", value=value)


def _dagger(rows: list[list[Cell]]) -> list[Note]:
    kept = any(cell.mark == DAGGER for row in rows for cell in row)
    return [Note("It keeps images of earlier experiences.", DAGGER)] if kept else []
