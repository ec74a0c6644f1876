"""`lorisbench data unpack`: hostile and damaged archives write nothing wrong, and an interrupted run goes on."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from answers import refused

import lorisbench.benchmarks.tools.unpack
from lorisbench.benchmarks.openloris import checksums

FILES = {f"train/clutter/{name}.jpg": name.encode() * 1000 for name in ("a", "b", "c")}


def make_zip(file: Path, members: dict[str, bytes] | list[tuple[str | zipfile.ZipInfo, bytes]] = FILES) -> Path:
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in members.items() if isinstance(members, dict) else members:
            archive.writestr(name, data, zipfile.ZIP_DEFLATED)
    return file


def tar_entry(name: str, data: bytes = b"", kind: bytes = tarfile.REGTYPE, link: str = "") -> tuple[Any, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size, info.mode = kind, link, len(data), 0o6777
    return info, data


def make_tar(file: Path, entries: list[tuple[Any, bytes]] | None = None, form: int = tarfile.PAX_FORMAT) -> Path:
    if entries is None:
        entries = [tar_entry(name, data) for name, data in FILES.items()]
    with tarfile.open(file, "w:gz" if file.name.lower().endswith("gz") else "w", format=form) as archive:
        for info, data in entries:
            archive.addfile(info, io.BytesIO(data))
    return file


def zip_entry(name: str, mode: int = 0) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo("x")
    info.filename = info.orig_filename = name  # as it is, where ZipInfo would tidy it
    info.create_system, info.external_attr = 3, mode << 16
    return info


def found(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def into(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "into"


@pytest.fixture
def unpack_refused(cli: Any, tmp_path: Path, into: Path) -> Callable[..., None]:
    """Unpacking some archives ends with one line that holds the words, and writes nothing at all."""

    def check(archives: list[Path], *words: str) -> None:
        before = sorted(tmp_path.rglob("*"))
        answer = cli("data", "unpack", *archives, "--into", into)
        refused(answer, archives[-1].name, *words)
        assert sorted(tmp_path.rglob("*")) == before

    return check


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz", "a.TGZ"])
def test_each_kind_is_unpacked_and_unpacked_again_without_writing(
    cli: Any, tmp_path: Path, into: Path, name: str
) -> None:
    file = (make_zip if name.endswith("zip") else make_tar)(tmp_path / name)
    answer = cli("data", "unpack", file, "--into", into)
    assert answer.code == 0 and f"{file}: 3 files unpacked, 0 were there already (train)\n{into}\n" == answer.out
    assert "unpacking: 100 %" in answer.err
    assert found(into) == FILES
    times = {}
    for path in FILES:
        status = (into / path).stat()
        assert stat.S_IMODE(status.st_mode) == 0o644
        times[path] = status.st_mtime_ns
    answer = cli("data", "unpack", file, "--into", into)
    assert answer.code == 0 and "0 files unpacked, 3 were there already" in answer.out
    assert {path: (into / path).stat().st_mtime_ns for path in FILES} == times


def test_all_archives_of_a_folder(cli: Any, tmp_path: Path, into: Path) -> None:
    make_zip(tmp_path / "train.ZIP", {"train/": b"", "train/a.jpg": b"1", "note": b""})
    make_tar(tmp_path / "test.tgz", [tar_entry("./"), tar_entry("./test/", kind=tarfile.DIRTYPE), tar_entry("./test//a.jpg", b"2")])  # fmt: skip  # noqa: E501
    make_zip(tmp_path / "valid.zip", {"note": b"", "validation/a.jpg": b"3"})  # the same note, which is no clash
    (tmp_path / "other.txt").write_text("no archive")
    answer = cli("data", "unpack", tmp_path, tmp_path / "test.tgz", "--into", into)
    assert answer.code == 0 and answer.out.count("unpacked") == 3, answer
    assert found(into) == {"train/a.jpg": b"1", "note": b"", "test/a.jpg": b"2", "validation/a.jpg": b"3"}


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_long_names_of_tar(cli: Any, tmp_path: Path, into: Path, form: int) -> None:
    name = "/".join(["train", "ä" * 60, "b" * 120, "c" * 200 + ".jpg"])
    make_tar(tmp_path / "a.tar", [tar_entry(name, b"1")], form)
    assert cli("data", "unpack", tmp_path / "a.tar", "--into", into).code == 0
    assert found(into) == {name: b"1"}


HOSTILE_NAMES = [
    ("../evil.jpg", "out of its folder"),
    ("train/../../evil.jpg", "out of its folder"),
    ("train/..", "out of its folder"),
    ("/evil.jpg", "absolute"),
    ("//evil.jpg", "absolute"),
    ("C:/evil.jpg", "drive"),
    ("c:evil.jpg", "drive"),
    ("..\\evil.jpg", "backslash"),
    ("train\\evil.jpg", "backslash"),
    ("train/a\nb.jpg", "control characters"),
    ("train/\x1b[2J.jpg", "control characters"),
    ("train/" + "ä" * 130 + ".jpg", "too long"),
]


@pytest.mark.parametrize(("name", "word"), HOSTILE_NAMES)
def test_names_that_lead_elsewhere(tmp_path: Path, unpack_refused: Callable[..., None], name: str, word: str) -> None:
    unpack_refused([make_zip(tmp_path / "a.zip", [*FILES.items(), (zip_entry(name), b"x")])], word)
    unpack_refused([make_tar(tmp_path / "a.tar", [tar_entry("train/a.jpg", b"1"), tar_entry(name, b"x")])], word)


def test_a_name_that_is_not_text(tmp_path: Path, unpack_refused: Callable[..., None]) -> None:
    unpack_refused([make_tar(tmp_path / "a.tar", [tar_entry("caf\udce9.jpg", b"x")], tarfile.GNU_FORMAT)], "not UTF-8")


@pytest.mark.parametrize(
    ("kind", "word"),
    [
        (tarfile.SYMTYPE, "a symbolic link"),
        (tarfile.LNKTYPE, "a hard link"),
        (tarfile.CHRTYPE, "not a plain file"),
        (tarfile.BLKTYPE, "not a plain file"),
        (tarfile.FIFOTYPE, "not a plain file"),
        (b"Z", "not a plain file"),
    ],
)
def test_links_and_devices_of_tar(tmp_path: Path, unpack_refused: Callable[..., None], kind: bytes, word: str) -> None:
    entries = [tar_entry("train/a.jpg", b"1"), tar_entry("out", kind=kind, link=str(tmp_path)), tar_entry("out/evil")]
    unpack_refused([make_tar(tmp_path / "a.tar", entries)], word, "'out'")
    unpack_refused([make_tar(tmp_path / "a.tar.gz", entries)], word, "'out'")


@pytest.mark.parametrize(("mode", "word"), [(stat.S_IFLNK, "a symbolic link"), (stat.S_IFCHR, "not a plain file")])
def test_links_and_devices_of_zip(tmp_path: Path, unpack_refused: Callable[..., None], mode: int, word: str) -> None:
    file = make_zip(tmp_path / "a.zip", [(zip_entry("out", mode | 0o777), b"/etc"), ("out/passwd", b"x")])
    unpack_refused([file], word, "'out'")


@pytest.mark.parametrize(
    ("first", "second", "word"),
    [
        ("train/a.jpg", "train/a.jpg", "overwrite"),
        ("train/a.jpg", "./train//a.jpg", "overwrite"),
        ("train/a.jpg", "Train/A.JPG", "overwrite"),
        ("train/ä.jpg", "train/a\u0308.jpg", "overwrite"),
        ("train", "train/a.jpg", "needs a folder"),
        ("train/a.jpg", "TRAIN", "overwrite"),
        ("train/a/b/c", "train/a", "overwrite"),
        ("train", "train/", "needs a folder"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_names_that_clash(
    tmp_path: Path, unpack_refused: Callable[..., None], first: str, second: str, word: str
) -> None:
    unpack_refused([make_zip(tmp_path / "a.zip", [(zip_entry(first), b"1"), (zip_entry(second), b"2")])], word)
    kind = tarfile.DIRTYPE if second.endswith("/") else tarfile.REGTYPE
    unpack_refused([make_tar(tmp_path / "a.tar", [tar_entry(first, b"1"), tar_entry(second, kind=kind)])], word)
    two = [make_zip(tmp_path / f"{n}.zip", [(zip_entry(name), bytes([n]))]) for n, name in enumerate((first, second))]
    unpack_refused(two, word)


def test_encrypted_members(tmp_path: Path, unpack_refused: Callable[..., None]) -> None:
    file = make_zip(tmp_path / "a.zip")
    data = bytearray(file.read_bytes())
    data[data.rindex(b"PK\x01\x02") + 8] |= 1
    file.write_bytes(data)
    unpack_refused([file], "c.jpg", "encrypted")


def test_compression_that_unpacks_without_bounds(tmp_path: Path, unpack_refused: Callable[..., None]) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("a.jpg", b"1" * 100)
    unpack_refused([tmp_path / "a.zip"], "'a.jpg'", "deflate")


def test_too_little_room(cli: Any, tmp_path: Path, into: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = make_zip(tmp_path / "a.zip", {f"{n}.jpg": bytes(100_000) for n in range(4)})
    room = 350_000
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=room))
    line = refused(cli("data", "unpack", file, "--into", into), "unpacking needs")
    assert "a.zip" not in line and not into.exists(), "the disk is at fault, not the archive"
    into.mkdir(parents=True)
    (into / "2.jpg").write_bytes(bytes(100_000))
    assert cli("data", "unpack", file, "--into", into).code == 0  # what is there needs no room


def shrink(file: Path, name: str, size: int) -> None:
    """Let a zip declare fewer bytes for a member than it has."""
    data = bytearray(file.read_bytes())
    for signature, header, place in ((b"PK\x03\x04", 30, 22), (b"PK\x01\x02", 46, 24)):
        start = data.index(signature)
        while data[start + header : start + header + len(name)] != name.encode():
            start = data.index(signature, start + 1)
        data[start + place : start + place + 4] = struct.pack("<I", size)
    file.write_bytes(data)


def test_a_member_with_more_bytes_than_it_declares(
    cli: Any, tmp_path: Path, into: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = make_zip(tmp_path / "a.zip", {"a.jpg": b"a", "b.jpg": bytes(5_000_000)})
    shrink(file, "b.jpg", 10)
    answer = cli("data", "unpack", file, "--into", into)
    assert answer.code == 2 and f"{file}: member 'b.jpg'" in answer.err and found(into) == {"a.jpg": b"a"}
    # a reader that would not stop by itself
    monkeypatch.setattr(zipfile.ZipFile, "open", lambda self, info: io.BytesIO(b"a" * 5_000_000))
    answer = cli("data", "unpack", file, "--into", into)
    assert answer.code == 2 and "more bytes than it says" in answer.err and found(into) == {"a.jpg": b"a"}


def test_damage_names_the_member_and_keeps_the_others(cli: Any, tmp_path: Path, into: Path) -> None:
    noise = {f"{name}.jpg": os.urandom(5000) for name in "abc"}
    file = make_zip(tmp_path / "a.zip", noise)
    whole = file.read_bytes()
    place = whole.index(b"b.jpg") + 900  # in its data
    file.write_bytes(whole[:place] + bytes([whole[place] ^ 255]) + whole[place + 1 :])
    answer = cli("data", "unpack", file, "--into", into)
    lines = answer.err.strip().splitlines()
    assert answer.code == 2 and "Traceback" not in answer.err
    assert f"{file}: member 'b.jpg' cannot be read" in lines[-1] and len([x for x in lines if "error" in x]) == 1
    assert found(into) == {"a.jpg": noise["a.jpg"]}
    file.write_bytes(whole)
    answer = cli("data", "unpack", file, "--into", into)
    assert answer.code == 0 and "2 files unpacked, 1 were there" in answer.out and found(into) == noise


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz"])
def test_archives_that_are_cut_off(tmp_path: Path, unpack_refused: Callable[..., None], name: str) -> None:
    file = tmp_path / name
    whole = (make_zip if name.endswith("zip") else make_tar)(file).read_bytes()
    ends = range(1, len(whole), 97) if len(whole) < 2000 else range(1, 4 * 512 + 3000, 256)
    for end in ends:
        file.write_bytes(whole[:end])
        unpack_refused([file], "damaged")
    for other in (b"<html>quota exceeded</html>" * 100, b"PK\x05\x06", b"\x1f\x8b"):
        file.write_bytes(other)
        unpack_refused([file], "damaged")
    file.write_bytes(b"")
    unpack_refused([file], "no bytes")


def test_holes_in_a_tar(tmp_path: Path, unpack_refused: Callable[..., None]) -> None:
    file = make_tar(tmp_path / "a.tar")
    whole = file.read_bytes()
    second = whole.index(b"train/clutter/b.jpg")
    for hole in (bytes(512), b"?" * 512):  # a header of zeros would be the end
        file.write_bytes(whole[:second] + hole + whole[second + 512 :])
        unpack_refused([file], "damaged")


def test_damage_that_only_the_checksum_of_gzip_tells(tmp_path: Path, unpack_refused: Callable[..., None]) -> None:
    plain = make_tar(tmp_path / "a.tar").read_bytes()
    (tmp_path / "a.tar").unlink()
    data = bytearray(gzip.compress(plain))
    data[-8:-4] = struct.pack("<I", zlib.crc32(plain) ^ 1)
    (tmp_path / "a.tgz").write_bytes(data)
    unpack_refused([tmp_path / "a.tgz"], "damaged", "CRC")


@pytest.mark.parametrize(
    ("kind", "size", "word"),
    [
        (tarfile.REGTYPE, 1 << 30, "damaged"),
        (tarfile.REGTYPE, -512, "negative size"),
        (tarfile.REGTYPE, -(1 << 40), "negative size"),
        (tarfile.XHDTYPE, 1 << 30, "a header of 1073741824 bytes"),
        (tarfile.XHDTYPE, -512, "a header of -512 bytes"),
        (tarfile.GNUTYPE_LONGNAME, 1 << 30, "a header of 1073741824 bytes"),
    ],
)
def test_sizes_in_tar_headers_that_make_no_sense(
    tmp_path: Path, unpack_refused: Callable[..., None], kind: bytes, size: int, word: str
) -> None:
    info = tarfile.TarInfo("x")
    info.type, info.size = kind, size
    file = tmp_path / "a.tar"
    file.write_bytes(info.tobuf(tarfile.GNU_FORMAT) + make_tar(file).read_bytes())
    unpack_refused([file], word)


def test_links_inside_the_folder_are_not_followed(cli: Any, tmp_path: Path, into: Path) -> None:
    file = make_zip(tmp_path / "a.zip", {"a.jpg": b"1", "train/clutter/a.jpg": b"1"})
    outside = tmp_path / "outside"
    (outside / "clutter").mkdir(parents=True)
    (outside / "a.jpg").write_bytes(b"2")
    into.mkdir(parents=True)
    for link, target in (("train", outside), ("train", tmp_path / "nothing"), ("a.jpg", outside / "a.jpg")):
        (into / link).symlink_to(target)
        answer = cli("data", "unpack", file, "--into", into)
        assert answer.code == 2 and f"{into / link}: " in answer.err and "a symbolic link" in answer.err
        assert list(into.iterdir()) == [into / link] and found(outside) == {"a.jpg": b"2"}
        (into / link).unlink()
    (into / "train" / "clutter" / "a.jpg").mkdir(parents=True)
    answer = cli("data", "unpack", file, "--into", into)
    assert answer.code == 2 and "is a folder" in answer.err
    shutil.rmtree(into / "train")
    (into / "train").write_bytes(b"")
    answer = cli("data", "unpack", file, "--into", into)
    assert answer.code == 2 and "is a file" in answer.err
    (into / "train").unlink()
    into.rmdir()
    into.symlink_to(outside)  # the folder itself is the user's choice
    (outside / "a.jpg").unlink()
    assert cli("data", "unpack", file, "--into", into).code == 0 and len(found(outside)) == 2


def test_an_archive_is_not_overwritten_by_its_own_member(tmp_path: Path, unpack_refused: Callable[..., None]) -> None:
    (tmp_path / "deep" / "into").mkdir(parents=True)
    unpack_refused([make_zip(tmp_path / "deep" / "into" / "a.zip", {"b": b"", "a.zip": b"1"})], "overwrite an archive")


def test_an_interrupted_run_goes_on(cli: Any, tmp_path: Path, into: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = make_zip(tmp_path / "a.zip")
    real = lorisbench.benchmarks.tools.unpack._blocks

    def blocks(archive: Any, member: Any) -> Any:
        yield next(real(archive, member))[:10]
        if member.path.endswith("c.jpg"):
            raise KeyboardInterrupt
        yield next(real(archive, member))[10:]

    monkeypatch.setattr(lorisbench.benchmarks.tools.unpack, "_blocks", blocks)
    answer = cli("data", "unpack", file, "--into", into)
    assert answer.code == 1 and "interrupted" in answer.err and "Traceback" not in answer.err
    assert found(into) == {path: data for path, data in FILES.items() if not path.endswith("c.jpg")}
    monkeypatch.setattr(lorisbench.benchmarks.tools.unpack, "_blocks", real)
    (into / "train/clutter/a.jpg").write_bytes(b"A" * 1000)  # the right size and other bytes
    (into / "train/clutter/b.jpg").write_bytes(b"b" * 10)  # cut off
    os.chmod(into / "train/clutter/b.jpg", 0o600)
    answer = cli("data", "unpack", file, "--into", into)
    assert answer.code == 0 and "3 files unpacked, 0 were there" in answer.out and found(into) == FILES


def test_a_full_disk_is_one_line(cli: Any, tmp_path: Path, into: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fchmod", full)
    answer = cli("data", "unpack", make_zip(tmp_path / "a.zip"), "--into", into)
    assert answer.code == 2 and f"{into}/train/clutter/a.jpg: cannot be written (No space" in answer.err
    assert found(into) == {}


def test_known_archives_are_told_and_others_unpacked_all_the_same(
    cli: Any, tmp_path: Path, into: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = make_zip(tmp_path / "train.zip")
    md5 = hashlib.md5(file.read_bytes()).hexdigest()
    known = {"train.zip": [checksums.Known("0" * 32, "old", "a page"), checksums.Known(md5, "new", "a page")]}
    monkeypatch.setattr(checksums, "known_checksums", lambda: known)
    answer = cli("data", "unpack", file, "--into", into)
    assert answer.code == 0 and "the checksum is right (new; a page)" in answer.err
    known["train.zip"].pop()
    shutil.rmtree(into)
    answer = cli("data", "unpack", file, "--into", into)
    assert answer.code == 0 and f"not known (MD5 {md5})" in answer.err and found(into) == FILES
    assert "checksum" not in cli("data", "unpack", file, "--into", into, "--skip-checksums").err


@pytest.mark.parametrize(
    ("source", "word"),
    [("none.zip", "no such archive"), ("empty", "holds no archives"), ("a.rar", "not an archive of a known kind")],
)
def test_sources_that_are_none(cli: Any, tmp_path: Path, into: Path, source: str, word: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.rar").write_bytes(b"Rar!")
    answer = cli("data", "unpack", tmp_path / source, "--into", into)
    assert answer.code == 2 and word in answer.err and len(answer.err.strip().splitlines()) == 1


def test_a_target_that_is_a_file(cli: Any, tmp_path: Path) -> None:
    file = make_zip(tmp_path / "a.zip")
    answer = cli("data", "unpack", file, "--into", file)
    assert answer.code == 2 and "is not a folder" in answer.err
    answer = cli("data", "unpack", file, "--into", file / "below")
    assert answer.code == 2 and len(answer.err.strip().splitlines()) == 1
