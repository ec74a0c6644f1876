"""The stream: an Avalanche benchmark with one train, validation and test experience per task."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import torch
from avalanche.benchmarks import benchmark_from_datasets, with_classes_timeline, with_task_labels
from avalanche.benchmarks.utils import DataAttribute
from avalanche.benchmarks.utils.classification_dataset import _make_taskaware_classification_dataset
from torch.utils.data import Dataset

from lorisbench.data.manifest import SPLITS, Manifest

SAMPLE_INDEX = "sample_index"


class Views(Protocol):
    """Other versions of some of a store's samples, for training only: `count` of them, numbered from 1."""

    count: int

    def pick(self, x: torch.Tensor, rows: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
        """`x` after replacing, in place, each sample for which a version is chosen.

        x : (batch, ...), the samples at `rows` (int64 on the CPU, as is `chosen`) of the store; chosen : which version
            of each, 0 for the sample itself. A sample without versions is left unchanged too.
        """
        ...


class Store:
    """The samples of a whole stream as two tensors; every dataset of the stream is a view of them.

    Attributes
    ----------
    x : inputs of shape (images, ...): uint8 images (images, 3, size, size) or float32 features (images, dim). May
        be replaced, as by more samples that came later; all datasets follow.
    y : int64 labels of shape (images,).
    task : int64 task labels of shape (images,); zeros unless given.
    labelled : whether inputs carry their task label, see `with_task`; `x` itself never does.
    views : augmented versions of training samples, or None. Datasets never show them; a training loader may.
    sequence : int64 (images,), each sample's place in the order in which a training loader takes those that it has;
        None: shuffled.
    """

    views: Views | None = None
    sequence: torch.Tensor | None = None

    def __init__(
        self, x: torch.Tensor, y: torch.Tensor, task: torch.Tensor | None = None, labelled: bool = False
    ) -> None:
        self.x = x
        self.y = y
        self.task = torch.zeros_like(y) if task is None else task.to(y.device)
        self.labelled = labelled

    def inputs(self, x: torch.Tensor, rows: torch.Tensor | slice) -> torch.Tensor:
        """What a model is given for the samples `x` at `rows`: with their task labels if `labelled`."""
        return with_task(x, self.task[rows]) if self.labelled else x

    def classes_of_tasks(self) -> list[list[int]]:
        """The labels, ascending, of each task label from 0 to the largest; none for a task label not in use."""
        pairs = torch.stack([self.task, self.y]).unique(dim=1).tolist()
        found: list[list[int]] = [[] for _ in range(max(pairs[0]) + 1)]
        for task, label in zip(*pairs, strict=True):
            found[task].append(label)
        return found


def with_task(x: torch.Tensor, task: torch.Tensor) -> torch.Tensor:
    """Inputs (batch, ...) with their task labels (batch,): a last column of features, a last channel of images."""
    label = task.to(x).view(-1, *[1] * (x.ndim - 1))
    return torch.cat([x, label.expand(-1, 1, *x.shape[2:])], dim=1)


def moved(part: torch.Tensor, device: torch.device) -> torch.Tensor:
    """A tensor on the device; from the CPU to a GPU by way of pinned memory, while the GPU does other work."""
    if device.type == "cuda" and part.device.type == "cpu":
        part = part.pin_memory()
    return part.to(device, non_blocking=True)


def taken(x: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """x[rows], a copy: of a tensor on a CPU in a quarter of the time, as whole rows are copied.

    Images that lie channels last in memory stay so.

    x : (samples, ...), a tensor or what is indexed like one. rows : int64 (batch,), on the same device.
    """
    if not isinstance(x, torch.Tensor):
        return x[rows]
    if x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last):
        return x.permute(0, 2, 3, 1).index_select(0, rows).permute(0, 3, 1, 2)
    return x.index_select(0, rows)


class Rows(Dataset):
    """Some rows of a store, as (input, label) pairs."""

    def __init__(self, store: Store, rows: np.ndarray) -> None:
        self.store = store
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        row = int(self.rows[index])
        x = self.store.x[row][None].clone()  # whoever changes it in place does not change the store
        return self.store.inputs(x, slice(row, row + 1))[0], int(self.store.y[row])


def make_stream(manifest: Manifest, store: Store) -> Any:
    """An Avalanche benchmark of a manifest with `train_stream`, `validation_stream` and `test_stream`.

    Every experience has its dataset with targets, task labels (0 in data-incremental streams), `task_set` and the
    attribute `sample_index` (row of the store); subsets and concatenations keep it, so that a loader can fetch whole
    batches from the store instead of collating single samples.
    """
    datasets = {
        split: [_dataset(store, manifest.rows(split, experience)) for experience in range(manifest.experiences)]
        for split in SPLITS
    }
    benchmark = with_classes_timeline(with_task_labels(benchmark_from_datasets(**datasets)))
    for stream in benchmark.streams.values():
        for experience in stream:
            # with_classes_timeline sets a `set`; Avalanche's MultiHeadClassifier indexes a tensor with it: IndexError
            experience.classes_in_this_experience = sorted(experience.classes_in_this_experience)
    return benchmark


def _dataset(store: Store, rows: np.ndarray) -> Any:
    # The public as_taskaware_classification_dataset adds no task labels and a public TaskLabels attribute gives no
    # `task_set`, which Avalanche's own LwF needs: only the private maker gives both.
    chosen = torch.from_numpy(rows)
    labels, tasks = store.y[chosen].tolist(), store.task[chosen].tolist()
    # one number for all where possible: a list would be copied for each experience
    task: Any = tasks[0] if len(set(tasks)) == 1 else tasks
    dataset = _make_taskaware_classification_dataset(Rows(store, rows), task_labels=task, targets=labels)
    return dataset.update_data_attribute(SAMPLE_INDEX, DataAttribute(rows.tolist(), SAMPLE_INDEX))


def rows_of(dataset: Any) -> torch.Tensor | None:
    """Rows (int64) of the store behind an Avalanche dataset, or None if it holds samples from elsewhere."""
    attribute = getattr(dataset, SAMPLE_INDEX, None)
    if attribute is None or len(attribute) != len(dataset):
        return None
    return torch.from_numpy(_values(attribute))


def _values(attribute: DataAttribute) -> np.ndarray:
    """int64 (samples,), the values of an attribute. Avalanche gives them one by one, 3 µs each, from the lists that it
    keeps: where there are only lists, they are taken as they are."""
    lists, chosen = getattr(attribute.data, "_datasets", []), getattr(attribute.data, "_indices", None)
    if not lists or not all(isinstance(part, list) for part in lists):
        return np.fromiter(attribute, dtype=np.int64, count=len(attribute))
    values = np.concatenate([np.asarray(part, dtype=np.int64) for part in lists])
    return values if chosen is None else values[np.fromiter(chosen, dtype=np.int64, count=len(attribute))]
