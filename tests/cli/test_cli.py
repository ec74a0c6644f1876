"""The command line's edges: exit codes, the one clear line for each wrong input, and that nothing is lost."""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import yaml
from answers import refused

import lorisbench


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"strategies": ["naiv"]}, ["'naiv'", "did you mean 'naive'"]),
        ({"strategies": {"ewc": {"ewc_lamda": 3}}}, ["strategies.ewc.ewc_lamda", "did you mean 'ewc_lambda'"]),
        ({"strategies": {"ewc": {"ewc_lambda": "much"}}}, ["strategies.ewc.ewc_lambda", "much"]),
        ({"strategies": {"lwf": {"temperature": -1}}}, ["strategies.lwf.temperature"]),
        ({"strategies": {"naive": {"training": {"epoch": 3}}}}, ["strategies.naive.training.epoch", "'epochs'"]),
        ({"strategies": {"a/b": {"strategy": "naive"}}}, ["a/b"]),
        ({"strategies": {}}, ["strategies"]),
        ({"strategies": {"x": {"avalanche": "avalanche.training.plugins:Nothing"}}}, ["Nothing"]),
        ({"strategies": {"x": {"avalanche": "os:getcwd"}}}, ["os:getcwd", "not an Avalanche plugin"]),
        ({"head": {"hidden": [-5]}}, ["head.hidden"]),
        ({"strategies": {"x": {"avalanche": "no.such.module:A"}}}, ["no"]),
        (
            {"strategies": {"x": {"avalanche": "avalanche.training.plugins:ReplayPlugin", "args": {"size": 1}}}},
            ["size"],
        ),
        ({"trainig": {"epochs": 1}}, ["'trainig'", "did you mean 'training'"]),
        ({"training": {"epochs": 0}}, ["training.epochs"]),
        ({"training": {"later": {"lrr": 1}}}, ["training.later.lrr", "'lr'"]),
        ({"backbone": {"name": "efficientnet-lite-0"}}, ["'efficientnet-lite-0'", "efficientnet-lite0"]),
        ({"benchmark": {"name": "openlori", "root": "."}}, ["'openlori'", "openloris"]),
        ({"benchmark": {"protocol": "factor"}}, ["benchmark", "name"]),
        ({"benchmark": {"name": "openloris", "root": "/nonexistent/place"}}, ["/nonexistent/place"]),
        ({"benchmark": {"name": "openloris", "root": ".", "factor": "clutter"}}, ["factor", "protocol"]),
        ({"benchmark": {"name": "openloris", "root": ".", "protocol": "factor", "factor": "dark"}}, ["factor", "dark"]),
        ({"seeds": [0, 0]}, ["seeds"]),
        ({"device": "cuda:77"}, ["cuda:77"]),
        ({"name": "../up"}, ["name"]),
        ({"plugins": ["missing.py"]}, ["missing.py"]),
    ],
)
def test_wrong_suites_are_refused(suite_file, cli, tmp_path: Path, changes: dict, words: list[str]) -> None:
    refused(cli("run", suite_file(**changes), "--out", tmp_path / "out"), *words)
    assert (
        not list((tmp_path / "out").glob("results.csv"))
        or pd.read_csv(tmp_path / "out/results.csv").status.eq("pending").all()
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--strategies", "naiv"], ["'naiv'", "did you mean 'naive'"]),
        (["--seeds", "0,a"], ["--seeds"]),
        (["--set", "training.epoch=3"], ["training.epoch", "'epochs'"]),
        (["--set", "trainin.epochs=3"], ["trainin", "'training'"]),
        (["--set", "training"], ["key=value"]),
        (["--set", "name.x=3"], ["name"]),
        (["--executor", "slurm"], ["slurm"]),
        (["--plugin", "nothing.py"], ["nothing.py"]),
        (["--data-root", "/nonexistent/place"], ["/nonexistent/place"]),
    ],
)
def test_wrong_options_are_refused(suite_file, cli, tmp_path: Path, options: list[str], words: list[str]) -> None:
    refused(cli("run", suite_file(), "--out", tmp_path / "out", *options), *words)


def test_unknown_suite_and_broken_yaml(cli, tmp_path: Path) -> None:
    refused(cli("run", "quikstart"), "did you mean 'quickstart'")
    refused(cli("run", "gone.yaml"), "gone.yaml")
    (tmp_path / "broken.yaml").write_text("name: x\nseeds: [0, 1\nstrategies: {")
    refused(cli("run", tmp_path / "broken.yaml"), "broken.yaml:3")
    (tmp_path / "list.yaml").write_text("- a\n- b\n")
    refused(cli("run", tmp_path / "list.yaml"), "list.yaml", "mapping")


def test_a_data_root_that_is_no_data_set_says_what_was_looked_for(suite_file, cli, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    answer = cli("run", "quickstart", "--data-root", tmp_path / "empty", "--out", tmp_path / "out")
    refused(answer, str(tmp_path / "empty"), "segment", "looked for")


def test_data_root_puts_real_data_in_place_of_the_synthetic(cli, release: Path, tmp_path: Path) -> None:
    small = ["--set", "training.epochs=1", "--set", "backbone.image_size=32", "--set", "latency.enabled=false"]
    out = tmp_path / "out"
    answer = cli(
        "run", "quickstart", "--data-root", release, "--out", out, "--strategies", "naive", "--seeds", "0", *small
    )
    assert answer.code == 0, answer.err
    assert yaml.safe_load((out / "suite.yaml").read_text())["benchmark"]["name"] == "openloris"
    assert json.loads((out / "data.json").read_text())["synthetic"] is False


def test_an_output_folder_of_something_else_is_refused_and_untouched(suite_file, finished, cli, tmp_path: Path) -> None:
    out = finished(tmp_path / "out")
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    refused(cli("run", suite_file(name="other"), "--out", out), str(out), "another suite", "'tiny'")
    refused(cli("run", suite_file(training={"epochs": 5}), "--out", out), "training", "epochs")
    changed = suite_file(strategies={"naive": {"training": {"epochs": 7}}})
    refused(cli("run", changed, "--out", out), "naive", "epochs")
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.tex").write_text("years of work")
    refused(cli("run", suite_file(), "--out", tmp_path / "home"), "thesis.tex")


def test_other_images_in_the_same_folder_are_refused(suite_file, cli, tmp_path: Path, make_release) -> None:
    first, second = make_release(tmp_path / "a", per_split=1), make_release(tmp_path / "b", ("cat_01", "dog_01"), 1)
    suite = suite_file(latency={"enabled": False})
    assert cli("run", suite, "--data-root", first, "--out", tmp_path / "out").code == 0
    refused(cli("run", suite, "--data-root", second, "--out", tmp_path / "out"), "other images")
    resolved = yaml.safe_load((tmp_path / "out" / "suite.yaml").read_text())
    file = next((first / "test" / "clutter").rglob("*.jpg"))
    file.write_bytes(next((first / "train" / "pixel").rglob("*.jpg")).read_bytes())
    assert resolved["benchmark"]["root"] == str(first)
    refused(cli("run", suite, "--data-root", first, "--out", tmp_path / "out"), "other images")


def test_more_seeds_and_strategies_of_the_same_suite_may_follow(suite_file, cli, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert cli("run", suite_file(), "--out", out).code == 0
    assert cli("run", suite_file(seeds=[2]), "--out", out).code == 0
    assert cli("run", suite_file(strategies=["joint"]), "--out", out).code == 0
    results = pd.read_csv(out / "results.csv")
    assert list(zip(results.strategy, results.seed, strict=True)) == [("naive", 0), ("naive", 2), ("joint", 0)]
    resolved = yaml.safe_load((out / "suite.yaml").read_text())
    assert list(resolved["strategies"]) == ["naive", "joint"] and resolved["seeds"] == [0, 2]


def test_a_key_that_is_twice_in_a_suite_is_refused(suite_file, cli, tmp_path: Path) -> None:
    suite = suite_file(strategies={"ewc": {"ewc_lambda": 1}})
    suite.write_text(suite.read_text() + "strategies:\n  naive:\n")
    number = len(suite.read_text().splitlines()) - 1
    refused(cli("run", suite, "--out", tmp_path / "out"), f"{suite}:{number}", "'strategies' is there twice")


def test_the_number_of_objects_to_render_is_no_subset_of_the_real_ones(release: Path) -> None:
    from lorisbench.suite.resolve import load_suite

    suite = load_suite("quickstart", data_root=release, assignments=["benchmark.objects=4", "benchmark.fraction=0.5"])
    assert suite.config.benchmark.name == "openloris"
    assert (suite.config.benchmark.objects, suite.config.benchmark.fraction) == (None, 0.5)


def test_dry_run_lists_the_runs_and_writes_nothing(suite_file, cli, tmp_path: Path) -> None:
    answer = cli("run", suite_file(strategies=["naive", "dnn"], seeds=[3, 4]), "--out", tmp_path / "out", "--dry-run")
    assert answer.code == 0
    assert len(answer.out.splitlines()) == 4 and "naive.s3" in answer.out
    assert not (tmp_path / "out").exists()


def test_settings_change_the_run_id_and_set_reaches_strategies(suite_file, cli, tmp_path: Path) -> None:
    def ids(*options: str) -> str:
        return cli("run", suite_file(strategies=["ewc"]), "--out", tmp_path / "out", "--dry-run", *options).out

    assert ids() == ids()
    assert len({ids(), ids("--set", "ewc.ewc_lambda=7"), ids("--set", "training.lr=0.01"), ids("--seeds", "1")}) == 4
    assert ids("--set", "ewc.ewc_lambda=7") == ids("--set", "strategies.ewc.ewc_lambda=7")


@pytest.mark.heavy
def test_interrupt_leaves_what_is_finished_readable(suite_file, tmp_path: Path) -> None:
    out = tmp_path / "out"
    slow = {"slow": {"strategy": "naive", "training": {"epochs": 100000}}}
    suite = suite_file(strategies={"naive": None, **slow}, latency={"enabled": False})
    command = [sys.executable, "-m", "lorisbench", "run", str(suite), "--out", str(out)]
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=dict(os.environ),
        # a shell that runs the tests in the background hands down an ignored SIGINT
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    try:
        while process.poll() is None and not list(out.glob("runs/*slow*/env.json")):
            time.sleep(0.2)
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)  # once, though it may come while Python collects garbage
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 1, err
    assert "interrupted" in err and "Traceback" not in err
    results = pd.read_csv(out / "results.csv").set_index("strategy")
    assert dict(results.status) == {"naive": "done", "slow": "pending"}
    assert results.loc["naive", "accuracy_last"] > 0
    assert len(pd.read_csv(out / "matrix.csv")) == 81


@pytest.mark.parametrize("place", ["lorisbench.suite.resolve.load_suite", "lorisbench.report.write_report"])
def test_a_signal_counts_from_the_first_import_to_the_end_of_the_report(
    finished, cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """A scheduler that stops a job while it starts or writes its report is told to start it again, too."""
    out = finished(tmp_path / "out")
    before = signal.signal(signal.SIGTERM, lambda *_: None)  # else it would end the tests

    def stopped(*given: object, **named: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError("it was not stopped")

    try:
        monkeypatch.setattr(place, stopped)
        answer = cli("run", out / "suite.yaml", "--out", out, report=True)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert answer.code == 75 and answer.err.splitlines()[-1].startswith("lorisbench: stopped by SIGTERM; the same")


def test_help_and_ls_import_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from lorisbench.cli.app import main\n"
        "for words in (['--help'], ['run', '--help'], ['ls'], ['ls', '--json'], ['ls', 'strategies']):\n"
        "    sys.argv = ['lorisbench', *words]\n"
        "    try:\n        main()\n    except SystemExit: pass\n"
        "    heavy = {'torch', 'avalanche', 'pandas', 'numpy', 'matplotlib', 'timm'} & set(sys.modules)\n"
        "    assert not heavy, (words, heavy)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


def test_ls_shows_every_setting(cli) -> None:
    listed = {entry["name"]: entry for entry in json.loads(cli("ls", "strategies", "--json").out)}
    assert {"naive", "joint", "ewc", "lwf", "dnn"} <= set(listed)
    assert set(listed["lwf"]["settings"]) == {"alpha", "temperature"}
    assert listed["lwf"]["settings"]["temperature"]["default"] == 2
    (synthetic,) = (e for e in json.loads(cli("ls", "benchmarks", "--json").out) if e["name"] == "openloris-sim")
    assert synthetic["settings"]["protocol"]["default"] == "sequence", "inherited settings are listed too"
    assert synthetic["settings"]["size"] == {"type": "int", "default": 128}
    assert "quickstart" in cli("ls", "suites").out
    marked = [line.split()[0] for line in cli("ls", "strategies").out.splitlines() if "(transductive with" in line]
    assert marked == ["dnn"]
    refused(cli("ls", "strategy"), "did you mean 'strategies'")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("import torch.no_such_thing\n", ["no_such_thing"]),
        ("x = 1\n", ["no strategy"]),
        ("def broken(:\n", ["plugin"]),
        (
            'from lorisbench import Strategy\nclass Mine(Strategy, name="ewc"):\n    """Clash."""\n',
            ["'ewc'", "clashes"],
        ),
    ],
)
def test_faulty_plugins_give_one_line(suite_file, cli, tmp_path: Path, text: str, words: list[str]) -> None:
    (tmp_path / "mine.py").write_text(text)
    refused(cli("run", suite_file(), "--plugin", tmp_path / "mine.py", "--out", tmp_path / "out"), *words)


def test_report_without_results_is_refused(cli, tmp_path: Path) -> None:
    refused(cli("report", tmp_path, report=True), "results.csv")


def test_compare_pairs_by_seed_and_fails_on_the_expression(suite_file, cli, tmp_path: Path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    assert cli("run", suite_file(seeds=[0, 1]), "--out", a).code == 0
    assert (
        cli("run", suite_file(seeds=[1, 2], training={"epochs": 1, "batch_size": 4, "lr": 1e-6}), "--out", b).code == 0
    )
    left, right = (pd.read_csv(folder / "results.csv").set_index("seed").accuracy_last[1] for folder in (a, b))
    answer = cli("compare", a, b)
    assert answer.code == 0 and f"{right - left:.6f}"[:6] in answer.out
    assert right < left
    assert cli("compare", a, b, "--fail-on", "accuracy_last < 0").code == 1
    assert cli("compare", a, b, "--fail-on", "accuracy_last > 0.5").code == 0
    refused(cli("compare", a, b, "--fail-on", "acuracy_last < 0"), "accuracy_last")
    refused(cli("compare", a, b, "--fail-on", "accuracy_last"), "METRIC < NUMBER")
    refused(cli("compare", a, tmp_path / "none"), "none")
    refused(cli("compare", a, b, "--fail-on", "accuracy_last < 1.2.3"), "1.2.3")
    crashed = next((b / "runs").glob("*.s1.*")) / "status.json"
    assert cli("run", suite_file(seeds=[2]), "--out", a).code == 0
    crashed.write_text('{"status": "failed", "reason": "test"}')
    cli("report", b)
    answer = cli("compare", a, b, "--fail-on", "accuracy_last < -1")
    assert answer.code == 1 and "naive seed 1: finished in" in answer.err, "a run that B lost is no success"


def test_tables_keep_what_directories_have_lost(finished, cli, tmp_path: Path) -> None:
    out = finished(tmp_path / "out")
    before = [(out / name).read_text() for name in ("results.csv", "matrix.csv")]
    first, second, _ = sorted((out / "runs").iterdir())
    shutil.rmtree(first)
    (second / "predictions.npz").write_bytes(b"PK damaged")
    assert cli("report", out).code == 0
    after = [pd.read_csv(out / name).sort_values("run_id", kind="stable").reset_index(drop=True)
             for name in ("results.csv", "matrix.csv")]  # fmt: skip
    for text, frame in zip(before, after, strict=True):
        expected = pd.read_csv(io.StringIO(text)).sort_values("run_id", kind="stable").reset_index(drop=True)
        pd.testing.assert_frame_equal(frame, expected)


def test_labels_with_dots_can_be_set(suite_file, cli, tmp_path: Path) -> None:
    suite = suite_file(strategies={"ewc-0.1": {"strategy": "ewc"}})
    plain, changed = (cli("run", suite, "--out", tmp_path / "out", "--dry-run", *options).out
                      for options in ([], ["--set", "ewc-0.1.ewc_lambda=3"]))  # fmt: skip
    assert plain and changed and plain != changed


def test_cache_lists_and_clears_what_it_holds(cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LORISBENCH_CACHE", str(tmp_path))
    (tmp_path / "features").mkdir()
    (tmp_path / "features" / "a.npy").write_bytes(b"x" * 2_000_000)
    (tmp_path / "unrelated.txt").write_text("stays")
    assert "2.0 MB" in cli("cache", "ls").out
    refused(cli("cache", "clear", "featurs"), "features")
    assert "2.0 MB" in cli("cache", "clear").out
    assert not (tmp_path / "features").exists() and (tmp_path / "unrelated.txt").exists()


def test_version_is_one(cli) -> None:
    assert cli("--version").out.strip() == f"lorisbench {lorisbench.__version__}"


def test_data_describe_counts_images(cli, release: Path) -> None:
    answer = cli("data", "describe", release)
    assert answer.code == 0
    assert "648 images, 3 classes" in answer.out and "clutter 3" in answer.out
    assert "layout: release" in answer.out and "no counts are published for 3 classes" in answer.out
    refused(cli("data", "describe", release / "train"), "looked for")
