"""The device side of rq_assign: two Triton kernels; ``rq_assign.py`` says what they do and why.

::

    rq_table_kernel     codebooks -> parts of every codeword, half norms
    rq_assign_kernel    _load_rows, then per level: _search (_accumulate per chunk), _subtract
"""

# Triton's functions take no annotations, and its tuples grow by concatenation.
# mypy: ignore-errors
# ruff: noqa: ANN001, ANN201, ANN202, RUF005
from __future__ import annotations

import triton
import triton.language as tl

HIGH_BITS = tl.constexpr(-8192)  # all but the lowest 13: the bits that TF32 keeps
NO_CODE = tl.constexpr(0x7FFFFFFF)


@triton.jit
def _high_part(value):
    """Cut fp32 to what TF32 keeps, exactly."""
    return (value.to(tl.int32, bitcast=True) & HIGH_BITS).to(tl.float32, bitcast=True)


@triton.jit
def rq_table_kernel(
    codebook_ptr, table_ptr, half_norm_ptr, codes, padded_codes, WIDTH: tl.constexpr,
    PADDED: tl.constexpr, BLOCK: tl.constexpr, PARTS: tl.constexpr,
):  # fmt: skip
    """Split 16 codewords per program and take their half norms; padding codes can never win.

    ::

        table[level, k] = (high part, low part) or (codeword,), columns padded with zeros
        half[level, k]  = 0.5 ||c||^2, infinity for k >= K
    """
    entry = tl.program_id(0).to(tl.int64) * 16 + tl.arange(0, 16)
    level = entry // padded_codes
    code = entry % padded_codes
    cols = tl.arange(0, BLOCK)[None, :]
    real = (cols < WIDTH) & (code < codes)[:, None]
    word_ptr = codebook_ptr + (level * codes + code)[:, None] * WIDTH + cols
    word = tl.load(word_ptr, mask=real, other=0.0).to(tl.float32)
    half = 0.5 * tl.sum(word * word, 1)
    tl.store(half_norm_ptr + entry, tl.where(code < codes, half, float("inf")))
    inside = (entry[:, None] >= 0) & (cols < PADDED)
    if PARTS == 3:
        high = _high_part(word)
        row_ptr = table_ptr + entry[:, None] * (2 * PADDED) + cols
        tl.store(row_ptr, high, mask=inside)
        tl.store(row_ptr + PADDED, word - high, mask=inside)
    else:
        tl.store(table_ptr + entry[:, None] * PADDED + cols, word, mask=inside)


@triton.jit
def _accumulate(residual, tile_ptr, scores, PADDED: tl.constexpr, PARTS: tl.constexpr):
    """Scores of one chunk of columns, small products first."""
    high = tl.trans(tl.load(tile_ptr))
    if PARTS == 1:
        scores = tl.dot(residual, high, scores, input_precision="ieee")
    else:
        residual_high = _high_part(residual)
        if PARTS == 3:
            low = tl.trans(tl.load(tile_ptr + PADDED))
            scores = tl.dot(residual_high, low, scores, input_precision="tf32")
        scores = tl.dot(residual - residual_high, high, scores, input_precision="tf32")
        scores = tl.dot(residual_high, high, scores, input_precision="tf32")
    return scores


@triton.jit
def _load_rows(
    x_ptr, rows, row_real, stride, WIDTH: tl.constexpr, CHUNK: tl.constexpr,
    CHUNKS: tl.constexpr,
):  # fmt: skip
    """Chunks of the rows in fp32, and their squared norms; a row that is not finite is NaN."""
    finite = tl.full(rows.shape, 1, tl.int32)
    norm = tl.zeros(rows.shape, tl.float32)
    loaded = ()
    for chunk in tl.static_range(CHUNKS):
        cols = chunk * CHUNK + tl.arange(0, CHUNK)
        mask = row_real[:, None] & (cols < WIDTH)[None, :]
        value = tl.load(x_ptr + rows[:, None] * stride + cols[None, :], mask=mask, other=0.0)
        value = value.to(tl.float32)
        # A comparison, not a sum: reductions differ in what they make of NaN.
        finite = finite & tl.min((tl.abs(value) < float("inf")).to(tl.int32), 1)
        norm += tl.sum(value * value, 1)
        loaded = loaded + (value,)
    poison = tl.where(finite == 1, 0.0, float("nan"))
    # One NaN column makes every score of the row NaN; the other chunks need none.
    residual = (loaded[0] + poison[:, None],)
    for chunk in tl.static_range(1, CHUNKS):
        residual = residual + (loaded[chunk],)
    return residual, norm + poison


@triton.jit
def _search(
    residual, table_ptr, half_norm_ptr, padded_codes, BLOCK_ROWS: tl.constexpr,
    BLOCK_CODES: tl.constexpr, CHUNK: tl.constexpr, CHUNKS: tl.constexpr, PARTS: tl.constexpr,
    TOP2: tl.constexpr,
):  # fmt: skip
    """Best code of every row on one level, its score and the second best score.

    ::

        for every block of codes, element by element:
            score > best:  second, best, block = best, score, block
            else:          second = max(second, score)
        code = lowest block + column that holds the row's maximum; -1 when nothing was ever better
    """
    PADDED: tl.constexpr = CHUNK * CHUNKS
    STEP: tl.constexpr = PADDED * 2 if PARTS == 3 else PADDED
    columns = tl.arange(0, BLOCK_CODES)
    # Only a real score is greater than minus infinity: NaN and padding never win. One reduction
    # per level instead of one per block, and no reduction ever sees a NaN.
    best = tl.full((BLOCK_ROWS, BLOCK_CODES), float("-inf"), tl.float32)
    second = tl.full((BLOCK_ROWS, BLOCK_CODES), float("-inf"), tl.float32)
    block = tl.full((BLOCK_ROWS, BLOCK_CODES), -1, tl.int32)
    for start in range(0, padded_codes, BLOCK_CODES):
        codes = start + columns
        half_norm = tl.load(half_norm_ptr + codes)
        tile_ptr = table_ptr + codes[:, None] * STEP + tl.arange(0, CHUNK)[None, :]
        score = tl.zeros((BLOCK_ROWS, BLOCK_CODES), tl.float32)
        for chunk in tl.static_range(CHUNKS):
            score = _accumulate(residual[chunk], tile_ptr + chunk * CHUNK, score, PADDED, PARTS)
        score = score - half_norm[None, :]
        better = score > best
        if TOP2:
            second = tl.where(better, best, tl.where(score > second, score, second))
        best = tl.where(better, score, best)
        block = tl.where(better, start, block)
    candidates = tl.where(block >= 0, block + columns[None, :], NO_CODE)
    top = tl.max(best, 1)
    code = tl.min(tl.where(best == top[:, None], candidates, NO_CODE), 1)
    runner_up = tl.max(second, 1)
    if TOP2:
        others = tl.where(candidates == code[:, None], float("-inf"), best)
        runner_up = tl.maximum(runner_up, tl.max(others, 1))
    return tl.where(code == NO_CODE, -1, code), runner_up


@triton.jit
def _subtract(
    residual, table_ptr, code, CHUNK: tl.constexpr, CHUNKS: tl.constexpr, PARTS: tl.constexpr,
):  # fmt: skip
    """Take the chosen codewords off; also the squared norm, NaN where there is no code."""
    PADDED: tl.constexpr = CHUNK * CHUNKS
    STEP: tl.constexpr = PADDED * 2 if PARTS == 3 else PADDED
    norm = tl.where(code >= 0, 0.0, float("nan"))
    word_ptr = table_ptr + tl.maximum(code, 0)[:, None] * STEP + tl.arange(0, CHUNK)[None, :]
    left = ()
    for chunk in tl.static_range(CHUNKS):
        word = tl.load(word_ptr + chunk * CHUNK)
        if PARTS == 3:
            word += tl.load(word_ptr + chunk * CHUNK + PADDED)  # high + low is the exact codeword
        value = residual[chunk] - word
        norm += tl.sum(value * value, 1)
        left = left + (value,)
    return left, norm


@triton.jit(do_not_specialize=["rows_total", "levels"])
def rq_assign_kernel(
    x_ptr, table_ptr, half_norm_ptr, codes_ptr, norms_ptr, top2_ptr, rows_total, levels,
    padded_codes, stride, WIDTH: tl.constexpr, BLOCK_ROWS: tl.constexpr,
    BLOCK_CODES: tl.constexpr, CHUNK: tl.constexpr, CHUNKS: tl.constexpr, PARTS: tl.constexpr,
    TOP2: tl.constexpr,
):  # fmt: skip
    """All levels of one block of rows; the module's docstring has the outline."""
    STEP: tl.constexpr = CHUNK * CHUNKS * 2 if PARTS == 3 else CHUNK * CHUNKS
    rows = tl.program_id(0).to(tl.int64) * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)
    row_real = rows < rows_total
    residual, norm = _load_rows(x_ptr, rows, row_real, stride, WIDTH, CHUNK, CHUNKS)
    for level in range(levels):
        # Tables of large codebooks pass 2^31 elements as a whole, never within a level.
        level_table = table_ptr + tl.cast(level, tl.int64) * padded_codes * STEP
        level_norms = half_norm_ptr + level * padded_codes
        code, runner_up = _search(
            residual, level_table, level_norms, padded_codes, BLOCK_ROWS, BLOCK_CODES,
            CHUNK, CHUNKS, PARTS, TOP2,
        )  # fmt: skip
        before = norm
        residual, norm = _subtract(residual, level_table, code, CHUNK, CHUNKS, PARTS)
        tl.store(codes_ptr + rows * levels + level, code.to(tl.int64), mask=row_real)
        if TOP2:
            # The nearest distance is the new norm, without cancellation; rounding must not put
            # the second before it, and a NaN must stay one.
            distance = before - 2.0 * runner_up
            distance = tl.where(distance < norm, norm, distance)
            pair = top2_ptr + (rows * levels + level) * 2
            tl.store(pair, norm, mask=row_real)
            tl.store(pair + 1, distance, mask=row_real)
    tl.store(norms_ptr + rows, norm, mask=row_real)
