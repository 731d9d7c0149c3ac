//go:build !purego

#include "textflag.h"
#include "encode.h"

// func decodeF16(dst *float32, src *uint16, n int)
TEXT ·decodeF16(SB), NOSPLIT, $0-24
	MOVD dst+0(FP), R0
	MOVD src+8(FP), R1
	MOVD n+16(FP), R2

components:
	VLD1.P 32(R1), [V16.B16, V17.B16]
	FCVTL_4S(16, 20)
	FCVTL2_4S(16, 21)
	FCVTL_4S(17, 22)
	FCVTL2_4S(17, 23)
	VST1.P [V20.S4, V21.S4, V22.S4, V23.S4], 64(R0)
	SUBS $16, R2
	BNE  components
	RET

// func decodeBF16(dst *float32, src *uint16, n int)
TEXT ·decodeBF16(SB), NOSPLIT, $0-24
	MOVD dst+0(FP), R0
	MOVD src+8(FP), R1
	MOVD n+16(FP), R2

components:
	VLD1.P 32(R1), [V16.B16, V17.B16]
	SHLL_4S(16, 20)
	SHLL2_4S(16, 21)
	SHLL_4S(17, 22)
	SHLL2_4S(17, 23)
	VST1.P [V20.S4, V21.S4, V22.S4, V23.S4], 64(R0)
	SUBS $16, R2
	BNE  components
	RET

// func encodeF16(dst *uint16, src *float32, n int)
TEXT ·encodeF16(SB), NOSPLIT, $0-24
	MOVD dst+0(FP), R0
	MOVD src+8(FP), R1
	MOVD n+16(FP), R2

components:
	VLD1.P 64(R1), [V20.S4, V21.S4, V22.S4, V23.S4]
	FCVTN_4H(20, 16)
	FCVTN2_8H(21, 16)
	FCVTN_4H(22, 17)
	FCVTN2_8H(23, 17)
	VST1.P [V16.B16, V17.B16], 32(R0)
	SUBS $16, R2
	BNE  components
	RET

// ROUND_BF16 leaves in the upper halves of y's lanes what x's round to: just below half
// of the last place, in V1, is added, and that place's own bit. A NaN, where that could
// carry, gets the quiet bit in V2 instead. V0 are ones.
#define ROUND_BF16(x, y, xn) \
	VUSHR $16, x.S4, y.S4        \
	VAND  V0.B16, y.B16, y.B16   \
	VADD  x.S4, y.S4, y.S4       \
	VADD  V1.S4, y.S4, y.S4      \
	FCMEQ_4S(xn, xn, 3)          \
	VORR  V2.B16, x.B16, x.B16   \
	VBIF  V3.B16, x.B16, y.B16

// func encodeBF16(dst *uint16, src *float32, n int)
TEXT ·encodeBF16(SB), NOSPLIT, $0-24
	MOVD dst+0(FP), R0
	MOVD src+8(FP), R1
	MOVD n+16(FP), R2
	MOVD $1, R3
	VDUP R3, V0.S4
	MOVD $0x7fff, R3
	VDUP R3, V1.S4
	MOVD $0x400000, R3
	VDUP R3, V2.S4

components:
	VLD1.P 64(R1), [V20.S4, V21.S4, V22.S4, V23.S4]
	ROUND_BF16(V20, V24, 20)
	ROUND_BF16(V21, V25, 21)
	ROUND_BF16(V22, V26, 22)
	ROUND_BF16(V23, V27, 23)
	VUZP2  V25.H8, V24.H8, V16.H8
	VUZP2  V27.H8, V26.H8, V17.H8
	VST1.P [V16.B16, V17.B16], 32(R0)
	SUBS $16, R2
	BNE  components
	RET
