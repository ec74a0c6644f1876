"""An output whose disk is full, or that is gone: one clear line, nothing lost, and the next start goes on."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

import pytest
from same import same_results

import lorisbench
from lorisbench.common import files
from lorisbench.common.errors import InputError

VANISHES = '''
import shutil
from avalanche.core import SupervisedPlugin
from lorisbench import Strategy


class Remove(SupervisedPlugin):
    def __init__(self, folder):
        super().__init__()
        self.folder = folder

    def before_training_exp(self, strategy, **kwargs):
        if strategy.clock.train_exp_counter == 3:
            shutil.rmtree(self.folder)


class Vanishes(Strategy, name="vanishes"):
    """Removes a folder in its fourth experience."""

    folder: str

    def plugins(self, context):
        return [Remove(self.folder)]
'''


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("predictions.npz", errno.ENOSPC),
        ("status.json", errno.EROFS),
        ("results.csv", errno.EDQUOT),
        ("config.yaml", errno.EIO),
        ("model.safetensors", errno.ENOSPC),
    ],
)
def test_a_full_disk_is_one_line_and_the_next_start_goes_on(
    suite_file, cli, tmp_path: Path, monkeypatch, name: str, code: int
) -> None:
    suite = suite_file(strategies=["naive", "ewc"])
    assert cli("run", suite, "--out", tmp_path / "alone").code == 0
    made, times = tempfile.mkstemp, []

    def full(*args: object, **named: object) -> tuple[int, str]:
        if named.get("prefix") == f".{name}.":
            times.append(name)
            if len(times) > (3 if name == "predictions.npz" else 1):
                raise OSError(code, os.strerror(code))
        return made(*args, **named)  # type: ignore[call-overload, no-any-return]

    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(files.tempfile, "mkstemp", full)
        answer = cli("run", suite, "--out", out)
    assert answer.code == 2, answer.err
    last = answer.err.splitlines()[-1]
    assert name in last and os.strerror(code) in last and "what was written before is kept" in last
    assert "Traceback" not in answer.err
    assert cli("status", out).code == 0
    assert cli("run", suite, "--out", out).code == 0
    same_results(tmp_path / "alone", out)


def test_an_output_that_is_removed_meanwhile_ends_the_suite(suite_file, cli, tmp_path: Path) -> None:
    (tmp_path / "vanishes.py").write_text(VANISHES)
    out = tmp_path / "out"
    entry = {"strategy": "vanishes", "folder": str(out)}
    suite = suite_file(plugins=[str(tmp_path / "vanishes.py")], strategies={"vanishes": entry, "naive": None})
    answer = cli("run", suite, "--out", out)
    assert answer.code == 2 and "vanished" in answer.err.splitlines()[-1]
    assert "Traceback" not in answer.err


def test_a_report_of_a_half_finished_suite_says_what_is_missing(suite_file, finished, cli, tmp_path: Path) -> None:
    out = finished(tmp_path / "out")
    (folder,) = (out / "runs").glob("*.s1.*")
    (folder / "status.json").write_text('{"status": "running", "reason": ""}')
    answer = cli("report", out, report=True)
    assert answer.code == 0, answer.err
    page = (out / "report" / "index.html").read_text()
    assert folder.name in page


@pytest.mark.parametrize("text", ["many", "-1", "1.5"])
def test_a_number_of_workers_that_is_none_is_one_line(suite_file, tmp_path: Path, monkeypatch, text: str) -> None:
    monkeypatch.setenv("LORISBENCH_WORKERS", text)
    with pytest.raises(InputError, match=f"LORISBENCH_WORKERS={text}: a number of processes was expected"):
        lorisbench.run(str(suite_file()), out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
