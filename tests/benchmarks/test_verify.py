"""`lorisbench data verify`: what is bad is found and told, what is good is remembered, and nothing is changed."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import lorisbench.data.images
from lorisbench.benchmarks.openloris import checksums
from lorisbench.benchmarks.tools.verified import Verified
from lorisbench.benchmarks.tools.verify import bad_files
from lorisbench.common.errors import InputError
from lorisbench.common.processes import map_unordered
from lorisbench.data.marker import MARKER

IMAGES = 216  # of the tree of these tests


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("LORISBENCH_CACHE", str(folder))
    return folder


@pytest.fixture
def tree(tmp_path: Path, make_release: Callable[..., Path]) -> Path:
    return make_release(tmp_path / "tree", objects=("box_01", "cup_01"), per_split=1, size=16)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that this process decodes, as it goes."""
    files: list[str] = []
    real = lorisbench.data.images.read_image

    def read(file: str) -> Any:
        files.append(file)
        return real(file)

    monkeypatch.setattr(lorisbench.data.images, "read_image", read)
    return files


def place(root: Path, split: str = "train", segment: int = 1, name: str = "cup_01") -> Path:
    return root / split / "clutter" / f"segment{segment}" / name / "000.jpg"


def damage(root: Path) -> dict[str, str]:
    """Five bad files of different kinds, with a word of each reason; and two odd ones that decode."""
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (90, 120, 3), dtype=np.uint8))
    whole = io.BytesIO()
    picture.save(whole, "JPEG")
    cut, empty, page, loop, ended = (place(root, segment=segment) for segment in (1, 2, 3, 4, 5))
    cut.write_bytes(whole.getvalue()[:-500])
    ended.write_bytes(whole.getvalue()[:-1])
    empty.write_bytes(b"")
    page.write_text("<html>quota exceeded</html>")
    loop.unlink()
    os.mkfifo(loop)  # opening it would wait for ever
    picture.save(place(root, segment=6), "PNG")
    picture.convert("L").save(place(root, segment=7), "WEBP")
    reasons = {cut: "truncated", ended: "truncated", empty: "no bytes", page: "cannot identify", loop: "not a file"}
    return {str(file): reason for file, reason in reasons.items()}


def contents(root: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.lstat().st_size, path.lstat().st_mtime_ns) for path in root.rglob("*")}


def test_a_good_tree(cli: Any, tree: Path) -> None:
    before = contents(tree)
    answer = cli("data", "verify", tree, "--workers", 1)
    assert answer.code == 0, answer
    assert "layout release: 216 images (train 72, validation 72, test 72)" in answer.out
    assert "no counts are published for 2 classes" in answer.out
    assert "no bad files" in answer.out and "not read" not in answer.out and "archive" not in answer.out
    assert "decoding images: 100 %" in answer.err
    assert contents(tree) == before


def test_synthetic_data_are_called_so(cli: Any, tree: Path) -> None:
    (tree / MARKER).write_text(json.dumps({"synthetic": True, "name": "OpenLORIS-Sim", "renderer_version": 1}), "utf-8")
    answer = cli("data", "verify", tree, "--workers", 1)
    assert answer.code == 0 and "(synthetic, not OpenLORIS-Object), layout release: 216 images" in answer.out
    assert "differs" not in answer.out


def test_every_kind_of_damage_is_found_by_any_number_of_workers(cli: Any, tree: Path, tmp_path: Path) -> None:
    reasons = damage(tree)
    before = contents(tree)
    (tree / "train" / "left.PNG").write_bytes(b"")
    (tree / "notes.txt").write_bytes(b"")
    report = tmp_path / "new" / "bad.csv"
    answer = cli("data", "verify", tree, "--workers", 1, "--report", report)
    assert answer.code == 1
    assert "5 bad files" in answer.out
    assert "files not read: 2 (1 .png, 1 .txt), such as train/left.PNG\n" in answer.out
    with report.open(encoding="utf-8", newline="") as stream:
        header, *rows = list(csv.reader(stream))
    assert header == ["path", "reason"] and [path for path, _ in rows] == sorted(reasons)
    for path, reason in rows:
        assert reasons[path] in reason and path not in reason
    files = [path for path in sorted(before) if path.endswith(".jpg")]
    alone, together = bad_files(files, workers=1), bad_files(files, workers=2)
    assert alone == together == [tuple(row) for row in rows]
    after = contents(tree)
    assert {path: after[path] for path in files} == {path: before[path] for path in files}


def test_bad_files_are_printed_where_no_report_is_wanted(cli: Any, tree: Path) -> None:
    empty = sorted(tree.rglob("*.jpg"))[:23]
    for file in empty:
        file.write_bytes(b"")
    answer = cli("data", "verify", tree, "--workers", 1)
    assert answer.code == 1
    assert answer.out.count("the image has no bytes") == 20
    assert answer.out.endswith("... and 3 more; --report FILE lists all\n")
    control = sorted(tree.rglob("*.jpg"))[0]
    control.rename(control.with_name("\x1b[2J.jpg"))
    assert "\x1b" not in cli("data", "verify", tree, "--workers", 1).out


def test_good_files_are_remembered_until_they_change(cli: Any, tree: Path, decoded: list[str]) -> None:
    words = ("data", "verify", tree, "--workers", 1)
    cut = place(tree)
    cut.write_bytes(cut.read_bytes()[:-2])
    assert "216 images checked, 0 of them good" in cli(*words).out and len(decoded) == IMAGES
    decoded.clear()
    answer = cli(*words)
    assert answer.code == 1 and "215 of them good in an earlier check" in answer.out
    assert decoded == [str(cut)]
    rewritten, touched = place(tree, "test"), place(tree, "validation")
    rewritten.write_bytes(rewritten.read_bytes()[:-2])
    status = touched.stat()
    os.utime(touched, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    decoded.clear()
    assert "2 bad files" in cli(*words).out
    assert sorted(decoded) == sorted(map(str, (cut, rewritten, touched)))
    decoded.clear()
    assert "0 of them good" in cli(*words, "--fresh").out and len(decoded) == IMAGES


@pytest.mark.parametrize(
    "text",
    [
        *('{"good": 3}', "\x00\xff"),
        *(pytest.param(t, marks=pytest.mark.heavy) for t in ("", "[]", '{"version": 0, "root": "/", "good": {}}')),
    ],
)
def test_a_damaged_memory_is_no_memory(cli: Any, tree: Path, own_cache: Path, decoded: list[str], text: str) -> None:
    words = ("data", "verify", tree, "--workers", 1)
    cli(*words)
    (state,) = (own_cache / "verified").iterdir()
    assert len(json.loads(state.read_text("utf-8"))["good"]) == IMAGES
    state.write_text(text, encoding="latin-1")
    decoded.clear()
    assert cli(*words).code == 0 and len(decoded) == IMAGES


def test_a_cache_that_cannot_be_written_is_told_and_no_more(cli: Any, tree: Path, own_cache: Path) -> None:
    (own_cache / "verified").write_text("a file where the folder should be")
    answer = cli("data", "verify", tree, "--workers", 1)
    assert answer.code == 0 and "no bad files" in answer.out and answer.err.count("are not remembered") == 1


def test_each_folder_has_its_own_memory(tree: Path, tmp_path: Path) -> None:
    known = Verified(tree)
    known.add(str(place(tree)), (3, 4))
    known.save()
    assert Verified(tree).knows(str(place(tree)), (3, 4))
    assert not Verified(tree).knows(str(place(tree)), (3, 5))
    assert not Verified(tmp_path).knows(str(place(tree)), (3, 4))


def test_an_interrupted_check_keeps_what_it_had(cli: Any, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, count = lorisbench.data.images.read_image, 0

    def read(file: str) -> Any:
        nonlocal count
        count += 1
        if count > 100:
            raise KeyboardInterrupt
        return real(file)

    monkeypatch.setattr(lorisbench.data.images, "read_image", read)
    answer = cli("data", "verify", tree, "--workers", 1)
    assert answer.code == 1 and "interrupted" in answer.err and "Traceback" not in answer.err
    monkeypatch.setattr(lorisbench.data.images, "read_image", real)
    answer = cli("data", "verify", tree, "--workers", 1)
    assert answer.code == 0 and "216 images checked, 96 of them good" in answer.out  # whole chunks of 32


def test_the_memory_is_also_written_now_and_then(
    cli: Any, tree: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, real, entries = 100.0, lorisbench.data.images.read_image, []

    def read(file: str) -> Any:
        nonlocal clock
        clock += 0.1
        states = list((own_cache / "verified").glob("*.json"))
        entries.append(len(json.loads(states[0].read_text("utf-8"))["good"]) if states else 0)
        return real(file)

    monkeypatch.setattr(lorisbench.data.images, "read_image", read)
    monkeypatch.setattr(time, "monotonic", lambda: clock)
    assert cli("data", "verify", tree, "--workers", 1).code == 0
    assert sorted(set(entries)) == [0, 64, 128, 192]  # every 5 s, of which a chunk of 32 takes 3.2


def alive(group: int) -> list[str]:
    """Processes of a group that still run."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            name, _, rest = status.read_text("utf-8").rpartition(")")
            state, _, of_group = rest.split()[:3]
            if int(of_group) == group and state != "Z":
                found.append(name)
    return found


@pytest.mark.heavy
def test_ctrl_c_ends_the_workers_without_tracebacks(tree: Path, tmp_path: Path) -> None:
    large = tmp_path / "large.jpg"
    Image.fromarray(np.zeros((3000, 4000, 3), np.uint8)).save(large)
    for file in tree.rglob("*.jpg"):
        file.unlink()
        os.link(large, file)
    words = [sys.executable, "-m", "lorisbench", "data", "verify", str(tree), "--workers", "2"]
    process = subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # ignored in background jobs
    )  # fmt: skip
    try:
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(0.7)  # while workers start or decode
        os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=120)
        deadline = time.monotonic() + 60
        while alive(process.pid) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not alive(process.pid)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 1
    lines = [line for line in err.splitlines() if not line.startswith("decoding images")]
    assert len(lines) == 1 and "interrupted" in lines[0], err


def test_a_killed_worker_is_one_line() -> None:
    with pytest.raises(InputError, match="one of 2 worker processes was killed"):
        list(map_unordered(os._exit, [9, 9, 9], 2))


def test_stopping_early_does_not_wait_for_what_runs() -> None:
    answers = map_unordered(time.sleep, [0.0, 300.0, 300.0, 300.0], 2)
    start = time.monotonic()
    assert next(answers) == (0.0, None)
    answers.close()
    assert time.monotonic() - start < 300, "however busy the machine is, no task has ended"


def test_workers_import_nothing_heavy() -> None:
    code = (
        "import sys, lorisbench.benchmarks.tools.verify as v; "
        "v.decode_chunk(v.Chunk([0], ['/none.jpg'])); print(*sys.modules)"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert not {"torch", "avalanche", "pandas", "matplotlib"} & set(loaded.split())


def test_archives_beside_the_images_have_the_right_checksum(
    cli: Any, tree: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    known = {name: [known_as(f"{name}, {release}", release) for release in ("first", "second")] for name in NAMES}
    monkeypatch.setattr(checksums, "known_checksums", lambda: known)
    (tree / "train.zip").write_bytes(b"train.zip, first")
    (tree.parent / "LUP.pkl").write_bytes(b"LUP.pkl, second")
    (tree / "other.zip").write_bytes(b"of no known name")
    answer = cli("data", "verify", tree, "--workers", 1)
    assert answer.code == 0 and answer.out.count("the checksum is right") == 2
    assert "the checksum is right (first; made for this test)" in answer.out and "(second; made" in answer.out
    (tree.parent / "LUP.pkl").write_bytes(b"")
    report = tmp_path / "bad.csv"
    answer = cli("data", "verify", tree, "--workers", 1, "--report", report)
    assert answer.code == 1 and answer.out.count("the checksum is right") == 1
    assert "1 bad archives" in answer.out and "no bad files" in answer.out
    assert f"{tree.parent / 'LUP.pkl'},the archive has no bytes" in report.read_text("utf-8")


NAMES = ("train.zip", "test.zip", "LUP.pkl")


def known_as(content: str, release: str) -> checksums.Known:
    return checksums.Known(hashlib.md5(content.encode()).hexdigest(), release, "made for this test")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda data: data, ""),
        (lambda data: data[:-40], "cut off or damaged"),
        (lambda data: data[:60], "cut off or damaged"),
        (lambda data: data.replace(b"pixels of a", b"pixels of b", 1), "cut off or damaged"),
        (lambda data: b"<html>quota exceeded</html>", "cut off or damaged"),
        (lambda data: b"", "no bytes"),
    ],
)
def test_an_archive_of_no_known_checksum_is_bad_only_if_it_cannot_be_read(
    cli: Any, tree: Path, change: Callable[[bytes], bytes], told: str
) -> None:
    file = tree / "test.zip"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("test/clutter/a.jpg", b"pixels of a picture" * 9)
    file.write_bytes(change(file.read_bytes()))
    answer = cli("data", "verify", tree, "--workers", 1)
    line = next(line for line in answer.out.splitlines() if line.startswith(f"{file}:"))
    assert answer.code == bool(told) and ("1 bad archives" in answer.out) == bool(told)
    assert (told or f"not known (MD5 {hashlib.md5(file.read_bytes()).hexdigest()})") in line


def test_releases_are_told_apart_without_importing_avalanche() -> None:
    code = (
        "import sys; from lorisbench.benchmarks.openloris.checksums import known_checksums as k; "
        "print(len(k()), *(known.md5 for known in k()['test.zip']), 'avalanche' in sys.modules)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    both = ["9a87a4a6ffc16d3daa9249fe032ae734", "05bd74fb07968586f646a6987ac3a6c6"]
    assert told.split() == ["7", *both, "False"]
    others = checksums.known_checksums()
    assert [others[name][-1].md5[:8] for name in ("train.zip", "validation.zip")] == ["4c1369a0", "ad4bc64a"]
    assert all(known.release and known.source for entries in others.values() for known in entries)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("{tmp}/none",), "no such folder"),
        (("{tmp}",), "not a known kind of data set"),
        (("{tree}", "--layout", "relase"), "release"),
        (("{tree}", "--report", "{tree}/bad.csv"), "nothing may be changed"),
        (("{tree}", "--report", "{tree}/../tree/train/bad.csv"), "nothing may be changed"),
        (("{tree}", "--report", "{tmp}"), "no file can be written there"),
        (("{tree}", "--report", "{tmp}/file/bad.csv"), "no file can be written there"),
    ],
)
def test_wrong_input_is_one_line(cli: Any, tree: Path, tmp_path: Path, words: tuple[str, ...], told: str) -> None:
    (tmp_path / "file").write_text("")
    answer = cli("data", "verify", *(word.format(tmp=tmp_path, tree=tree) for word in words))
    assert answer.code == 2 and told in answer.err
    assert len(answer.err.strip().splitlines()) == 1
