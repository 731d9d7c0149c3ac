//go:build !purego

#include "textflag.h"
#include "encode.h"

// EIGHT leaves in V0 the sum of the rows' components, V20 to V27, times the weights.
#define EIGHT \
	VEOR V0.B16, V0.B16, V0.B16 \
	VEOR V1.B16, V1.B16, V1.B16 \
	FMLA_4S_AT(0, 16, 20, 0)    \
	FMLA_4S_AT(1, 16, 21, 1)    \
	FMLA_4S_AT(2, 16, 22, 0)    \
	FMLA_4S_AT(3, 16, 23, 1)    \
	FMLA_4S_AT(0, 17, 24, 0)    \
	FMLA_4S_AT(1, 17, 25, 1)    \
	FMLA_4S_AT(2, 17, 26, 0)    \
	FMLA_4S_AT(3, 17, 27, 1)    \
	FADD_4S(1, 0, 0)

// func weightedSum(sum *float64, w, rows *float32, n, d, stride int)
//
// Eight rows at a time are added up in float32, then into the float64 sums, which
// stay in the cache while the rows stream past once, in order.
//
// R0 sum, R1 the next weight, R2 the next row, R3 rows to go, R4 d, R5 stride in
// bytes; R6 to R13 the rows, R14 in sum, R15 components to go.
TEXT ·weightedSum(SB), NOSPLIT, $0-48
	MOVD sum+0(FP), R0
	MOVD w+8(FP), R1
	MOVD rows+16(FP), R2
	MOVD n+24(FP), R3
	MOVD d+32(FP), R4
	MOVD stride+40(FP), R5
	LSL  $2, R5

eightRows:
	SUBS $8, R3
	BLT  rest
	MOVD R2, R6
	ADD  R5, R6, R7
	ADD  R5, R7, R8
	ADD  R5, R8, R9
	ADD  R5, R9, R10
	ADD  R5, R10, R11
	ADD  R5, R11, R12
	ADD  R5, R12, R13
	ADD  R5, R13, R2
	MOVD R0, R14
	VLD1.P 32(R1), [V16.S4, V17.S4]
	SUBS $4, R4, R15
	BLT  eightOnes

eightFours:
	VLD1.P 16(R6), [V20.S4]
	VLD1.P 16(R7), [V21.S4]
	VLD1.P 16(R8), [V22.S4]
	VLD1.P 16(R9), [V23.S4]
	VLD1.P 16(R10), [V24.S4]
	VLD1.P 16(R11), [V25.S4]
	VLD1.P 16(R12), [V26.S4]
	VLD1.P 16(R13), [V27.S4]
	EIGHT
	FCVTL(0, 2)
	FCVTL2(0, 3)
	VLD1 (R14), [V4.D2, V5.D2]
	FADD_2D(2, 4, 4)
	FADD_2D(3, 5, 5)
	VST1.P [V4.D2, V5.D2], 32(R14)
	SUBS $4, R15
	BGE  eightFours

eightOnes:
	ADDS $4, R15
	BEQ  eightRows

eightOne:
	FMOVS.P 4(R6), F20
	FMOVS.P 4(R7), F21
	FMOVS.P 4(R8), F22
	FMOVS.P 4(R9), F23
	FMOVS.P 4(R10), F24
	FMOVS.P 4(R11), F25
	FMOVS.P 4(R12), F26
	FMOVS.P 4(R13), F27
	EIGHT
	FCVTSD F0, F2
	FMOVD (R14), F4
	FADDD F2, F4, F4
	FMOVD.P F4, 8(R14)
	SUBS $1, R15
	BNE  eightOne
	B    eightRows

rest:
	ADDS $8, R3
	BEQ  done

row:
	MOVD R2, R6
	ADD  R5, R2
	MOVD R0, R14
	VLD1R.P 4(R1), [V16.S4]
	SUBS $4, R4, R15
	BLT  ones

four:
	VLD1.P 16(R6), [V20.S4]
	FMUL_4S(16, 20, 0)
	FCVTL(0, 2)
	FCVTL2(0, 3)
	VLD1 (R14), [V4.D2, V5.D2]
	FADD_2D(2, 4, 4)
	FADD_2D(3, 5, 5)
	VST1.P [V4.D2, V5.D2], 32(R14)
	SUBS $4, R15
	BGE  four

ones:
	ADDS $4, R15
	BEQ  next

one:
	FMOVS.P 4(R6), F20
	FMULS F16, F20, F0
	FCVTSD F0, F2
	FMOVD (R14), F4
	FADDD F2, F4, F4
	FMOVD.P F4, 8(R14)
	SUBS $1, R15
	BNE  one

next:
	SUBS $1, R3
	BNE  row

done:
	RET
