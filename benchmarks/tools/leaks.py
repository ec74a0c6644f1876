"""Near-duplicates across the splits: test images that all but appear among the training images."""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd

from lorisbench.common.cache import cache_root, cached_array
from lorisbench.common.errors import InputError
from lorisbench.common.files import digest_of, digest_of_file
from lorisbench.data.disjoint import shared_recordings
from lorisbench.data.images import Source, of_each, open_source
from lorisbench.data.manifest import Manifest

SIDE = 16
BITS = SIDE * SIDE
HASHING = "difference hash 16x16 of 17x16 triangle-averaged grey, bit set where the right one is brighter, v1"
EPSILON = 0.01  # grey levels; rounding alone makes smaller differences
BLOCK = 2048  # images compared with as many others at a time: 16 MiB of products
NOTHING = BITS + 1  # the distance where there is no image to compare with

# Measured on OpenLORIS-Sim at 96 px, on 40 frames per recording of 4 objects and on 127 of 2 (about as many frames as
# in the release): of 4.0 and 20.3 million pairs of images of one object in two recordings the nearest are 58 and 55
# bits apart, 0.1 % are within 82 and 85, half within 123 and 124 (chance: 128). The same picture again is mostly within
# 40: each of 87 images saved as JPEG of quality 75 (farthest: 35), at half or one and a half times the size (14) or at
# half the brightness (23), and 95 % of those moved by 1 % of the width or with noise of 5 grey levels. So 40 finds
# repeats of the same picture and nothing from another recording. Neighbouring frames of a recording of Sim, whose
# camera jumps about as it would not in a video, are 101 and 100 bits apart (median): of its test images 1 and 4 % have
# a near-duplicate in train, all of the same recording. The real images were not available to measure.
DISTANCE = 40


def hash_of(source: Source) -> np.ndarray:
    """Difference hash of an image: where in a grey miniature of 17 x 16 pixels is the right neighbour brighter?

    Returns uint8 of shape (32,): 256 bits, row by row. An image without differences from left to right, such as a flat
    one, has no bit set. Raises InputError naming a file that cannot be decoded.
    """
    from PIL import Image

    # a JPEG decoded at less than four times the miniature's size gives a different hash from the whole picture
    image = open_source(source, (4 * (SIDE + 1), 4 * SIDE))
    # the triangle filter overlaps its neighbours, so that a little shift or noise changes fewer bits than boxes would
    grey = image.convert("L").convert("F").resize((SIDE + 1, SIDE), Image.Resampling.BILINEAR)
    return np.packbits(np.diff(np.asarray(grey), axis=1) > EPSILON)


def hashes(manifest: Manifest) -> np.ndarray:
    """Difference hashes of all images in table order, uint8 of shape (images, 32), kept in the cache folder.

    Raises InputError naming the first image that cannot be decoded.
    """
    sources = manifest.sources()
    key = digest_of({"content": manifest.content_hash, "hash": HASHING})
    path = cache_root() / "hashes" / f"{key}.npy"
    return cached_array(path, "|u1", (len(sources), BITS // 8), "hashing images", lambda: of_each(hash_of, sources))


def nearest(
    queries: np.ndarray, keys: np.ndarray, query_groups: np.ndarray, key_groups: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The nearest key of each query by Hamming distance; among equals, one of the same group, then the first.

    Parameters
    ----------
    queries, keys : uint8 of shapes (n, 32) and (m, 32).
    query_groups, key_groups : integers of shapes (n,) and (m,).

    Returns
    -------
    distances : int64 (n,), 0..256; `NOTHING` where there are no keys.
    places : int64 (n,), positions in `keys`; -1 where there are none.
    """
    score = np.full(len(queries), -np.inf, np.float32)
    places = np.full(len(queries), -1, np.int64)
    for start in range(0, len(queries), BLOCK):
        part = slice(start, start + BLOCK)
        left, groups = _signs(queries[part]), query_groups[part, None]
        for first in range(0, len(keys), BLOCK):
            # ±1 vectors that differ in d of 256 places have the product 256 - 2d, an even number: half a bit is free
            # for the group. Floats of 32 bits hold all of these exactly.
            products = left @ _signs(keys[first : first + BLOCK]).T + (groups == key_groups[first : first + BLOCK])
            best = products.argmax(axis=1)
            value = products[np.arange(len(best)), best]
            better = value > score[part]
            score[part] = np.where(better, value, score[part])
            places[part] = np.where(better, best + first, places[part])
    found = places >= 0
    distances = np.full(len(queries), NOTHING, np.int64)
    distances[found] = (BITS - 2 * np.floor(score[found] / 2).astype(np.int64)) // 2
    return distances, places


def _signs(rows: np.ndarray) -> np.ndarray:
    return np.unpackbits(rows, axis=1).astype(np.float32) * 2 - 1


def leaks(manifest: Manifest, distance: int = DISTANCE) -> pd.DataFrame:
    """The nearest training and validation image of the same class, in any experience, of each test image.

    Parameters
    ----------
    distance : two images that differ in up to this many of 256 bits are near-duplicates (0..127); `DISTANCE` says what
        was measured.

    Returns
    -------
    One row per test image in table order: path, experience, recording, `train_distance` and `validation_distance`
    (bits; `NOTHING` if there is none to compare with), `train_path` ("" if none), `leaked` and `near_validation` (bool:
    within `distance`), `same_recording` (bool: the training image is of the same recording), `plain` (bool).

    A hash within `distance` of one with all bits alike says nothing: flat images, whatever their colour, have equal
    hashes. Images with such a hash are `plain`, and near-duplicates only if their bytes are equal (distance 0).

    Raises
    ------
    InputError : naming an image that cannot be read; or there are no test or no training images, so that none would be
        found whatever the data are.
    """
    table = manifest.table
    for split in ("test", "train"):
        if not (table.split == split).any():
            raise InputError(f"{manifest.root}: has no {split} images, so there is nothing to compare")
    stored = hashes(manifest)
    recordings = pd.factorize(table.recording)[0]
    recordings[table.recording.to_numpy() == ""] = -1  # unknown recordings
    ones = np.unpackbits(stored, axis=1).sum(axis=1, dtype=np.int64) if len(stored) else np.zeros(0, np.int64)
    plain = (ones <= distance) | (ones >= BITS - distance)
    splits, labels = table.split.to_numpy(), table.label.to_numpy()
    test = np.flatnonzero(splits == "test")
    found = table.loc[test, ["path", "experience", "recording"]].assign(plain=plain[test]).reset_index(drop=True)
    for split in ("train", "validation"):
        bits = np.full(len(table), NOTHING, np.int64)
        places = np.full(len(table), -1, np.int64)
        for label in range(len(manifest.classes)):
            mine = labels == label
            ask, keys = (np.flatnonzero(mine & ~plain & (splits == which)) for which in ("test", split))
            bits[ask], place = nearest(stored[ask], stored[keys], recordings[ask], recordings[keys])
            places[ask] = np.where(place >= 0, keys[place] if len(keys) else -1, -1)
            ask, keys = (np.flatnonzero(mine & plain & (splits == which)) for which in ("test", split))
            places[ask] = _equal(manifest, ask, keys, recordings)
            bits[ask] = np.where(places[ask] >= 0, 0, NOTHING)
        near = bits[test] <= distance
        found[f"{split}_distance"] = bits[test]
        if split == "validation":
            found["near_validation"] = near
            continue
        place = places[test]
        found["train_path"] = np.where(place >= 0, table.path.to_numpy(dtype=object)[place], "")
        found["leaked"] = near
        found["same_recording"] = (place >= 0) & (recordings[place] == recordings[test]) & (recordings[test] >= 0)
    return found


def _equal(manifest: Manifest, queries: np.ndarray, keys: np.ndarray, recordings: np.ndarray) -> np.ndarray:
    """For each query the key with the same bytes, of the same recording if there is one; -1 where there is none."""
    if not len(queries) or not len(keys):
        return np.full(len(queries), -1, np.int64)
    sources = manifest.sources()

    def digest(row: int) -> str:
        source = sources[row]
        return digest_of_file(source) if isinstance(source, str) else hashlib.blake2b(source.tobytes()).hexdigest()

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        digests = dict(zip([*queries, *keys], pool.map(digest, [*queries, *keys]), strict=True))
    first: dict[object, int] = {}
    for row in keys:
        first.setdefault(digests[row], row)
        first.setdefault((digests[row], recordings[row]), row)
    return np.array(
        [first.get((digests[row], recordings[row]), first.get(digests[row], -1)) for row in queries], np.int64
    )


def per_experience(manifest: Manifest, found: pd.DataFrame) -> pd.DataFrame:
    """One row per experience: test images, leaked ones, their share, how many of them have their neighbour in the same
    recording, test images with a near-duplicate in validation, and plain ones (see `leaks`)."""
    leaked = found.assign(same=found.leaked & found.same_recording).groupby("experience")
    frame = leaked[["leaked", "same", "near_validation", "plain"]].sum()
    frame.insert(0, "test", leaked.size())
    frame.insert(2, "share", frame.leaked / frame.test)
    frame = frame.rename(columns={"same": "same_recording"}).reset_index()
    frame.insert(1, "name", [manifest.experience_names[index] for index in frame.experience])
    return frame


def per_recording(manifest: Manifest, found: pd.DataFrame) -> pd.DataFrame:
    """One row per recording and experience: test images, leaked ones, and whether the recording is in train too."""
    grouped = found.groupby(["experience", "recording"], sort=False)
    frame = grouped.leaked.agg(test="size", leaked="sum").reset_index()
    shared = set(shared_recordings(manifest, ["train"]))
    frame["shared_with_train"] = ["yes" if recording in shared else "no" for recording in frame.recording]
    frame["experience"] = [manifest.experience_names[index] for index in frame.experience]
    return frame[["recording", "experience", "test", "leaked", "shared_with_train"]]


def summary(manifest: Manifest, found: pd.DataFrame, distance: int) -> list[str]:
    """What to know about the table, one line per fact."""
    if found.empty:
        return ["there are no test images that could be leaked"]
    leaked, plain = int(found.leaked.sum()), int(found.plain.sum())
    same = int((found.leaked & found.same_recording).sum())
    lines = [
        f"{leaked} of {len(found)} test images ({leaked / len(found):.1%}) are within {distance} of {BITS} bits of a "
        f"training image of their class, {same} of them of one in the same recording"
    ]
    tested = manifest.table[manifest.table.split == "test"].recording
    named = tested[tested != ""].nunique()
    if named:
        shared = len(shared_recordings(manifest, ["train"]))
        release = " (the real release shares recordings between the splits)" if shared else ""
        lines.append(f"{shared} of {named} test recordings are in train too{release}")
    else:
        lines.append("the data name no recordings, so there is no telling whether train and test share any")
    if plain:
        lines.append(
            f"{plain} test images are too plain for their hash to say anything: they count as leaked only if their "
            "bytes are those of a training image"
        )
    return lines
