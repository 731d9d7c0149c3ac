//go:build !purego

#include "textflag.h"
#include "encode.h"

// func maximum(s *float32, n int) float32
TEXT ·maximum(SB), NOSPLIT, $0-20
	MOVD s+0(FP), R0
	MOVD n+8(FP), R1
	MOVD $0xFF800000, R2 // -Inf
	VDUP R2, V0.S4
	VMOV V0.B16, V1.B16
	VMOV V0.B16, V2.B16
	VMOV V0.B16, V3.B16
	VMOV V0.B16, V4.B16

sixteen:
	SUBS $16, R1
	BLT  fours
	VLD1.P 64(R0), [V16.S4, V17.S4, V18.S4, V19.S4]
	FMAX_4S(16, 0, 0)
	FMAX_4S(17, 1, 1)
	FMAX_4S(18, 2, 2)
	FMAX_4S(19, 3, 3)
	B    sixteen

fours:
	ADD $16, R1

four:
	SUBS $4, R1
	BLT  ones
	VLD1.P 16(R0), [V16.S4]
	FMAX_4S(16, 0, 0)
	B    four

ones:
	ADDS $4, R1
	BEQ  done

one:
	FMOVS.P 4(R0), F16
	FMAXS F16, F4, F4
	SUBS $1, R1
	BNE  one

done:
	FMAX_4S(1, 0, 0)
	FMAX_4S(3, 2, 2)
	FMAX_4S(2, 0, 0)
	FMAXV_4S(0, 0)
	FMAXS F4, F0, F0
	FMOVS F0, ret+16(FP)
	RET

// func panelMax(max, scores *float32, n int)
TEXT ·panelMax(SB), NOSPLIT, $0-24
	MOVD max+0(FP), R0
	MOVD scores+8(FP), R1
	MOVD n+16(FP), R3
	VLD1 (R0), [V0.S4, V1.S4, V2.S4, V3.S4]

row:
	VLD1.P 64(R1), [V16.S4, V17.S4, V18.S4, V19.S4]
	FMAX_4S(16, 0, 0)
	FMAX_4S(17, 1, 1)
	FMAX_4S(18, 2, 2)
	FMAX_4S(19, 3, 3)
	SUBS $1, R3
	BNE  row
	VST1 [V0.S4, V1.S4, V2.S4, V3.S4], (R0)
	RET

// EXP2 is the exponential of two float64 shifts. It wants the scores in s and -m in
// minus, and leaves the shifts in V20 and their exponentials in V24, both zero
// where the shift isn't above least.
//
// V0 scale, V1 log2e, V2 round, V3 ln2, V4 least, V5 most, V6 to V12 the polynomial,
// of which terms 0 and 1, 2 and 3, 4 to 6 are evaluated apart.
#define EXP2(s, minus) \
	VMOV  minus, V20.B16         \
	VFMLA s, V0.D2, V20.D2       \ // shift = scale*s - m
	FCMGT_2D(4, 20, 21)          \ // not where it is NaN
	VAND  V21.B16, V20.B16, V20.B16 \
	FMIN_2D(5, 20, 22)           \ // t
	VMOV  V2.B16, V23.B16        \
	VFMLA V22.D2, V1.D2, V23.D2  \ // z = t*log2e + round
	FSUB_2D(2, 23, 24)           \ // n
	VFMLS V24.D2, V3.D2, V22.D2  \ // r = t - n*ln2
	VMOV  V6.B16, V24.B16        \
	VFMLA V22.D2, V7.D2, V24.D2  \
	VMOV  V8.B16, V25.B16        \
	VFMLA V22.D2, V9.D2, V25.D2  \
	VMOV  V11.B16, V26.B16       \
	VFMLA V22.D2, V12.D2, V26.D2 \
	FMUL_2D(22, 22, 27)          \ // r squared
	VMOV  V10.B16, V28.B16       \
	VFMLA V22.D2, V26.D2, V28.D2 \
	VFMLA V27.D2, V28.D2, V25.D2 \
	VFMLA V27.D2, V25.D2, V24.D2 \
	VSHL  $52, V23.D2, V23.D2    \ // n to the exponent
	VADD  V23.D2, V24.D2, V24.D2 \
	VAND  V21.B16, V24.B16, V24.B16

// func exp4(p, s *float32, n, step int, e *exponential, minus, sum, sumShift *float64)
TEXT ·exp4(SB), NOSPLIT, $0-64
	MOVD p+0(FP), R0
	MOVD s+8(FP), R1
	MOVD n+16(FP), R2
	MOVD step+24(FP), R3
	MOVD e+32(FP), R4
	MOVD minus+40(FP), R5
	MOVD sum+48(FP), R6
	MOVD sumShift+56(FP), R7
	LSL  $2, R3
	VLD1R.P 8(R4), [V0.D2]
	VLD1R.P 8(R4), [V1.D2]
	VLD1R.P 8(R4), [V2.D2]
	VLD1R.P 8(R4), [V3.D2]
	VLD1R.P 8(R4), [V4.D2]
	VLD1R.P 8(R4), [V5.D2]
	VLD1R.P 8(R4), [V6.D2]
	VLD1R.P 8(R4), [V7.D2]
	VLD1R.P 8(R4), [V8.D2]
	VLD1R.P 8(R4), [V9.D2]
	VLD1R.P 8(R4), [V10.D2]
	VLD1R.P 8(R4), [V11.D2]
	VLD1R.P 8(R4), [V12.D2]
	VLD1 (R5), [V14.D2, V15.D2]
	VLD1 (R6), [V16.D2, V17.D2]
	VLD1 (R7), [V18.D2, V19.D2]

four:
	VLD1 (R1), [V31.S4]
	ADD  R3, R1
	FCVTL(31, 29)
	FCVTL2(31, 30)
	EXP2(V29.D2, V14.B16)
	FCVTN(24, 31)
	FADD_2D(24, 16, 16)
	FMLA_2D(24, 20, 18)
	EXP2(V30.D2, V15.B16)
	FCVTN2(24, 31)
	FADD_2D(24, 17, 17)
	FMLA_2D(24, 20, 19)
	VST1 [V31.S4], (R0)
	ADD  R3, R0
	SUBS $1, R2
	BNE  four
	VST1 [V16.D2, V17.D2], (R6)
	VST1 [V18.D2, V19.D2], (R7)
	RET
