"""Own data: folders of domains and CSV files, what is handled and the one line for what is not."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lorisbench.benchmarks.openloris.benchmark import read_release
from lorisbench.benchmarks.own import csv_manifest
from lorisbench.benchmarks.own.folder import natural
from lorisbench.common.errors import InputError
from lorisbench.data.manifest import Manifest
from lorisbench.suite.benchmarks import make_benchmark


def fill(folder: Path, images: int, suffix: str = ".png", first: int = 0) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(first, first + images):
        shade = np.full((6, 6, 3), (number * 29 % 256, len(folder.name) * 31 % 256, 90), np.uint8)
        Image.fromarray(shade).save(folder / f"{number:03d}{suffix}")


def folder(root: Path, **settings: object) -> Manifest:
    return make_benchmark({"name": "folder", "root": str(root), **settings}).manifest()


def listed(file: Path, text: str, **settings: object) -> Manifest:
    file.write_text(text, encoding="utf-8")
    return make_benchmark({"name": "manifest", "file": str(file), **settings}).manifest()


def of(manifest: Manifest, split: str, experience: int = 0) -> set[str]:
    return set(manifest.table.iloc[manifest.rows(split, experience)].path)


@pytest.fixture
def domains(tmp_path: Path) -> Path:
    """Three domains of three classes; `s10` lacks one."""
    for domain in ("s1", "s2", "s10"):
        for name in ("cup", "dog", "house"):
            if (domain, name) != ("s10", "dog"):
                fill(tmp_path / "own" / domain / name, 10)
    return tmp_path / "own"


def test_domains_are_experiences_in_natural_order(domains: Path) -> None:
    manifest = folder(domains)
    assert list(manifest.experience_names) == ["s1", "s2", "s10"]
    assert list(manifest.classes) == ["cup", "dog", "house"]
    assert not manifest.synthetic and manifest.name == "own"
    assert manifest.counts()[["train", "validation", "test"]].to_numpy().tolist() == [
        [21, 3, 6],
        [21, 3, 6],
        [14, 2, 4],
    ]
    assert manifest.notes["missing classes"] == "'s10' has no dog"
    assert "20% of each class for test (16 images)" in manifest.notes["splits"]
    table = manifest.table
    assert (table.path.str.split("/").str[1] == table.class_name).all()
    assert [manifest.classes[label] for label in table.label] == table.class_name.tolist()
    assert set(table.path) == {p.relative_to(domains).as_posix() for p in domains.rglob("*.png")}


def test_domains_can_be_chosen_and_ordered(domains: Path) -> None:
    manifest = folder(domains, domains=["s10", "s1"])
    assert list(manifest.experience_names) == ["s10", "s1"] and len(manifest.table) == 50
    assert of(manifest, "test", 1) == of(folder(domains), "test", 0)  # splits do not depend on the choice
    shuffled = folder(domains, order=[2, 0, 1])
    assert list(shuffled.experience_names) == ["s10", "s1", "s2"]
    assert list(folder(domains, objects=["house", "cup"]).classes) == ["cup", "house"]


def test_drawn_splits_depend_on_the_seed_alone(domains: Path) -> None:
    first, again, other = (folder(domains, split_seed=seed) for seed in (0, 0, 1))
    assert of(first, "test") == of(again, "test") != of(other, "test")
    tail = folder(domains, held_out="tail")
    assert {path[-7:-4] for path in of(tail, "test")} == {"008", "009"}
    assert {path[-7:-4] for path in of(tail, "validation")} == {"007"}


def test_split_folders_are_used_and_validation_is_taken_from_train(tmp_path: Path) -> None:
    for domain in ("art", "photo"):
        for name in ("cat", "cow"):
            fill(tmp_path / domain / "train" / name, 8)
            fill(tmp_path / domain / "test" / name, 3)
    fill(tmp_path / "photo" / "val" / "cat", 2)
    manifest = folder(tmp_path)
    assert manifest.counts()[["train", "validation", "test"]].to_numpy().tolist() == [[14, 2, 6], [16, 2, 6]]
    assert all("/test/" in path for path in of(manifest, "test") | of(manifest, "test", 1))
    assert of(manifest, "validation", 1) == {"photo/val/cat/000.png", "photo/val/cat/001.png"}


@pytest.mark.parametrize("suffix", [".bmp", ".webp", ".tif", ".gif", ".jpeg", ".PNG"])
def test_any_image_type_counts_and_other_files_do_not(domains: Path, suffix: str) -> None:
    fill(domains / "s1" / "cup", 1, suffix, first=50)
    (domains / "s1" / "cup" / "notes.txt").write_text("no image")
    (domains / "s1" / "cup" / "._050.png").write_bytes(b"what some systems leave behind")
    (domains / "__MACOSX" / "cup").mkdir(parents=True)
    assert len(folder(domains).table) == 81


def test_empty_class_folders_are_reported(domains: Path) -> None:
    (domains / "s2" / "tree").mkdir()
    manifest = folder(domains)
    assert manifest.notes["empty class folders"] == "s2/tree" and "tree" not in manifest.classes


def test_rendered_images_stay_synthetic_as_own_data(domains: Path) -> None:
    (domains / "openloris-sim.json").write_text('{"name": "OpenLORIS-Sim"}')
    for root in (domains, domains.parent):
        if root != domains:
            (root / "list.csv").write_text("path,class_name,experience\n" + "".join(
                f"own/s1/{name}/{i:03d}.png,{name},a\n" for name in ("cup", "dog") for i in range(6)))  # fmt: skip
            manifest = make_benchmark({"name": "manifest", "file": str(root / "list.csv")}).manifest()
        else:
            manifest = folder(root)
        assert manifest.synthetic, root


@pytest.mark.parametrize(
    ("change", "settings", "words"),
    [
        (lambda d: None, {"root": "{}/nowhere"}, "nowhere: no such folder"),
        (lambda d: None, {"domains": ["s3"]}, "'s3'"),
        (lambda d: None, {"domains": ["s1", "s1"]}, "twice"),
        (lambda d: fill(d / "s1" / "test" / "cup", 1), {}, "both 'test' and 'cup'"),
        (lambda d: [p.unlink() for p in d.rglob("*.png")], {}, "no images in <domain>/<class>"),
        (lambda d: None, {"root": "{}/.."}, "own"),
        (lambda d: os.symlink(d, d / "s1" / "cup" / "loop") or os.symlink(d / "s1", d / "s1" / "loop"), {}, "circle"),
    ],
)
def test_wrong_folders_give_one_line(
    domains: Path, change: Callable[[Path], object], settings: dict, words: str
) -> None:
    change(domains)
    settings = {key: value.format(domains) if isinstance(value, str) else value for key, value in settings.items()}
    with pytest.raises(InputError, match=words) as error:
        folder(settings.pop("root", domains), **settings)  # type: ignore[arg-type]
    assert "\n" not in str(error.value)


@given(st.lists(st.integers(0, 300), unique=True, min_size=2, max_size=20))
def test_natural_order_counts(numbers: list[int]) -> None:
    names = [f"Session {number} b" for number in numbers]
    assert sorted(names, key=natural) == [f"Session {number} b" for number in sorted(numbers)]


CSV = "path,class_name,experience,split\n"


def rows(domain: str = "s1", split: str = "", classes: tuple[str, ...] = ("cup", "dog"), images: int = 5) -> str:
    return "".join(f"{domain}/{name}/{i:03d}.png,{name},{domain},{split}\n" for name in classes for i in range(images))


def test_a_csv_file_says_everything(domains: Path) -> None:
    lines = [
        "# root: s1", "# name: kitchen", "# source: a camera", "# any other remark",
        "path, label, class_name, experience, split, factor, level, recording, task",
        "cup/000.png,1,a cup,evening,train,light,2,r1,0",
        "dog/000.png,0,dog,evening,train,light,2,r2,0",
        "cup/001.png,1,,evening,val,light,2,r1,0".replace(",,", ",a cup,"),
        "",
        "cup/002.png,1,a cup,evening,test,light,2,r1,0",
        '"dog/001.png",0,dog,morning,train,light,1,r2,3',
        "./dog//002.png,0,dog,morning,validation,,,,3",
        "dog/003.png,0,dog,morning,test,,,,3",
    ]  # fmt: skip
    manifest = listed(domains / "list.csv", "\n".join(lines))
    assert (manifest.name, manifest.source, manifest.root) == ("kitchen", "a camera", domains / "s1")
    assert list(manifest.classes) == ["dog", "a cup"] and list(manifest.experience_names) == ["evening", "morning"]
    first = manifest.table.iloc[0]
    assert (first.label, first.factor, first.level, first.recording) == (1, "light", 2, "r1")
    assert of(manifest, "validation", 1) == {"dog/002.png"}
    assert manifest.task_labels().tolist() == [0] * 4 + [3] * 3
    assert all(os.path.isfile(file) for file in manifest.files())
    assert "missing classes" in manifest.notes


def test_numbered_experiences_are_sorted_and_missing_splits_drawn(domains: Path) -> None:
    text = CSV + rows("s10", classes=("cup", "house")).replace(",s10,", ",10,") + rows("s2").replace(",s2,", ",2,")
    manifest = listed(domains / "list.csv", text)
    assert list(manifest.experience_names) == ["experience 2", "experience 10"]
    assert manifest.counts()[["train", "validation", "test"]].to_numpy().tolist() == [[6, 2, 2], [6, 2, 2]]


def test_the_root_of_the_settings_goes_before_that_of_the_file(domains: Path, tmp_path: Path) -> None:
    text = "# root: elsewhere\n" + CSV + rows()
    assert len(listed(tmp_path / "list.csv", text, root=str(domains)).table) == 10


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (CSV + "../../etc/passwd,a,s1,train\n", r"list.csv:2: the path '../../etc/passwd' leaves"),
        (CSV + rows() + "/etc/passwd,a,s1,train\n", r"list.csv:12: the path"),
        (CSV + "C:\\x.png,a,s1,train\n", r":2: the path"),
        ("# x\n" + CSV + "s1/cup/000.png,cup,s1,trian\n", r":3: the split 'trian'"),
        (CSV + "s1/cup/777.png,cup,s1,train\n", r":2: .*777.png: cannot be read"),
        (CSV + "\n\ns1/cup/777.png,cup,s1,train\n", r":4: .*777.png: cannot be read"),
        (CSV + "s1/cup/000.png,cup,,train\n", r":2: the experience is empty"),
        (CSV + "s1/cup/000.png,,s1,train\n", r":2: the class_name is empty"),
        (CSV + ",cup,s1,train\n", r":2: the path is empty"),
        (
            CSV + rows(split="train") + "s1/cup/000.png,dog,s1,train\n",
            r":12: .*has the class_name 'dog' here and 'cup'",
        ),
        (CSV + rows(split="train") + "s1/cup/000.png,cup,s1,test\n", r":12: .*has the split 'test' here and 'train'"),
        ("path,label,experience\ns1/cup/000.png,7,1\ns1/cup/001.png,0,1\n", r":2: the label 7 is not in 0..1"),
        ("path,label,experience\ns1/cup/000.png,-1,1\n", r":2: the label '-1'"),
        (
            "path,label,class_name,experience\ns1/cup/000.png,0,a,1\ns1/cup/001.png,0,b,1\n",
            r":3: the label '0' goes with 'b' here and 'a'",
        ),
        ("path,experience,level\ns1/cup/000.png,a,b\n", "'class_name'"),
        ("path,experience,class_name,level\ns1/cup/000.png,a,x,high\n", ":2: the level 'high'"),
        ("path,class_name,split\n", "'experience' is missing"),
        (
            CSV.replace("split", "splt") + "s1/cup/000.png,cup,s1,train\n",
            ":1: unknown column 'splt'; did you mean 'split'",
        ),
        (CSV + "s1/cup/000.png,cup,s1,train,more,and more\n", ":2: has more fields"),
        (CSV + rows() + "s1/cup/000.png,cup,s1,train,more\n", ":12: "),
        (CSV, "lists no image"),
        ("", "no line of column names"),
        (CSV + rows(split="train"), "no test images"),
        (CSV + rows().replace("cup,", "d\udce9,", 1), "not UTF-8"),
    ],
)
def test_wrong_csv_files_are_refused_with_the_line(domains: Path, text: str, words: str) -> None:
    file = domains / "list.csv"
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(InputError, match=words) as error:
        make_benchmark({"name": "manifest", "file": str(file)}).usable()
    assert ("\n" not in str(error.value) and "list.csv" in str(error.value)) or "no test images" in words


def test_lines_that_repeat_are_used_once_and_told(domains: Path) -> None:
    manifest = listed(domains / "list.csv", CSV + rows() + rows())
    assert len(manifest.table) == 10 and "line 12" in manifest.notes["duplicates"]


def test_names_with_commas_spaces_and_other_letters(domains: Path) -> None:
    odd = 'täß, "ü" é'
    fill(domains / "s1" / odd, 5)
    before = folder(domains, domains=["s1", "s2"])
    csv_manifest.write(before, domains.parent / "written.csv")
    after = make_benchmark({"name": "manifest", "file": str(domains.parent / "written.csv")}).manifest()
    assert odd in after.classes and after.content_hash == before.content_hash


def test_what_is_written_is_read_the_same(release: Path, tmp_path: Path) -> None:
    before = read_release(release)
    csv_manifest.write(before, tmp_path / "all.csv")
    after = make_benchmark({"name": "manifest", "file": str(tmp_path / "all.csv")}).manifest()
    pd.testing.assert_frame_equal(after.table, before.table, check_dtype=False)
    assert after.files() == before.files() and after.content_hash == before.content_hash
    assert (after.name, after.source, after.synthetic) == (before.name, before.source, before.synthetic)


def test_suites_run_on_own_data(suite_file: Callable[..., Path], cli, domains: Path, tmp_path: Path) -> None:
    file = tmp_path / "list.csv"
    csv_manifest.write(folder(domains), file)
    for benchmark in ({"name": "folder", "root": str(domains)}, {"manifest": "list.csv"}):
        out = tmp_path / f"out-{len(benchmark)}"
        answer = cli("run", suite_file(benchmark=benchmark, latency={"enabled": False}), "--out", out, report=True)
        assert answer.code == 0, answer.err
        results = pd.read_csv(out / "results.csv")
        assert results.status.tolist() == ["done"] and results.experiences.tolist() == [3]
        assert "has no dog" in (out / "report" / "index.html").read_text("utf-8")
    resolved = yaml.safe_load((out / "suite.yaml").read_text("utf-8"))
    assert resolved["benchmark"]["file"] == str(file) and resolved["benchmark"]["name"] == "manifest"
    assert results.benchmark.tolist() == ["manifest"]


def test_moved_data_are_the_same_data(suite_file: Callable[..., Path], cli, domains: Path, tmp_path: Path) -> None:
    suite = suite_file(benchmark={"name": "folder", "root": str(domains)}, latency={"enabled": False})
    assert cli("run", suite, "--out", tmp_path / "out").code == 0
    moved = domains.rename(tmp_path / "moved")
    answer = cli("run", suite, "--out", tmp_path / "out", "--data-root", moved)
    assert answer.code == 0 and "1 already finished" in answer.err
    next(moved.rglob("*.png")).unlink()
    answer = cli("run", suite, "--out", tmp_path / "out", "--data-root", moved)
    assert answer.code == 2 and "other images" in answer.err
