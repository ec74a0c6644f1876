"""Floating-point operations of tensor code, counted op by op: by torch's own formulas, and by ours for what these lack
or get wrong.

A multiplication and an addition are two operations. What is done element by element (activations, losses, penalties,
the optimizer) is not counted, nor are sorting and copying: next to matrix products and convolutions that is little.
What leaves torch, as NumPy does, cannot be seen.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

Formula = Callable[..., int]
aten = torch.ops.aten


class FlopCount(TorchDispatchMode):
    """Adds what is computed within it to `total`, forward and backward passes alike; changes no number.

    torch's `FlopCounterMode` counts in the same way, but asks for each operation in which module it is, which takes
    three times as long.
    """

    supports_higher_order_operators = True

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        # Nothing is compiled here; to make sure of it torch would load its compiler and switch it off at each operation
        return False

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        formula = _FORMULAS.get(func, _unknown)
        if formula is _unknown:
            formula = _FORMULAS[func] = _formula_of(func)
        if formula is _in_parts:  # in inference mode torch hands over compounds, such as a linear layer, whole
            with self:
                return func.decompose(*args, **kwargs)
        out = func(*args, **kwargs)
        if formula is not None:
            self.total += formula(*args, **kwargs, out_val=out)
        return out


def forward_flops(backbone: nn.Module, size: int) -> int:
    """Operations of a forward pass of a backbone over a uint8 image (3, size, size), in evaluation mode.

    It is run once for each backbone; nothing in it changes.
    """
    known = _FORWARD.setdefault(backbone, {})
    if size not in known:
        modes = {module: module.training for module in backbone.modules()}
        device = next((tensor.device for tensor in backbone.state_dict(keep_vars=True).values()), None)
        try:
            backbone.eval()
            with torch.no_grad(), FlopCount() as count:
                backbone(torch.zeros(1, 3, size, size, dtype=torch.uint8, device=device))
        finally:
            for module, mode in modes.items():
                module.training = mode
        known[size] = count.total
    return known[size]


def _unknown(*args: Any, **kwargs: Any) -> int:
    raise AssertionError("stands for an operation that was not met before")


def _in_parts(*args: Any, **kwargs: Any) -> int:
    raise AssertionError("stands for an operation that is counted in its parts")


def _formula_of(func: Any) -> Formula | None:
    if not isinstance(func, torch._ops.OpOverload):
        return None
    packet = func.overloadpacket
    formula = OWN.get(packet) or flop_registry.get(packet)
    compound = torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), "CompositeImplicitAutograd")
    return _in_parts if formula is None and compound else formula


def _own(shape_formula: Callable[..., float]) -> Formula:
    """A formula of tensors, given its leading term as a function of the same arguments."""

    def formula(*args: Any, out_val: Any = None, **kwargs: Any) -> int:
        return round(shape_formula(*args, **kwargs))

    return formula


def _square(a: torch.Tensor, factor: float) -> float:
    """factor n^3 for each of a batch of matrices (…, n, n)."""
    return factor * a.shape[-1] * a.numel()


def _solve(a: torch.Tensor, b: torch.Tensor, factor: float) -> float:
    """factor n^2 k for matrices (…, n, n) and k right-hand sides, (…, n, k) or, one to a matrix, (…, n)."""
    return factor * a.shape[-1] * max(b.numel(), math.prod(a.shape[:-1]))


def _tall(a: torch.Tensor, of_both: float, of_shorter: float) -> float:
    """of_both m n^2 + of_shorter n^3 for each of a batch of matrices of sides m >= n."""
    m, n = max(a.shape[-2:]), min(a.shape[-2:])
    return math.prod(a.shape[:-2]) * (of_both * m * n**2 + of_shorter * n**3)


def _pairs(x: torch.Tensor, y: torch.Tensor) -> float:
    """A subtraction, a square and a sum for each pair of rows of (…, n, d) and (…, m, d)."""
    return 3 * x.numel() * y.shape[-2]


def _weighed(
    weight: torch.Tensor, indices: torch.Tensor, offsets: torch.Tensor, scale: bool = False, mode: int = 0,
    sparse: bool = False, per_sample_weights: torch.Tensor | None = None, *rest: Any, **others: Any,
) -> float:  # fmt: skip
    """A sum of rows (d,) of a table, each times a number if numbers are given."""
    return (1 if per_sample_weights is None else 2) * indices.numel() * weight.shape[-1]


def _convolved_back(
    grad: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, bias: Any, stride: Any, padding: Any, dilation: Any,
    transposed: bool, output_padding: Any, groups: int, mask: Sequence[bool],
) -> float:  # fmt: skip
    """As many as the forward pass for each of the gradients that is wanted; torch's own forgets the groups of one."""
    moved = x if transposed else grad  # each of whose places meets the whole weight
    return 2 * moved.numel() // moved.shape[1] * weight.numel() * (mask[0] + mask[1])


def _attended(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, width: int, *rest: Any, **others: Any
) -> float:
    """The four linear maps of a layer of attention, and its two products; tokens (batch, number, width)."""
    products = sum(2 * len(q) * len(k) for q, k in zip(query.unbind(), key.unbind(), strict=True))
    return 2 * width * (2 * query.numel() + key.numel() + value.numel() + products)


def _encoded(x: torch.Tensor, width: int, *rest: Any, **others: Any) -> float:
    """The above of a whole layer of a transformer, and the two linear maps after it, of which one has weights 14th."""
    return _attended(x, x, x, width) + 4 * x.numel() * len(rest[12])


def _recurred(x: torch.Tensor, *weights: Any) -> float:
    """Each matrix of weights once for each step, (..., inputs)."""
    return 2 * (x.numel() // x.shape[-1]) * sum(w.numel() for w in weights if w.ndim == 2)


def _trilinear(*args: Any, **kwargs: Any) -> float:
    """Of three factors, the products with the last, which are summed."""
    shapes = [list(each.shape) for each in args[:3]]
    for shape, places in zip(shapes, args[3:6], strict=True):
        for place in places:
            shape.insert(place, 1)
    return 2 * math.prod(torch.broadcast_shapes(*shapes))


OWN: dict[Any, Formula] = {
    packet: formula
    for names, formula in (
        (("addmm_", "_addmm_activation"), flop_registry[aten.addmm]),
        (("baddbmm_",), flop_registry[aten.baddbmm]),
        (("_scaled_dot_product_flash_attention_for_cpu",), flop_registry[aten._scaled_dot_product_flash_attention]),
        (("_scaled_dot_product_flash_attention_for_cpu_backward",), flop_registry[
            aten._scaled_dot_product_flash_attention_backward
        ]),
        (("mv",), _own(lambda a, x, **_: 2 * a.numel())),
        (("addmv", "addmv_"), _own(lambda start, a, x, **_: 2 * a.numel())),
        (("dot", "vdot"), _own(lambda a, b, **_: 2 * a.numel())),
        (("addr", "addr_"), _own(lambda start, a, b, **_: 2 * a.numel() * b.numel())),
        (("addbmm", "addbmm_"), _own(lambda start, a, b, **_: 2 * a.numel() * b.shape[-1])),
        (("_cdist_forward", "_euclidean_dist"), _own(lambda x, y, *_: _pairs(x, y))),
        (("_cdist_backward",), _own(lambda grad, x, y, *_: 2 * _pairs(x, y))),
        (("_embedding_bag", "_embedding_bag_forward_only"), _own(_weighed)),
        (("convolution_backward",), _own(_convolved_back)),
        (("_native_multi_head_attention",), _own(_attended)),
        (("_transformer_encoder_layer_fwd",), _own(_encoded)),
        (("mkldnn_rnn_layer",), _own(lambda x, *more, **_: _recurred(x, *more[:4]))),
        (("mkldnn_rnn_layer_backward",), _own(lambda x, *more, **_: 2 * _recurred(x, *more[:4]))),
        (("_cudnn_rnn",), _own(lambda x, weights, *_, **__: _recurred(x, *weights))),
        (("_cudnn_rnn_backward",), _own(lambda x, weights, *_, **__: 2 * _recurred(x, *weights))),
        (("_trilinear",), _own(_trilinear)),
        # Leading terms of the usual algorithms: Golub and Van Loan, Matrix Computations, 4th ed. 2013, sections 3.1,
        # 3.2, 4.2, 5.2, 5.3, 7.5, 8.3 and 8.6
        (("cholesky", "linalg_cholesky_ex", "linalg_ldl_factor_ex"), _own(lambda a, *_, **__: _square(a, 1 / 3))),
        (("cholesky_inverse",), _own(lambda a, *_, **__: _square(a, 2 / 3))),
        (("cholesky_solve",), _own(lambda b, a, *_, **__: _solve(a, b, 2))),
        (("triangular_solve",), _own(lambda b, a, *_, **__: _solve(a, b, 1))),
        (("linalg_solve_triangular",), _own(lambda a, b, **_: _solve(a, b, 1))),
        (("linalg_lu_factor_ex", "linalg_lu", "_linalg_det", "_linalg_slogdet"), _own(
            lambda a, *_, **__: _square(a, 2 / 3)
        )),
        (("linalg_lu_solve",), _own(lambda a, pivots, b, **_: _solve(a, b, 2))),
        (("_linalg_solve_ex",), _own(lambda a, b, **_: _square(a, 2 / 3) + _solve(a, b, 2))),
        (("linalg_inv_ex",), _own(lambda a, *_, **__: _square(a, 2))),
        (("_linalg_eigh",), _own(lambda a, *_, **__: _square(a, 9))),
        (("linalg_eig", "_linalg_eigvals"), _own(lambda a, *_, **__: _square(a, 25))),
        (("_linalg_svd",), _own(lambda a, *_, **__: _tall(a, 14, 8))),
        (("linalg_pinv",), _own(lambda a, *_, **__: _tall(a, 16, 8))),
        (("linalg_qr",), _own(lambda a, *_, **__: _tall(a, 4, -4 / 3))),
        (("geqrf", "linalg_lstsq"), _own(lambda a, *_, **__: _tall(a, 2, -2 / 3))),
    )
    for packet in (getattr(aten, name) for name in names if hasattr(aten, name))  # some come and go with versions
}  # fmt: skip
"""Operations that torch has no formula for, or a wrong one. Those of linear algebra are of textbook algorithms,
whatever the library that torch calls does."""
_FORMULAS: dict[Any, Formula | None] = {}
_FORWARD: WeakKeyDictionary[nn.Module, dict[int, int]] = WeakKeyDictionary()
