"""Published image counts of OpenLORIS-Object beside those of a manifest."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from lorisbench.benchmarks.openloris.words import FACTORS, MIXED, SOURCE
from lorisbench.common.yaml_files import read_yaml
from lorisbench.data.manifest import SPLITS, Manifest

TABLE = Path(__file__).with_name("counts.yaml")


@cache
def published() -> dict[str, list[dict[str, Any]]]:
    """The table of published counts with the source of each; see counts.yaml."""
    return read_yaml(TABLE)


def count_differences(manifest: Manifest) -> list[str]:
    """One line for each count that differs from a published one; empty where all agree.

    The published row is that of the same number of classes and the same kind of experience. The total is compared where
    the manifest holds whole trees (12 tasks or more, of all factors). If no counts are published, one line says so.
    Synthetic data, and images that are not said to be those of OpenLORIS-Object, have no published counts and no
    differences.
    """
    if manifest.synthetic or not _of_openloris(manifest):
        return []
    classes = len(manifest.classes)
    lines = []
    if set(manifest.table.factor) >= set(FACTORS):
        for row in published()["sets"]:
            if row["classes"] == classes and row["images"] != len(manifest.table):
                difference = len(manifest.table) - row["images"]
                lines.append(
                    f"all images: {len(manifest.table):,}, published {row['images']:,} ({difference:+,}; "
                    f"{row['source']})"
                )
    kind = _kind(manifest)
    rows = [row for row in published()["experiences"] if row["protocol"] == kind and row["classes"] == classes]
    if not rows:
        return [*lines, f"no counts are published for {classes} classes and experiences of the kind {kind!r}"]
    counts = manifest.counts()
    for row in rows:
        for split in SPLITS:
            for name, count in zip(counts.name, counts[split], strict=True):
                difference = int(count) - row[split]
                if abs(difference) > row["about"] * row[split]:
                    lines.append(
                        f"experience {name!r}, {split}: {count:,} images, published {row[split]:,} "
                        f"({difference:+,}; {row['source']})"
                    )
    return lines


def _of_openloris(manifest: Manifest) -> bool:
    """Whether the images are those of OpenLORIS-Object, by their source or, if none is given, by their factors."""
    return manifest.source == SOURCE or (not manifest.source and set(manifest.table.factor) <= {*FACTORS, MIXED})


def _kind(manifest: Manifest) -> str:
    """`classes` (that arrive), `batches`, `factor` (tasks of one view) or `sequence` (tasks of a level)."""
    if manifest.increments != "data":
        return "classes"
    if set(manifest.table.factor) == {MIXED}:
        return "batches"
    return "factor" if all("." in name for name in manifest.experience_names) else "sequence"
