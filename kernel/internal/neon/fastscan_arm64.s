//go:build !purego

#include "textflag.h"
#include "encode.h"

// func fastScan(sums *uint16, codes, table *byte, groups, blocks int)
//
// V0 to V3 are the sums of a block's 32 rows. A group is a table of 16 bytes and
// 16 bytes of codes, whose low halves are rows 0 to 15.
TEXT ·fastScan(SB), NOSPLIT, $0-40
	MOVD  sums+0(FP), R0
	MOVD  codes+8(FP), R1
	MOVD  table+16(FP), R2
	MOVD  groups+24(FP), R3
	MOVD  blocks+32(FP), R4
	VMOVI $15, V31.B16

block:
	VEOR V0.B16, V0.B16, V0.B16
	VEOR V1.B16, V1.B16, V1.B16
	VEOR V2.B16, V2.B16, V2.B16
	VEOR V3.B16, V3.B16, V3.B16
	MOVD R2, R5
	MOVD R3, R6

group:
	VLD1.P 16(R1), [V4.B16]
	VLD1.P 16(R5), [V5.B16]
	VUSHR  $4, V4.B16, V6.B16
	VAND   V31.B16, V4.B16, V4.B16
	VTBL   V4.B16, [V5.B16], V4.B16
	VTBL   V6.B16, [V5.B16], V6.B16
	VUADDW  V4.B8, V0.H8, V0.H8
	VUADDW2 V4.B16, V1.H8, V1.H8
	VUADDW  V6.B8, V2.H8, V2.H8
	VUADDW2 V6.B16, V3.H8, V3.H8
	SUBS   $1, R6
	BNE    group

	VST1.P [V0.H8, V1.H8, V2.H8, V3.H8], 64(R0)
	SUBS   $1, R4
	BNE    block
	RET

// FOUR_HITS turns the sums in the 4S register x into all ones where a row is
// selected; mul and add follow at R2 and R3.
#define FOUR_HITS(x) \
	VLD1.P 16(R2), [V20.S4] \
	VLD1.P 16(R3), [V21.S4] \
	UCVTF_4S(x, x)         \
	VORR V17.B16, V17.B16, V22.B16 \
	FMLA_4S(16, x, 22)     \
	FMLA_4S(20, 22, 21)    \
	FCMGE_4S(18, 21, x)

// func fastSelect(hits *uint32, sums *uint16, mul, add *float32, scale, shift, limit float32, n int) int
//
// Sixteen rows become one mask of 64 bits, four to a row.
TEXT ·fastSelect(SB), NOSPLIT, $0-64
	MOVD  hits+0(FP), R0
	MOVD  sums+8(FP), R1
	MOVD  mul+16(FP), R2
	MOVD  add+24(FP), R3
	FMOVS scale+32(FP), F16
	FMOVS shift+36(FP), F17
	FMOVS limit+40(FP), F18
	MOVD  n+48(FP), R4
	VDUP  V16.S[0], V16.S4
	VDUP  V17.S[0], V17.S4
	VDUP  V18.S[0], V18.S4
	MOVD  R0, R5              // where the next hit goes
	MOVD  ZR, R6              // the first of the next rows

rows:
	VLD1.P  32(R1), [V4.H8, V5.H8]
	VUXTL   V4.H4, V0.S4
	VUXTL2  V4.H8, V1.S4
	VUXTL   V5.H4, V2.S4
	VUXTL2  V5.H8, V3.S4
	FOUR_HITS(0)
	FOUR_HITS(1)
	FOUR_HITS(2)
	FOUR_HITS(3)
	VUZP1 V1.H8, V0.H8, V0.H8
	VUZP1 V3.H8, V2.H8, V2.H8
	VUZP1 V2.B16, V0.B16, V0.B16
	VMOV  V0.D[0], R7
	VMOV  V0.D[1], R8
	CBZ   R7, high

low_hit:
	RBIT   R7, R9
	CLZ    R9, R9
	LSR    $3, R9, R10
	ADD    R6, R10, R11
	MOVW.P R11, 4(R5)
	LSL    $3, R10
	MOVD   $0xff, R11
	LSL    R10, R11, R11
	BIC    R11, R7
	CBNZ   R7, low_hit

high:
	ADD $8, R6
	CBZ R8, next

high_hit:
	RBIT   R8, R9
	CLZ    R9, R9
	LSR    $3, R9, R10
	ADD    R6, R10, R11
	MOVW.P R11, 4(R5)
	LSL    $3, R10
	MOVD   $0xff, R11
	LSL    R10, R11, R11
	BIC    R11, R8
	CBNZ   R8, high_hit

next:
	ADD $8, R6
	CMP R4, R6
	BLT rows
	SUB R0, R5
	LSR $2, R5
	MOVD R5, ret+56(FP)
	RET

// LANES_ARGMAX compares the scores in register x with those in m, and takes them
// and the row in V16 where they are greater.
#define LANES_ARGMAX(x, vx, m, vm, va) \
	FADD_4S(17, x, x)               \
	FCMGT_4S(m, x, 18)              \
	VBIT V18.B16, vx, vm            \
	VBIT V18.B16, V16.B16, va

// func panelArgMax(best *float32, at *uint32, scores, bias *float32, n int, first uint32)
TEXT ·panelArgMax(SB), NOSPLIT, $0-44
	MOVD  best+0(FP), R0
	MOVD  at+8(FP), R1
	MOVD  scores+16(FP), R2
	MOVD  bias+24(FP), R3
	MOVD  n+32(FP), R4
	MOVWU first+40(FP), R5
	VLD1  (R0), [V0.S4, V1.S4, V2.S4, V3.S4]
	VLD1  (R1), [V4.S4, V5.S4, V6.S4, V7.S4]

row:
	VDUP   R5, V16.S4
	VLD1R.P 4(R3), [V17.S4]
	VLD1.P 64(R2), [V20.S4, V21.S4, V22.S4, V23.S4]
	LANES_ARGMAX(20, V20.B16, 0, V0.B16, V4.B16)
	LANES_ARGMAX(21, V21.B16, 1, V1.B16, V5.B16)
	LANES_ARGMAX(22, V22.B16, 2, V2.B16, V6.B16)
	LANES_ARGMAX(23, V23.B16, 3, V3.B16, V7.B16)
	ADD    $1, R5
	SUBS   $1, R4
	BNE    row

	VST1 [V0.S4, V1.S4, V2.S4, V3.S4], (R0)
	VST1 [V4.S4, V5.S4, V6.S4, V7.S4], (R1)
	RET

// func prefetch(v *float32, n int)
TEXT ·prefetch(SB), NOSPLIT, $0-16
	MOVD v+0(FP), R0
	MOVD n+8(FP), R1

line:
	PRFM (R0), PLDL1KEEP
	ADD  $64, R0
	SUBS $16, R1
	BGT  line
	RET
