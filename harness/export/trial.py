"""`lorisbench check --export`: a strategy's model, trained on the toy stream, as an ONNX graph that answers alike."""

from __future__ import annotations

import contextlib
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

from torch import nn

from lorisbench.common.errors import InputError, reason_of
from lorisbench.common.restored import restored
from lorisbench.common.threads import one_thread
from lorisbench.conformance.keeping import saved_and_restored
from lorisbench.conformance.kit import Row
from lorisbench.conformance.toy import EXPERIENCES, SIZE, Running, Toy, apart
from lorisbench.export.onnx import Deployed, Inputs, check_exportable, compare, converted
from lorisbench.export.trained import check_answers
from lorisbench.model.onnx_graph import need_packages

ASKS = "Exported to ONNX, its model answers as it does in PyTorch, whatever the batch."


@restored()
@one_thread()
def trial(settings: dict[str, Any]) -> Row:
    """The check `exports` of a strategy, of which `settings` is the entry in a suite.

    Raises InputError if a package of the extra is missing.
    """
    need_packages("--export")
    with warnings.catch_warnings(), contextlib.redirect_stdout(sys.stderr):
        warnings.simplefilter("ignore")
        toy = Toy(settings, "features")
        try:
            with apart(toy), tempfile.TemporaryDirectory(prefix="lorisbench-check-") as folder:
                running = Running(toy)
                for index in range(EXPERIENCES):
                    running.learn(index)
                model = saved_and_restored(
                    running, Path(folder), check=lambda strategy: check_answers(settings["strategy"], strategy)
                )
                return _exported(settings["strategy"], model)
        except InputError as error:
            return Row("exports", ASKS, "fail", str(error))
        except (Exception, SystemExit) as error:  # whatever the strategy's own code raises
            return Row("exports", ASKS, "fail", f"before it could be exported it broke off with {reason_of(error)}")


def _exported(name: str, model: nn.Module) -> Row:
    try:
        check_exportable(name, model)
    except InputError as error:
        return Row("exports", ASKS, "not applicable", str(error))
    inputs = Inputs("images", SIZE)
    deployed = Deployed(model).eval().requires_grad_(False)
    comparison = compare(converted(name, deployed, inputs).SerializeToString(), deployed, inputs)
    return Row("exports", ASKS, "pass" if comparison.passed else "fail", str(comparison))
