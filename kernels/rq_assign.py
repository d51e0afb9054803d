"""Residual quantisation on a GPU: every level in one launch, the residual on chip.

::

    table, half = prologue(codebooks)            codewords split for TF32, 0.5 ||c||^2; one launch
    one program per block of rows:
        r = x                                    fp32, a tuple of [block_rows, chunk] tensors
        for every level:
            for every block of codes:            score = r . c - 0.5 ||c||^2, dots over the chunks
                keep score and code block where score > best so far      element by element
            code = lowest index that holds the row's maximum;  r -= C[level, code]

Why the residual and not cross-product tables. The other known way never forms the residual:
``score_l(k) = x.c_lk - 0.5||c_lk||^2 - sum_{t<l} G[t, code_t, l, k]`` with the codewords' inner
products ``G``. It reads x again for every (level, block of B codes) and a row of G for every
earlier level, but can take more rows R per pass over the codebooks. Bytes per row, fp32::

    residual on chip     4 D + 8 S D + 8 S K D / R             x once; S codewords in two parts
    cross-product        4 D S K/B + 4 K S (S-1)/2 + 8 S K D / R         x per block; rows of G

    without the codebooks' stream, S = 3, B = 64 (on chip / cross-product)
                    D = 64              D = 256              D = 512
    K = 256         1,792 /  6,144       7,168 /  15,360      14,336 /  27,648
    K = 1,024       1,792 / 24,576       7,168 /  61,440      14,336 / 110,592
    with it; on chip R = 64 at D = 64 and 32 above, cross-product R = 128
    K = 256         7,936 /  9,216      56,320 /  27,648     112,640 /  52,224
    K = 1,024      26,368 / 36,864     203,776 / 110,592     407,552 / 208,896

Beyond x all of this is L2 traffic (codebooks and G stay there). On chip moves less up to D = 128,
the widths of RQ-VAE latents; from D = 256 on, its short blocks of rows cost twice the bytes. It is
kept there too because rounding decides: ``x.c - G`` cancels to the small residual's product, and
deep levels choose among codewords that differ by just what that loses. G takes ``4 K^2 S (S-1)/2``
bytes more (12 MiB at K = 1,024) and a kernel to fill it. No time was measured: on paper only.

Accuracy. NVIDIA tensor cores round fp32 to TF32 (11 bits). ``v = high + low`` with the lowest 13
bits cut off is exact; ``high.high + high.low + low.high`` leaves a relative error near 2^-22 (the
TF32x3 scheme, Ootomo and Yokota, 2022, arXiv 2203.03341). Triton's ``input_precision="tf32x3"``
does the same but splits the codebook again in every program and carries the code tile through
registers; splitting it once here lets tiles go from global to shared memory to the matrix units.
A 16-bit codeword is exact in TF32: two dots are enough. gfx942 has fp32 matrix units: one dot.
"""

from __future__ import annotations

import torch
import triton
from torch import Tensor

from mmgrec_engine.errors import ConfigError
from mmgrec_engine.kernels.compilation import Compilation
from mmgrec_engine.kernels.ranges import op_range
from mmgrec_engine.kernels.rq_assign_kernel import rq_assign_kernel, rq_table_kernel
from mmgrec_engine.kernels.rq_assign_setup import WIDEST, Setup, setup_for


def _target_of(device: torch.device) -> str:
    """Name of what a device compiles for; the interpreter computes in plain fp32, like gfx942."""
    if device.type != "cuda":
        return "cpu"
    if torch.version.hip is not None:
        return str(torch.cuda.get_device_properties(device).gcnArchName).split(":")[0]
    major, minor = torch.cuda.get_device_capability(device)
    return f"sm_{major}{minor}"


def launch(x: Tensor, codebooks: Tensor, top2: bool, setup: Setup) -> tuple[Tensor, Tensor, Tensor]:
    """Both launches with a given setup; see :func:`rq_assign`."""
    rows, width = x.shape
    levels, codes, _ = codebooks.shape
    assigned = x.new_empty((rows, levels), dtype=torch.int64)
    norms = x.new_empty((rows,), dtype=torch.float32)
    nearest = x.new_empty((rows if top2 else 0, levels, 2), dtype=torch.float32)
    if rows == 0:
        return assigned, norms, nearest
    if setup.parts == 3:
        # 16-bit rows with fp32 codebooks: at D = 512 their loads would make sm_90 spill. Nothing
        # happens to fp32 rows.
        x = x.float()
    x = x if x.stride(1) == 1 else x.contiguous()
    codebooks = codebooks.contiguous()
    chunks = triton.cdiv(width, setup.chunk)
    padded = chunks * setup.chunk
    padded_codes = triton.cdiv(codes, setup.block_codes) * setup.block_codes
    entry = padded * (2 if setup.parts == 3 else 1)
    table = x.new_empty((levels * padded_codes, entry), dtype=torch.float32)
    half_norms = x.new_empty((levels * padded_codes,), dtype=torch.float32)
    block = triton.next_power_of_2(padded)
    rq_table_kernel[(levels * padded_codes // 16,)](
        codebooks, table, half_norms, codes, padded_codes, width, padded, block, setup.parts,
        num_warps=4,
    )  # fmt: skip
    rq_assign_kernel[(triton.cdiv(rows, setup.block_rows),)](
        x, table, half_norms, assigned, norms, nearest, rows, levels, padded_codes, x.stride(0),
        width, setup.block_rows, setup.block_codes, setup.chunk, chunks, setup.parts, top2,
        num_warps=setup.warps, num_stages=setup.stages,
    )  # fmt: skip
    return assigned, norms, nearest


@torch.library.custom_op("mmgrec::rq_assign_triton", mutates_args=())
def rq_assign_triton(x: Tensor, codebooks: Tensor, top2: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Codes, squared residual norms, and two distances per level (no rows where not asked)."""
    split = codebooks.dtype == torch.float32
    with op_range("rq_assign"):
        return launch(x, codebooks, top2, setup_for(x.shape[1], _target_of(x.device), split))


@rq_assign_triton.register_fake
def _(x: Tensor, codebooks: Tensor, top2: bool) -> tuple[Tensor, Tensor, Tensor]:
    rows, levels = x.shape[0], codebooks.shape[0]
    return (
        x.new_empty((rows, levels), dtype=torch.int64),
        x.new_empty((rows,), dtype=torch.float32),
        x.new_empty((rows if top2 else 0, levels, 2), dtype=torch.float32),
    )


def rq_assign(
    x: Tensor, codebooks: Tensor, *, top2: bool = False
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Quantise rows on all levels.

    ::

        r = x
        for every level:  code = argmin_k ||r - C[level, k]||^2   ties to the lowest index
                          r   -= C[level, code]

    Parameters
    ----------
    x : Tensor
        ``[N, D]``, fp32, bf16 or fp16, D at most 512; rows may be strided.
    codebooks : Tensor
        ``[S, K, D]``, fp32 or the type of x. All arithmetic is fp32.
    top2 : bool
        Also return the squared distances of the nearest and the second nearest codeword.

    Returns
    -------
    codes : Tensor
        ``[N, S]`` int64; -1 from the level on where no distance was a number (a row with NaN or
        infinity: from the first).
    residual_norms : Tensor
        ``[N]`` fp32, squared norm of what is left; NaN where a code is -1.
    top2 : Tensor or None
        ``[N, S, 2]`` fp32; infinity for the second of one codeword.

    Raises
    ------
    ConfigError
        Rows wider than 512: their residual does not fit on the chip.
    """
    if x.shape[1] > WIDEST:
        raise ConfigError(
            "rq_assign (triton): rows are too wide to keep on the chip",
            value=x.shape[1],
            allowed=f"at most {WIDEST} columns",
            remedy="choose the backend native or reference",
        )
    codes, norms, nearest = rq_assign_triton(x, codebooks, top2)
    return codes, norms, nearest if top2 else None


def _main_compilation(target: str, width: int, dtype: str, top2: bool) -> Compilation:
    """Describe the main kernel at one width; codebooks have the type of x."""
    setup = setup_for(width, target, split_codebook=dtype == "fp32")
    fp32 = ("table_ptr", "half_norm_ptr", "norms_ptr", "top2_ptr")
    signature = {"x_ptr": f"*{dtype}", "codes_ptr": "*i64", **dict.fromkeys(fp32, "*fp32")}
    integers = {"rows_total": "i32", "levels": "i32", "padded_codes": "i32:16", "stride": "i32:16"}
    return Compilation(
        name="rq_assign",
        kernel=rq_assign_kernel,
        signature={**signature, **integers},
        constexprs={
            "WIDTH": width,
            "BLOCK_ROWS": setup.block_rows,
            "BLOCK_CODES": setup.block_codes,
            "CHUNK": setup.chunk,
            "CHUNKS": triton.cdiv(width, setup.chunk),
            "PARTS": setup.parts,
            "TOP2": top2,
        },
        num_warps=setup.warps,
        num_stages=setup.stages,
        config={"dtype": dtype, "width": width, "top2": int(top2)},
        matrix_units=True,
    )


def _table_compilation(target: str, width: int, dtype: str) -> Compilation:
    """Describe the prologue at one width."""
    setup = setup_for(width, target, split_codebook=dtype == "fp32")
    padded = triton.cdiv(width, setup.chunk) * setup.chunk
    pointers = {"codebook_ptr": f"*{dtype}", "table_ptr": "*fp32", "half_norm_ptr": "*fp32"}
    return Compilation(
        name="rq_table",
        kernel=rq_table_kernel,
        signature={**pointers, "codes": "i32", "padded_codes": "i32:16"},
        constexprs={
            "WIDTH": width,
            "PADDED": padded,
            "BLOCK": triton.next_power_of_2(padded),
            "PARTS": setup.parts,
        },
        num_warps=4,
        num_stages=1,
        config={"dtype": dtype, "width": width},
        matrix_units=False,
    )


def compilations(target: str) -> list[Compilation]:
    """List what is compiled ahead of time: the setups that :func:`rq_assign` launches with.

    ``i32:16`` is an integer that is divisible by 16. The two distances are compiled where the
    registers are shortest: the widths at which a setup's line ends.
    """
    widths = (32, 64, 128, 256, 512)
    main = [
        _main_compilation(target, w, dtype, False) for dtype in ("fp32", "bf16") for w in widths
    ]
    pairs = [_main_compilation(target, width, "fp32", True) for width in widths]
    tables = [_table_compilation(target, 512, dtype) for dtype in ("fp32", "bf16")]
    return [*main, *pairs, *tables]
