"""`lorisbench bench stock` at a tiny size: a suite and scripts of Avalanche compute the same; nothing is timed."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock

import numpy as np
import pytest

from lorisbench.bench import stock, suite


@pytest.mark.heavy
def test_a_suite_and_stock_scripts_reach_the_same_accuracies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suite, "IMAGES", {"train": 12, "test": 10})
    monkeypatch.setattr(suite, "EXPERIENCES", 2)
    images = suite._images(tmp_path)
    file = tmp_path / "small.yaml"
    file.write_text(
        f"name: small\nbenchmark: {{manifest: '{images}'}}\nstrategies: {{naive: }}\n"
        "backbone: {name: resnet18, weights: none, image_size: 32}\n"
    )
    monkeypatch.setattr(stock, "EXPERIENCES", (0, 1))
    monkeypatch.setattr(stock, "IMAGES", {"train": 12, "test": 9})
    monkeypatch.setattr(stock.stock, "EPOCHS", 2)
    monkeypatch.setattr(stock.stock, "TRAIN_BATCH", 5)
    cold, warm, same, plain = stock.measure(pairs=1, of=str(file))
    assert cold.what == "naive, ewc and lwf on 24 and 18 images, 2 epochs, features extracted, to stock scripts"
    assert "features in the cache" in warm.what
    assert "on the same batches" in same and same.endswith("at most 0.00 points") and "drawn by Avalanche" in plain


def test_other_accuracies_than_those_of_the_scripts_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = ({method: np.full((2, 2), value) for method in stock.stock.METHODS} for value in (0.5, 0.503))
    monkeypatch.setattr(stock, "_by_suite", lambda *_: ours)
    monkeypatch.setattr(stock, "_by_scripts", lambda *_, **__: theirs)
    suite_of = SimpleNamespace(streams={"only": MagicMock()})
    monkeypatch.setattr(stock, "_suite", lambda *_: suite_of)
    monkeypatch.setattr(stock, "backbone_of", lambda _: None)
    with pytest.raises(RuntimeError, match=r"differ by 0\.30 points"):
        list(stock.measure(pairs=1))
