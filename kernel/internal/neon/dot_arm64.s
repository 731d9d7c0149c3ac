//go:build !purego

#include "textflag.h"
#include "encode.h"

// The canonical scores: lane i is element i%4 of V(i/4), i < 64. The tail of a row
// is padded with zeros to 16 components: a zero product leaves a lane as it is,
// but for -0 becoming +0, which the +0 at the end makes the same.
//
// R0 dst, R1 q, R2 the next row, R3 rows to go, R4 d, R5 stride in bytes, R6 the
// next of the row numbers or 0, R7 whole blocks of 64 components, R8 whole groups
// of 16 after them, R9 components after those, R10 the padded tail of q, R11 that
// of the row, R12 bytes before the tail; in a row R13 scratch, R14 in q, R15 in
// the row.
#define SCORE_START \
	MOVD dst+0(FP), R0     \
	MOVD q+8(FP), R1       \
	MOVD rows+16(FP), R2   \
	MOVD n+24(FP), R3      \
	MOVD d+32(FP), R4      \
	MOVD stride+40(FP), R5 \
	MOVD at+48(FP), R6     \
	MOVD tail+56(FP), R10  \
	ADD  $64, R10, R11     \
	LSL  $2, R5            \
	LSR  $6, R4, R7        \
	UBFX $4, R4, $2, R8    \
	AND  $15, R4, R9       \
	SUB  R9, R4, R12       \
	LSL  $2, R12

// ROW_TAIL copies the row's components after the last whole 16 to R11, where
// zeros follow.
#define ROW_TAIL(l8, l4, l2, l1, l0) \
	CBZ    R9, l0                        \
	ADD    R12, R15, R16                 \
	MOVD   R11, R17                      \
	TBZ    $3, R9, l8                    \
	VLD1.P 32(R16), [V16.B16, V17.B16]   \
	VST1.P [V16.B16, V17.B16], 32(R17)   \
l8:                                          \
	TBZ    $2, R9, l4                    \
	VLD1.P 16(R16), [V16.B16]            \
	VST1.P [V16.B16], 16(R17)            \
l4:                                          \
	TBZ    $1, R9, l2                    \
	MOVD.P 8(R16), R13                   \
	MOVD.P R13, 8(R17)                   \
l2:                                          \
	TBZ    $0, R9, l0                    \
	MOVWU  (R16), R13                    \
	MOVW   R13, (R17)                    \
l0:

#define LANES_ZERO \
	VEOR V0.B16, V0.B16, V0.B16     \
	VEOR V1.B16, V1.B16, V1.B16     \
	VEOR V2.B16, V2.B16, V2.B16     \
	VEOR V3.B16, V3.B16, V3.B16     \
	VEOR V4.B16, V4.B16, V4.B16     \
	VEOR V5.B16, V5.B16, V5.B16     \
	VEOR V6.B16, V6.B16, V6.B16     \
	VEOR V7.B16, V7.B16, V7.B16     \
	VEOR V8.B16, V8.B16, V8.B16     \
	VEOR V9.B16, V9.B16, V9.B16     \
	VEOR V10.B16, V10.B16, V10.B16  \
	VEOR V11.B16, V11.B16, V11.B16  \
	VEOR V12.B16, V12.B16, V12.B16  \
	VEOR V13.B16, V13.B16, V13.B16  \
	VEOR V14.B16, V14.B16, V14.B16  \
	VEOR V15.B16, V15.B16, V15.B16

// LANES_TREE leaves the sum of all lanes in F0 and zero in F31.
#define LANES_TREE \
	FADD_4S(8, 0, 0)    \
	FADD_4S(9, 1, 1)    \
	FADD_4S(10, 2, 2)   \
	FADD_4S(11, 3, 3)   \
	FADD_4S(12, 4, 4)   \
	FADD_4S(13, 5, 5)   \
	FADD_4S(14, 6, 6)   \
	FADD_4S(15, 7, 7)   \
	FADD_4S(4, 0, 0)    \
	FADD_4S(5, 1, 1)    \
	FADD_4S(6, 2, 2)    \
	FADD_4S(7, 3, 3)    \
	FADD_4S(2, 0, 0)    \
	FADD_4S(3, 1, 1)    \
	FADD_4S(1, 0, 0)    \
	VEXT $8, V0.B16, V0.B16, V1.B16 \
	FADD_4S(1, 0, 0)    \
	FADDP_2S(0, 0)      \
	FMOVS ZR, F31

// Sixteen components of q at x and of the row at y, into lanes of a, b, c and e.
#define LOAD16(x, y) \
	VLD1 (x), [V16.S4, V17.S4, V18.S4, V19.S4] \
	VLD1 (y), [V20.S4, V21.S4, V22.S4, V23.S4]

#define LOAD16_NEXT \
	VLD1.P 64(R14), [V16.S4, V17.S4, V18.S4, V19.S4] \
	VLD1.P 64(R15), [V20.S4, V21.S4, V22.S4, V23.S4]

#define DOT16(a, b, c, e) \
	FMLA_4S(16, 20, a) \
	FMLA_4S(17, 21, b) \
	FMLA_4S(18, 22, c) \
	FMLA_4S(19, 23, e)

#define L2_16(a, b, c, e) \
	FSUB_4S(20, 16, 16) \
	FSUB_4S(21, 17, 17) \
	FSUB_4S(22, 18, 18) \
	FSUB_4S(23, 19, 19) \
	FMLA_4S(16, 16, a)  \
	FMLA_4S(17, 17, b)  \
	FMLA_4S(18, 18, c)  \
	FMLA_4S(19, 19, e)

// SCORE is the loop over rows. OP takes the loaded 16 into four registers' lanes.
#define SCORE(OP) \
row:                                 \
	CBNZ   R6, named             \
	MOVD   R2, R15               \
	ADD    R5, R2                \
	B      found                 \
named:                               \
	MOVWU.P 4(R6), R13           \
	MADD   R13, R2, R5, R15      \
found:                               \
	MOVD   R1, R14               \
	ROW_TAIL(tail8, tail4, tail2, tail1, padded) \
	LANES_ZERO                   \
	CBZ    R7, groups            \
	MOVD   R7, R13               \
block:                               \
	LOAD16_NEXT                  \
	OP(0, 1, 2, 3)               \
	LOAD16_NEXT                  \
	OP(4, 5, 6, 7)               \
	LOAD16_NEXT                  \
	OP(8, 9, 10, 11)             \
	LOAD16_NEXT                  \
	OP(12, 13, 14, 15)           \
	SUBS   $1, R13               \
	BNE    block                 \
groups:                              \
	CBZ    R8, tailOf0           \
	LOAD16_NEXT                  \
	OP(0, 1, 2, 3)               \
	CMP    $1, R8                \
	BEQ    tailOf1               \
	LOAD16_NEXT                  \
	OP(4, 5, 6, 7)               \
	CMP    $2, R8                \
	BEQ    tailOf2               \
	LOAD16_NEXT                  \
	OP(8, 9, 10, 11)             \
	CBZ    R9, tree              \
	LOAD16(R10, R11)             \
	OP(12, 13, 14, 15)           \
	B      tree                  \
tailOf2:                             \
	CBZ    R9, tree              \
	LOAD16(R10, R11)             \
	OP(8, 9, 10, 11)             \
	B      tree                  \
tailOf1:                             \
	CBZ    R9, tree              \
	LOAD16(R10, R11)             \
	OP(4, 5, 6, 7)               \
	B      tree                  \
tailOf0:                             \
	CBZ    R9, tree              \
	LOAD16(R10, R11)             \
	OP(0, 1, 2, 3)               \
tree:                                \
	LANES_TREE

// func dot(dst, q, rows *float32, n, d, stride int, at *uint32, tail *[32]float32)
TEXT ·dot(SB), NOSPLIT, $0-64
	SCORE_START
	SCORE(DOT16)
	FADDS  F31, F0, F0
	FMOVS.P F0, 4(R0)
	SUBS   $1, R3
	BNE    row
	RET

// func l2(dst, q, rows *float32, n, d, stride int, at *uint32, tail *[32]float32)
TEXT ·l2(SB), NOSPLIT, $0-64
	SCORE_START
	FMOVS  $-0.5, F30
	SCORE(L2_16)
	FMULS  F30, F0, F0
	FADDS  F31, F0, F0
	FMOVS.P F0, 4(R0)
	SUBS   $1, R3
	BNE    row
	RET

// Sixteen components in V16 to V19 as float64s, their squares into V0 to V7: lane
// j is element j%2 of V(j/2).
#define SQUARES16 \
	FCVTL(16, 20)       \
	FCVTL2(16, 21)      \
	FCVTL(17, 22)       \
	FCVTL2(17, 23)      \
	FCVTL(18, 24)       \
	FCVTL2(18, 25)      \
	FCVTL(19, 26)       \
	FCVTL2(19, 27)      \
	FMLA_2D(20, 20, 0)  \
	FMLA_2D(21, 21, 1)  \
	FMLA_2D(22, 22, 2)  \
	FMLA_2D(23, 23, 3)  \
	FMLA_2D(24, 24, 4)  \
	FMLA_2D(25, 25, 5)  \
	FMLA_2D(26, 26, 6)  \
	FMLA_2D(27, 27, 7)

// func sumSquares(dst *float64, rows *float32, n, d, stride int, tail *[16]float32)
TEXT ·sumSquares(SB), NOSPLIT, $0-48
	MOVD dst+0(FP), R0
	MOVD rows+8(FP), R2
	MOVD n+16(FP), R3
	MOVD d+24(FP), R4
	MOVD stride+32(FP), R5
	MOVD tail+40(FP), R11
	LSL  $2, R5
	LSR  $4, R4, R7
	AND  $15, R4, R9
	SUB  R9, R4, R12
	LSL  $2, R12

row:
	MOVD R2, R15
	ADD  R5, R2
	ROW_TAIL(tail8, tail4, tail2, tail1, padded)
	VEOR V0.B16, V0.B16, V0.B16
	VEOR V1.B16, V1.B16, V1.B16
	VEOR V2.B16, V2.B16, V2.B16
	VEOR V3.B16, V3.B16, V3.B16
	VEOR V4.B16, V4.B16, V4.B16
	VEOR V5.B16, V5.B16, V5.B16
	VEOR V6.B16, V6.B16, V6.B16
	VEOR V7.B16, V7.B16, V7.B16
	CBZ  R7, rest
	MOVD R7, R13

block:
	VLD1.P 64(R15), [V16.S4, V17.S4, V18.S4, V19.S4]
	SQUARES16
	SUBS $1, R13
	BNE  block

rest:
	CBZ  R9, tree
	VLD1 (R11), [V16.S4, V17.S4, V18.S4, V19.S4]
	SQUARES16

tree:
	FADD_2D(4, 0, 0)
	FADD_2D(5, 1, 1)
	FADD_2D(6, 2, 2)
	FADD_2D(7, 3, 3)
	FADD_2D(2, 0, 0)
	FADD_2D(3, 1, 1)
	FADD_2D(1, 0, 0)
	FADDP_2D(0, 0)
	FMOVD.P F0, 8(R0)
	SUBS $1, R3
	BNE  row
	RET
