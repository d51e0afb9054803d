"""`rq_assign` beside torch (addmm and argmin), faiss and vector-quantize-pytorch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import faiss
import numpy as np
import torch
from torch import Tensor

from mmgrec.profiling.cases import Case
from mmgrec_engine.ops.backends import choose
from mmgrec_engine.ops.rq_assign import rq_assign, rq_assign_work
from mmgrec_engine.rec_ids.kmeans import residual_kmeans

ROWS, LEVELS, SIZE = 100_000, 3, 256
WIDTHS = [64, 256]
PART_ROWS = 4096
"""Rows per part of the torch baseline that keeps its distances in the cache."""


def rq_assign_cases(device: str = "cpu") -> Iterator[Callable[[], Case]]:
    """Yield the makers of all cases."""
    for width in WIDTHS:
        yield partial(_case, width, device)


def with_addmm(x: Tensor, codebooks: Tensor) -> Tensor:
    """Distances of all rows by one product per level, argmin, subtract."""
    residual, codes = x, []
    for codebook in codebooks:
        half = 0.5 * (codebook * codebook).sum(1)
        code = torch.addmm(half, residual, codebook.T, alpha=-1).argmin(1)
        residual = residual - codebook[code]
        codes.append(code)
    return torch.stack(codes, 1)


def with_addmm_in_parts(x: Tensor, codebooks: Tensor) -> Tensor:
    """Do the same over parts of 4,096 rows, whose distances stay in the cache."""
    return torch.cat([with_addmm(part, codebooks) for part in torch.split(x, PART_ROWS)])


def faiss_quantizer(codebooks: Tensor) -> faiss.ResidualQuantizer:
    """Return faiss's residual quantiser, greedy (a beam of one), with these codebooks."""
    levels, size, width = codebooks.shape
    quantizer = faiss.ResidualQuantizer(width, levels, size.bit_length() - 1)
    quantizer.max_beam_size = 1
    faiss.copy_array_to_vector(codebooks.numpy().ravel(), quantizer.codebooks)
    quantizer.is_trained = True
    return quantizer


def vector_quantizer(codebooks: Tensor) -> Callable[[Tensor], Tensor] | None:
    """Return the codes of vector-quantize-pytorch with these codebooks; None if not installed."""
    try:
        from vector_quantize_pytorch import ResidualVQ
    except ImportError:
        return None
    levels, size, width = codebooks.shape
    quantizer = ResidualVQ(dim=width, num_quantizers=levels, codebook_size=size).eval()
    for layer, codebook in zip(quantizer.layers, codebooks, strict=True):
        layer._codebook.embed.data.copy_(codebook[None])

    @torch.no_grad()
    def codes(x: Tensor) -> Tensor:
        found: Tensor = quantizer(x[None])[1][0]
        return found

    return codes


def _case(width: int, device: str) -> Case:
    rows = torch.randn(ROWS, width, generator=torch.Generator().manual_seed(0))
    codebooks = residual_kmeans(rows[:8000], LEVELS, SIZE, seed=0, backend="native")
    backend = choose("rq_assign", device=device)
    baselines: dict[str, Callable[[], object]] = {}
    if device == "cpu":
        quantizer, contiguous = faiss_quantizer(codebooks), np.ascontiguousarray(rows.numpy())
        baselines["faiss_residual_quantizer"] = lambda: quantizer.compute_codes(contiguous)
        if (library := vector_quantizer(codebooks)) is not None:
            baselines["vector_quantize_pytorch"] = lambda: library(rows)
    x, books = rows.to(device), codebooks.to(device)
    baselines["torch_addmm"] = lambda: with_addmm(x, books)
    baselines["torch_addmm_in_parts"] = lambda: with_addmm_in_parts(x, books)
    return Case(
        bench="rq_assign",
        shape={"N": ROWS, "D": width, "K": SIZE, "levels": LEVELS},
        ours={backend: lambda: rq_assign(x, books, backend=backend)},
        baselines=baselines,
        check=lambda: _check(x, books, backend, baselines),
        work=rq_assign_work(ROWS, width, LEVELS, SIZE),
        items=ROWS,
    )


def _check(
    x: Tensor, codebooks: Tensor, backend: str, baselines: dict[str, Callable[[], object]]
) -> None:
    ours = rq_assign(x, codebooks, backend=backend).codes.cpu().numpy()
    for name, method in baselines.items():
        found = method()
        theirs = found.cpu().numpy() if isinstance(found, Tensor) else np.asarray(found)
        # Rounding may move a row between two codewords that are equally near.
        same = float((theirs[:, :LEVELS] == ours).all(1).mean())
        if same < 0.999:
            raise AssertionError(f"{name} and {backend} agree on {same:.2%} of the rows only")
