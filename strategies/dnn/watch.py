"""Which head answers which domain: a plugin that watches while a DynamicNetwork is evaluated."""

from __future__ import annotations

from typing import Any

import torch
from avalanche.core import SupervisedPlugin

from lorisbench.strategies.dnn.network import DynamicNetwork
from lorisbench.strategies.dnn.open import OpenRouter


class AnswerPlugin(SupervisedPlugin):
    """Tells which head answers each image, and counts, for each experience tested on, the share that each head answers.

    The network's `answered_by` is set for each minibatch of an evaluation: the head with the largest share of the
    answer to an image, -1 if that is none, or several.

    It watches the evaluation's own forward pass and changes nothing in it. Counts stay on the device until
    the evaluation is over; outside evaluation the network is not watched. Evaluations before the first experience is
    trained are not counted.

    Attributes
    ----------
    tables : `answers`, one dict for each head with a share: after_experience (the last one trained),
        test_experience, head (-1: none, the images taken to be from a new domain under an `open` answer), share (in
        0..1; they sum to 1). A later evaluation of the same pair of experiences replaces the earlier one.
    """

    answers_unchanged = True

    def __init__(self) -> None:
        super().__init__()
        self.tables: dict[str, list[dict[str, Any]]] = {"answers": []}
        self._after: int | None = None
        self._counts: dict[int, torch.Tensor] = {}
        self._watched: torch.Tensor | None = None

    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        self._after = strategy.clock.train_exp_counter

    def before_eval(self, strategy: Any, **kwargs: Any) -> None:
        self._counts = {}
        if self._after is not None:
            model: DynamicNetwork = strategy.model

            def watch(log_p: torch.Tensor, scores: torch.Tensor | None) -> None:
                shares = head_shares(model, log_p, scores)
                model.answered_by = largest_share(shares)
                self._watched = shares.sum(dim=0)

            model.watch = watch

    def after_eval_iteration(self, strategy: Any, **kwargs: Any) -> None:
        if self._after is None:
            return
        counts, self._watched = self._watched, None
        if counts is None:  # one head answered without being weighed: the only one, the newest, or `told`
            model: DynamicNetwork = strategy.model
            counts = torch.zeros(len(model.heads) + 1, device=strategy.device)
            told = model.told if model.answer == "oracle" and len(model.heads) > 1 else None
            head = len(model.heads) - 1 if told is None else told
            counts[head] = len(strategy.mb_y)
            model.answered_by = torch.full_like(strategy.mb_y, head)
        test = int(strategy.experience.current_experience)
        self._counts[test] = counts if test not in self._counts else self._counts[test] + counts

    def after_eval(self, strategy: Any, **kwargs: Any) -> None:
        strategy.model.watch = strategy.model.answered_by = None
        counts, self._counts = self._counts, {}
        if not counts:
            return
        new = {(self._after, test) for test in counts}
        rows = self.tables["answers"]
        rows[:] = [row for row in rows if (row["after_experience"], row["test_experience"]) not in new]
        for test, row in zip(counts, torch.stack(list(counts.values())).tolist(), strict=True):
            rows += [
                {"after_experience": self._after, "test_experience": test, "head": head, "share": row[head] / sum(row)}
                for head in range(-1, len(row) - 1)  # -1 is the last column as well
                if row[head] > 0
            ]


def head_shares(model: DynamicNetwork, log_p: torch.Tensor, scores: torch.Tensor | None) -> torch.Tensor:
    """Each head's share in the answer to each image, by the network's rule.

    Under `confidence` the surest head has all of it, under `batch` the head surest of the whole batch; under a rule
    that uses the router, the head with the largest posterior mass; under the `open` ones, no head if a new domain is
    likelier than all that were seen; under `mean`, all heads have equal shares.

    Parameters
    ----------
    log_p : log-probabilities of the heads, (batch, heads, classes). scores : the router's, (batch, D * K), or None.

    Returns
    -------
    float32 (batch, heads + 1), rows sum to 1; the last column is that of no head.
    """
    heads = log_p.shape[1]
    if model.answer == "confidence":
        winner = log_p.amax(dim=2).argmax(dim=1)
    elif model.answer == "batch":
        winner = log_p.exp().amax(dim=2).mean(dim=0).argmax().expand(len(log_p))
    elif scores is not None:
        winner = model.router.head_weights(scores, heads).argmax(dim=1)
        if isinstance(model.router, OpenRouter):
            winner = torch.where(model.router.unknown(scores) > 0.5, heads, winner)
    else:
        equal = torch.full(log_p.shape[:2], 1 / heads, device=log_p.device)
        return torch.cat([equal, torch.zeros_like(equal[:, :1])], dim=1)
    return (winner[:, None] == torch.arange(heads + 1, device=log_p.device)).float()


def largest_share(shares: torch.Tensor) -> torch.Tensor:
    """The head with the largest of `head_shares`, int64 (batch,); -1 for none, or where several have as much."""
    most = shares.amax(dim=1, keepdim=True)
    head = shares.argmax(dim=1)
    alone = ((shares == most).sum(dim=1) == 1) & (head < shares.shape[1] - 1)
    return torch.where(alone, head, -1)
