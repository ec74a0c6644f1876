"""Training on a Ray cluster whose machines share nothing, and its parts without a cluster."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from same import same_results
from warm import Command, until

from lorisbench.runs import node, shards
from lorisbench.runs.claims import Lost, Watch, claim
from lorisbench.runs.crews import Died, Ended, Event, Progress, Refused, Vanished
from lorisbench.runs.luggage import code_of, material_of
from lorisbench.runs.node import Order, Placed, train_there
from lorisbench.runs.parcels import Outpost, Parcel, put_down, taken
from lorisbench.runs.schedule import MOVES, Policy, Schedule
from lorisbench.runs.store import Output
from lorisbench.runs.workbench import prepare
from lorisbench.runs.workers import warm_up
from lorisbench.suite.resolve import Suite, load_suite

PLUGIN = '''
import os, signal, time
from avalanche.core import SupervisedPlugin
from lorisbench import Strategy
import beside_it


class Pause(SupervisedPlugin):
    def __init__(self, seconds, crash):
        super().__init__()
        self.seconds, self.crash = seconds, crash

    def before_training_exp(self, strategy, **kwargs):
        if strategy.clock.train_exp_counter == self.crash:
            time.sleep(1)  # the checkpoint is written beside what the run does
            os.kill(os.getpid(), signal.SIGKILL)

    def before_training_iteration(self, strategy, **kwargs):
        time.sleep(self.seconds * beside_it.FACTOR)


class Unhurried(Strategy, name="unhurried"):
    """Takes its time."""

    seconds: float = 0.0
    crash: int = -1

    def plugins(self, context):
        return [Pause(self.seconds, self.crash)]
'''


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One file for all tests, as a name may stand for one strategy in a process."""
    folder = tmp_path_factory.mktemp("plugin")
    (folder / "unhurried.py").write_text(PLUGIN)
    (folder / "beside_it.py").write_text("FACTOR = 1.0\n")
    (folder / "data").mkdir()
    (folder / "data" / "large.bin").write_bytes(b"x")
    return folder / "unhurried.py"


# Parcels


def output(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        path = folder / "runs" / "a" / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def test_a_folder_becomes_what_it_is_elsewhere(tmp_path: Path) -> None:
    here = output(tmp_path / "here", journal="1", checkpoint__resume="r", old="o")
    there = tmp_path / "there"
    held = claim(here / "runs" / "a", Watch())
    assert held is not None
    outpost = Outpost(there, "a", taken(here, "a"))
    assert sorted(path.name for path in (there / "runs" / "a").iterdir()) == ["checkpoint", "journal", "old"], (
        "no claim"
    )
    assert outpost.changes() == Parcel("a", {}, ())
    output(there, journal="12", new="n")
    (there / "tensorboard").mkdir()
    (there / "tensorboard" / "events").write_text("e")
    (there / "runs" / "a" / "old").unlink()
    parcel = outpost.changes()
    assert parcel.files == {"runs/a/journal": b"12", "runs/a/new": b"n", "tensorboard/events": b"e"}
    assert parcel.gone == ("runs/a/old",)
    put_down(parcel, here, held.number)
    assert {p.name: p.read_text() for p in (here / "runs" / "a").glob("[!c]*")} == {"journal": "12", "new": "n"}
    assert (here / "tensorboard" / "events").read_text() == "e"
    assert outpost.changes() == Parcel("a", {}, ())


def test_a_model_stays_where_it_is_until_it_is_replaced(tmp_path: Path) -> None:
    here = output(tmp_path / "here", checkpoint__model_safetensors="")
    (here / "runs" / "a" / "checkpoint" / "model.safetensors").write_text("weights")
    files = taken(here, "a")
    assert files["runs/a/checkpoint/model.safetensors"] == b""
    outpost = Outpost(tmp_path / "there", "a", files)
    assert not outpost.changes().files
    (tmp_path / "there" / "runs" / "a" / "checkpoint" / "model.safetensors").write_text("others")
    assert outpost.changes().files == {"runs/a/checkpoint/model.safetensors": b"others"}


def test_status_and_checkpoint_are_read_first_and_put_down_last(tmp_path: Path, monkeypatch) -> None:
    from lorisbench.runs import parcels

    there = tmp_path / "there"
    outpost = Outpost(there, "a", {})
    for name in ("status.json", "checkpoint/resume.safetensors", "journal.jsonl", "a.csv"):
        output(there, **{name.replace("/", "__"): name})
    assert outpost.has_checkpoint()
    parcel = outpost.changes()
    assert not outpost.has_checkpoint()
    ends = [name.rpartition("/")[2] for name in parcel.files]
    assert ends[:2] == ["status.json", "resume.safetensors"] and len(ends) == 4
    here, put = tmp_path / "here", []
    held = claim(here / "runs" / "a", Watch())
    atomic = parcels.atomic
    monkeypatch.setattr(parcels, "atomic", lambda path, sync: put.append(path.name) or atomic(path, sync))
    put_down(parcel, here, held.number)
    assert put[-2:] == ["resume.safetensors", "status.json"] and len(put) == 4


def test_nothing_is_put_down_once_another_process_has_the_run(tmp_path: Path) -> None:
    held = claim(tmp_path / "runs" / "a", Watch())
    (tmp_path / "runs" / "a" / f"claim-{held.number + 1:06d}").touch()
    with pytest.raises(Lost):
        put_down(Parcel("a", {"runs/a/status.json": b"{}"}), tmp_path, held.number)
    assert not (tmp_path / "runs" / "a" / "status.json").exists()


# A machine, without a cluster


class Kept:
    """What `ray.put` gives, and `ray.get` takes."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def hex(self) -> str:
        return "ab"


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """As if this process were Ray's on another machine: its own cache and temporary folder."""
    ray: Any = types.ModuleType("ray")
    ray.get = lambda kept: kept.value
    ray.get_runtime_context = lambda: types.SimpleNamespace(get_node_id=lambda: "7")
    ray.util = types.SimpleNamespace(get_node_ip_address=lambda: "10.0.0.7")
    monkeypatch.setitem(sys.modules, "ray", ray)
    (tmp_path / "tmp").mkdir()
    warm_up()  # whose socket lies in the temporary folder of all tests
    monkeypatch.setattr(node.tempfile, "gettempdir", lambda: str(tmp_path / "tmp"))
    monkeypatch.setenv("LORISBENCH_CACHE", str(tmp_path / "cache"))
    yield tmp_path
    node.leave_there("ab")


def orders(suite: Suite, out: Path) -> Callable[[str], Order]:
    """`orders(suite, out)(run_id)`, with what the machine lacks packed where the cache has it."""
    manifest = suite.config.benchmark.usable(suite.config.evaluation.split)
    bench = prepare(suite.config, manifest)
    code, material = Kept(code_of(suite.resolved, out, ())), Kept(material_of(bench, lambda part: Kept(part.copy())))
    return lambda run_id: Order(run_id, suite.config.stream, [code], [material], taken(out, run_id), str(out), 1)


def trained(order: Order, out: Path, stop_after: int = 99) -> list[Event]:
    """What is told of a run whose parcels are put down; as if its machine were lost after so many experiences."""
    held = claim(out / "runs" / order.run_id, Watch())
    told: list[Event] = []
    for each in (stream := train_there(order)):
        if isinstance(each, Parcel):
            put_down(each, out, held.number)
            resumes = out / "runs" / order.run_id / "checkpoint" / "resume.safetensors"
            if stop_after < 99 and resumes.exists() and told[-1].done >= stop_after:
                break
        elif not isinstance(each, Placed):
            told.append(each)
    stream.close()
    held.release(finished=True)
    return told


@pytest.mark.heavy
def test_a_run_goes_on_on_a_machine_that_has_nothing(
    machine: Path, plugin: Path, suite_file, cli, tmp_path: Path, monkeypatch, cache: Path
) -> None:
    entry = {"training": {"augment": {"views": 2}}}
    suite = load_suite(str(suite_file(plugins=[str(plugin)], strategies={"unhurried": entry})))
    (spec,) = suite.runs
    monkeypatch.setenv("LORISBENCH_CACHE", str(cache))
    assert cli("run", tmp_path / "tiny.yaml", "--out", tmp_path / "alone").code == 0
    out = tmp_path / "out"
    shutil.copytree(tmp_path / "alone", out, ignore=shutil.ignore_patterns("runs"))
    order = orders(suite, out)
    first = order(spec.run_id)
    monkeypatch.setenv("LORISBENCH_CACHE", str(machine / "cache"))
    assert sorted(first.code[0].value.folders[0]) == ["beside_it.py", "unhurried.py"], "no folders of data"

    told = trained(first, out, stop_after=2)
    assert isinstance(told[0], Progress) and not any(isinstance(event, Ended) for event in told)
    node.leave_there("ab")  # the machine is gone
    assert not list((machine / "tmp").glob(f"{node.PREFIX}*"))
    shutil.rmtree(machine / "cache")

    told = trained(order(spec.run_id), out)
    assert isinstance(told[0], Progress) and told[0].done >= 1, "it goes on"
    assert told[-1] == Ended(spec.run_id)
    made = {path.name for path in (machine / "cache").iterdir()}
    assert made == {"features", "timings"}, "what runs took is remembered there; nothing else is made"
    same_results(tmp_path / "alone", out)


def test_what_ends_a_run_on_a_machine_is_told_where_the_output_is(
    machine: Path, plugin: Path, suite_file, tmp_path: Path, monkeypatch, cache: Path
) -> None:
    entry = {"strategy": "unhurried", "crash": 1}
    suite = load_suite(str(suite_file(plugins=[str(plugin)], strategies={"crashing": entry})))
    monkeypatch.setenv("LORISBENCH_CACHE", str(cache))
    order = orders(suite, tmp_path / "out")(suite.runs[0].run_id)
    monkeypatch.setenv("LORISBENCH_CACHE", str(machine / "cache"))
    *_, last = trained(order, tmp_path / "out")
    assert isinstance(last, Died) and last.signal == "SIGKILL"
    output = Output(tmp_path / "out").run(order.run_id)
    assert output.status()["status"] == "running" and len(output.entries()) == 1, "the last parcel comes first"


@pytest.mark.parametrize("package", ["lorisbench", "torch"])
def test_a_machine_with_another_version_is_refused(machine: Path, package: str) -> None:
    from lorisbench.common.environment import versions
    from lorisbench.runs.luggage import SAME, Code

    code = Code("{}", "out", (), {**versions(SAME), package: "0.0.1"}, (), (), {}, b"")
    placed, told = train_there(Order("a", "s", [Kept(code)], [], {}, "out", 1))
    assert placed == Placed("7") and isinstance(told, Refused)
    assert package in told.reason and "0.0.1" in told.reason and "10.0.0.7" in told.reason
    assert not list((machine / "tmp").glob(f"{node.PREFIX}*"))


# Features


def test_features_in_shards_are_the_same(machine: Path, suite_file, monkeypatch) -> None:
    import torch

    from lorisbench.model import features
    from lorisbench.model.backbones import backbone_of

    suite = load_suite(str(suite_file()))
    backbone = backbone_of(suite.config.backbone)
    images = np.random.default_rng(0).integers(0, 256, (shards.LEAST * 3 + 8, 32, 32, 3), dtype=np.uint8)
    blocks = [images[start : start + 3] for start in range(0, len(images), 3)]  # the last one is smaller
    alone = list(features.extract(backbone, iter(blocks), torch.device("cpu")))
    ray, sizes = sys.modules["ray"], []
    ray.put, ray.exceptions = Kept, types.SimpleNamespace(RayError=ZeroDivisionError)

    def remote(function: Any) -> Any:
        def run(weights: Any, settings: Any, threads: int, group: Any) -> Kept:
            sizes.append(len(group))
            return Kept(function(weights, settings, threads, group))

        return types.SimpleNamespace(options=lambda **given: types.SimpleNamespace(remote=run))

    ray.remote = remote
    for machines in (1, 2):
        ray.nodes = lambda machines=machines: [{"Alive": True, "Resources": {"CPU": 2.0}}] * machines
        together = list(shards.sharded(suite.config.backbone)(backbone, iter(blocks), torch.device("cpu")))
        assert [each.tobytes() for each in together] == [each.tobytes() for each in alone]
        assert sizes == ([] if machines == 1 else [4, 4, 3]), "one machine needs no tasks"


# Runs whose machine is gone


class Unlucky:
    """A crew whose machines are lost under each run as often as this."""

    size = 1

    def __init__(self, output: Output, times: int) -> None:
        self._output, self._times, self._events = output, times, []
        self.begun = 0

    def start(self, spec: Any, claim: Any) -> None:
        self.begun += 1
        if self.begun > self._times:
            self._output.run(spec.run_id).set_status("done")
            self._events.append(Ended(spec.run_id))
        else:
            self._events.append(Vanished(spec.run_id, "its machine is gone"))

    def events(self, seconds: float) -> list[Event]:
        told, self._events = self._events, []
        return told

    def kill(self, run_id: str) -> None: ...

    def close(self) -> None: ...


@pytest.mark.parametrize(("times", "status"), [(2, "done"), (MOVES, "done"), (MOVES + 1, "failed")])
def test_a_machine_that_is_gone_does_not_count_against_the_run(
    suite_file, tmp_path: Path, times: int, status: str
) -> None:
    suite, output = load_suite(str(suite_file())), Output(tmp_path / "out")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "suite.yaml").touch()
    crew: Any = Unlucky(output, times)
    before = {spec.run_id: output.run(spec.run_id).status() for spec in suite.runs}
    schedule = Schedule(output, suite.runs, before, crew, Policy(retries=0), lambda event: None)
    (ended,) = schedule.ended()
    found = output.run(ended).status()
    assert found["status"] == status and crew.begun == min(times, MOVES) + 1
    assert status == "done" or f"{MOVES + 1} times" in found["reason"]


# The command line


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--address", "auto"], "--address is for --executor ray"),
        (["--cpus-per-run", "2"], "--cpus-per-run is for --executor ray"),
        (["--gpus-per-run", "0"], "--gpus-per-run is for --executor ray"),
        (["--executor", "ray", "--cpus-per-run", "0"], "a number above 0"),
        (["--executor", "ray", "--cpus-per-run", "nan"], "a number above 0"),
        (["--executor", "ray", "--cpus-per-run", "1.5"], "a whole number"),
        (["--executor", "ray", "--gpus-per-run", "-1"], "a number from 0"),
        (["--executor", "ray", "--gpus-per-run", "inf"], "a number from 0"),
        (["--executor", "ray", "--address", "here"], "auto or HOST:PORT"),
        (["--executor", "ray", "--address", "ray://there:10001"], "on a machine of the cluster"),
        (["--executor", "ray", "--address", "127.0.0.1:9"], "no Ray cluster answers"),
    ],
)
def test_options_for_ray(suite_file, cli, tmp_path: Path, words: list[str], told: str) -> None:
    answer = cli("run", suite_file(), "--out", tmp_path / "out", *words)
    assert answer.code == 2 and told in answer.err.splitlines()[-1], answer.err
    assert not (tmp_path / "out").exists()


def test_the_address_of_the_environment_is_used(suite_file, cli, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:9")
    answer = cli("run", suite_file(), "--out", tmp_path / "out", "--executor", "ray")
    assert answer.code == 2 and "127.0.0.1:9: no Ray cluster answers" in answer.err


def test_ray_that_is_not_installed_gives_one_line(suite_file, cli, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    answer = cli("run", suite_file(), "--out", tmp_path / "out", "--executor", "ray")
    assert answer.code == 2 and "lorisbench[ray]" in answer.err.splitlines()[-1]


# Clusters


@pytest.mark.heavy
def test_ray_trains_the_same_numbers(suite_file, cli, tmp_path: Path, plugin: Path) -> None:
    crash = {"strategy": "unhurried", "crash": 1}
    suite = suite_file(plugins=[str(plugin)], strategies={"naive": {}, "unhurried": {}, "crashing": crash})
    assert cli("run", suite, "--out", tmp_path / "here", "--workers", 1).code == 1
    answer = cli("run", suite, "--out", tmp_path / "ray", "--executor", "ray", "--workers", 2)
    assert answer.code == 1, answer.err
    assert "killed by SIGKILL" in answer.err and "(2 attempts)" in answer.err
    for out in (tmp_path / "here", tmp_path / "ray"):
        (left,) = out.glob("runs/*crashing*/checkpoint/resume.safetensors")
        left.unlink()  # it has a checksum of the journal, and so of the times in it
    same_results(tmp_path / "here", tmp_path / "ray")


class Machines:
    """Two machines in one, with a network, home, temporary folder and cache each, and blind for each other's."""

    addresses = {"head": "10.231.77.1", "node": "10.231.77.2"}

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._tag = f"lb{os.getpid()}"

    def place(self, name: str) -> Path:
        return self._folder / name

    def _short(self, name: str) -> Path:
        """Its temporary folder: sockets in it may have only so long a name."""
        return Path("/tmp") / f"{self._tag}{name}"

    def make(self) -> None:
        """Raises CalledProcessError or OSError where that is not allowed."""
        for name in self.addresses:
            self._ip("netns", "add", f"{self._tag}{name}")
            self._ip("-n", f"{self._tag}{name}", "link", "set", "lo", "up")
            for part in ("home", "cache"):
                (self.place(name) / part).mkdir(parents=True)
            self._short(name).mkdir()
        ends = {name: f"{name[0]}{os.getpid()}" for name in self.addresses}
        self._ip("link", "add", ends["head"], "type", "veth", "peer", "name", ends["node"])
        for name, address in self.addresses.items():
            space = f"{self._tag}{name}"
            self._ip("link", "set", ends[name], "netns", space)
            self._ip("-n", space, "addr", "add", f"{address}/24", "dev", ends[name])
            self._ip("-n", space, "link", "set", ends[name], "up")

    def _ip(self, *words: str) -> str:
        return subprocess.run(["ip", *words], check=True, capture_output=True, text=True).stdout

    def start(self, name: str, *words: object, **kept: Any) -> subprocess.Popen[str]:
        """A process of a machine; the other machine's folder, where the data and the output are, is empty for it."""
        other = next(self.place(each) for each in self.addresses if each != name)
        own = self.place(name)
        hidden = ["sh", "-c", f'mount -t tmpfs none {other} && exec "$@"', "sh"]
        environment = {
            **os.environ, "HOME": str(own / "home"), "TMPDIR": str(self._short(name)), "OMP_NUM_THREADS": "1",
            "LORISBENCH_CACHE": str(own / "cache"), "RAY_memory_monitor_refresh_ms": "0",
            "RAY_USAGE_STATS_ENABLED": "0",
        }  # fmt: skip
        return subprocess.Popen(
            ["ip", "netns", "exec", f"{self._tag}{name}", *hidden, *map(str, words)],
            env={key: value for key, value in environment.items() if key != "LORISBENCH_WORKERS"},
            cwd=own, text=True, **kept,
        )  # fmt: skip

    def join(self, name: str) -> None:
        where = (
            ["--head", "--port", "6379", "--include-dashboard", "false"]
            if name == "head"
            else ["--address", f"{self.addresses['head']}:6379"]
        )
        ray = Path(sys.executable).with_name("ray")
        started = self.start(
            name, ray, "start", *where, "--node-ip-address", self.addresses[name], "--num-cpus", 1,
            "--object-store-memory", 100_000_000, "--temp-dir", self._short(name) / "ray", stdout=subprocess.DEVNULL,
        )  # fmt: skip
        assert started.wait(180) == 0

    def kill(self, name: str) -> None:
        with contextlib.suppress(subprocess.CalledProcessError):
            for pid in self._ip("netns", "pids", f"{self._tag}{name}").split():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)

    def remove(self) -> None:
        for name in self.addresses:
            self.kill(name)
            subprocess.run(["ip", "netns", "del", f"{self._tag}{name}"], check=False, capture_output=True)
            shutil.rmtree(self._short(name), ignore_errors=True)


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[Machines]:
    made = Machines(tmp_path / "machines")
    try:
        made.make()
        assert made.start("node", "true").wait(30) == 0, "no folder can be hidden"
    except (OSError, subprocess.CalledProcessError, AssertionError) as error:
        made.remove()
        pytest.skip(f"network namespaces cannot be made here: {getattr(error, 'stderr', '') or error}")
    yield made
    made.remove()


@pytest.mark.heavy
@pytest.mark.timeout(900)
def test_a_machine_is_lost_and_the_suite_is_not(machines: Machines, plugin: Path, suite_file, make_release) -> None:
    place = machines.place("head")
    shutil.copytree(plugin.parent, place / "plugin")
    make_release(place / "release", per_split=shards.LEAST)  # 81 images each
    settings = yaml.safe_load(suite_file().read_text())
    settings["benchmark"]["root"] = str(place / "release")
    settings["plugins"] = [str(place / "plugin" / "unhurried.py")]
    settings["strategies"] = {"unhurried": {"seconds": 0.2}, "dnn": {}}
    settings["seeds"] = [0, 1]
    suite, out = place / "suite.yaml", place / "out"
    suite.write_text(yaml.safe_dump(settings, sort_keys=False))
    for name in machines.addresses:
        machines.join(name)
    program = Path(sys.executable).with_name("lorisbench")
    with open(place / "log", "w") as log:
        words = [program, "run", suite, "--out", out, "--executor", "ray", "--address", "auto"]
        command = machines.start("head", *words, stdout=log, stderr=log)

        def under_way() -> bool:
            lines = [file.read_text().splitlines() for file in out.glob("runs/*unhurried*/journal.jsonl")]
            return command.poll() is not None or [len(each) > 1 for each in lines] == [True, True]

        until(under_way, 300)
        assert command.poll() is None, (place / "log").read_text()
        assert (machines.place("node") / "cache" / "features").is_dir(), "it trains there, too"
        machines.kill("node")
        assert command.wait(300) == 0, (place / "log").read_text()
    said = (place / "log").read_text()
    assert "extracting features on 2 machines" in said and "goes on elsewhere" in said
    resumed = [Output(out).run(folder.name).status().get("resumed") for folder in (out / "runs").iterdir()]
    assert sum(bool(each) for each in resumed) == 1, "the run on the machine that is lost, and no other"
    alone = Command(place / "alone.log", "run", suite, "--out", place / "alone")
    assert alone.ended(300) == 0, alone.said()
    same_results(place / "alone", out)
