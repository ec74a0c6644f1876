"""Avalanche's classic benchmarks as manifests: its own streams are the oracle, tiny files stand in for downloads."""

from __future__ import annotations

import gzip
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from idx_files import write_mnist
from PIL import Image

from lorisbench.benchmarks.classic import fashion_mnist
from lorisbench.benchmarks.classic.avalanche import build, hints, to_pixels
from lorisbench.common.errors import InputError
from lorisbench.data.manifest import Manifest
from lorisbench.data.stream import Store, make_stream
from lorisbench.suite.benchmarks import make_benchmark
from lorisbench.suite.resolve import load_suite
from lorisbench.suite.streams import written_out


@pytest.fixture(scope="module")
def mnist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("mnist")
    write_mnist(root / "MNIST" / "raw")
    return root


def read(root: Path, **settings: object) -> Manifest:
    return make_benchmark(written_out({"root": str(root), **settings})).manifest()


def stored(manifest: Manifest, split: str, experience: int) -> list[tuple[bytes, int, int]]:
    sources, tasks = manifest.sources(), manifest.task_labels()
    rows = manifest.rows(split, experience)
    return sorted((bytes(sources[row].tobytes()), int(manifest.table.label[row]), int(tasks[row])) for row in rows)  # type: ignore[union-attr]


def oracle(experience: object) -> list[tuple[bytes, int, int]]:
    return sorted((to_pixels(x).tobytes(), int(y), int(t)) for x, y, t in experience.dataset)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("RotatedMNIST", {"n_experiences": 3, "seed": 4, "return_task_id": True}),
        ("PermutedMNIST", {"n_experiences": 2, "seed": 4}),
        ("SplitMNIST", {"n_experiences": 5, "return_task_id": True, "class_ids_from_zero_in_each_exp": True}),
        ("SplitMNIST", {"n_experiences": 2, "fixed_class_order": [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]}),
    ],
)
def test_avalanches_own_stream_holds_the_same(mnist: Path, name: str, args: dict[str, object]) -> None:
    args = {"seed": 1, **args}
    manifest = read(mnist, avalanche=name, **args)
    own = build(name, args, mnist)
    assert manifest.experiences == len(own.train_stream) and not manifest.synthetic
    for index, (train, test) in enumerate(zip(own.train_stream, own.test_stream, strict=True)):
        assert stored(manifest, "test", index) == oracle(test)
        assert sorted(stored(manifest, "train", index) + stored(manifest, "validation", index)) == oracle(train)
        assert len(manifest.rows("validation", index)) >= len(set(train.classes_in_this_experience))
        assert {task for *_, task in stored(manifest, "train", index)} == {train.task_label}
    order = list(range(manifest.experiences))[::-1]
    turned = read(mnist, avalanche=name, order=order, **args)
    assert stored(turned, "test", 0) == stored(manifest, "test", order[0])
    assert turned.pixels == manifest.pixels  # one file serves every order


def test_every_grey_value_comes_back_from_a_tensor() -> None:
    from torchvision.transforms.functional import to_tensor

    values = np.arange(256, dtype=np.uint8).reshape(16, 16)
    for array in (values[:, :, None], np.stack([values, values.T, values[::-1]], axis=2)):
        picture = Image.fromarray(array.squeeze())
        assert np.array_equal(to_pixels(to_tensor(picture)), array)
        assert np.array_equal(to_pixels(picture), array)
    with pytest.raises(ValueError, match="not an image"):
        to_pixels(torch.zeros(2, 8, 8))


def test_task_labels_reach_avalanches_experiences(mnist: Path) -> None:
    manifest = read(mnist, avalanche="SplitMNIST", n_experiences=5, return_task_id=True, seed=0)
    y = torch.tensor(manifest.table.label.to_numpy())
    stream = make_stream(manifest, Store(torch.zeros(len(y), 2), y, torch.tensor(manifest.task_labels())))
    assert [experience.task_label for experience in stream.train_stream] == [0, 1, 2, 3, 4]
    assert [experience.task_label for experience in stream.test_stream] == [0, 1, 2, 3, 4]
    assert stream.train_stream[3].dataset[0][2] == 3


def write_core50(root: Path) -> Path:
    """Three objects in the eight training sessions and three test sessions of CORe50's scenarios `ni` and `nc`."""
    from avalanche.benchmarks.datasets.core50.core50_data import scen2dirs

    lists: dict[str, dict[str, list[str]]] = {"ni": {}, "nc": {}}
    for session in range(1, 12):
        for label in range(3):
            folder = root / "core50_32x32" / f"s{session}" / f"o{label}"
            folder.mkdir(parents=True)
            for frame in range(4):
                shade = (session * 20, label * 80, frame * 60)
                Image.new("RGB", (32, 32), shade).save(folder / f"C_{frame}.png")
                line = f"s{session}/o{label}/C_{frame}.png {label}"
                if session > 8:
                    for scenario in lists:
                        lists[scenario].setdefault("test", []).append(line)
                else:
                    lists["ni"].setdefault(f"train_batch_{session - 1:02d}", []).append(line)
                    lists["nc"].setdefault(f"train_batch_{label:02d}", []).append(line)
    for batch in range(3, 9):  # nine batches of classes are expected: one object more for each
        lists["nc"][f"train_batch_{batch:02d}"] = [f"s{batch}/o0/C_0.png {batch}"] * 4
        lists["nc"]["test"].append(f"s9/o0/C_0.png {batch}")
    for scenario, files in lists.items():
        folder = root / scen2dirs[scenario] / "run0"
        folder.mkdir(parents=True)
        for name, lines in files.items():
            (folder / f"{name}_filelist.txt").write_text("\n".join(lines) + "\n")
    (root / "NIC_v2_79_cat").mkdir()
    runs = {"ni": [[[] for _ in range(9)]]}
    for name, value in (("paths", []), ("labels", runs), ("LUP", runs), ("labels2names", {})):
        (root / f"{name}.pkl").write_bytes(pickle.dumps(value))
    return root


def test_one_test_set_for_all_is_told_and_replaced(tmp_path: Path) -> None:
    root = write_core50(tmp_path / "core50")
    manifest = read(root, avalanche="CORe50", scenario="ni", mini=True, held_out="tail", test_share=0.25)
    assert manifest.experiences == 8 and "held out" in manifest.notes["tests"]
    counts = manifest.counts()
    assert counts[["train", "validation", "test"]].to_numpy().tolist() == [[6, 3, 3]] * 8
    held = {image for image, *_ in stored(manifest, "test", 2)}
    assert held == {np.full((32, 32, 3), (60, 80 * label, 180), np.uint8).tobytes() for label in range(3)}


def test_one_test_set_is_dealt_by_class_where_classes_come_once(tmp_path: Path) -> None:
    root = write_core50(tmp_path / "core50")
    manifest = read(root, avalanche="CORe50", scenario="nc", mini=True)
    assert manifest.experiences == 9 and "each class tested" in manifest.notes["tests"]
    for experience in range(9):
        assert {label for _, label, _ in stored(manifest, "test", experience)} == {experience}
    assert manifest.counts().test.tolist()[:3] == [12, 12, 12]


def test_debians_fashion_mnist_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LORISBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(fashion_mnist, "DEBIAN", write_mnist(tmp_path / "debian", pack=True))
    settings = written_out({"avalanche": "SplitFMNIST", "n_experiences": 5})
    manifest = make_benchmark(settings).manifest()
    assert len(manifest.table) == 80 and manifest.name == "SplitFMNIST"
    packed = tmp_path / "debian" / "train-images-idx3-ubyte.gz"
    packed.write_bytes(packed.read_bytes()[:500])
    monkeypatch.setenv("LORISBENCH_CACHE", str(tmp_path / "other"))
    with pytest.raises(InputError, match=r"train-images-idx3-ubyte\.gz: cannot be unpacked"):
        make_benchmark(settings).manifest()


@pytest.mark.skipif(not fashion_mnist.installed(), reason="Debian's dataset-fashion-mnist is not installed")
@pytest.mark.heavy
def test_real_fashion_mnist_has_its_images_and_labels() -> None:
    manifest = make_benchmark(written_out({"avalanche": "SplitFMNIST", "n_experiences": 2, "seed": 0})).manifest()
    assert manifest.counts()[["train", "validation", "test"]].sum().tolist() == [54_000, 6_000, 10_000]
    packed = [fashion_mnist.DEBIAN / f"{name}.gz" for name in fashion_mnist.FILES[2:]]
    images = np.frombuffer(gzip.decompress(packed[0].read_bytes())[16:], np.uint8)
    labels = np.frombuffer(gzip.decompress(packed[1].read_bytes())[8:], np.uint8)
    wanted = sorted((image.tobytes(), int(label)) for image, label in zip(images.reshape(-1, 784), labels, strict=True))
    found = [(image, label) for e in range(2) for image, label, _ in stored(manifest, "test", e)]
    assert sorted(found) == wanted


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"avalanche": "RotatedMNST", "n_experiences": 5}, "'RotatedMNST'; did you mean 'RotatedMNIST'"),
        ({"avalanche": "RotatedMNIST", "n_experience": 5}, "no such argument; did you mean 'n_experiences'"),
        ({"avalanche": "RotatedMNIST"}, "benchmark.n_experiences: .* needs"),
        ({"avalanche": "SplitMNIST", "n_experiences": 3}, "refuses its arguments"),
        ({"avalanche": "SplitMNIST", "n_experiences": 5, "train_transform": 1}, "transforms are the harness's"),
        ({"avalanche": "OpenLORIS"}, "name: openloris"),
        ({"avalanche": "SplitMNIST", "n_experiences": 5, "order": [0, 1]}, "permutation"),
    ],
)
def test_wrong_benchmarks_are_refused(mnist: Path, settings: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words) as error:
        read(mnist, **settings)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["RotatedMNIST", "SplitCIFAR100", "SplitTinyImageNet", "CORe50"])
def test_offline_it_says_what_to_fetch_and_where_to_put_it(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    import socket

    def unreachable(*args: object, **more: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr(socket, "create_connection", unreachable)
    monkeypatch.setattr(socket, "getaddrinfo", unreachable)
    args = {} if name == "CORe50" else {"n_experiences": 5}
    with pytest.raises(InputError) as error:
        read(tmp_path, avalanche=name, **args)
    hint = hints()[name]
    for part in (hint["files"], hint["source"], str(tmp_path / hint["place"])):
        assert part in str(error.value)
    assert "\n" not in str(error.value) and capfd.readouterr().out == ""


def test_a_suite_runs_on_a_classic_benchmark(suite_file: Callable[..., Path], cli, mnist: Path, tmp_path: Path) -> None:
    suite = suite_file(
        benchmark={"avalanche": "SplitMNIST", "n_experiences": 2, "seed": 0, "root": str(mnist)},
        latency={"enabled": False},
    )
    assert cli("run", suite, "--out", tmp_path / "out").code == 0
    results = pd.read_csv(tmp_path / "out" / "results.csv")
    assert results.benchmark.tolist() == ["avalanche-SplitMNIST"] and results.experiences.tolist() == [2]
    resolved = load_suite(str(suite)).config.benchmark
    assert resolved.classic == "SplitMNIST" and resolved.args == {"n_experiences": 2, "seed": 0}
