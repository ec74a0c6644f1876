"""Copy what a finished output says into results/reference/ and the README.

    lorisbench run quickstart --out results/quickstart
    python results/make_reference.py results/quickstart

Copies suite.yaml, results.csv, matrix.csv, data.json, experiences.csv, the tables and the PNG plots, and one run's
env.json; writes the comparison, with machine and versions beside it, between the README's two marker lines.
"""

import json
import shutil
import sys
from pathlib import Path

import pandas as pd

HERE = Path(__file__).resolve().parent
README = HERE.parent / "README.md"
START, END = "<!-- reference results: written by results/make_reference.py -->", "<!-- end of reference results -->"
COLUMNS = {
    "accuracy_last": "last row, %",
    "accuracy_seen": "seen, %",
    "square": "square, %",
    "forgetting_max": "forgetting, points",
    "latency_ratio": "latency ratio",
    "state_mb": "state, MB",
}


def copy(out: Path) -> Path:
    """Copy the committed part of an output folder; returns where it went."""
    target = HERE / "reference" / out.name
    shutil.rmtree(target, ignore_errors=True)
    (target / "plots").mkdir(parents=True)
    for name in ("suite.yaml", "results.csv", "matrix.csv", "data.json", "experiences.csv"):
        shutil.copy(out / name, target)
    shutil.copytree(out / "report" / "tables", target / "tables")
    for plot in ("curves", "forgetting", "latency", "matrices"):
        shutil.copy(out / "report" / "plots" / f"{plot}.png", target / "plots")
    shutil.copy(sorted((out / "runs").glob("*/env.json"))[0], target / "env.json")
    return target


def block(target: Path) -> str:
    """The README's table: mean ± half-width of the 95 % interval over seeds."""
    table = pd.read_csv(target / "tables" / "comparison.csv")
    data = json.loads((target / "data.json").read_text("utf-8"))
    env = json.loads((target / "env.json").read_text("utf-8"))
    rows = ["| strategy | " + " | ".join(COLUMNS.values()) + " |", "|---" * (len(COLUMNS) + 1) + "|"]
    for row in table.to_dict("records"):
        cells = [f"{row[f'{key}_mean']:.2f} ± {row[f'{key}_ci95']:.2f}" for key in COLUMNS]
        rows.append(f"| {row['strategy']} | " + " | ".join(cells) + " |")
    seeds = int(table.accuracy_last_n.max())
    machine = f"{env['machine']['cpu']}, {env['machine']['cores']} cores"
    versions = ", ".join(f"{name} {version}" for name, version in env["versions"].items())
    kind = "synthetic data, not OpenLORIS" if data["synthetic"] else "real data"
    folder = target.relative_to(README.parent).as_posix()
    return "\n".join(
        [
            f"What `{target.name}` gives ({data['name']}, {kind}; mean ± 95 % interval over {seeds} seeds; {machine}; "
            f"{versions}; {env['date'][:10]}):",
            "",
            *rows,
            "",
            f"![Accuracy after each task]({folder}/plots/curves.png)",
            "",
            f"![Accuracy matrices]({folder}/plots/matrices.png)",
        ]
    )


def main() -> None:
    target = copy(Path(sys.argv[1]).resolve())
    before, rest = README.read_text("utf-8").split(START)
    after = rest.split(END)[1]
    README.write_text(f"{before}{START}\n\n{block(target)}\n\n{END}{after}", encoding="utf-8")
    print(target)


if __name__ == "__main__":
    main()
