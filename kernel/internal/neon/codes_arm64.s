//go:build !purego

#include "textflag.h"
#include "encode.h"

// ROW_CODES loads 16 codes of a row, widens them, and adds their products with the
// query's in V16 and V17 to the accumulator a.
#define ROW_CODES(row, a) \
	VLD1.P 16(row), [V18.B16] \
	SXTL_8H(18, 19)           \
	SXTL2_8H(18, 20)          \
	SMLAL_4S(19, 16, a)       \
	SMLAL2_4S(19, 16, a)      \
	SMLAL_4S(20, 17, a)       \
	SMLAL2_4S(20, 17, a)

// func codeDot(dst *int32, query *int16, rows *int8, stride, fours, n int)
//
// Four rows at a time, so that a load of the query and the reduction serve four.
TEXT ·codeDot(SB), NOSPLIT, $0-48
	MOVD dst+0(FP), R0
	MOVD query+8(FP), R1
	MOVD rows+16(FP), R2
	MOVD stride+24(FP), R3
	MOVD fours+32(FP), R4
	MOVD n+40(FP), R5

four:
	MOVD R1, R6
	MOVD R2, R7
	ADD  R3, R7, R8
	ADD  R3, R8, R9
	ADD  R3, R9, R10
	ADD  R3, R10, R2
	MOVD R5, R11
	VEOR V0.B16, V0.B16, V0.B16
	VEOR V1.B16, V1.B16, V1.B16
	VEOR V2.B16, V2.B16, V2.B16
	VEOR V3.B16, V3.B16, V3.B16

codes:
	VLD1.P 32(R6), [V16.H8, V17.H8]
	ROW_CODES(R7, 0)
	ROW_CODES(R8, 1)
	ROW_CODES(R9, 2)
	ROW_CODES(R10, 3)
	SUBS $16, R11
	BNE  codes
	VADDP V1.S4, V0.S4, V0.S4
	VADDP V3.S4, V2.S4, V2.S4
	VADDP V2.S4, V0.S4, V0.S4
	VST1.P [V0.S4], 16(R0)
	SUBS $1, R4
	BNE  four
	RET

// func codeSelect(hits *uint32, sums *int32, scale, err, offset, bound *float32, n int) int
//
// A mask of 16 bits a row says which of four are selected.
TEXT ·codeSelect(SB), NOSPLIT, $0-64
	MOVD hits+0(FP), R0
	MOVD sums+8(FP), R1
	MOVD scale+16(FP), R2
	MOVD err+24(FP), R3
	MOVD offset+32(FP), R4
	MOVD bound+40(FP), R5
	MOVD n+48(FP), R6
	MOVD R0, R7
	MOVD ZR, R8 // the first of the four
	VLD1R.P 4(R5), [V16.S4]
	VLD1R.P 4(R5), [V17.S4]
	VLD1R.P 4(R5), [V18.S4]
	VLD1R.P 4(R5), [V19.S4]
	MOVD $0x0001000100010001, R9

rows:
	VLD1.P 16(R1), [V0.S4]
	VLD1.P 16(R2), [V1.S4]
	VLD1.P 16(R3), [V2.S4]
	VLD1.P 16(R4), [V3.S4]
	SCVTF_4S(0, 0)
	FMUL_4S(16, 0, 0)
	FADD_4S(17, 0, 0)
	FMUL_4S(1, 0, 0)
	FMUL_4S(18, 2, 2)
	FADD_4S(2, 0, 0)
	FADD_4S(3, 0, 0)
	FCMGT_4S(0, 19, 0) // the limit over the bound
	XTN_4H(0, 0)
	VMOV V0.D[0], R10
	BIC  R10, R9, R10
	CBZ  R10, next

hit:
	RBIT   R10, R11
	CLZ    R11, R11
	ADD    R11>>4, R8, R11
	MOVW.P R11, 4(R0)
	SUB    $1, R10, R11
	ANDS   R11, R10
	BNE    hit

next:
	ADD  $4, R8
	SUBS $4, R6
	BNE  rows
	SUB  R7, R0
	LSR  $2, R0
	MOVD R0, ret+56(FP)
	RET

// func largest(row *float32, n int) uint32
TEXT ·largest(SB), NOSPLIT, $0-20
	MOVD row+0(FP), R0
	MOVD n+8(FP), R1
	MOVD $0x7FFFFFFF, R2
	VDUP R2, V8.S4
	VEOR V0.B16, V0.B16, V0.B16

components:
	VLD1.P 64(R0), [V16.S4, V17.S4, V18.S4, V19.S4]
	VAND V8.B16, V16.B16, V16.B16
	VAND V8.B16, V17.B16, V17.B16
	VAND V8.B16, V18.B16, V18.B16
	VAND V8.B16, V19.B16, V19.B16
	UMAX_4S(17, 16, 16)
	UMAX_4S(19, 18, 18)
	UMAX_4S(18, 16, 16)
	UMAX_4S(16, 0, 0)
	SUBS $16, R1
	BNE  components
	UMAXV_4S(0, 0)
	FMOVS F0, ret+16(FP)
	RET

// QUANTISE4 turns the components in x into what codes leave of them, and leaves the
// codes as integers in c. The scale is in V0.
#define QUANTISE4(x, c) \
	FDIV_4S(0, x, c)     \
	FCVTNS_4S(c, c)      \
	SCVTF_4S(c, 1)       \
	FMUL_4S(0, 1, 1)     \
	FSUB_4S(1, x, x)

// func quantise(codes *int8, left, row *float32, scale float32, n int)
TEXT ·quantise(SB), NOSPLIT, $0-40
	MOVD  codes+0(FP), R0
	MOVD  left+8(FP), R1
	MOVD  row+16(FP), R2
	FMOVS scale+24(FP), F0
	VDUP  V0.S[0], V0.S4
	MOVD  n+32(FP), R3

components:
	VLD1.P 64(R2), [V16.S4, V17.S4, V18.S4, V19.S4]
	QUANTISE4(16, 20)
	QUANTISE4(17, 21)
	QUANTISE4(18, 22)
	QUANTISE4(19, 23)
	VST1.P [V16.S4, V17.S4, V18.S4, V19.S4], 64(R1)
	XTN_4H(20, 24)
	XTN2_8H(21, 24)
	XTN_4H(22, 25)
	XTN2_8H(23, 25)
	XTN_8B(24, 26)
	XTN2_16B(25, 26)
	VST1.P [V26.B16], 16(R0)
	SUBS $16, R3
	BNE  components
	RET

// func decode(dst *float32, codes *int8, scale float32, n int)
TEXT ·decode(SB), NOSPLIT, $0-32
	MOVD  dst+0(FP), R0
	MOVD  codes+8(FP), R1
	FMOVS scale+16(FP), F0
	VDUP  V0.S[0], V0.S4
	MOVD  n+24(FP), R2

components:
	VLD1.P 16(R1), [V16.B16]
	SXTL_8H(16, 17)
	SXTL2_8H(16, 18)
	SXTL_4S(17, 20)
	SXTL2_4S(17, 21)
	SXTL_4S(18, 22)
	SXTL2_4S(18, 23)
	SCVTF_4S(20, 20)
	SCVTF_4S(21, 21)
	SCVTF_4S(22, 22)
	SCVTF_4S(23, 23)
	FMUL_4S(0, 20, 20)
	FMUL_4S(0, 21, 21)
	FMUL_4S(0, 22, 22)
	FMUL_4S(0, 23, 23)
	VST1.P [V20.S4, V21.S4, V22.S4, V23.S4], 64(R0)
	SUBS $16, R2
	BNE  components
	RET
