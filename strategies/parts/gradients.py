"""Means over samples of a function of each sample's own gradient: the pass over the data that EWC and MAS share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import nn
from torch.func import functional_call, grad, vmap

from lorisbench.strategies.parts.data import evaluating

Tensors = dict[str, torch.Tensor]
Data = Iterable[tuple[torch.Tensor, torch.Tensor]]

_CHUNK_BYTES = 64 * 2**20


def trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that require gradients, by name."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def mean_over_samples(
    model: nn.Module,
    data: Data,
    of_last_layer: Callable[[torch.Tensor, torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]],
    of_model: Callable[[nn.Module, torch.Tensor, torch.Tensor], Tensors],
) -> Tensors:
    """Means over samples, one tensor per trainable parameter, of its shape, dtype and device; the model in eval mode.

    Parameters
    ----------
    model : gives logits (batch, classes) for a batch of inputs. data : pairs x (batch, ...), y int64 (batch,). How they
    are cut into batches makes no difference.
    of_last_layer : the sums over a batch if only the linear layer that makes the logits trains, in closed form:
        its inputs (batch, features), the logits and y -> sums for weight (classes, features) and bias (classes,).
    of_model : the sums over a batch for any model, by name, from model, x and y.

    Raises
    ------
    ValueError : there are no samples.
    """
    total: Tensors = {name: torch.zeros_like(parameter) for name, parameter in trainable(model).items()}
    count = 0
    with evaluating(model):
        for x, y in data:
            sums = _last_layer_sums(model, x, y, of_last_layer)
            for name, value in (of_model(model, x, y) if sums is None else sums).items():
                total[name] += value
            count += len(x)
    if count == 0:
        raise ValueError("importance needs at least one sample")
    return {name: value / count for name, value in total.items()}


@torch.no_grad()
def _last_layer_sums(model: nn.Module, x: torch.Tensor, y: torch.Tensor, of_last_layer: Callable) -> Tensors | None:
    """The sums in closed form, or None if more than the linear layer that makes the logits trains."""
    names = list(trainable(model))
    owners = {name.rpartition(".")[0] for name in names}
    layer = model.get_submodule(owners.pop()) if len(owners) == 1 else None
    if not isinstance(layer, nn.Linear):
        return None
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    hook = layer.register_forward_hook(lambda module, inputs, output: seen.append((inputs[0], output)))
    try:
        logits = model(x)
    finally:
        hook.remove()
    if len(seen) != 1 or seen[0][1] is not logits or logits.ndim != 2:
        return None
    sums = dict(zip(("weight", "bias"), of_last_layer(seen[0][0], logits, y), strict=True))
    return {name: sums[name.rpartition(".")[2]] for name in names}


def sample_gradients(
    model: nn.Module,
    objective: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    x: torch.Tensor,
    y: torch.Tensor,
) -> Iterator[tuple[Tensors, torch.Tensor]]:
    """Gradients of an objective for each sample separately, one chunk of the batch at a time to bound the memory.

    Parameters
    ----------
    objective : logits (classes,) and y () of one sample -> a scalar.

    Yields
    ------
    By name (chunk, *shape of the parameter), trainable parameters only; and the logits (chunk, classes).
    """
    parameters: Tensors = {name: parameter.detach() for name, parameter in trainable(model).items()}

    def of_sample(values: Tensors, sample: torch.Tensor, label: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        logits = functional_call(model, values, (sample[None],))[0]
        return objective(logits, label), logits.detach()

    gradients = vmap(grad(of_sample, has_aux=True), in_dims=(None, 0, 0))
    size = sum(value.numel() * value.element_size() for value in parameters.values())
    chunk = max(1, _CHUNK_BYTES // max(1, size))
    for some_x, some_y in zip(x.split(chunk), y.split(chunk), strict=True):
        yield gradients(parameters, some_x, some_y)


def power_sums(
    model: nn.Module,
    objective: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    x: torch.Tensor,
    y: torch.Tensor,
    power: int,
    weight: Callable[[torch.Tensor], torch.Tensor] | None = None,
) -> Tensors:
    """Sum over the samples of a batch of |each sample's own gradient|^power, one tensor per trainable parameter.

    If only linear layers train, each seeing one vector per sample, as in an MLP, a sample's gradient is the outer
    product d a' of the output's gradient d and the layer's input a, so that the sum is one matrix product, |d|^p'
    |a|^p, and one backward pass serves the whole batch; otherwise gradients are computed sample by sample.

    Parameters
    ----------
    model : in evaluation mode, so that no sample's logits depend on another's. objective : as in `sample_gradients`.
    weight : logits (batch, classes) -> the weight of each sample (batch,); None: 1.
    """
    sums = _linear_power_sums(model, objective, x, y, power, weight)
    if sums is not None:
        return sums
    sums = {name: torch.zeros_like(parameter) for name, parameter in trainable(model).items()}
    for gradients, logits in sample_gradients(model, objective, x, y):
        share = torch.ones_like(logits[:, 0]) if weight is None else weight(logits)
        for name, value in gradients.items():
            sums[name] += torch.tensordot(share, value.abs() ** power, dims=1)
    return sums


def _linear_power_sums(
    model: nn.Module,
    objective: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    x: torch.Tensor,
    y: torch.Tensor,
    power: int,
    weight: Callable[[torch.Tensor], torch.Tensor] | None,
) -> Tensors | None:
    names = list(trainable(model))
    layers = {owner: model.get_submodule(owner) for owner in dict.fromkeys(name.rpartition(".")[0] for name in names)}
    shared = len(list(model.named_parameters(remove_duplicate=False))) != len(list(model.named_parameters()))
    if shared or not all(isinstance(layer, nn.Linear) for layer in layers.values()):
        return None
    seen: dict[str, list[tuple[torch.Tensor, torch.Tensor]]] = {owner: [] for owner in layers}

    def record(owner: str) -> Callable[..., torch.Tensor]:
        def hook(module: nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor) -> torch.Tensor:
            # copies, as a layer that works in place may follow
            seen[owner].append((inputs[0].detach().clone(), output))
            return output.clone()

        return hook

    hooks = [layer.register_forward_hook(record(owner)) for owner, layer in layers.items()]
    try:
        with torch.enable_grad():
            logits = model(x)
    finally:
        for hook in hooks:
            hook.remove()
    if any(len(calls) != 1 or calls[0][1].ndim != 2 for calls in seen.values()):
        return None
    outputs = [calls[0][1] for calls in seen.values()]
    values = vmap(objective)(logits, y)
    found = torch.autograd.grad(values.sum(), outputs, allow_unused=True, materialize_grads=True)
    share = torch.ones_like(values.detach()) if weight is None else weight(logits.detach())
    sums = {}
    for (owner, calls), delta in zip(seen.items(), found, strict=True):
        size = delta.abs() ** power * share[:, None]
        of_layer = {"weight": size.T @ calls[0][0].abs() ** power, "bias": size.sum(dim=0)}
        sums.update({name: of_layer[name.rpartition(".")[2]] for name in names if name.rpartition(".")[0] == owner})
    return {name: sums[name] for name in names}
