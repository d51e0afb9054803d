"""The reference of `rq_assign` beside faiss's ResidualQuantizer with a beam of one."""

from __future__ import annotations

import faiss
import numpy as np
import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from mmgrec_engine.ops.rq_assign import rq_assign
from mmgrec_engine.rec_ids.kmeans import residual_kmeans

ROWS, LEVELS, SIZE = 20_000, 3, 256


@pytest.mark.parametrize("width", [64, 256])
@pytest.mark.parametrize("method", ["reference", "faiss"])
def test_assign(benchmark: BenchmarkFixture, width: int, method: str) -> None:
    torch.set_num_threads(1)
    faiss.omp_set_num_threads(1)
    x = torch.randn(ROWS, width, generator=torch.Generator().manual_seed(0))
    codebooks = residual_kmeans(x[:4000], LEVELS, SIZE, seed=0)
    quantizer = faiss.ResidualQuantizer(width, LEVELS, 8)
    quantizer.max_beam_size = 1
    faiss.copy_array_to_vector(codebooks.numpy().ravel(), quantizer.codebooks)
    quantizer.is_trained = True
    rows = np.ascontiguousarray(x.numpy())
    same = quantizer.compute_codes(rows)[:, :LEVELS] == rq_assign(x, codebooks)[0].numpy()
    assert same.all(axis=1).mean() > 0.999  # rounding may move a row between equal distances
    benchmark.group = f"rq_assign N{ROWS} D{width} K{SIZE} S{LEVELS}"
    benchmark.extra_info["flops"] = 2 * ROWS * LEVELS * SIZE * width
    if method == "faiss":
        benchmark.pedantic(quantizer.compute_codes, args=(rows,), rounds=5, warmup_rounds=1)
    else:
        benchmark.pedantic(rq_assign, args=(x, codebooks), rounds=5, warmup_rounds=1)
