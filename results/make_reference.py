"""Copy what finished outputs say into results/reference/ and the READMEs.

    lorisbench run quickstart --out results/quickstart
    python results/make_reference.py results/quickstart

`make results` does so with all of them (`make_results.py`).

Copies suite.yaml, results.csv, matrix.csv, data.json, experiences.csv, what claims rest on (correct.npz,
images.csv.gz), the tables of comparison, of orders and of what can be told apart, one run's env.json, and, of the
suites in `PLOTS`, all tables and the PNG plots. Of a suite with several streams, all but
the tables. Of an output of `lorisbench reproduce`, its
tables as Markdown and CSV, its env.json if it has one, and of each stream, in a folder of that name, what suite.yaml,
results.csv and data.json say of it, and one env.json. Of a folder of what `lorisbench bench --out` found, its JSON and
PNG files.
Where one of `PAGES` has a line `<!-- reference NAME -->`, the comparison, published beside measured, or the table of
plugins is written between that line and `<!-- end NAME -->`, with its machine.
"""

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pandas as pd

from lorisbench.common.files import write_json
from lorisbench.common.yaml_files import read_yaml, write_yaml
from lorisbench.metrics.table import named
from lorisbench.report.frame import read, streams
from lorisbench.suite.config import SuiteConfig
from lorisbench.suite.spec import PLACES

HERE = Path(__file__).resolve().parent
READMES = ("README.md", "harness/README.md", "results/README.md", "strategies/README.md")
PAGES = tuple(HERE.parent / page for page in READMES)
COLUMNS = ("accuracy_last", "accuracy_seen", "square", "forgetting_max", "latency_ratio", "state_mb")
BUSY = 0.5  # load average from which measurements are said to be disturbed
PLOTS = {"quickstart": ("curves", "forgetting", "pareto", "ranking", "matrices")}
TABLES = ("comparison", "orders", "standing", "tests")
NEEDED = ("results.csv", "matrix.csv", "data.json", "experiences.csv")
FILES = (*NEEDED, "correct.npz", "images.csv.gz")  # the last two are what a report's claims rest on


def copy(out: Path) -> Path:
    """Copy the committed part of an output folder; returns where it went."""
    target = HERE / "reference" / out.name
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    if not (out / "results.csv").is_file() and not (out / "tables").is_dir():
        for file in sorted([*out.glob("*.json"), *out.glob("*.png")]):
            shutil.copy(file, target)
        return target
    if (out / "tables").is_dir():  # other outputs have theirs in the report
        return _copy_reproduction(out, target)
    for name in FILES:
        if (out / name).is_file() or name in NEEDED:
            shutil.copy(out / name, target)
    _write_suite(read_yaml(out / "suite.yaml"), target)
    if len(streams(out)) == 1:
        (target / "tables").mkdir()
        for table in sorted((out / "report" / "tables").iterdir()):
            if out.name in PLOTS or table.stem in TABLES:
                shutil.copy(table, target / "tables")
    for plot in PLOTS.get(out.name, ()):
        (target / "plots").mkdir(exist_ok=True)
        shutil.copy(out / "report" / "plots" / f"{plot}.png", target / "plots")
    shutil.copy(sorted((out / "runs").glob("*/env.json"))[0], target / "env.json")
    return target


def _copy_reproduction(out: Path, target: Path) -> Path:
    (target / "tables").mkdir()
    for table in sorted((out / "tables").iterdir()):
        if table.suffix in (".md", ".csv"):
            shutil.copy(table, target / "tables")
    for stream in streams(out) if (out / "results.csv").is_file() else []:
        part, stored = target / stream, read(out, stream)
        part.mkdir()
        runs = pd.read_csv(out / "results.csv", dtype=str, keep_default_na=False)
        runs[runs.stream == stream].to_csv(part / "results.csv", index=False, lineterminator="\n")
        write_json(part / "data.json", stored.data)
        keys = [key for key in ("schema", *SuiteConfig.model_fields) if key != "streams" and key in stored.suite]
        _write_suite({key: stored.suite[key] for key in keys}, part)
        first = min(run for run in stored.runs.run_id if (out / "runs" / run / "env.json").is_file())
        shutil.copy(out / "runs" / first / "env.json", part)
    if (out / "env.json").is_file():
        shutil.copy(out / "env.json", target)
    return target


def _write_suite(resolved: dict[str, Any], target: Path) -> None:
    """suite.yaml without the places of the images, which are those of a single machine."""

    def placeless(benchmark: dict[str, Any]) -> dict[str, Any]:
        return {**benchmark, **{key: None for key in PLACES if key in benchmark}}

    own: dict[str, Any] = {}
    if "benchmark" in resolved:
        own["benchmark"] = placeless(resolved["benchmark"])
    if "benchmarks" in resolved:
        own["benchmarks"] = {name: placeless(benchmark) for name, benchmark in resolved["benchmarks"].items()}
    write_yaml(target / "suite.yaml", {**resolved, **own})


def block(target: Path, page: Path) -> str:
    """What a page shows of a folder of results/reference/: a table, where it comes from, and a plot if there is one."""
    if not (target / "suite.yaml").is_file():
        if not (target / "tables").is_dir():
            plot = target / "growth.png"
            shown = f"\n\n![Growth of costs]({_from(page, plot)})" if plot.is_file() else ""
            return _findings(target) + shown
        return _plugins(target) if (target / "tables" / "plugins.csv").is_file() else _reproduction(target)
    if not (target / "tables").is_dir():
        return _by_stream(target)
    lines = [_comparison(target)]
    if target.name in PLOTS:
        lines += ["", f"![Accuracy after each task]({_from(page, target)}/plots/curves.png)"]
    return "\n".join(lines)


def _from(page: Path, file: Path) -> str:
    """A file's path as a link in a page."""
    return Path(os.path.relpath(file, page.parent)).as_posix()


def written(text: str, target: Path, page: Path) -> str:
    """The text of a page with the block of `target` between its two lines; the text as it is if the page has none."""
    start, end = f"<!-- reference {target.name} -->", f"<!-- end {target.name} -->"
    if start not in text:
        return text
    before, rest = text.split(start)
    return f"{before}{start}\n\n{block(target, page)}\n\n{end}{rest.split(end)[1]}"


def _reproduction(target: Path) -> str:
    """Published beside measured, in the published order of the first part; mean ± standard deviation over seeds."""
    table = pd.read_csv(target / "tables" / "order.csv")
    parts = list(dict.fromkeys(table.part))
    by_part = {part: table[table.part == part].set_index("method") for part in parts}
    compared = {part: _compared(target / "tables" / f"{part}.csv") for part in parts}
    methods = dict.fromkeys(method for part in parts for method in (*by_part[part].index, *compared[part].index))
    heads = [f"{part}, {kind}" for part in parts for kind in ("published", "measured")]
    rows = ["| method | " + " | ".join(heads) + " |", "|---" * (len(heads) + 1) + "|"]
    for method in methods:
        cells = []
        for claims in compared.values():
            claim = claims.loc[method]
            mark = " †" if claim.status == "differs" else ""
            cells += [_value(claim.published, claim.published_std), _value(claim.measured, claim.measured_std) + mark]
        rows.append(f"| {method} | " + " | ".join(cells) + " |")
    taus = ", ".join(f"{found.kendall_tau.iloc[0]:.2f} ({part})" for part, found in by_part.items())
    data = json.loads((target / parts[0] / "data.json").read_text("utf-8"))
    counts = sorted(set(table.seeds))
    over = f"mean ± standard deviation over {' to '.join(map(str, dict.fromkeys((counts[0], counts[-1]))))} seeds"
    measured = f"published on the paper's data, measured on {data['name']}, {_kind(data)}; {over}"
    statuses = pd.concat(compared.values()).status
    within, outside = (int((statuses == status).sum()) for status in ("reproduced", "differs"))
    said = [f"Within the tolerance: {within} of {within + outside}{'; † is not.' if outside else '.'}"]
    remarks = [
        f"* {method}, {part}: {row.remark}"
        for part, found in compared.items()
        for method, row in found[found.status == "differs"].iterrows()
        if isinstance(row.get("remark"), str)
    ]
    return "\n".join(
        [
            f"Results of `{target.name}`, last row in % ({measured}; {_made_on(target / parts[0])}):",
            "",
            *rows,
            "",
            f"Kendall's τ of the published and the measured order: {taus}.",
            *(said if within + outside else []),
            *(["", *remarks] if remarks else []),
        ]
    )


def _plugins(target: Path) -> str:
    """Avalanche's plugins: what comes of each here and in a plain script, and what to know of it."""
    table = pd.read_csv(target / "tables" / "plugins.csv", keep_default_na=False)
    rows = ["| plugin | here | in a plain script | what to know |", "|---" * 4 + "|"]
    for row in table.to_dict("records"):
        plain = row["plain"].partition(":")[0] or "the same"
        rows.append(f"| {row['plugin']} | {row['outcome']} | {plain} | {row['why']} |")
    return "\n".join([f"Results of `{target.name}` ({_made_on(target)}):", "", *rows])


def _findings(target: Path) -> str:
    """What the benchmarks found: each comparison with its range and limit, then the sentences."""
    files = {file.stem: json.loads(file.read_text("utf-8")) for file in sorted(target.glob("*.json"))}
    rows = ["| benchmark | what, to what | median | range | at most |", "|---|---|---|---|---|"]
    sentences = []
    for found in files.values():
        for name, each in found["benchmarks"].items():
            for one in each:
                if isinstance(one, str):
                    sentences.append(f"* `{name}`: {one}")
                    continue
                if "exponent" in one:
                    cells, digits = [one["exponent"], *one["interval"]], 3
                else:
                    cells, digits = [one["median"], min(one["values"]), max(one["values"])], 2
                limit = "" if one["limit"] is None else f"{one['limit']:.3g}{'' if one['kept'] else ' (missed)'}"
                middle, low, high = (f"{cell:.{digits}f}" for cell in cells)
                kind = "exponent of " if "exponent" in one else ""
                unit = f" {one['unit']}" if "unit" in one else ""
                rows.append(f"| `{name}` | {kind}{one['what']} | {middle}{unit} | {low} to {high} | {limit} |")
    machines = dict.fromkeys(_told_of(found) for found in files.values())
    busy = [f"`{name}` {found['load']:.1f}" for name, found in files.items() if (found.get("load") or 0) > BUSY]
    if busy:
        sentences.insert(0, f"* Measured while the machine was at other work, by its load average: {', '.join(busy)}.")
    return "\n".join([f"Results of `lorisbench bench` ({'; '.join(machines)}):", "", *rows, "", *sentences]).rstrip()


def _value(mean: float, spread: float) -> str:
    """A mean with its standard deviation, which one seed does not have; a dash for what is not known."""
    if pd.isna(mean):
        return "—"
    return f"{mean:.2f}" if pd.isna(spread) else f"{mean:.2f} ± {spread:.2f}"


def _compared(file: Path) -> pd.DataFrame:
    """Published beside measured, by method, with the status of each."""
    return pd.read_csv(file).set_index("method")


def _comparison(target: Path) -> str:
    """The suite's strategies: mean ± half-width of the 95 % interval over seeds; columns no run has are left out.

    With several orders, means are over these, and the spread over them follows the last row.
    """
    table = pd.read_csv(target / "tables" / "comparison.csv")
    file = target / "tables" / "orders.csv"
    orders = pd.read_csv(file).set_index("strategy") if file.is_file() else None
    data = json.loads((target / "data.json").read_text("utf-8"))
    suite = (target / "suite.yaml").read_text("utf-8")
    columns = [key for key in COLUMNS if table[f"{key}_mean"].notna().any()]
    titles = [named(key).heading for key in columns]
    heads = ["strategy", *(title[0].lower() + title[1:] for title in titles)]
    if orders is not None:
        heads[2:2] = ["std over orders", "worst order"]
    rows = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for row in table.to_dict("records"):
        cells = [f"{row[f'{key}_mean']:.2f} ± {row[f'{key}_ci95']:.2f}" for key in columns]
        if orders is not None:
            of_row = orders.loc[row["strategy"]]
            cells[1:1] = [f"{of_row.std_over_orders:.2f}", f"{of_row.worst:.2f}"]
        rows.append(f"| {row['strategy']} | " + " | ".join(cells) + " |")
    seeds = int(table.accuracy_last_n.max())
    split = "validation splits; " if "split: validation" in suite else ""
    means = "mean" if orders is None else f"mean over {int(orders.orders.max())} orders"
    over = f"{split}{means} ± 95 % interval over {seeds} seeds"
    lines = [
        f"Results of `{target.name}` ({data['name']}, {_kind(data)}; {over}; {_made_on(target)}):",
        "",
        *rows,
    ]
    return "\n".join(lines)


def _by_stream(target: Path) -> str:
    """The strategies of a suite with several streams: last row and whole matrix on each, means over seeds."""
    runs = pd.read_csv(target / "results.csv")
    strategies = list(dict.fromkeys(runs.strategy))
    rows = ["| stream | " + " | ".join(f"`{each}`" for each in strategies) + " |", "|---" * (len(strategies) + 1) + "|"]
    for stream in dict.fromkeys(runs.stream):
        means = runs[runs.stream == stream].groupby("strategy")[["accuracy_last", "square"]].mean() * 100
        cells = [f"{means.accuracy_last[each]:.2f} / {means.square[each]:.2f}" for each in strategies]
        rows.append(f"| `{stream}` | " + " | ".join(cells) + " |")
    split = "validation splits; " if "split: validation" in (target / "suite.yaml").read_text("utf-8") else ""
    what = f"last row / whole matrix in %; {split}means over {runs.seed.nunique()} seeds; {_made_on(target)}"
    return "\n".join([f"Results of `{target.name}` ({what}):", "", *rows])


def _kind(data: dict[str, object]) -> str:
    return "synthetic data, not OpenLORIS" if data["synthetic"] else "real data"


def _made_on(folder: Path) -> str:
    """Machine, versions and date of a folder's env.json."""
    return _told_of(json.loads((folder / "env.json").read_text("utf-8")))


def _told_of(env: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in env["versions"].items())
    machine = env["machine"]
    parts = (machine["cpu"], f"{machine['cores']} cores", machine["gpu"])
    return f"{', '.join(filter(None, parts))}; {versions}; {env['date'][:10]}"


def write_reference(out: Path) -> Path:
    """Copy an output, and write what the pages show of it; returns its folder of references."""
    target = copy(out.resolve())
    for page in PAGES:
        text = page.read_text("utf-8")
        page.write_text(written(text, target, page), encoding="utf-8")
    return target


def main() -> None:
    for name in sys.argv[1:]:
        print(write_reference(Path(name)))


if __name__ == "__main__":
    main()
