"""Copy what finished outputs say into results/reference/ and the README.

    lorisbench run quickstart --out results/quickstart
    python results/make_reference.py results/quickstart

Copies suite.yaml, results.csv, matrix.csv, data.json, experiences.csv, the tables and one run's env.json, and, of the
suites in `PLOTS`, the PNG plots. Of an output of `lorisbench reproduce`, its tables as Markdown and CSV, and of each
part suite.yaml, results.csv, data.json and one env.json. Where the README has a line `<!-- reference NAME -->`, the
comparison, or published beside measured, is written between that line and `<!-- end NAME -->`, with its machine.
"""

import json
import shutil
import sys
from pathlib import Path

import pandas as pd

from lorisbench.metrics.table import named

HERE = Path(__file__).resolve().parent
README = HERE.parent / "README.md"
COLUMNS = ("accuracy_last", "accuracy_seen", "square", "forgetting_max", "latency_ratio", "state_mb")
PLOTS = {"quickstart": ("curves", "forgetting", "latency", "matrices")}


def copy(out: Path) -> Path:
    """Copy the committed part of an output folder; returns where it went."""
    target = HERE / "reference" / out.name
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    if not (out / "suite.yaml").is_file():
        return _copy_reproduction(out, target)
    for name in ("suite.yaml", "results.csv", "matrix.csv", "data.json", "experiences.csv"):
        shutil.copy(out / name, target)
    (target / "tables").mkdir()
    for table in sorted((out / "report" / "tables").iterdir()):
        if out.name in PLOTS or table.stem == "comparison":
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
    for part in sorted(file.parent for file in out.glob("*/results.csv")):
        (target / part.name).mkdir()
        for name in ("suite.yaml", "results.csv", "data.json"):
            shutil.copy(part / name, target / part.name)
        shutil.copy(sorted((part / "runs").glob("*/env.json"))[0], target / part.name / "env.json")
    return target


def block(target: Path) -> str:
    """What the README shows of a folder of results/reference/: a table and where it comes from."""
    if (target / "suite.yaml").is_file():
        return _comparison(target)
    return _reproduction(target)


def _reproduction(target: Path) -> str:
    """Published beside measured, in the published order of the first part; mean ± standard deviation over seeds."""
    table = pd.read_csv(target / "tables" / "order.csv")
    parts = list(dict.fromkeys(table.part))
    by_part = {part: table[table.part == part].set_index("method") for part in parts}
    heads = [f"{part}, {kind}" for part in parts for kind in ("published", "measured")]
    rows = ["| method | " + " | ".join(heads) + " |", "|---" * (len(heads) + 1) + "|"]
    for method in by_part[parts[0]].index:
        cells = []
        for found in by_part.values():
            row = found.loc[method]
            cells += [f"{row.published:.2f}", f"{row.measured:.2f} ± {row.measured_std:.2f}"]
        rows.append(f"| {method} | " + " | ".join(cells) + " |")
    taus = ", ".join(f"{found.kendall_tau.iloc[0]:.2f} ({part})" for part, found in by_part.items())
    data = json.loads((target / parts[0] / "data.json").read_text("utf-8"))
    over = f"mean ± standard deviation over {table.seeds.max()} seeds"
    measured = f"published on the paper's data, measured on {data['name']}, {_kind(data)}; {over}"
    return "\n".join(
        [
            f"What `{target.name}` gives, last row in % ({measured}; {_made_on(target / parts[0])}):",
            "",
            *rows,
            "",
            f"Kendall's τ of the published and the measured order: {taus}.",
        ]
    )


def _comparison(target: Path) -> str:
    """The suite's strategies: mean ± half-width of the 95 % interval over seeds; columns no run has are left out."""
    table = pd.read_csv(target / "tables" / "comparison.csv")
    data = json.loads((target / "data.json").read_text("utf-8"))
    suite = (target / "suite.yaml").read_text("utf-8")
    columns = [key for key in COLUMNS if table[f"{key}_mean"].notna().any()]
    titles = [named(key).heading for key in columns]
    heads = ["strategy", *(title[0].lower() + title[1:] for title in titles)]
    rows = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for row in table.to_dict("records"):
        cells = [f"{row[f'{key}_mean']:.2f} ± {row[f'{key}_ci95']:.2f}" for key in columns]
        rows.append(f"| {row['strategy']} | " + " | ".join(cells) + " |")
    seeds = int(table.accuracy_last_n.max())
    split = "validation splits; " if "split: validation" in suite else ""
    folder = target.relative_to(README.parent).as_posix()
    lines = [
        f"What `{target.name}` gives ({data['name']}, {_kind(data)}; {split}mean ± 95 % interval over {seeds} seeds; "
        f"{_made_on(target)}):",
        "",
        *rows,
    ]
    if target.name in PLOTS:
        for plot, title in (("curves", "Accuracy after each task"), ("matrices", "Accuracy matrices")):
            lines += ["", f"![{title}]({folder}/plots/{plot}.png)"]
    return "\n".join(lines)


def _kind(data: dict[str, object]) -> str:
    return "synthetic data, not OpenLORIS" if data["synthetic"] else "real data"


def _made_on(folder: Path) -> str:
    """Machine, versions and date of a folder's env.json."""
    env = json.loads((folder / "env.json").read_text("utf-8"))
    versions = ", ".join(f"{name} {version}" for name, version in env["versions"].items())
    return f"{env['machine']['cpu']}, {env['machine']['cores']} cores; {versions}; {env['date'][:10]}"


def main() -> None:
    for name in sys.argv[1:]:
        target = copy(Path(name).resolve())
        start, end = f"<!-- reference {target.name} -->", f"<!-- end {target.name} -->"
        text = README.read_text("utf-8")
        if start in text:
            before, rest = text.split(start)
            after = rest.split(end)[1]
            README.write_text(f"{before}{start}\n\n{block(target)}\n\n{end}{after}", encoding="utf-8")
        print(target)


if __name__ == "__main__":
    main()
