"""`relation_attention` in the C++ core, and how torch's registry sees it."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from mmgrec_engine import _native
from mmgrec_engine.native_errors import named_errors
from mmgrec_engine.ops.native_call import array, check_float32, needs_registered_op, rows
from mmgrec_engine.ops.relation_attention import relation_weights


def relation_attention_native(*tensors: Tensor, packed: bool) -> Tensor:
    """Attend over padded histories, or over packed ones with one row dimension for all users.

    ::

        tensors = q, k, v, relation_q, relation_k, relation_v, gates, lengths (offsets if packed)

    Parameters
    ----------
    tensors : Tensor
        ``[B, H, L, d_k]`` three times, ``[B, L, d_k]`` three times, ``[B, 3]``, ``[B]``; packed
        ``[1, H, R, d_k]``, ``[1, R, d_k]``, ``[B, 3]``, ``[B + 1]``. Float32 on the CPU.
    packed : bool
        Which of the two.

    Raises
    ------
    ConfigError
        Another type or device; lengths or offsets outside the rows.
    """
    check_float32("relation_attention", *tensors[:-1])
    registered = needs_registered_op(*tensors)
    run: Any = torch.ops.mmgrec.relation_attention_native if registered else _forward
    found: Tensor = run(*tensors, packed)
    return found


def _forward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    relation_q: Tensor,
    relation_k: Tensor,
    relation_v: Tensor,
    gates: Tensor,
    lengths: Tensor,
    packed: bool,
) -> Tensor:
    out = _empty_out(q)
    run: Any = _native.relation_attention
    with named_errors("relation_attention"):
        run(
            *(rows(x) for x in (q, k, v, relation_q, relation_k, relation_v)),
            array(gates),
            array(lengths.long()),
            packed,
            out.numpy(),
            torch.get_num_threads(),
        )
    return out


def _empty_out(q: Tensor) -> Tensor:
    # Heads inside the rows, so that joining them afterwards is a view.
    users, heads, length, width = q.shape
    return q.new_empty(users, length, heads, width).transpose(1, 2)


def _backward(tensors: list[Tensor], lengths: Tensor, packed: bool, grad: Tensor) -> list[Tensor]:
    run: Callable[..., list[Tensor]] = _gradients
    if not packed:
        return run(*tensors, lengths, grad)
    gradients = [torch.zeros_like(x, memory_format=torch.contiguous_format) for x in tensors]
    for user, (first, last) in enumerate(pairwise(lengths.tolist())):
        # Rows are the dimension before the last, with and without heads; gates have one row a user.
        part = [x[..., first:last, :] for x in tensors[:6]]
        length = torch.tensor([last - first])
        found = run(*part, tensors[6][user, None], length, grad[..., first:last, :])
        for whole, piece in zip(gradients[:6], found, strict=False):
            whole[..., first:last, :] = piece
        gradients[6][user] = found[6][0]
    return gradients


def _gradients(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    relation_q: Tensor,
    relation_k: Tensor,
    relation_v: Tensor,
    gates: Tensor,
    lengths: Tensor,
    grad: Tensor,
) -> list[Tensor]:
    # Written out: autograd does not record inside an op.
    a_q, a_k, a_v = (gates[:, i, None, None] for i in range(3))
    weights = relation_weights(q, k, relation_q, relation_k, gates, lengths)
    values = v + (a_v * relation_v)[:, None]
    grad = grad * (torch.arange(q.shape[2]) < lengths[:, None])[:, None, :, None]
    d_values = weights.transpose(2, 3) @ grad
    d_weights = grad @ values.transpose(2, 3)
    delta = (weights * d_weights).sum(-1, keepdim=True)
    d_scores = weights * (d_weights - delta) / math.sqrt(q.shape[-1])
    d_bias, d_shared = d_scores.sum(1), d_values.sum(1)
    through_k = d_bias @ relation_k
    d_gate = (relation_q * through_k).sum((1, 2))
    d_gates = [gates[:, 1] * d_gate, gates[:, 0] * d_gate, (relation_v * d_shared).sum((1, 2))]
    return [
        d_scores @ k,
        d_scores.transpose(2, 3) @ q,
        d_values,
        a_q * a_k * through_k,
        a_q * a_k * (d_bias.transpose(1, 2) @ relation_q),
        a_v * d_shared,
        torch.stack(d_gates, 1),
    ]


_op = torch.library.custom_op("mmgrec::relation_attention_native", _forward, mutates_args=())
# An op of its own: tracing stops at it, and not at the lengths that it reads.
_backward_op = torch.library.custom_op(
    "mmgrec::relation_attention_native_backward", _backward, mutates_args=()
)


@_op.register_fake
def _(q: Tensor, *_: Any) -> Tensor:  # noqa: ANN401 - the arguments of the op
    return _empty_out(q)


@_backward_op.register_fake
def _(tensors: list[Tensor], *_: Any) -> list[Tensor]:  # noqa: ANN401 - the arguments of the op
    return [torch.empty_like(x, memory_format=torch.contiguous_format) for x in tensors]


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ANN401
    *tensors, ctx.packed = inputs
    ctx.save_for_backward(*tensors)


def _gradient(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
    *tensors, lengths = ctx.saved_tensors
    return (*_backward_op(tensors, lengths, ctx.packed, grad), None, None)


_op.register_autograd(_gradient, setup_context=_save)
