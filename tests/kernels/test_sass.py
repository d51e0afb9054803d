"""Reading machine code: lines as cuobjdump prints them, for three architectures."""

from __future__ import annotations

import pytest

from mmgrec_engine.kernels.resources import from_sass
from mmgrec_engine.kernels.sass import (
    CLASSES,
    MIX,
    access_bits,
    access_widths,
    class_of,
    instruction_mix,
    instructions,
    matrix_instructions,
)

HOPPER = """
	code for sm_90a
		Function : cross_attention_beams_forward
	.headerflags	@"EF_CUDA_TEXMODE_UNIFIED EF_CUDA_64BIT_ADDRESS EF_CUDA_SM90"
        /*0000*/                   LDC R1, c[0x0][0x28] ;            /* 0x00000a00ff017b82 */
                                                                     /* 0x000e300000000800 */
        /*0010*/                   IMAD.MOV.U32 R3, RZ, RZ, R8 ;     /* 0x00000a00ff017b82 */
        /*0020*/                   IMAD.SHL.U32 R6, R8, 0x4, RZ ;    /* 0x0000000408067824 */
        /*0030*/              @!P0 LDG.E.128 R16, desc[UR6][R2.64] ; /* 0x0000000602107981 */
        /*0040*/              @P3  LDG.E R9, desc[UR6][R2.64+0x4] ;  /* 0x0000000602107981 */
        /*0050*/                   LDG.E.U16 R9, desc[UR6][R2.64] ;  /* 0x0000000602107981 */
        /*0060*/                   STS.128 [R7], R16 ;               /* 0x0000000602107981 */
        /*0070*/                   BAR.SYNC.DEFER_BLOCKING 0x0 ;     /* 0x0000000602107981 */
        /*0080*/                   LDSM.16.M88.4 R8, [R4] ;          /* 0x0000000602107981 */
        /*0090*/                   HMMA.1688.F32.TF32 R4, R8, R2, R4 ; /* 0x000000020804723c */
        /*00a0*/                   HGMMA.64x32x8.F32.TF32 R24, R8, gdesc[UR8], R24 ; /* 0x0 */
        /*00b0*/                   WARPGROUP.ARRIVE ;                /* 0x0000000602107981 */
        /*00c0*/                   FFMA R5, R5, R6, R7 ;             /* 0x0000000602107981 */
        /*00d0*/                   FSETP.GEU.AND P0, PT, R2, -126, PT ; /* 0x000000020804723c */
        /*00e0*/                   MUFU.EX2 R2, R3 ;                 /* 0x000000020804723c */
        /*00f0*/                   SHFL.BFLY PT, R3, R2, 0x1, 0x1f ; /* 0x000000020804723c */
        /*0100*/                   LDGSTS.E.BYPASS.128 [R7], desc[UR6][R2.64] ; /* 0x0000 */
        /*0110*/              @UP0 UIADD3 UR4, UR4, 0x1, URZ ;       /* 0x000000020804723c */
        /*0120*/                   BRA `(.L_x_1) ;                   /* 0x000000020804723c */
        /*0130*/                   EXIT ;                            /* 0x000000020804723c */
        /*0140*/                   NOP;                              /* 0x0000000000007918 */
        /*0150*/                   NOP;                              /* 0x0000000000007918 */
"""


def test_a_kernel_is_counted_by_class_without_its_padding() -> None:
    assert instruction_mix(HOPPER) == {
        "matrix": 2,
        "fma": 1,
        "float_other": 1,
        "special": 1,
        "global_load": 3,
        "shared_load": 1,
        "shared_store": 1,
        "constant": 1,
        "async_copy": 1,
        "barrier": 2,
        "exchange": 1,
        "control": 2,
        "move": 1,
        "integer": 2,
    }
    assert matrix_instructions(HOPPER) == {"HGMMA": 1, "HMMA": 1}
    assert access_widths(HOPPER) == {
        "global_load": {"128": 1, "32": 1, "16": 1},
        "shared_load": {"128": 1},
        "shared_store": {"128": 1},
    }
    assert instructions(HOPPER)[3] == ("LDG.E.128", "R16, desc[UR6][R2.64]")


@pytest.mark.parametrize(
    ("mnemonic", "operands", "kind"),
    [
        # sm_80 and sm_90: constants and copies travel through whichever pipe is idle.
        ("HFMA2.MMA", "R5, -RZ, RZ, 0, 5.9604e-08", "move"),
        ("HFMA2", "R5, -RZ, RZ, 0, 0", "move"),
        ("HFMA2.MMA", "R5, R2, R3, R4", "float_other"),
        ("IMAD.U32", "R2, RZ, RZ, UR4", "move"),
        ("IMAD.U32", "R2, R3, UR5, RZ", "integer"),
        ("IMAD.WIDE.U32", "R2, R3, 0x4, R4", "integer"),
        ("CS2R", "R24, SRZ", "move"),
        ("ULDC.64", "UR4, c[0x0][0x238]", "constant"),
        ("ATOMG.E.ADD", "R2, [R4.64], R6", "atomic"),
        ("STL", "[R1], R2", "local"),
        ("F2FP.BF16.F32.PACK_AB", "R2, R3, R4", "convert"),
        ("DEPBAR.LE", "SB0, 0x1", "async_copy"),
        ("SYNCS.PHASECHK.TRANS64.TRYWAIT", "P0, [UR4], R2", "barrier"),
        # sm_100: packed float32, tensor memory, the fifth generation's matrix units.
        ("FADD2", "R2, R4, R6", "add_mul"),
        ("FFMA2", "R2, R4, R6, R8", "fma"),
        ("UTCHMMA", "gdesc[UR4], gdesc[UR6], tmem[UR8], tmem[UR10], idesc[UR11], UP0", "matrix"),
        ("LDTM.x32", "R4, tmem[UR4]", "tensor_memory"),
        ("LDCU.64", "UR4, c[0x0][0x358]", "constant"),
        ("FROBNICATE.X", "R2", "other"),
        ("NOP", "", None),
    ],
)
def test_classes(mnemonic: str, operands: str, kind: str | None) -> None:
    assert class_of(mnemonic, operands) == kind


@pytest.mark.parametrize(
    ("mnemonic", "bits"),
    [
        ("LDG.E.128", 128),
        ("LDG.E.64.CONSTANT", 64),
        ("STG.E", 32),
        ("LDG.E.U8", 8),
        ("STS.U16", 16),
        ("LDSM.16.M88", 32),
        ("LDSM.16.MT88.2", 64),
        ("LDSM.16.MT88.4", 128),
    ],
)
def test_widths_of_accesses(mnemonic: str, bits: int) -> None:
    assert access_bits(mnemonic) == bits


def test_a_mnemonic_has_one_class_and_the_report_knows_all() -> None:
    names = [name for names in CLASSES.values() for name in names]
    assert len(names) == len(set(names))
    assert set(CLASSES) < set(MIX)


@pytest.mark.parametrize(
    ("architecture", "shared", "static"),
    [("sm_80", 1280, 1280), ("sm_90a", 1280, 256), ("sm_100", 1024, 0), ("sm_90", 0, 0)],
)
def test_the_blocks_own_kibibyte_is_not_the_kernels(
    architecture: str, shared: int, static: int
) -> None:
    usage = f" Function f:\n  REG:10 STACK:0 SHARED:{shared} LOCAL:0 CONSTANT[0]:536"
    assert from_sass(usage, f"\tcode for {architecture}\n").static_shared == static
