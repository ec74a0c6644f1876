"""The checks: each takes what was observed and returns pass, fail or not applicable, and why."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch

from lorisbench.common.alike import by_value, listed
from lorisbench.common.errors import reason_of
from lorisbench.common.threads import one_thread
from lorisbench.conformance.causes import likely_cause
from lorisbench.conformance.observe import BROKEN, Observation, difference, observe
from lorisbench.conformance.toy import CLASSES, EXPERIENCES, Mode, Toy
from lorisbench.conformance.trials import answers, argument_faults, arrival_faults, batch_faults, replay, resume

Status = Literal["pass", "fail", "not applicable"]

FINE_TUNING = "naive"  # training without any method, the control for a check
MODES: tuple[Mode, ...] = ("features", "frozen", "images")
PLAIN: tuple[Mode, ...] = ("features", "images")  # the others add nothing where runs are compared with each other
LEARNT = 0.6  # accuracy on four classes, where chance is 0.25; fine-tuning reaches 1
ACTS = 1e-6  # if no probability changes by more than this, there is no effect
SPREAD = 1e-3  # what rounding may do to a probability when batches are cut differently
DENSE = {"samples": 31, "near": 12, "batch_size": 96}  # of a toy stream in which nothing is made of a single sample
PER_SAMPLE = 64 + 8 * CLASSES  # bytes that may be kept with each replayed sample: label, logits, index


class Verdict(NamedTuple):
    """The outcome of a check; `hint` says what was found, and for a failure where to look."""

    status: Status
    hint: str = ""


@dataclass
class Evidence:
    """A strategy's settings object and the runs that were watched; `runs` holds those without an error, by mode."""

    strategy: dict[str, Any]
    component: Any
    observations: list[Observation]

    @property
    def runs(self) -> dict[str, Observation]:
        return {seen.toy.mode: seen for seen in self.observations if not seen.error}

    def lack(self, modes: Sequence[Mode]) -> Verdict | None:
        """`not applicable` if no run in one of these modes was completed: a check that looks at them tests nothing."""
        if set(modes) & set(self.runs):
            return None
        return Verdict("not applicable", f"no run was completed on {' or '.join(modes)}")

    def failing(self, faults: Callable[[Observation], str]) -> str:
        """The faults of all runs, each preceded by its mode, or an empty string."""
        return listed(by_value({mode: fault for mode, seen in self.runs.items() if (fault := faults(seen))}))

    @functools.cached_property
    def unrepeatable(self) -> str:
        """What differs between two runs with the same seed, or does not differ between two with different seeds."""

        def fault(seen: Observation) -> str:
            if seen.toy.mode not in PLAIN:
                return ""
            if not _equal(seen.answers, replay(seen.toy)):
                return "two runs with the same seed differ"
            # the first experience with other answers is enough
            if seen.trained and all(map(torch.equal, seen.answers, answers(seen.toy.but(seed=1)))):
                return "two seeds give the same run"
            return ""

        return self.failing(fault)


@one_thread()
def collect(strategy: dict[str, Any], component: Any, modes: Sequence[Mode] = MODES) -> Evidence:
    """Watch a run in each mode."""
    return Evidence(strategy, component, [observe(Toy(strategy, mode)) for mode in modes])


@functools.cache
def _fine_tuning(mode: Mode) -> list[torch.Tensor]:
    return replay(Toy({"strategy": FINE_TUNING}, mode))


def _few(names: list[str], most: int = 3) -> str:
    unique = list(dict.fromkeys(names))
    return ", ".join(unique[:most]) + (f" and {len(unique) - most} more" if len(unique) > most else "")


def _verdict(fault: str, advice: str = "") -> Verdict:
    return Verdict("fail", f"{fault}. {advice}".strip(". ")) if fault else Verdict("pass")


def learns(evidence: Evidence) -> Verdict:
    """Accuracy on experience 0 after training on it is well above chance."""

    def fault(seen: Observation) -> str:
        count = len(seen.labels) // EXPERIENCES
        right = (seen.answers[0][:count].argmax(dim=1) == seen.labels[:count]).float().mean().item()
        return "" if right >= LEARNT else f"accuracy {right:.2f} after training on experience 0, chance is 0.25"

    lost = [name for seen in evidence.runs.values() for name in seen.lost]
    if lost:
        advice = f"Likely cause: {_few(lost)}, see 'new parameters'"
    else:
        advice = (
            "Is the loss used, and is the head in the optimizer? If it has its own build(), are there enough steps?"
        )
    return _verdict(evidence.failing(fault), advice)


def acts(evidence: Evidence) -> Verdict:
    """From experience 1 on, its answers differ from those of fine-tuning."""
    if evidence.strategy["strategy"] == FINE_TUNING:
        return Verdict("not applicable", "it is fine-tuning")
    if lacking := evidence.lack(PLAIN):
        return lacking

    def fault(seen: Observation) -> str:
        if seen.toy.mode not in PLAIN:
            return ""
        plain = _fine_tuning(seen.toy.mode)
        largest = max(difference(*pair) for pair in zip(seen.answers[1:], plain[1:], strict=True))
        return "" if largest > ACTS else "answers equal those of fine-tuning after every experience"

    return _verdict(evidence.failing(fault), "Is the penalty zero, detached, or added to nothing?")


def past_data(evidence: Evidence) -> Verdict:
    """No more samples of earlier experiences are read or held than the strategy declares."""
    limit = evidence.component.replay_limit()
    if limit is None:
        return Verdict("not applicable", "it declares that it keeps all samples")

    def fault(seen: Observation) -> str:
        if max(seen.past) > limit:
            return f"{max(seen.past)} samples of earlier experiences are read, but replay_limit() is {limit}"
        if max(seen.declared) > limit:
            return f"replay_samples is {max(seen.declared)}, but replay_limit() is {limit}"
        found = held_fault(seen)
        # the average of a cluster, or class, of one sample equals it, but not where each sample has its like beside it
        if found and not (dense := observe(seen.toy.but(**DENSE))).error and not held_fault(dense):
            averages.append(f"{max(seen.held)} averages of one sample are no kept samples")
            return ""
        return found

    def held_fault(seen: Observation) -> str:
        if max(seen.held) > limit:
            return f"{max(seen.held)} samples are held in {seen.held_in}, but replay_limit() is {limit}"
        for held, declared in zip(seen.held, seen.declared, strict=True):
            if held > declared:
                return f"{held} samples are held, but replay_samples is {declared}"
        return ""

    averages: list[str] = []
    verdict = _verdict(evidence.failing(fault), "Declare replay_limit() and replay_samples, or release the samples")
    return Verdict("pass", averages[0]) if verdict.status == "pass" and averages else verdict


def future_data(evidence: Evidence) -> Verdict:
    """Training reads no later experience, test set or unasked validation set; test labels, batches change no answer."""
    transductive = any(remark.startswith("transductive") for remark in evidence.component.remarks())

    def fault(seen: Observation) -> str:
        if seen.outside:
            return f"reads {_few(seen.outside, 2)}"
        if seen.label_influence > ACTS:
            return f"permuted test labels change a probability by {seen.label_influence:.2g}"
        if seen.batch_influence > SPREAD and not transductive:
            return (
                f"test batches of 5 change a probability by {seen.batch_influence:.2g}; if this is intended, a remark "
                "of remarks() must begin with 'transductive'"
            )
        return ""

    verdict = _verdict(evidence.failing(fault))
    if verdict.status == "pass" and not any(seen.influenced for seen in evidence.runs.values()):
        return Verdict(
            "pass", "not tried with other test labels and batches: it cannot be copied, or never answers alike"
        )
    return verdict


def frozen(evidence: Evidence) -> Verdict:
    """What is frozen stays the same bit for bit: parameters, BatchNorm statistics, teachers within an experience."""

    def fault(seen: Observation) -> str:
        parts = [f"{_few(seen.drift)} of the model"] if seen.drift else []
        parts += [f"{_few(seen.teachers)} of a plugin"] if seen.teachers else []
        return f"{', '.join(parts)} changed" if parts else ""

    if not any(seen.guarded for seen in evidence.runs.values()):
        return Verdict("not applicable", "nothing is frozen in the runs that were completed")
    advice = (
        "Put frozen modules and teachers in evaluation mode, without gradients, and keep model.train() from switching "
        "them back. A plugin declares what it changes on purpose: moving = ('teacher',)"
    )
    return _verdict(evidence.failing(fault), advice)


def new_parameters(evidence: Evidence) -> Verdict:
    """Parameters added later are in the optimizer and move."""
    if not any(seen.grown for seen in evidence.runs.values()):
        return Verdict("not applicable", "no parameter is added")
    advice = "Add heads in after_train_dataset_adaptation: the optimizer is made before before_training_exp"
    return _verdict(evidence.failing(lambda seen: _few(seen.lost)), advice)


def evaluation(evidence: Evidence) -> Verdict:
    """Evaluation changes nothing: model, modes, the method's tensors, optimizer, random number generators."""
    return _verdict(evidence.failing(lambda seen: f"{_few(seen.eval_changes)} changed" if seen.eval_changes else ""))


def repeats(evidence: Evidence) -> Verdict:
    """Two runs with the same seed agree bit for bit, and the seed has an effect if anything is trained."""
    if lacking := evidence.lack(PLAIN):
        return lacking
    if evidence.unrepeatable:
        advice = "Draw from a torch.Generator seeded from context.seed, and keep no state in Python modules or classes"
        return _verdict(evidence.unrepeatable, advice)
    untrained = not any(seen.trained for seen in evidence.runs.values())
    return Verdict("pass", "nothing is trained by gradients: the seed may have no effect" if untrained else "")


def _equal(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
    return len(one) == len(other) and all(torch.equal(*pair) for pair in zip(one, other, strict=True))


def resumes(evidence: Evidence) -> Verdict:
    """Built anew and continued from a checkpoint of any experience, it gives bit for bit what the original gives."""
    if lacking := evidence.lack(PLAIN):
        return lacking
    if evidence.unrepeatable:
        return Verdict("not applicable", "two runs with the same seed differ anyway")
    found = {mode: resume(seen.toy) for mode, seen in evidence.runs.items() if mode in PLAIN}
    fault = listed(by_value({mode: each.fault for mode, each in found.items() if each.fault}))
    if fault:
        return _verdict(fault, "Keep a run's state in its plugins and model, not in Python modules or classes")
    return Verdict("pass", "; ".join(dict.fromkeys(each.how for each in found.values())))


def model_parts(evidence: Evidence) -> Verdict:
    """The model that wrap() returns has its backbone where it is frozen, timed and exported."""
    named = {seen.toy.mode: seen.lacks for seen in evidence.observations}
    # where the backbone is frozen after experience 0, a run without it is refused before it begins
    refused = [seen.error for seen in evidence.observations if "`backbone`" in seen.error and seen.kind == "refused"]
    faults = [*filter(None, named.values()), *refused]
    if faults:
        return Verdict("fail", faults[0])
    if not evidence.runs:
        return Verdict("not applicable", "no run was completed")
    models = [seen for seen in evidence.runs.values() if not seen.has_features]
    return Verdict("pass", "it has no `features`, which other strategies of a stack may read" if models else "")


def restores(evidence: Evidence) -> Verdict:
    """Saved at its end and loaded into a model built anew, as latency and export do, it answers the same."""
    if any(seen.lacks for seen in evidence.runs.values()):
        return Verdict("not applicable", "its model lacks what is needed for that, see 'model parts'")
    # a frozen backbone that moves is in no checkpoint: that is the fault of another check
    return _verdict(evidence.failing(lambda seen: "" if seen.drift else seen.unrestored))


def arguments(evidence: Evidence) -> Verdict:
    """Settings and data sets stay unchanged, and two strategies built from the same settings share nothing."""
    if lacking := evidence.lack(("features",)):
        return lacking
    return _verdict(evidence.failing(lambda seen: argument_faults(seen.toy) if seen.toy.mode == "features" else ""))


def growth(evidence: Evidence) -> Verdict:
    """The bytes of model, state and samples grow only with what `state_growth` declares."""
    declared = evidence.component.state_growth
    if evidence.strategy["strategy"] == "avalanche":
        return Verdict("not applicable", "an Avalanche plugin declares nothing")
    if declared == "samples":
        return Verdict("not applicable", "it declares growth with the samples")
    limit = evidence.component.replay_limit() or 0
    if declared != "constant" and limit:
        return Verdict("not applicable", "it keeps samples, so growth with their number cannot be told")
    if declared != "constant" and (lacking := evidence.lack(("features",))):
        return lacking

    def fault(seen: Observation) -> str:
        sizes = seen.sizes
        if declared == "constant":
            sample = 16 * 4 if seen.toy.mode == "features" else 3 * 8 * 8
            room = max(0, limit - seen.declared[1]) * (sample + PER_SAMPLE)
            grown = max(sizes[2:]) - sizes[1]
            return f"{sizes[1]} bytes after experience 1, {max(sizes)} later: not constant" if grown > room else ""
        if seen.toy.mode != "features":
            return ""
        more = observe(seen.toy.but(samples=3 * seen.toy.samples))
        if more.error:
            return f"with three times the samples it breaks off: {more.error}"
        little, much = _steps(sizes), _steps(more.sizes)
        with_samples = max(much) > 2 * max(*little, sizes[0]) or 0 < 1.9 * max(little) < min(much)
        return f"{max(little)} bytes per experience, {max(much)} with three times the samples" if with_samples else ""

    return _verdict(evidence.failing(fault), f"state_growth says {declared!r}")


def _steps(sizes: list[int]) -> list[int]:
    """What each experience adds, from experience 2 on."""
    return [after - before for before, after in itertools.pairwise(sizes[1:])]


def batches(evidence: Evidence) -> Verdict:
    """It runs in every mode, with batches of one or a whole experience, a last batch of one, and on a GPU if any."""
    ended = [seen for seen in evidence.observations if seen.kind == "failed"]
    failed = by_value({s.toy.mode: ". ".join(filter(None, (s.error, likely_cause(s.error)))) for s in ended})
    refused = {seen.toy.mode: seen.error for seen in evidence.observations if seen.kind == "refused"}
    if len(refused) == len(evidence.observations):
        return Verdict("fail", f"refuses every mode; {': '.join(next(iter(refused.items())))}")
    broken = [listed(failed)] if failed else []
    broken += [fault for mode, seen in evidence.runs.items() if mode in PLAIN for fault in batch_faults(seen.toy)]
    if broken:
        return Verdict("fail", "; ".join(broken))
    if lacking := evidence.lack(PLAIN):
        return lacking
    notes = [f"refused on purpose: {listed(by_value(refused))}"] if refused else []
    if not torch.cuda.is_available():
        notes.append("not tried on a GPU, as there is none")
    return Verdict("pass", "; ".join(notes))


def arriving_classes(evidence: Evidence) -> Verdict:
    """Classes may arrive with the experiences: it learns the first, and with head.grow answers none still to come."""
    if lacking := evidence.lack(("features",)):
        return lacking
    growing = evidence.component.growing_heads
    seen = evidence.runs["features"]
    faults = arrival_faults(seen.toy, growing, LEARNT)
    if faults:
        return _verdict("; ".join(faults), "Size by context.num_classes, not by the classes of an experience")
    return Verdict("pass", "" if growing else "not with head.grow, as it declares growing_heads = False")


def losses(evidence: Evidence) -> Verdict:
    """Losses and answers stay finite, and no loss grows tenfold within an experience."""
    diverged = by_value({seen.toy.mode: seen.error for seen in evidence.observations if seen.kind == "diverged"})
    if diverged:
        return Verdict("fail", listed(diverged))

    def fault(seen: Observation) -> str:
        for index, epochs in enumerate(seen.losses):
            if any(not math.isfinite(loss) for loss in epochs):
                return f"the loss is not finite in experience {index}"
            if epochs and epochs[-1] > 10 * max(1.0, epochs[0]):
                return f"the loss grows from {epochs[0]:.2g} to {epochs[-1]:.2g} in experience {index}"
        return ""

    verdict = _verdict(evidence.failing(fault), "A step of lr x strength x importance above 2 is unstable")
    if verdict.status == "pass" and not any(epochs for seen in evidence.runs.values() for epochs in seen.losses):
        return Verdict("pass", "it has no losses that could be seen; its answers are finite")
    return verdict


CHECKS: dict[str, Callable[[Evidence], Verdict]] = {
    check.__name__.replace("_", " "): check
    for check in (
        learns, acts, past_data, future_data, frozen, new_parameters, evaluation, repeats, resumes, model_parts,
        restores, arguments, growth, batches, arriving_classes, losses,
    )
}  # fmt: skip


@one_thread()
def judge(evidence: Evidence) -> dict[str, Verdict]:
    """The verdict of each check, by name. If every run broke off, only what made them is judged."""

    def verdict(check: Callable[[Evidence], Verdict]) -> Verdict:
        diverged = any(seen.kind == "diverged" for seen in evidence.observations)
        if not evidence.runs and check not in (batches, model_parts) and not (check is losses and diverged):
            return Verdict("not applicable", "no run was completed")
        try:
            return check(evidence)
        except BROKEN as error:  # raised by the strategy, in a run besides those watched
            return Verdict("fail", f"another run breaks off with {reason_of(error)}")

    return {name: verdict(check) for name, check in CHECKS.items()}
