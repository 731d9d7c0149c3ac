//go:build !purego

#include "textflag.h"
#include "encode.h"

// The panel's sums: at most 32 rows are added up in V0 to V15, the level below,
// which are then added to a second float32 level, and that at the end to sum.
//
// R0 sum, R1 the next row of p, R2 the next row, R3 rows to go, R4 d in bytes of
// float64, R5 stride in bytes, R6 rows of the group to go, R7 in the second level.
#define SUM_START \
	MOVD sum+0(FP), R0     \
	MOVD p+8(FP), R1       \
	MOVD rows+16(FP), R2   \
	MOVD n+24(FP), R3      \
	MOVD d+32(FP), R4      \
	MOVD stride+40(FP), R5 \
	LSL  $3, R4            \
	LSL  $2, R5

// GROUP takes the rows of the next group from those to go.
#define GROUP \
	MOVD $32, R6           \
	CMP  R6, R3            \
	CSEL LT, R3, R6, R6    \
	SUB  R6, R3

// SECOND4 adds a to a+3 to the second level.
#define SECOND4(a) \
	VLD1 (R7), [V20.S4, V21.S4, V22.S4, V23.S4] \
	FADD_4S(a, 20, 20)                          \
	FADD_4S(a+1, 21, 21)                        \
	FADD_4S(a+2, 22, 22)                        \
	FADD_4S(a+3, 23, 23)                        \
	VST1.P [V20.S4, V21.S4, V22.S4, V23.S4], 64(R7)

// LANE adds the products of the eight columns, in V18 and V19, and element i of
// the weights x to the accumulators a and a+1.
#define LANE(i, x, a) \
	FMLA_4S_AT(i, x, 18, a)  \
	FMLA_4S_AT(i, x, 19, a+1)

// func panelSum8(sum *float64, p, rows *float32, n, d, stride int)
TEXT ·panelSum8(SB), 0, $256-48
	SUM_START
	MOVD $second-256(SP), R7
	VEOR V0.B16, V0.B16, V0.B16
	VEOR V1.B16, V1.B16, V1.B16
	VEOR V2.B16, V2.B16, V2.B16
	VEOR V3.B16, V3.B16, V3.B16
	VST1.P [V0.B16, V1.B16, V2.B16, V3.B16], 64(R7)
	VST1.P [V0.B16, V1.B16, V2.B16, V3.B16], 64(R7)
	VST1.P [V0.B16, V1.B16, V2.B16, V3.B16], 64(R7)
	VST1.P [V0.B16, V1.B16, V2.B16, V3.B16], 64(R7)

group:
	GROUP
	VEOR V0.B16, V0.B16, V0.B16
	VEOR V1.B16, V1.B16, V1.B16
	VEOR V2.B16, V2.B16, V2.B16
	VEOR V3.B16, V3.B16, V3.B16
	VEOR V4.B16, V4.B16, V4.B16
	VEOR V5.B16, V5.B16, V5.B16
	VEOR V6.B16, V6.B16, V6.B16
	VEOR V7.B16, V7.B16, V7.B16
	VEOR V8.B16, V8.B16, V8.B16
	VEOR V9.B16, V9.B16, V9.B16
	VEOR V10.B16, V10.B16, V10.B16
	VEOR V11.B16, V11.B16, V11.B16
	VEOR V12.B16, V12.B16, V12.B16
	VEOR V13.B16, V13.B16, V13.B16
	VEOR V14.B16, V14.B16, V14.B16
	VEOR V15.B16, V15.B16, V15.B16

row:
	VLD1 (R1), [V16.S4, V17.S4]
	VLD1 (R2), [V18.S4, V19.S4]
	ADD  $64, R1
	ADD  R5, R2
	LANE(0, 16, 0)
	LANE(1, 16, 2)
	LANE(2, 16, 4)
	LANE(3, 16, 6)
	LANE(0, 17, 8)
	LANE(1, 17, 10)
	LANE(2, 17, 12)
	LANE(3, 17, 14)
	SUBS $1, R6
	BNE  row

	MOVD $second-256(SP), R7
	SECOND4(0)
	SECOND4(4)
	SECOND4(8)
	SECOND4(12)
	CBNZ R3, group

	MOVD $second-256(SP), R7
	MOVD $8, R6

lane:
	VLD1.P 32(R7), [V0.S4, V1.S4]
	FCVTL(0, 4)
	FCVTL2(0, 5)
	FCVTL(1, 6)
	FCVTL2(1, 7)
	VLD1 (R0), [V16.D2, V17.D2, V18.D2, V19.D2]
	FADD_2D(4, 16, 16)
	FADD_2D(5, 17, 17)
	FADD_2D(6, 18, 18)
	FADD_2D(7, 19, 19)
	VST1 [V16.D2, V17.D2, V18.D2, V19.D2], (R0)
	ADD  R4, R0
	SUBS $1, R6
	BNE  lane
	RET

// SUM_LANES adds the four float32s in x to the next four lanes' elements of sum.
#define SUM_LANES(x) \
	FCVTL(x, 16)               \
	FCVTL2(x, 18)              \
	VDUP  V16.D[1], V17.D2     \
	VDUP  V18.D[1], V19.D2     \
	SUM_LANE(F16)              \
	SUM_LANE(F17)              \
	SUM_LANE(F18)              \
	SUM_LANE(F19)

#define SUM_LANE(x) \
	FMOVD (R0), F20            \
	FADDD x, F20, F20          \
	FMOVD F20, (R0)            \
	ADD   R4, R0

// func panelSum1(sum *float64, p, rows *float32, n, d, stride int)
TEXT ·panelSum1(SB), NOSPLIT, $0-48
	SUM_START
	VEOR V4.B16, V4.B16, V4.B16
	VEOR V5.B16, V5.B16, V5.B16
	VEOR V6.B16, V6.B16, V6.B16
	VEOR V7.B16, V7.B16, V7.B16

group:
	GROUP
	VEOR V0.B16, V0.B16, V0.B16
	VEOR V1.B16, V1.B16, V1.B16
	VEOR V2.B16, V2.B16, V2.B16
	VEOR V3.B16, V3.B16, V3.B16

row:
	VLD1.P 64(R1), [V16.S4, V17.S4, V18.S4, V19.S4]
	FMOVS (R2), F20
	ADD   R5, R2
	FMLA_4S_AT(0, 20, 16, 0)
	FMLA_4S_AT(0, 20, 17, 1)
	FMLA_4S_AT(0, 20, 18, 2)
	FMLA_4S_AT(0, 20, 19, 3)
	SUBS  $1, R6
	BNE   row

	FADD_4S(0, 4, 4)
	FADD_4S(1, 5, 5)
	FADD_4S(2, 6, 6)
	FADD_4S(3, 7, 7)
	CBNZ R3, group

	SUM_LANES(4)
	SUM_LANES(5)
	SUM_LANES(6)
	SUM_LANES(7)
	RET
