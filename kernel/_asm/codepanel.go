package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// codePanelTile writes the inner loop of CodePanelDot, with the dot product of
// unsigned and signed bytes (VNNI), four codes of a row at a time: a row's sums with
// the high and the low parts of the queries stay in two registers.
func (s set) codePanelTile(rows int) {
	TEXT(fmt.Sprintf("codePanel%d", rows), NOSPLIT, "func(dst *int32, panel *uint8, rows *int8, sums *int32, stride, tiles, n int)")
	Doc(fmt.Sprintf("codePanel%d does tiles of %d rows of n codes.", rows, rows))
	Pragma("noescape")
	dst, panel, first, sums := load(Param("dst")), load(Param("panel")), load(Param("rows")), load(Param("sums"))
	stride, tiles, n := load(Param("stride")), load(Param("tiles")), load(Param("n"))
	// A pointer serves three rows, with the stride once and twice as its index.
	var ptr []Register
	for range (rows + 2) / 3 {
		ptr = append(ptr, GP64())
	}
	row := func(r, disp int) Mem {
		m := Mem{Base: ptr[r/3], Disp: disp}
		if r%3 > 0 {
			m.Index, m.Scale = stride, uint8(r%3)
		}
		return m
	}
	high := func(r int) VecPhysical { return s.v(2 * r) }
	low := func(r int) VecPhysical { return s.v(2*r + 1) }
	x, queriesHigh, queriesLow := s.v(2*rows), s.v(2*rows+1), s.v(2*rows+2)
	at3 := GP64() // three strides
	LEAQ(Mem{Base: stride, Index: stride, Scale: 2}, at3)
	a, k := GP64(), GP64()

	Label("tile")
	for i, p := range ptr {
		if i == 0 {
			MOVQ(first, p)
		} else {
			MOVQ(ptr[i-1], p)
			ADDQ(at3, p)
		}
	}
	MOVQ(panel, a)
	MOVQ(n, k)
	for r := range rows { // 64 was added to a high part of 128
		s.zero(high(r))
		VPBROADCASTD(at(sums, 4*r), x)
		VPSLLD(Imm(13), x, x)
		VPSUBD(x, high(r), low(r))
	}
	const unroll = 4
	Label("codes")
	for i := range unroll {
		VMOVDQU32(at(a, 128*i), queriesHigh)
		VMOVDQU32(at(a, 128*i+64), queriesLow)
		for r := range rows {
			VPBROADCASTD(row(r, 4*i), x)
			VPDPBUSD(x, queriesHigh, high(r))
			VPDPBUSD(x, queriesLow, low(r))
		}
	}
	ADDQ(U32(128*unroll), a)
	for _, p := range ptr {
		ADDQ(Imm(4*unroll), p)
	}
	SUBQ(Imm(4*unroll), k)
	JNZ(LabelRef("codes"))
	for r := range rows {
		VPSLLD(Imm(7), high(r), high(r))
		VPADDD(high(r), low(r), low(r))
		VMOVDQU32(low(r), at(dst, 64*r))
	}
	ADDQ(U32(uint32(64*rows)), dst)
	ADDQ(Imm(uint64(4*rows)), sums)
	next := GP64()
	IMUL3Q(U32(uint32(rows)), stride, next)
	ADDQ(next, first)
	DECQ(tiles)
	JNZ(LabelRef("tile"))
	VZEROUPPER()
	RET()
}

// codePanelSelect has a row at a time, whose columns meet each query's numbers.
func (s set) codePanelSelect() {
	const notLess = 0x15 // or unordered, quiet
	TEXT("codePanelSelect", NOSPLIT, "func(hits *uint32, sums *int32, scale, err, offset, bound *float32, n int) int")
	Doc("codePanelSelect is kernel.CodePanelSelect for n rows.")
	Pragma("noescape")
	start, p := load(Param("hits")), load(Param("sums"))
	scale, err, offset := load(Param("scale")), load(Param("err")), load(Param("offset"))
	bound, n := load(Param("bound")), load(Param("n"))
	out, index, row, bits, rest := GP64(), GP64(), GP64(), GP64(), GP64()
	MOVQ(start, out)
	XORQ(index, index)
	XORQ(row, row)
	unit, base, slope, limit, x, y := s.v(0), s.v(1), s.v(2), s.v(3), s.v(4), s.v(5)
	for i, r := range []VecPhysical{unit, base, slope, limit} {
		VMOVUPS(at(bound, 64*i), r)
	}
	column := func(p Register) Mem { return Mem{Base: p, Index: row, Scale: 4} }
	Label("row")
	VCVTDQ2PS(at(p, 0), x)
	VMULPS(unit, x, x)
	VADDPS(base, x, x)
	VMULPS_BCST(column(scale), x, x)
	VMULPS_BCST(column(err), slope, y)
	VADDPS(y, x, x)
	VADDPS_BCST(column(offset), x, x)
	VCMPPS(Imm(notLess), limit, x, K1)
	KMOVW(K1, bits.As32())
	TESTL(bits.As32(), bits.As32())
	JZ(LabelRef("next"))
	Label("hit")
	BSFL(bits.As32(), rest.As32())
	ADDQ(index, rest)
	MOVL(rest.As32(), at(out, 0))
	ADDQ(Imm(4), out)
	LEAL(at(bits, -1), rest.As32())
	ANDL(rest.As32(), bits.As32())
	JNZ(LabelRef("hit"))
	Label("next")
	ADDQ(Imm(64), p)
	ADDQ(Imm(16), index)
	INCQ(row)
	CMPQ(row, n)
	JNE(LabelRef("row"))
	SUBQ(start, out)
	SHRQ(Imm(2), out)
	Store(out, ReturnIndex(0))
	VZEROUPPER()
	RET()
}
