package main

import (
	"fmt"
	"strings"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// fastScan looks up two groups, or four, of a block's 32 rows at a time: a lane of
// 16 bytes a group. Sums gather per pair of bytes in whole words, and those of the
// odd bytes apart; the even ones are what is left of the first without the second.
func (s set) fastScan() {
	TEXT("FastScan", NOSPLIT, "func(sums []uint16, codes, table []byte, groups, blocks int)")
	Doc("FastScan is kernel.FastScan.")
	Pragma("noescape")
	sums, codes, table := load(Param("sums").Base()), load(Param("codes").Base()), load(Param("table").Base())
	groups, blocks := load(Param("groups")), load(Param("blocks"))
	lanes := s.bytes() / 16
	low, t := s.v(0), s.v(1)
	// Per half of a block's rows: what is looked up, the whole words, the odd bytes.
	type half struct{ x, words, odd VecPhysical }
	halves := []half{{s.v(2), s.v(3), s.v(4)}, {s.v(5), s.v(6), s.v(7)}}
	nibbles := GP32()
	MOVL(U32(0x0f0f0f0f), nibbles)
	VMOVD(nibbles, X0)
	VPBROADCASTD(X0, low)
	and := func(a, b, dst VecPhysical) {
		if s.wide {
			VPANDD(a, b, dst)
		} else {
			VPAND(a, b, dst)
		}
	}

	k, p := GP64(), GP64()
	groupsOf4 := func(first int) {
		for i := range 4 / lanes {
			i += first * 4 / lanes
			a, b := halves[0], halves[1]
			if s.wide {
				VMOVDQU32(at(codes, i*s.bytes()), a.x)
				VMOVDQU32(at(p, i*s.bytes()), t)
			} else {
				VMOVDQU(at(codes, i*s.bytes()), a.x)
				VMOVDQU(at(p, i*s.bytes()), t)
			}
			VPSRLW(Imm(4), a.x, b.x)
			and(low, a.x, a.x)
			and(low, b.x, b.x)
			for _, h := range halves {
				VPSHUFB(h.x, t, h.x)
				VPADDW(h.x, h.words, h.words)
				VPSRLW(Imm(8), h.x, h.x)
				VPADDW(h.x, h.odd, h.odd)
			}
		}
	}
	const unroll = 4
	Label("block")
	for _, h := range halves {
		s.zero(h.words)
		s.zero(h.odd)
	}
	MOVQ(table, p)
	MOVQ(groups, k)
	SUBQ(Imm(4*unroll), k)
	JL(LabelRef("rest"))
	Label("many")
	for i := range unroll {
		groupsOf4(i)
	}
	ADDQ(U32(64*unroll), codes)
	ADDQ(U32(64*unroll), p)
	SUBQ(Imm(4*unroll), k)
	JGE(LabelRef("many"))
	Label("rest")
	ADDQ(Imm(4*unroll), k)
	JZ(LabelRef("sum"))
	Label("groups")
	groupsOf4(0)
	ADDQ(Imm(64), codes)
	ADDQ(Imm(64), p)
	SUBQ(Imm(4), k)
	JNZ(LabelRef("groups"))
	Label("sum")
	for i, h := range halves {
		x, w, o := 2+3*i, 3+3*i, 4+3*i
		VPSLLW(Imm(8), h.odd, h.x)
		VPSUBW(h.x, h.words, h.words)
		for _, r := range []int{w, o} {
			if s.wide {
				VEXTRACTI64X4(Imm(1), s.v(r), lowY(x))
				VPADDW(lowY(x), lowY(r), lowY(r))
			}
			VEXTRACTI128(Imm(1), lowY(r), lowX(x))
			VPADDW(lowX(x), lowX(r), lowX(r))
		}
		VPUNPCKLWD(lowX(o), lowX(w), lowX(x))
		VMOVDQU(lowX(x), at(sums, 32*i))
		VPUNPCKHWD(lowX(o), lowX(w), lowX(x))
		VMOVDQU(lowX(x), at(sums, 32*i+16))
	}
	ADDQ(Imm(64), sums)
	DECQ(blocks)
	JNZ(LabelRef("block"))
	VZEROUPPER()
	RET()
}

// fastScans brings the codes of four groups of a row side by side, looks them up in the
// groups' tables at once (VBMI), and adds them up by fours (VNNI). What is done to codes
// serves several tables.
func (s set) fastScans(several int) {
	names := []string{"a", "b", "c", "d"}[:several]
	TEXT(fmt.Sprint("fastScans", several), NOSPLIT, "func(sums *uint16, next int, codes, "+strings.Join(names, ", ")+" *byte, groups, blocks int)")
	Doc(fmt.Sprintf("fastScans%d looks blocks up in %d tables, whose sums begin next bytes behind each other.", several, several))
	Pragma("noescape")
	sums, next, codes := load(Param("sums")), load(Param("next")), load(Param("codes"))
	var tables []Register
	for _, name := range names {
		tables = append(tables, load(Param(name)))
	}
	groups, blocks := load(Param("groups")), load(Param("blocks"))
	order, low, group, ones, table := s.v(0), s.v(1), s.v(2), s.v(3), s.v(4)
	VMOVDQU32(across(), order)
	fill := func(v VecPhysical, b uint32) {
		x := GP32()
		MOVL(U32(b), x)
		VPBROADCASTD(x, v)
	}
	fill(low, 0x0f0f0f0f)
	fill(group, 0x30201000)
	fill(ones, 0x01010101)
	first, second := s.v(5), s.v(6) // the codes of rows 0 to 15, and 16 to 31
	sum := func(query, half int) VecPhysical { return s.v(16 + 2*query + half) }
	const unroll = 2
	k, p := GP64(), GP64()
	fourGroups := func(i int) {
		const bits = 0xea // (x & low) | group
		VPERMB(at(codes, 64*i), order, first)
		VPSRLW(Imm(4), first, second)
		VPTERNLOGD(Imm(bits), group, low, first)
		VPTERNLOGD(Imm(bits), group, low, second)
		for q, t := range tables {
			x, y := s.v(8+2*q), s.v(9+2*q)
			VMOVDQU32(Mem{Base: t, Index: p, Scale: 1, Disp: 64 * i}, table)
			VPERMB(table, first, x)
			VPERMB(table, second, y)
			VPDPBUSD(ones, x, sum(q, 0))
			VPDPBUSD(ones, y, sum(q, 1))
		}
	}
	Label("block")
	for q := range tables {
		s.zero(sum(q, 0))
		s.zero(sum(q, 1))
	}
	XORQ(p, p)
	MOVQ(groups, k)
	SUBQ(Imm(4*unroll), k)
	JL(LabelRef("rest"))
	Label("many")
	for i := range unroll {
		fourGroups(i)
	}
	ADDQ(U32(64*unroll), codes)
	ADDQ(U32(64*unroll), p)
	SUBQ(Imm(4*unroll), k)
	JGE(LabelRef("many"))
	Label("rest")
	ADDQ(Imm(4*unroll), k)
	JZ(LabelRef("sum"))
	Label("groups")
	fourGroups(0)
	ADDQ(Imm(64), codes)
	ADDQ(Imm(64), p)
	SUBQ(Imm(4), k)
	JNZ(LabelRef("groups"))
	Label("sum")
	MOVQ(sums, p)
	for q := range tables {
		for half := range 2 {
			VPMOVDW(sum(q, half), at(p, 32*half))
		}
		if q+1 < several {
			ADDQ(next, p)
		}
	}
	ADDQ(Imm(64), sums)
	DECQ(blocks)
	JNZ(LabelRef("block"))
	VZEROUPPER()
	RET()
}

var acrossTable Mem

// across is, for each row, where its codes of four groups of 16 bytes lie.
func across() Mem {
	if acrossTable.Base != nil {
		return acrossTable
	}
	m := GLOBL("across", RODATA|NOPTR)
	for row := range 16 {
		DATA(4*row, U32(uint32(row)*0x01010101+0x30201000))
	}
	acrossTable = m
	return m
}

// fastSelect looks at a vector of rows at a time.
func (s set) fastSelect() {
	const greaterOrEqual = 0x1d // ordered, quiet
	TEXT("FastSelect", NOSPLIT, "func(hits []uint32, sums []uint16, mul, add []float32, scale, shift, limit float32, n int) int")
	Doc("FastSelect is kernel.FastSelect.")
	Pragma("noescape")
	start, sums := load(Param("hits").Base()), load(Param("sums").Base())
	mul, add, n := load(Param("mul").Base()), load(Param("add").Base()), load(Param("n"))
	scale, shift, limit, x, index := s.v(0), s.v(1), s.v(2), s.v(3), s.v(4)
	broadcastParam("scale", scale)
	broadcastParam("shift", shift)
	broadcastParam("limit", limit)
	out, i, bits, bit := GP64(), GP64(), GP64(), GP64()
	MOVQ(start, out)
	XORQ(i, i)
	step := s.v(5)
	if s.wide {
		VMOVDQU32(ascending(), index)
		c := GP32()
		MOVL(U32(16), c)
		VPBROADCASTD(c, step)
	}
	Label("rows")
	VPMOVZXWD(Mem{Base: sums, Index: i, Scale: 2}, x)
	VCVTDQ2PS(x, x)
	VFMADD213PS(shift, scale, x)
	VMOVUPS(Mem{Base: mul, Index: i, Scale: 4}, s.v(6))
	VFMADD213PS(Mem{Base: add, Index: i, Scale: 4}, s.v(6), x)
	if s.wide {
		VCMPPS(Imm(greaterOrEqual), limit, x, K1)
		KMOVW(K1, bits.As32())
		TESTL(bits.As32(), bits.As32())
		JZ(LabelRef("next"))
		VPCOMPRESSD_Z(index, K1, x)
		VMOVDQU32(x, at(out, 0))
		POPCNTL(bits.As32(), bits.As32())
		LEAQ(Mem{Base: out, Index: bits, Scale: 4}, out)
		Label("next")
		VPADDD(step, index, index)
	} else {
		VCMPPS(Imm(greaterOrEqual), limit, x, x)
		VMOVMSKPS(x, bits.As32())
		TESTL(bits.As32(), bits.As32())
		JZ(LabelRef("next"))
		Label("hit")
		BSFQ(bits, bit)
		ADDQ(i, bit)
		MOVL(bit.As32(), at(out, 0))
		ADDQ(Imm(4), out)
		LEAQ(at(bits, -1), bit)
		ANDQ(bit, bits)
		JNZ(LabelRef("hit"))
		Label("next")
	}
	ADDQ(Imm(uint64(s.floats)), i)
	CMPQ(i, n)
	JL(LabelRef("rows"))
	SUBQ(start, out)
	SHRQ(Imm(2), out)
	Store(out, ReturnIndex(0))
	VZEROUPPER()
	RET()
}

// broadcastParam fills a vector with a parameter.
func broadcastParam(name string, r VecPhysical) {
	b, err := Param(name).Resolve()
	if err != nil {
		panic(err)
	}
	VBROADCASTSS(b.Addr, r)
}

// ascending is the numbers 0 to 15.
func ascending() Mem {
	m := GLOBL("ascending", RODATA|NOPTR)
	for i := range 16 {
		DATA(i*4, U32(uint32(i)))
	}
	return m
}

func (s set) panelArgMax() {
	const greater = 0x1e // ordered, quiet
	TEXT("PanelArgMax", NOSPLIT, "func(best []float32, at []uint32, scores, bias []float32, n int, first uint32)")
	Doc("PanelArgMax is kernel.PanelArgMax.")
	Pragma("noescape")
	m, w := load(Param("best").Base()), load(Param("at").Base())
	p, b, n := load(Param("scores").Base()), load(Param("bias").Base()), load(Param("n"))
	for v := range 2 {
		VMOVUPS(at(m, v*s.bytes()), s.v(v))
		VMOVUPS(at(w, v*s.bytes()), s.v(2+v))
	}
	broadcastParam("first", s.v(4))
	c := GP32()
	MOVL(U32(1), c)
	VMOVD(c, X5)
	VPBROADCASTD(X5, s.v(5))
	Label("row")
	VBROADCASTSS(at(b, 0), s.v(6))
	for v := range 2 {
		VADDPS(at(p, v*s.bytes()), s.v(6), s.v(7))
		if s.wide {
			VCMPPS(Imm(greater), s.v(v), s.v(7), K1)
			VMOVAPS(s.v(7), K1, s.v(v))
			VMOVDQA32(s.v(4), K1, s.v(2+v))
		} else {
			VCMPPS(Imm(greater), s.v(v), s.v(7), s.v(8))
			VBLENDVPS(s.v(8), s.v(7), s.v(v), s.v(v))
			VBLENDVPS(s.v(8), s.v(4), s.v(2+v), s.v(2+v))
		}
	}
	VPADDD(s.v(5), s.v(4), s.v(4))
	ADDQ(Imm(4), b)
	ADDQ(U32(uint32(2*s.bytes())), p)
	DECQ(n)
	JNZ(LabelRef("row"))
	for v := range 2 {
		VMOVUPS(s.v(v), at(m, v*s.bytes()))
		VMOVUPS(s.v(2+v), at(w, v*s.bytes()))
	}
	VZEROUPPER()
	RET()
}

func (s set) prefetch() {
	TEXT("Prefetch", NOSPLIT, "func(v []float32)")
	Doc("Prefetch is kernel.Prefetch.")
	Pragma("noescape")
	p, n := load(Param("v").Base()), load(Param("v").Len())
	Label("line")
	PREFETCHT0(at(p, 0))
	ADDQ(Imm(64), p)
	SUBQ(Imm(16), n)
	JG(LabelRef("line"))
	RET()
}
