"""`relation_attention` in Triton against the reference in fp64: values, gradients, registration.

Without a GPU the kernels run in Triton's interpreter (TRITON_INTERPRET=1, set before the import).
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mmgrec_engine.kernels.relation_attention import (
    attention_op,
    backward_op,
    compilations,
    relation_attention,
    relation_attention_packed,
)
from mmgrec_engine.kernels.relation_attention_launch import FULL, Tiles, choose_tiles
from mmgrec_engine.ops.relation_attention import relation_attention_reference

# Largest error allowed, relative to the largest magnitude of the array. fp32: sums of at most 128
# terms per score and 1024 per value, a few dozen roundings of 6e-8. 16 bits: inputs are exact, but
# P, V + a_v U_V, dS and the result are rounded (2^-8 in bf16, 2^-11 in fp16), and errors of scores
# of a few units enter through the exponential; four roundings' worth. The reference in the same
# dtype errs as much (bf16 .011, fp16 .0015). A gate's gradient sums L d terms that nearly cancel.
TOLERANCES = {torch.float32: 5e-6, torch.bfloat16: 2**-6, torch.float16: 2**-9}
CANCELLATION = {"gates": 4.0}

# Users, heads, length, width. Tiles hold 16 or 32 rows and 1 or 4 heads, widths are padded to
# powers of two: one row; one less and one more than a tile; several tiles with a rest; a width that
# is no power of two, one that needs two launches for keys; heads fewer than, not a multiple of and
# equal to a group, and more than one group.
SHAPES = [(2, 1, 1, 16), (3, 3, 31, 20), (2, 4, 33, 64), (2, 1, 70, 16), (1, 3, 17, 128)]
NAMES = ("q", "k", "v", "relation_q", "relation_k", "relation_v", "gates")


@pytest.fixture(scope="module")
def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def make(
    device: torch.device,
    shape: tuple[int, int, int, int],
    dtype: torch.dtype = torch.float32,
    lengths: list[int] | None = None,
) -> tuple[list[Tensor], Tensor]:
    """Seven leaves, q, k and v as views of one projection, and mixed lengths from full to 0."""
    users, heads, rows, width = shape
    generator = torch.Generator().manual_seed(sum(shape))
    fused = torch.randn(users, rows, 3 * heads + 3, width, generator=generator).to(device, dtype)
    qkv = [fused[:, :, i * heads : (i + 1) * heads].transpose(1, 2) for i in range(3)]
    relations = [fused[:, :, 3 * heads + i] for i in range(3)]
    gates = torch.randn(users, 3, generator=generator).to(device, dtype)
    if lengths is None:
        lengths = [rows, 0, rows // 2 + 1][:users]
    floating = [x.detach().requires_grad_() for x in (*qkv, *relations, gates)]
    return floating, torch.tensor(lengths, device=device)


def assert_near(got: Tensor, wanted: Tensor, name: str, dtype: torch.dtype) -> None:
    error = (got.double() - wanted).abs().max() / wanted.abs().max().clamp(min=0.1)
    assert error <= TOLERANCES[dtype] * CANCELLATION.get(name, 1.0), f"{name}: {error}"


def check(floating: list[Tensor], lengths: Tensor, result: Tensor) -> None:
    """Values and all seven gradients against the reference and its gradients in fp64."""
    dtype = floating[0].dtype
    doubles = [x.detach().double().requires_grad_() for x in floating]
    wanted = relation_attention_reference(*doubles, lengths)
    assert_near(result, wanted, "values", dtype)
    d_out = torch.randn(wanted.shape, generator=torch.Generator().manual_seed(1))
    d_out = d_out.to(wanted.device, dtype)
    got = torch.autograd.grad(result, floating, d_out)
    exact = torch.autograd.grad(wanted, doubles, d_out.double())
    for name, x, a, b in zip(NAMES, floating, got, exact, strict=True):
        assert a.dtype == x.dtype
        assert_near(a, b, name, dtype)


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_values_and_gradients(
    device: torch.device, shape: tuple[int, int, int, int], dtype: torch.dtype
) -> None:
    floating, lengths = make(device, shape, dtype)
    result = relation_attention(*floating, lengths)
    # Merging the heads must not copy.
    assert result.transpose(1, 2).is_contiguous()
    check(floating, lengths, result)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_more_heads_than_one_program_holds(device: torch.device, dtype: torch.dtype) -> None:
    """The relations' gradients are then sums over programs; gates may stay in fp32."""
    floating, lengths = make(device, (1, 6, 18, 16), dtype, [18])
    floating[6] = floating[6].detach().float().requires_grad_()
    check(floating, lengths, relation_attention(*floating, lengths))


def test_a_long_history(device: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    if device.type == "cpu":
        # 4096 interpreted tiles of the table's size would take two minutes.
        monkeypatch.setitem(FULL, ("forward", 16), Tiles(128, 64, 1, 4, 1))
    floating, lengths = make(device, (1, 1, 1024, 16), torch.float32, [1000])
    doubles = [x.double() for x in floating]
    with torch.no_grad():
        result = relation_attention(*floating, lengths)
        assert_near(result, relation_attention_reference(*doubles, lengths), "", torch.float32)


@pytest.mark.parametrize("lengths", [[0, 0], [1, 1], [17, 17], [0, 17]], ids=str)
def test_lengths(device: torch.device, lengths: list[int]) -> None:
    floating, on_device = make(device, (2, 1, 17, 16), torch.float32, lengths)
    check(floating, on_device.int(), relation_attention(*floating, on_device.int()))


def test_layouts_that_no_kernel_can_address(device: torch.device) -> None:
    """A width axis with gaps, expanded gates and lengths, gates with gaps, an expanded gradient."""
    floating, lengths = make(device, (2, 2, 9, 16), torch.float32, [9, 9])
    leaves = [x.detach().clone().requires_grad_() for x in floating[:6]]
    odd = [x.transpose(-1, -2).contiguous().transpose(-1, -2) for x in leaves]
    gates = floating[6].detach()[:1].t().contiguous().t().expand(2, 3)
    result = relation_attention(*odd, gates, lengths[:1].expand(2))
    doubles = [x.detach().double().requires_grad_() for x in leaves]
    wanted = relation_attention_reference(*doubles, gates.double(), lengths)
    assert_near(result, wanted, "values", torch.float32)
    pairs = zip(
        torch.autograd.grad(result.sum(), leaves),
        torch.autograd.grad(wanted.sum(), doubles),
        strict=True,
    )
    for a, b in pairs:
        assert_near(a, b, "gradient", torch.float32)


@pytest.mark.parametrize("garbage", [1e4, float("nan"), float("inf")])
def test_padded_rows_never_leak(device: torch.device, garbage: float) -> None:
    floating, lengths = make(device, (2, 2, 20, 16), torch.float32, [7, 20])
    clean = relation_attention(*floating, lengths)
    d_out = torch.ones_like(clean)
    wanted = torch.autograd.grad(clean, floating, d_out)
    dirty = [x.detach().clone() for x in floating]
    for x in dirty[:3]:
        x[0, :, 7:] = garbage
    for x in dirty[3:6]:
        x[0, 7:] = garbage
    dirty = [x.requires_grad_() for x in dirty]
    result = relation_attention(*dirty, lengths)
    # What flows back into padded rows of the result is garbage as well.
    d_out[0, :, 7:] = garbage
    torch.testing.assert_close(result, clean, rtol=0, atol=0)
    for name, a, b in zip(NAMES, torch.autograd.grad(result, dirty, d_out), wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0, msg=name)
    assert not result[0, :, 7:].any()


@pytest.mark.parametrize("shape", [(0, 2, 5, 16), (2, 2, 0, 16)], ids=str)
def test_nothing_to_do(device: torch.device, shape: tuple[int, int, int, int]) -> None:
    floating, _ = make(device, shape)
    lengths = torch.zeros(shape[0], dtype=torch.long, device=device)
    result = relation_attention(*floating, lengths)
    assert result.shape == shape
    for x, gradient in zip(floating, torch.autograd.grad(result.sum(), floating), strict=True):
        assert torch.equal(gradient, torch.zeros_like(x))


def pack(floating: list[Tensor], lengths: list[int], spare: int = 0) -> list[Tensor]:
    """The valid rows of padded inputs one behind the other, with rows behind the last user."""

    def rows(x: Tensor) -> Tensor:
        kept = torch.cat([x[user, :length] for user, length in enumerate(lengths)])
        return torch.cat([kept, kept.new_zeros(spare, *kept.shape[1:])])

    return [*(rows(x.transpose(1, 2)) for x in floating[:3]), *map(rows, floating[3:6])]


@pytest.mark.parametrize(
    ("heads", "width", "dtype"), [(3, 20, torch.bfloat16), (6, 16, torch.float32)], ids=str
)
def test_packed_equals_padded(
    device: torch.device, heads: int, width: int, dtype: torch.dtype
) -> None:
    """Bit for bit, an empty history and rows beyond the last one included."""
    lengths = [5, 0, 17]
    floating, on_device = make(device, (3, heads, 17, width), dtype, lengths)
    offsets = torch.tensor([0, 5, 5, 22], dtype=torch.int32, device=device)
    leaves = [x.detach().requires_grad_() for x in pack(floating, lengths, spare=2)]
    leaves.append(floating[6].detach().requires_grad_())
    packed = relation_attention_packed(*leaves, offsets, 17)
    padded = relation_attention(*floating, on_device)
    (wanted,) = pack([padded], lengths, spare=2)
    assert torch.equal(packed, wanted)
    d_out = torch.randn(padded.shape, generator=torch.Generator().manual_seed(1)).to(padded)
    got = torch.autograd.grad(packed, leaves, *pack([d_out], lengths, spare=2))
    in_padded = torch.autograd.grad(padded, floating, d_out)
    wanted_gradients = [*pack(list(in_padded), lengths, spare=2), in_padded[6]]
    for name, a, b in zip(NAMES, got, wanted_gradients, strict=True):
        assert torch.equal(a, b), name


def test_packed_without_rows(device: torch.device) -> None:
    empty = torch.zeros(0, 2, 16, device=device, requires_grad=True)
    relation = torch.zeros(0, 16, device=device)
    offsets = torch.zeros(3, dtype=torch.int32, device=device)
    gates = torch.zeros(2, 3, device=device, requires_grad=True)
    result = relation_attention_packed(*[empty] * 3, *[relation] * 3, gates, offsets, 0)
    assert result.shape == (0, 2, 16)
    assert torch.equal(torch.autograd.grad(result.sum(), gates)[0], torch.zeros_like(gates))


@pytest.mark.parametrize("packed", [False, True])
def test_registration(device: torch.device, packed: bool) -> None:
    """Schema, shapes and strides without data, autograd, and tracing with dynamic shapes."""
    floating, lengths = make(device, (2, 2, 6, 16), torch.float32, [6, 3])
    if packed:
        floating = [x[:1].detach().requires_grad_() for x in floating[:6]] + floating[6:]
        lengths = torch.tensor([0, 4, 6], dtype=torch.int32, device=device)
    inputs = (*floating, lengths, 6, packed)
    torch.library.opcheck(attention_op, inputs)
    with torch.no_grad():
        out, lse = attention_op(*inputs)
        plain = [x.detach() for x in floating]
        arguments = (torch.ones_like(out), *plain, lengths, out, lse, 6, packed)
        torch.library.opcheck(backward_op, arguments)


def test_compiles_without_graph_breaks(device: torch.device) -> None:
    floating, lengths = make(device, (2, 2, 5, 16), torch.float32, [5, 2])

    def layer(*inputs: Tensor) -> Tensor:
        return relation_attention(*inputs).transpose(1, 2).flatten(2).square()

    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    got, wanted = compiled(*floating, lengths), layer(*floating, lengths)
    torch.testing.assert_close(got, wanted)
    pairs = zip(
        torch.autograd.grad(got.sum(), floating),
        torch.autograd.grad(wanted.sum(), floating),
        strict=True,
    )
    for a, b in pairs:
        torch.testing.assert_close(a, b)


def test_log_sum_exp(device: torch.device) -> None:
    """What the backward pass rebuilds P from."""
    floating, lengths = make(device, (1, 2, 20, 16), torch.float32, [18])
    q, k, _, uq, uk, _, gates = (x.detach().double()[0] for x in floating)
    scores = (q @ k.transpose(1, 2) + gates[0] * gates[1] * (uq @ uk.T)) / 4
    wanted = torch.zeros(2, 20, dtype=torch.float64, device=device)
    wanted[:, :18] = scores[:, :18, :18].logsumexp(2)
    _, lse = attention_op(*(x.detach() for x in floating), lengths, 20, False)
    torch.testing.assert_close(lse[0].double(), wanted, rtol=1e-6, atol=1e-6)


def test_tiles_follow_the_number_of_heads() -> None:
    assert choose_tiles("forward", 64, 1, half=True).heads == 1
    assert choose_tiles("forward", 20, 3, half=True).heads == 4
    assert choose_tiles("forward", 64, 12, half=True).heads == 4
    narrow = choose_tiles("query_gradients", 64, 2, half=False)
    assert (narrow.heads, narrow.warps) == (2, 8)


def test_compilations_describe_every_argument() -> None:
    found = compilations("sm_90")
    # Three kernels, three dtypes, four widths; keys of the widest heads take two launches.
    assert len({(c.name, *c.config.items()) for c in found}) == len(found) == 39
    for c in found:
        assert {*c.signature} | {*c.constexprs} == set(c.kernel.arg_names)
        assert c.signature["q_head"] == "i32:16"
