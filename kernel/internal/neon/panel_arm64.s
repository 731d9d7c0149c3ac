//go:build !purego

#include "textflag.h"
#include "encode.h"

// A panel's row of 16 queries is four registers. Six rows are scored at a time for
// inner products: 24 accumulators (row r has V(4r) to V(4r+3)), six registers of
// four row components each, taken one by one as scalars, and two for the panel.
// Where fewer rows are left, the last stands in for the missing: it is computed
// again and stored over itself.
//
// R0 dst, R1 panel, R2 rows, R3 rows to go, R4 d, R5 stride in bytes; R6 to R11
// the rows, R12 to R17 where their scores go, R19 in the panel, R20 counts.
#define PANEL_START \
	MOVD dst+0(FP), R0     \
	MOVD panel+8(FP), R1   \
	MOVD rows+16(FP), R2   \
	MOVD n+24(FP), R3      \
	MOVD d+32(FP), R4      \
	MOVD stride+40(FP), R5 \
	LSL  $2, R5

// NEXT_ROW sets row and out to those after rowBefore and outBefore if there are at
// least i rows, else to the same.
#define NEXT_ROW(i, rowBefore, row, outBefore, out) \
	CMP  $i, R3                  \
	ADD  R5, rowBefore, row      \
	ADD  $64, outBefore, out     \
	CSEL GE, row, rowBefore, row \
	CSEL GE, out, outBefore, out

// HALF_FMA multiplies element i of the rows' V24 to V29 with half the panel's
// row, in V30 and V31, into the accumulators a and b of row 0, and those of the
// other rows.
#define HALF_FMA(i, a, b) \
	FMLA_4S_AT(i, 24, 30, a)      \
	FMLA_4S_AT(i, 25, 30, a+4)    \
	FMLA_4S_AT(i, 26, 30, a+8)    \
	FMLA_4S_AT(i, 27, 30, a+12)   \
	FMLA_4S_AT(i, 28, 30, a+16)   \
	FMLA_4S_AT(i, 29, 30, a+20)   \
	FMLA_4S_AT(i, 24, 31, b)      \
	FMLA_4S_AT(i, 25, 31, b+4)    \
	FMLA_4S_AT(i, 26, 31, b+8)    \
	FMLA_4S_AT(i, 27, 31, b+12)   \
	FMLA_4S_AT(i, 28, 31, b+16)   \
	FMLA_4S_AT(i, 29, 31, b+20)

#define COMPONENT_FMA(i) \
	VLD1.P 32(R19), [V30.S4, V31.S4] \
	HALF_FMA(i, 0, 1)                \
	VLD1.P 32(R19), [V30.S4, V31.S4] \
	HALF_FMA(i, 2, 3)

// func panelDot(dst, panel, rows *float32, n, d, stride int)
TEXT ·panelDot(SB), NOSPLIT, $0-48
	PANEL_START

rows:
	MOVD R2, R6
	MOVD R0, R12
	NEXT_ROW(2, R6, R7, R12, R13)
	NEXT_ROW(3, R7, R8, R13, R14)
	NEXT_ROW(4, R8, R9, R14, R15)
	NEXT_ROW(5, R9, R10, R15, R16)
	NEXT_ROW(6, R10, R11, R16, R17)
	ADD  R5<<2, R2
	ADD  R5<<1, R2
	ADD  $384, R0
	MOVD R1, R19
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
	VEOR V16.B16, V16.B16, V16.B16
	VEOR V17.B16, V17.B16, V17.B16
	VEOR V18.B16, V18.B16, V18.B16
	VEOR V19.B16, V19.B16, V19.B16
	VEOR V20.B16, V20.B16, V20.B16
	VEOR V21.B16, V21.B16, V21.B16
	VEOR V22.B16, V22.B16, V22.B16
	VEOR V23.B16, V23.B16, V23.B16
	LSR  $2, R4, R20
	CBZ  R20, rest

four:
	VLD1.P 16(R6), [V24.S4]
	VLD1.P 16(R7), [V25.S4]
	VLD1.P 16(R8), [V26.S4]
	VLD1.P 16(R9), [V27.S4]
	VLD1.P 16(R10), [V28.S4]
	VLD1.P 16(R11), [V29.S4]
	COMPONENT_FMA(0)
	COMPONENT_FMA(1)
	COMPONENT_FMA(2)
	COMPONENT_FMA(3)
	SUBS $1, R20
	BNE  four

rest:
	AND $3, R4, R20
	CBZ R20, store

one:
	FMOVS.P 4(R6), F24
	FMOVS.P 4(R7), F25
	FMOVS.P 4(R8), F26
	FMOVS.P 4(R9), F27
	FMOVS.P 4(R10), F28
	FMOVS.P 4(R11), F29
	COMPONENT_FMA(0)
	SUBS $1, R20
	BNE  one

store:
	VST1 [V0.S4, V1.S4, V2.S4, V3.S4], (R12)
	VST1 [V4.S4, V5.S4, V6.S4, V7.S4], (R13)
	VST1 [V8.S4, V9.S4, V10.S4, V11.S4], (R14)
	VST1 [V12.S4, V13.S4, V14.S4, V15.S4], (R15)
	VST1 [V16.S4, V17.S4, V18.S4, V19.S4], (R16)
	VST1 [V20.S4, V21.S4, V22.S4, V23.S4], (R17)
	SUBS $6, R3
	BGT  rows
	RET

// ROW_L2 adds to the accumulators a to a+3 the squared differences of the panel's
// row in V16 to V19 and the row component in all of register x.
#define ROW_L2(x, a) \
	FSUB_4S(x, 16, 24)     \
	FSUB_4S(x, 17, 25)     \
	FSUB_4S(x, 18, 26)     \
	FSUB_4S(x, 19, 27)     \
	FMLA_4S(24, 24, a)     \
	FMLA_4S(25, 25, a+1)   \
	FMLA_4S(26, 26, a+2)   \
	FMLA_4S(27, 27, a+3)

#define MUL4(x, a) \
	FMUL_4S(x, a, a)       \
	FMUL_4S(x, a+1, a+1)   \
	FMUL_4S(x, a+2, a+2)   \
	FMUL_4S(x, a+3, a+3)

// func panelL2(dst, panel, rows *float32, n, d, stride int)
//
// As panelDot, but for four rows at a time, since a difference needs a register.
TEXT ·panelL2(SB), NOSPLIT, $0-48
	PANEL_START
	FMOVS $-0.5, F31
	VDUP  V31.S[0], V31.S4

rows:
	MOVD R2, R6
	MOVD R0, R12
	NEXT_ROW(2, R6, R7, R12, R13)
	NEXT_ROW(3, R7, R8, R13, R14)
	NEXT_ROW(4, R8, R9, R14, R15)
	ADD  R5<<2, R2
	ADD  $256, R0
	MOVD R1, R19
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
	MOVD R4, R20

one:
	VLD1.P 64(R19), [V16.S4, V17.S4, V18.S4, V19.S4]
	VLD1R.P 4(R6), [V20.S4]
	VLD1R.P 4(R7), [V21.S4]
	VLD1R.P 4(R8), [V22.S4]
	VLD1R.P 4(R9), [V23.S4]
	ROW_L2(20, 0)
	ROW_L2(21, 4)
	ROW_L2(22, 8)
	ROW_L2(23, 12)
	SUBS $1, R20
	BNE  one

	MUL4(31, 0)
	MUL4(31, 4)
	MUL4(31, 8)
	MUL4(31, 12)
	VST1 [V0.S4, V1.S4, V2.S4, V3.S4], (R12)
	VST1 [V4.S4, V5.S4, V6.S4, V7.S4], (R13)
	VST1 [V8.S4, V9.S4, V10.S4, V11.S4], (R14)
	VST1 [V12.S4, V13.S4, V14.S4, V15.S4], (R15)
	SUBS $4, R3
	BGT  rows
	RET

// func panelScale(scores, rowScale, laneScale *float32, n int)
TEXT ·panelScale(SB), NOSPLIT, $0-32
	MOVD scores+0(FP), R0
	MOVD rowScale+8(FP), R1
	MOVD laneScale+16(FP), R2
	MOVD n+24(FP), R3
	VLD1 (R2), [V16.S4, V17.S4, V18.S4, V19.S4]

row:
	VLD1R.P 4(R1), [V20.S4]
	VLD1 (R0), [V0.S4, V1.S4, V2.S4, V3.S4]
	MUL4(20, 0)
	FMUL_4S(16, 0, 0)
	FMUL_4S(17, 1, 1)
	FMUL_4S(18, 2, 2)
	FMUL_4S(19, 3, 3)
	VST1.P [V0.S4, V1.S4, V2.S4, V3.S4], 64(R0)
	SUBS $1, R3
	BNE  row
	RET

// ROW_HITS sets o to a byte for each of the next 16 scores that is
// not below its threshold in V16 to V19: its bit of the mask below, else zero.
#define ROW_HITS(o) \
	VLD1.P 64(R1), [V20.S4, V21.S4, V22.S4, V23.S4] \
	FCMGE_4S(16, 20, 20)             \
	FCMGE_4S(17, 21, 21)             \
	FCMGE_4S(18, 22, 22)             \
	FCMGE_4S(19, 23, 23)             \
	VUZP1 V21.H8, V20.H8, V20.H8     \
	VUZP1 V23.H8, V22.H8, V22.H8     \
	VUZP1 V22.B16, V20.B16, V20.B16  \
	VAND  V20.B16, V31.B16, o

// func panelSelect(hits *uint32, scores, threshold *float32, n int) int
//
// Four rows become one mask of 64 bits, in order.
TEXT ·panelSelect(SB), NOSPLIT, $0-40
	MOVD hits+0(FP), R0
	MOVD scores+8(FP), R1
	MOVD threshold+16(FP), R2
	MOVD n+24(FP), R3
	MOVD R0, R4               // where the next hit goes
	MOVD ZR, R5               // i*W of the next row
	VLD1 (R2), [V16.S4, V17.S4, V18.S4, V19.S4]
	MOVD $0x8040201008040201, R6
	VDUP R6, V31.D2

rows:
	CMP  $4, R3
	BLT  few
	ROW_HITS(V0.B16)
	ROW_HITS(V1.B16)
	ROW_HITS(V2.B16)
	ROW_HITS(V3.B16)
	B    mask

few:
	CBZ  R3, done
	VEOR V1.B16, V1.B16, V1.B16
	VEOR V2.B16, V2.B16, V2.B16
	VEOR V3.B16, V3.B16, V3.B16
	ROW_HITS(V0.B16)
	CMP  $2, R3
	BLT  mask
	ROW_HITS(V1.B16)
	BEQ  mask
	ROW_HITS(V2.B16)

mask:
	VADDP V1.B16, V0.B16, V0.B16
	VADDP V3.B16, V2.B16, V2.B16
	VADDP V2.B16, V0.B16, V0.B16
	VADDP V0.B16, V0.B16, V0.B16
	VMOV  V0.D[0], R6
	CBZ   R6, next

hit:
	RBIT   R6, R7
	CLZ    R7, R7
	ADD    R5, R7
	MOVW.P R7, 4(R4)
	SUB    $1, R6, R7
	ANDS   R7, R6
	BNE    hit

next:
	ADD  $64, R5
	SUBS $4, R3
	BGT  rows

done:
	SUB  R0, R4
	LSR  $2, R4
	MOVD R4, ret+32(FP)
	RET
