package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// canonical writes Dot, L2 and their forms at named rows: 64 lanes are 8 vectors
// or 4, then the tree.
func (s set) canonical(name string, l2, named bool) {
	sig, doc := "func(dst, q, rows []float32, stride, ahead int)", " is the exported function of that name; it prefetches what lies ahead bytes on."
	if named {
		sig, doc = "func(dst, q, rows []float32, stride int, at []uint32)", " is kernel."+name+"."
	}
	TEXT(name, NOSPLIT, sig)
	Doc(name + doc)
	Pragma("noescape")
	dst, n := load(Param("dst").Base()), load(Param("dst").Len())
	q, d := load(Param("q").Base()), load(Param("q").Len())
	rows, stride := load(Param("rows").Base()), load(Param("stride"))
	SHLQ(Imm(2), stride)
	var names, ahead Register
	if named {
		names = load(Param("at").Base())
	} else {
		ahead = load(Param("ahead"))
	}
	accs := 64 / s.floats
	tmp, other, mask, zero, half := s.v(accs), s.v(accs+1), accs+2, X11, X12
	rest := GP64()
	MOVQ(d, rest)
	ANDQ(Imm(uint64(s.floats-1)), rest)
	s.mask(rest, mask)
	VXORPS(zero, zero, zero)
	if l2 {
		bits := GP32()
		MOVL(U32(0xbf000000), bits)
		VMOVD(bits, half)
	}

	step := func(load func(m Mem, r VecPhysical), masked bool, a, b Register, disp, acc int) {
		load(at(a, disp), tmp)
		switch {
		case masked && l2:
			load(at(b, disp), other)
			VSUBPS(other, tmp, tmp)
			VFMADD231PS(tmp, tmp, s.v(acc))
		case masked:
			load(at(b, disp), other)
			VFMADD231PS(other, tmp, s.v(acc))
		case l2:
			VSUBPS(at(b, disp), tmp, tmp)
			VFMADD231PS(tmp, tmp, s.v(acc))
		default:
			VFMADD231PS(at(b, disp), tmp, s.v(acc))
		}
	}
	full := func(m Mem, r VecPhysical) { VMOVUPS(m, r) }
	part := func(m Mem, r VecPhysical) { s.maskedLoad(m, mask, r) }

	a, b, k := GP64(), GP64(), GP64()
	Label("row")
	if named {
		MOVL(Mem{Base: names}, b.As32())
		ADDQ(Imm(4), names)
		IMULQ(stride, b)
		ADDQ(rows, b)
	} else {
		MOVQ(rows, b)
		ADDQ(stride, rows)
	}
	MOVQ(q, a)
	MOVQ(d, k)
	for i := range accs {
		s.zero(s.v(i))
	}
	SUBQ(Imm(64), k)
	JL(LabelRef("short"))
	Label("block")
	for i := range accs {
		step(full, false, a, b, i*s.bytes(), i)
	}
	if !named {
		for line := 0; line < 4; line++ {
			PREFETCHT0(Mem{Base: b, Index: ahead, Scale: 1, Disp: 64 * line})
		}
	}
	ADDQ(U32(256), a)
	ADDQ(U32(256), b)
	SUBQ(Imm(64), k)
	JGE(LabelRef("block"))
	Label("short")
	ADDQ(Imm(64), k)
	JZ(LabelRef("reduce"))
	for i := range accs {
		CMPQ(k, Imm(uint64(s.floats)))
		JL(LabelRef(fmt.Sprintf("masked%d", i)))
		step(full, false, a, b, i*s.bytes(), i)
		SUBQ(Imm(uint64(s.floats)), k)
	}
	JMP(LabelRef("reduce"))
	for i := range accs {
		Label(fmt.Sprintf("masked%d", i))
		step(part, true, a, b, i*s.bytes(), i)
		if i < accs-1 {
			JMP(LabelRef("reduce"))
		}
	}
	Label("reduce")
	for w := accs / 2; w > 0; w /= 2 {
		for i := range w {
			VADDPS(s.v(i+w), s.v(i), s.v(i))
		}
	}
	if s.wide {
		VEXTRACTF64X4(Imm(1), Z0, Y1)
		VADDPS(Y1, Y0, Y0)
	}
	VEXTRACTF128(Imm(1), Y0, X1)
	VADDPS(X1, X0, X0)
	VPERMILPS(Imm(0xee), X0, X1)
	VADDPS(X1, X0, X0)
	VPERMILPS(Imm(0x55), X0, X1)
	VADDSS(X1, X0, X0)
	if l2 {
		VMULSS(half, X0, X0)
	}
	VADDSS(zero, X0, X0)
	VMOVSS(X0, at(dst, 0))
	ADDQ(Imm(4), dst)
	DECQ(n)
	JNZ(LabelRef("row"))
	VZEROUPPER()
	RET()
}

// sumSquares has 16 lanes of float64.
func (s set) sumSquares() {
	TEXT("SumSquares", NOSPLIT, "func(dst []float64, rows []float32, stride, d int)")
	Doc("SumSquares is kernel.SumSquares.")
	Pragma("noescape")
	dst, n := load(Param("dst").Base()), load(Param("dst").Len())
	rows, stride, d := load(Param("rows").Base()), load(Param("stride")), load(Param("d"))
	SHLQ(Imm(2), stride)
	half := s.floats / 2 // float64s in a vector
	accs := 16 / half
	rest := GP64()
	MOVQ(d, rest)
	ANDQ(Imm(uint64(half-1)), rest)
	s.mask(rest, 8)
	tmp := s.v(9)
	b, k := GP64(), GP64()
	Label("row")
	MOVQ(rows, b)
	ADDQ(stride, rows)
	MOVQ(d, k)
	for i := range accs {
		s.zero(s.v(i))
	}
	SUBQ(Imm(16), k)
	JL(LabelRef("short"))
	Label("block")
	for i := range accs {
		VCVTPS2PD(at(b, i*half*4), tmp)
		VFMADD231PD(tmp, tmp, s.v(i))
	}
	ADDQ(Imm(64), b)
	SUBQ(Imm(16), k)
	JGE(LabelRef("block"))
	Label("short")
	ADDQ(Imm(16), k)
	JZ(LabelRef("reduce"))
	for i := range accs {
		CMPQ(k, Imm(uint64(half)))
		JL(LabelRef(fmt.Sprintf("masked%d", i)))
		VCVTPS2PD(at(b, i*half*4), tmp)
		VFMADD231PD(tmp, tmp, s.v(i))
		SUBQ(Imm(uint64(half)), k)
	}
	JMP(LabelRef("reduce"))
	for i := range accs {
		Label(fmt.Sprintf("masked%d", i))
		if s.wide {
			VMOVUPS_Z(at(b, i*half*4), K1, Y9)
			VCVTPS2PD(Y9, Z9)
		} else {
			VMASKMOVPS(at(b, i*half*4), X8, X9)
			VCVTPS2PD(X9, Y9)
		}
		VFMADD231PD(tmp, tmp, s.v(i))
		if i < accs-1 {
			JMP(LabelRef("reduce"))
		}
	}
	Label("reduce")
	for w := accs / 2; w > 0; w /= 2 {
		for i := range w {
			VADDPD(s.v(i+w), s.v(i), s.v(i))
		}
	}
	if s.wide {
		VEXTRACTF64X4(Imm(1), Z0, Y1)
		VADDPD(Y1, Y0, Y0)
	}
	VEXTRACTF128(Imm(1), Y0, X1)
	VADDPD(X1, X0, X0)
	VPERMILPD(Imm(1), X0, X1)
	VADDSD(X1, X0, X0)
	VMOVSD(X0, at(dst, 0))
	ADDQ(Imm(8), dst)
	DECQ(n)
	JNZ(LabelRef("row"))
	VZEROUPPER()
	RET()
}
