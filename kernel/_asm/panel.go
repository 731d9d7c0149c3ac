package main

import (
	"fmt"
	"math"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// panelTile writes the inner loop of PanelDot or PanelL2: the sums of a tile,
// some rows by two vectors of queries, stay in registers while each component
// of a row is broadcast to both.
func (s set) panelTile(rows int, l2 bool) {
	name := fmt.Sprintf("panelDot%d", rows)
	if l2 {
		name = fmt.Sprintf("panelL2x%d", rows)
	}
	TEXT(name, NOSPLIT, "func(dst, panel, rows *float32, stride, tiles, d int, more bool)")
	Doc(fmt.Sprintf("%s does d components of tiles of %d rows. With more, it goes on from what dst holds.", name, rows))
	Pragma("noescape")
	dst, panel := load(Param("dst")), load(Param("panel"))
	first, stride := load(Param("rows")), load(Param("stride"))
	tiles, d := load(Param("tiles")), load(Param("d"))
	SHLQ(Imm(2), stride)
	more := GP64()
	MOVBQZX(NewParamAddr("more", 48), more)

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
	acc := func(r, v int) VecPhysical { return s.v(2*r + v) }
	lane := func(v int) VecPhysical { return s.v(2*rows + v) }
	x, diff := s.v(2*rows+2), s.v(2*rows+3)
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
	TESTQ(more, more)
	JNZ(LabelRef("resume"))
	for r := range rows {
		s.zero(acc(r, 0))
		s.zero(acc(r, 1))
	}
	JMP(LabelRef("start"))
	Label("resume")
	for r := range rows {
		for v := range 2 {
			VMOVUPS(at(dst, (2*r+v)*s.bytes()), acc(r, v))
		}
	}
	if l2 { // dst has −½ of the sum
		s.broadcast(-2, x)
		for r := range rows {
			VMULPS(x, acc(r, 0), acc(r, 0))
			VMULPS(x, acc(r, 1), acc(r, 1))
		}
	}
	Label("start")
	component := func(i int) {
		for v := range 2 {
			VMOVUPS(at(a, (2*i+v)*s.bytes()), lane(v))
		}
		for r := range rows {
			VBROADCASTSS(row(r, 4*i), x)
			for v := range 2 {
				if l2 {
					VSUBPS(x, lane(v), diff)
					VFMADD231PS(diff, diff, acc(r, v))
				} else {
					VFMADD231PS(x, lane(v), acc(r, v))
				}
			}
		}
	}
	advance := func(n int) {
		ADDQ(U32(uint32(2*n*s.bytes())), a)
		for _, p := range ptr {
			ADDQ(Imm(uint64(4*n)), p)
		}
	}
	const unroll = 4
	MOVQ(d, k)
	SUBQ(Imm(unroll), k)
	JL(LabelRef("rest"))
	Label("components")
	for i := range unroll {
		component(i)
	}
	advance(unroll)
	SUBQ(Imm(unroll), k)
	JGE(LabelRef("components"))
	Label("rest")
	ADDQ(Imm(unroll), k)
	JZ(LabelRef("store"))
	Label("component")
	component(0)
	advance(1)
	DECQ(k)
	JNZ(LabelRef("component"))
	Label("store")
	if l2 {
		s.broadcast(-0.5, x)
	}
	for r := range rows {
		for v := range 2 {
			if l2 {
				VMULPS(x, acc(r, v), acc(r, v))
			}
			VMOVUPS(acc(r, v), at(dst, (2*r+v)*s.bytes()))
		}
	}
	ADDQ(U32(uint32(2*rows*s.bytes())), dst)
	next := GP64()
	IMUL3Q(U32(uint32(rows)), stride, next)
	ADDQ(next, first)
	DECQ(tiles)
	JNZ(LabelRef("tile"))
	VZEROUPPER()
	RET()
}

// panelScale multiplies in the order that kernel.PanelScale states.
func (s set) panelScale() {
	TEXT("PanelScale", NOSPLIT, "func(scores, rowScale, laneScale []float32, n int)")
	Doc("PanelScale is kernel.PanelScale.")
	Pragma("noescape")
	p, r, l, n := load(Param("scores").Base()), load(Param("rowScale").Base()), load(Param("laneScale").Base()), load(Param("n"))
	for v := range 2 {
		VMOVUPS(at(l, v*s.bytes()), s.v(v))
	}
	Label("row")
	VBROADCASTSS(at(r, 0), s.v(2))
	for v := range 2 {
		VMULPS(at(p, v*s.bytes()), s.v(2), s.v(3+v))
		VMULPS(s.v(v), s.v(3+v), s.v(3+v))
		VMOVUPS(s.v(3+v), at(p, v*s.bytes()))
	}
	ADDQ(Imm(4), r)
	ADDQ(U32(uint32(2*s.bytes())), p)
	DECQ(n)
	JNZ(LabelRef("row"))
	VZEROUPPER()
	RET()
}

// panelSelect looks at four rows at a time, and again at each where any of them
// has a hit.
func (s set) panelSelect() {
	const greaterOrEqual = 0x1d // ordered, quiet
	TEXT("PanelSelect", NOSPLIT, "func(hits []uint32, scores, threshold []float32, n int) int")
	Doc("PanelSelect is kernel.PanelSelect.")
	Pragma("noescape")
	start, p := load(Param("hits").Base()), load(Param("scores").Base())
	t, n := load(Param("threshold").Base()), load(Param("n"))
	out, index, left, bits, high := GP64(), GP64(), GP64(), GP64(), GP64()
	MOVQ(start, out)
	XORQ(index, index)
	for v := range 2 {
		VMOVUPS(at(t, v*s.bytes()), s.v(v))
	}
	Label("rows")
	CMPQ(n, Imm(4))
	JL(LabelRef("few"))
	if s.wide {
		for i := range 8 {
			VMOVUPS(at(p, i*s.bytes()), s.v(2))
			VCMPPS(Imm(greaterOrEqual), s.v(i%2), s.v(2), []OpmaskPhysical{K1, K2}[min(i, 1)])
			if i > 0 {
				KORW(K1, K2, K1)
			}
		}
		KORTESTW(K1, K1)
	} else {
		for i := range 8 {
			VMOVUPS(at(p, i*s.bytes()), s.v(3))
			VCMPPS(Imm(greaterOrEqual), s.v(i%2), s.v(3), s.v(2+2*min(i, 1)))
			if i > 0 {
				VORPS(s.v(4), s.v(2), s.v(2))
			}
		}
		VPTEST(s.v(2), s.v(2))
	}
	MOVQ(U32(4), left)
	JNZ(LabelRef("row"))
	ADDQ(U32(uint32(8*s.bytes())), p)
	ADDQ(U32(uint32(4*s.width)), index)
	SUBQ(Imm(4), n)
	JMP(LabelRef("rows"))
	Label("few")
	MOVQ(n, left)
	TESTQ(n, n)
	JZ(LabelRef("end"))

	Label("row")
	if s.wide {
		for v, k := range []OpmaskPhysical{K1, K2} {
			VMOVUPS(at(p, v*s.bytes()), s.v(2))
			VCMPPS(Imm(greaterOrEqual), s.v(v), s.v(2), k)
		}
		KMOVW(K1, bits.As32())
		KMOVW(K2, high.As32())
	} else {
		for v, r := range []GPVirtual{bits, high} {
			VMOVUPS(at(p, v*s.bytes()), s.v(2))
			VCMPPS(Imm(greaterOrEqual), s.v(v), s.v(2), s.v(2))
			VMOVMSKPS(s.v(2), r.As32())
		}
	}
	SHLQ(Imm(uint64(s.floats)), high)
	ORQ(high, bits)
	JZ(LabelRef("next"))
	Label("hit")
	BSFQ(bits, high)
	ADDQ(index, high)
	MOVL(high.As32(), at(out, 0))
	ADDQ(Imm(4), out)
	LEAQ(at(bits, -1), high)
	ANDQ(high, bits)
	JNZ(LabelRef("hit"))
	Label("next")
	ADDQ(U32(uint32(2*s.bytes())), p)
	ADDQ(Imm(uint64(s.width)), index)
	DECQ(n)
	DECQ(left)
	JNZ(LabelRef("row"))
	JMP(LabelRef("rows"))

	Label("end")
	SUBQ(start, out)
	SHRQ(Imm(2), out)
	Store(out, ReturnIndex(0))
	VZEROUPPER()
	RET()
}

func (s set) panelMax() {
	TEXT("PanelMax", NOSPLIT, "func(max, scores []float32, n int)")
	Doc("PanelMax is kernel.PanelMax.")
	Pragma("noescape")
	m, p, n := load(Param("max").Base()), load(Param("scores").Base()), load(Param("n"))
	for v := range 2 {
		VMOVUPS(at(m, v*s.bytes()), s.v(v))
	}
	Label("row")
	for v := range 2 {
		VMAXPS(at(p, v*s.bytes()), s.v(v), s.v(v))
	}
	ADDQ(U32(uint32(2*s.bytes())), p)
	DECQ(n)
	JNZ(LabelRef("row"))
	for v := range 2 {
		VMOVUPS(s.v(v), at(m, v*s.bytes()))
	}
	VZEROUPPER()
	RET()
}

var singles = map[float32]Mem{}

// broadcast fills a vector with a constant.
func (s set) broadcast(x float32, r VecPhysical) {
	m, ok := singles[x]
	if !ok {
		m = ConstData(fmt.Sprintf("f%08x", math.Float32bits(x)), U32(math.Float32bits(x)))
		singles[x] = m
	}
	VBROADCASTSS(m, r)
}
