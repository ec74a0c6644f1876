"""Dynamic Neural Network: a new head for a severe domain gap, distillation of known samples for a mild
one."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

import torch
from avalanche.core import SupervisedPlugin
from pydantic import Field, NonNegativeFloat, PositiveFloat, field_validator
from torch import nn
from torch.nn import functional as F

from lorisbench.engine.strategy import Context, Strategy
from lorisbench.strategies.dnn.domains import Domains
from lorisbench.strategies.dnn.network import ROUTED, Answer, DynamicNetwork
from lorisbench.strategies.dnn.open import OpenRouter
from lorisbench.strategies.dnn.watch import AnswerPlugin
from lorisbench.strategies.parts.data import batches

HeadInit = Literal["best", "fresh"]
DistillHead = Literal["best", "worst", "newest"]


class DNNPlugin(SupervisedPlugin):
    """Decides before each experience whether `strategy.model`, a DynamicNetwork, grows a head or distils one.

    The first experience trains the first head, and the shared layers if they have gradients; after it they
    are frozen. For each later one every head is measured on the new training data, in one pass before
    training. If even the best head is below the threshold, a new head is trained on the classification loss. Otherwise
    one head h is trained on

        CE(all samples of the batch)  +  distill_weight * T^2 * KL(teacher || student)(known samples, their
        mean),

    where the teacher is a copy of h before the experience and the known samples are those it classifies correctly;
    a batch without a known sample has no second term. No sample of an earlier experience is kept.

    Parameters
    ----------
    expand_below, expand_at, head_init, distill_head, distill_weight, temperature : see `DNN`.

    Attributes
    ----------
    decisions : one dict per experience: experience; verdict (base, expand, distill); head (index of the one
        trained); teacher (index of the head distilled, or None); source (index of the head that a new one was
        copied from, or None); gap (accuracy of the best head before training, in 0..1, or None); gap_0,
        gap_1, … (that of each head); novelty (a label-free counterpart of the gap: 1 - the highest mean over the new
        data of a head's maximal probabilities); unknown (under an `open` answer: the mean probability over the new
        data, before training, that an image is from a new domain; label-free too); known (samples that the teacher, or
        else the best head, classifies correctly); samples; and, after the experience, heads (how many there are),
        heads_mb (their parameters) and router_mb (statistics kept to choose a head), in 10^6 bytes.
    tables : the decisions, for the harness to store.
    replay_samples : 0.
    """

    def __init__(
        self,
        expand_below: float = 0.9,
        expand_at: list[int] | None = None,
        head_init: HeadInit = "best",
        distill_head: DistillHead = "best",
        distill_weight: float = 1.0,
        temperature: float = 2.0,
    ) -> None:
        super().__init__()
        for value, kind in ((head_init, HeadInit), (distill_head, DistillHead)):
            if value not in get_args(kind):
                raise ValueError(f"{value!r} is none of {', '.join(get_args(kind))}")
        self.expand_below = expand_below
        self.expand_at = expand_at
        self.head_init = head_init
        self.distill_head = distill_head
        self.distill_weight = distill_weight
        self.temperature = temperature
        self.decisions: list[dict[str, Any]] = []
        self.tables = {"decisions": self.decisions}
        self.replay_samples = 0
        self.teacher: nn.Module | None = None
        self._seen: torch.Tensor | None = None

    def after_train_dataset_adaptation(self, strategy: Any, **kwargs: Any) -> None:
        """Measure the gap and choose the head. The optimizer is made after this, so it finds a new head."""
        model = _network(strategy)
        data = strategy.experience.dataset.eval()
        row: dict[str, Any] = {"experience": strategy.clock.train_exp_counter, "samples": len(data)}
        self.teacher = None
        if row["experience"] == 0:
            row |= {"verdict": "base", "head": 0, "teacher": None, "source": None, "gap": None, "known": 0}
        else:
            gaps, without_labels = measure_heads(strategy, data)
            row |= self._choose(model, gaps, row["experience"], len(data)) | without_labels
        model.train_only(row["head"])
        self.decisions.append(row)

    def _choose(self, model: DynamicNetwork, gaps: list[float], experience: int, samples: int) -> dict[str, Any]:
        best = gaps.index(max(gaps))
        row: dict[str, Any] = {"gap": gaps[best]} | {f"gap_{head}": gap for head, gap in enumerate(gaps)}
        expand = gaps[best] < self.expand_below if self.expand_at is None else experience in self.expand_at
        if expand:
            source = best
            head = model.add_head(best if self.head_init == "best" else None)
        else:
            source = {"best": best, "worst": gaps.index(min(gaps)), "newest": len(gaps) - 1}[self.distill_head]
            head = source
            self.teacher = model.frozen_copy(source)
        return row | {
            "verdict": "expand" if expand else "distill",
            "head": head,
            "teacher": None if expand else source,
            "source": source if expand and self.head_init == "best" else None,
            "known": round(gaps[source] * samples),
        }

    def after_forward(self, strategy: Any, **kwargs: Any) -> None:
        """Keep what the head saw of the minibatch: other plugins may pass other inputs before the loss is complete."""
        self._seen = _network(strategy).last_features

    def before_backward(self, strategy: Any, **kwargs: Any) -> None:
        if self.teacher is not None and self.distill_weight > 0:
            target = self.teacher(self._seen)  # neither of which takes gradients
            loss = known_distillation(strategy.mb_output, target, strategy.mb_y, self.temperature)
            strategy.loss.add_(loss, alpha=self.distill_weight)

    def before_eval_exp(self, strategy: Any, **kwargs: Any) -> None:
        """Tell the answer `oracle` which head the experience's images belong to; None for one not yet trained."""
        index = strategy.experience.current_experience
        _network(strategy).told = self.decisions[index]["head"] if index < len(self.decisions) else None

    def after_eval_exp(self, strategy: Any, **kwargs: Any) -> None:
        _network(strategy).told = None

    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        """Freeze the shared layers for good and, to choose heads later, record the domain's statistics."""
        model = _network(strategy)
        self.teacher, self._seen = None, None
        model.freeze_backbone()
        model.last_features = None
        if model.answer in ROUTED:
            model.record_domain(batches(strategy, strategy.experience.dataset.eval()))
        size = sum(p.numel() * p.element_size() for p in model.heads.parameters())
        self.decisions[-1] |= {
            "heads": len(model.heads),
            "heads_mb": size / 1e6,
            "router_mb": model.router_bytes() / 1e6,
        }


def _network(strategy: Any) -> DynamicNetwork:
    if not isinstance(strategy.model, DynamicNetwork):
        raise TypeError(
            f"DNNPlugin needs a lorisbench.strategies.dnn.network.DynamicNetwork, not a {type(strategy.model).__name__}"
        )
    return strategy.model


@torch.no_grad()
def measure_heads(strategy: Any, data: Any) -> tuple[list[float], dict[str, float]]:
    """Accuracy in 0..1 of every head of `strategy.model` on a dataset, and label-free measures of its domain.

    Takes one pass. The measures are `novelty`, 1 - the highest mean confidence of a head (on data from an unknown
    domain every head becomes less sure), and, if the router gives it, `unknown`, the mean probability of a new domain.
    """
    model = _network(strategy)
    training = model.training
    model.eval()
    right = torch.zeros(len(model.heads), dtype=torch.int64, device=strategy.device)
    sure = torch.zeros(len(model.heads), dtype=torch.float64, device=strategy.device)
    unknown = torch.zeros((), dtype=torch.float64, device=strategy.device)
    count = 0
    for x, y in batches(strategy, data):
        features = model.features(x)
        logits = model.all_logits(features)
        right += (logits.argmax(dim=2) == y[:, None]).sum(dim=0)
        sure += logits.softmax(dim=2).amax(dim=2).double().sum(dim=0)
        if isinstance(model.router, OpenRouter):
            unknown += model.router.unknown(F.linear(features, model.router.weight, model.router.bias)).double().sum()
        count += len(y)
    model.train(training)
    without_labels = {"novelty": 1 - float(sure.max()) / count}
    if isinstance(model.router, OpenRouter):
        without_labels["unknown"] = float(unknown) / count
    return [value / count for value in right.tolist()], without_labels


def known_distillation(
    student: torch.Tensor, teacher: torch.Tensor, labels: torch.Tensor, temperature: float
) -> torch.Tensor:
    """T^2 KL(teacher || student) of softened logits, mean over the samples that the teacher classifies
    correctly.

    Parameters
    ----------
    student, teacher : logits (batch, classes); only the student's get gradients.
    labels : int64 (batch,).

    Returns
    -------
    A scalar, 0 if the teacher knows no sample. T^2 keeps the size of the gradient independent of T (Hinton et
    al. 2015, section 2).
    """
    known = (teacher.argmax(dim=1) == labels).to(student.dtype)
    log_student = F.log_softmax(student / temperature, dim=1)
    log_teacher = F.log_softmax(teacher / temperature, dim=1)
    divergence = F.kl_div(log_student, log_teacher, reduction="none", log_target=True).sum(dim=1)
    return temperature**2 * (known * divergence).sum() / known.sum().clamp(min=1)


class DynamicHeads(Strategy):
    """What every strategy with DNN's heads has in common: how they are made and trained. See `DNN` for the settings.

    A subclass says in `router` what tells domains apart; the heads are weighed by it.
    """

    task_heads = False
    growing_heads = False
    state_growth = "experiences"
    # Not up to 1, where every experience grows a head and nothing is distilled
    tuned = {"expand_below": ("linear", 0.5, 0.95), "distill_weight": ("log", 0.01, 10.0)}

    expand_below: Annotated[float, Field(ge=0, le=1)] = 0.9
    expand_at: list[int] | None = None
    head_init: Literal["best", "fresh"] = "best"
    distill_head: Literal["best", "worst", "newest"] = "best"
    distill_weight: NonNegativeFloat = 1.0
    temperature: PositiveFloat = 2.0

    @field_validator("expand_at", mode="before")
    @classmethod
    def _never(cls, value: Any) -> Any:
        if isinstance(value, str) and value != "never":
            raise ValueError("a list of experiences was expected, or never")
        return [] if value == "never" else value

    @field_validator("expand_at")
    @classmethod
    def _later_experiences(cls, value: list[int] | None) -> list[int] | None:
        if value is not None and (min(value, default=1) < 1 or len(set(value)) < len(value)):
            raise ValueError("expand_at lists experiences from 1 on, each once: experience 0 trains the first head")
        return value

    def router(self, context: Context) -> Domains:
        """A fresh router for one run."""
        raise NotImplementedError

    def wrap(self, model: nn.Module, context: Context) -> nn.Module:
        head: Any = model.head
        router = self.router(context)
        return DynamicNetwork(model.backbone, context.new_head, head, answer="prototype", router=router)  # type: ignore[arg-type]

    def plugins(self, context: Context) -> list[Any]:
        plugin = DNNPlugin(
            self.expand_below,
            self.expand_at,
            self.head_init,
            self.distill_head,
            self.distill_weight,
            self.temperature,
        )
        return [plugin, AnswerPlugin()]


class DNN(DynamicHeads, name="dnn"):
    """Dynamic Neural Network (Ma et al., HIK_ILG, IROS 2019 Lifelong Robotic Vision Challenge).

    The sources (abstract, poster and slides on the challenge's web site) state: shared convolutional layers with
    several heads; for a new task with a severe domain gap, "the accuracy of the previous model before training on the
    current task", the shared layers are frozen and a new head is trained; for a similar domain an existing head is
    trained further, with the classification loss on all samples and the distillation loss (frozen copy of the head ->
    head) on known samples only, those the previous model classifies correctly; with several heads "using the best head
    is reasonable and more stable"; no previous data is used. They do not state the threshold, the weight and
    temperature of distillation, how a new head starts, nor which head answers: these are our choices.

    expand_below: a new head is made if the best head's accuracy on the new training data is below this; 0 means never,
    1 always unless it is perfect (our choice).
    expand_at: the experiences that make a new head, counted from 0, instead of the threshold; the slides'
    "expand@1" is [1], `never` (or an empty list) their "no expand".
    head_init: a new head starts as a copy of the best one, or fresh (our choice).
    distill_head: which head is trained further for a similar domain: `best` on its data (stated), `worst` (the
    slides' V2' variant) or `newest`, the one made last. distill_weight, temperature: of the distillation loss
    (our choice).
    answer: which head answers, without a task label (our choice): `open-bounded`, as `agreement` if an image looks like
    those of a domain that was trained on, else the class statistics over all domains, without a head, whose covariance
    is at least half as it was measured (see `lorisbench.strategies.dnn.open`); `open`, without this bound, which falls
    back to nearest class means where domains are few; `agreement`, where Gaussians of each domain's features weigh the
    heads and vote on the class as well; `prototype`, where they weigh the heads only; `confidence`, the surest
    head; `mean` of all; `newest`; `batch`, the head surest on average over the images tested together (transductive: it
    assumes that these share one domain); `oracle`, the head of the experience that the images are from (an upper bound
    for choosing a head: it is given what no method can know; an experience not yet trained has no head, and `agreement`
    answers); `gaussians`, as `agreement` without any head (a control for what the heads add).
    shrinkage: of the Gaussians' shared covariance, `oas` or a fixed share in (0, 1] (our choice).
    router_temperature: of the Gaussians in `open-bounded`, `open`, `prototype` and `agreement`, 1 for their own
    posterior, more for a softer one (our choice).
    The choice of the answer rests on validation splits: of OpenLORIS-Sim where they share their recordings with the
    training images, as the released ones do, and where they do not, and of other streams (`lorisbench run
    dnn-answers-streams`).
    """

    transductive = {"answer": ["batch"]}

    answer: Answer = "open-bounded"
    shrinkage: Annotated[float, Field(gt=0, le=1)] | Literal["oas"] = "oas"
    router_temperature: PositiveFloat = 20.0

    def remarks(self) -> list[str]:
        return {
            "batch": ["transductive: one head answers each test batch, whose images are of one experience"],
            "oracle": ["an upper bound for the choice of a head: it is told which experience each test image is from"],
        }.get(self.answer, [])

    def wrap(self, model: nn.Module, context: Context) -> nn.Module:
        return DynamicNetwork(
            model.backbone,  # type: ignore[arg-type]
            context.new_head,
            head=model.head,  # type: ignore[arg-type]
            answer=self.answer,
            shrinkage=self.shrinkage,
            router_temperature=self.router_temperature,
        )
