package main

import (
	"fmt"
	"math"
	"slices"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// The constants of the exponential, as in package purego.
const (
	least = -87.336544750553108986
	most  = 100
	magic = 0x1.8p52
	log2e = math.Log2E
	ln2   = math.Ln2
)

var poly = []float64{
	1, 1, 0x1.fffffb9b02eb5p-2, 0x1.555491680e24ap-3,
	0x1.5558f11fe442ep-5, 0x1.1239d38475584p-7, 0x1.6a244cd6f48dfp-10,
}

var doubles = map[float64]Mem{}

// double is a vector of 8 copies of x in memory, enough for either set.
func double(x float64) Mem {
	m, ok := doubles[x]
	if !ok {
		m = GLOBL(fmt.Sprintf("d%016x", math.Float64bits(x)), RODATA|NOPTR)
		for i := range 8 {
			DATA(i*8, U64(math.Float64bits(x))) // avo writes F64(1) as an integer
		}
		doubles[x] = m
	}
	return m
}

// greater is a comparison: ordered, quiet.
const greater = 0x1e

// constant is a vector of one of exponentials' constants: AVX-512's from 16 on in registers,
// since the linker aligns no memory to 64 bytes.
func (s set) constant(x float64) Op {
	if s.wide {
		return s.v(16 + slices.Index(constants, x))
	}
	return double(x)
}

var constants = append([]float64{least, most, magic, log2e, ln2}, poly...)

// exponentials writes the step for two vectors of float64s: the shifts of the
// scores at in, their exponentials at out, and both sums. scale is a register,
// and so are m, sum and shift of each vector.
func (s set) exponentials(in, out Register, scale int, m, sum, shift [2]int) {
	half := s.floats / 2
	t, z, r, e := [2]int{8, 9}, [2]int{10, 11}, [2]int{12, 13}, [2]int{14, 15}
	each := func(f func(i int)) { f(0); f(1) }
	each(func(i int) { VCVTPS2PD(at(in, i*half*4), s.v(t[i])) })
	each(func(i int) { VFMSUB213PD(s.v(m[i]), s.v(scale), s.v(t[i])) })
	// Of a NaN and least this gives least, so −Inf − −Inf is no exception.
	each(func(i int) {
		VMOVUPD(s.constant(least), s.v(r[i]))
		VMAXPD(s.v(r[i]), s.v(t[i]), s.v(t[i]))
		VMINPD(s.constant(most), s.v(t[i]), s.v(t[i]))
	})
	each(func(i int) { VMOVUPD(s.constant(magic), s.v(z[i])) })
	each(func(i int) { VFMADD231PD(s.constant(log2e), s.v(t[i]), s.v(z[i])) })
	each(func(i int) { VSUBPD(s.constant(magic), s.v(z[i]), s.v(r[i])) })
	each(func(i int) { VFNMADD132PD(s.constant(ln2), s.v(t[i]), s.v(r[i])) })
	each(func(i int) { VMOVUPD(s.constant(poly[len(poly)-1]), s.v(e[i])) })
	for c := len(poly) - 2; c >= 0; c-- {
		each(func(i int) { VFMADD213PD(s.constant(poly[c]), s.v(r[i]), s.v(e[i])) })
	}
	each(func(i int) { VPSLLQ(Imm(52), s.v(z[i]), s.v(z[i])) })
	each(func(i int) { VPADDQ(s.v(z[i]), s.v(e[i]), s.v(e[i])) })
	each(func(i int) {
		if s.wide {
			VCMPPD(Imm(greater), s.constant(least), s.v(t[i]), K1)
			VMOVAPD_Z(s.v(e[i]), K1, s.v(e[i]))
		} else {
			VCMPPD(Imm(greater), s.constant(least), s.v(t[i]), s.v(r[i]))
			VANDPD(s.v(r[i]), s.v(e[i]), s.v(e[i]))
		}
	})
	each(func(i int) { VADDPD(s.v(e[i]), s.v(sum[i]), s.v(sum[i])) })
	each(func(i int) { VFMADD231PD(s.v(e[i]), s.v(t[i]), s.v(shift[i])) })
	each(func(i int) {
		if s.wide {
			VCVTPD2PS(s.v(e[i]), Y12)
			VMOVUPS(Y12, at(out, i*half*4))
		} else {
			VCVTPD2PSY(s.v(e[i]), X12)
			VMOVUPS(X12, at(out, i*half*4))
		}
	})
}

// exp is Exp for whole vectors of scores.
func (s set) exp() {
	TEXT("exp", NOSPLIT, "func(p, s *float32, n int, scale, m float64) (sum, sumShift float64)")
	Doc(fmt.Sprintf("exp is kernel.Exp for n a multiple of %d.", s.floats))
	Pragma("noescape")
	p, in, n := load(Param("p")), load(Param("s")), load(Param("n"))
	if s.wide {
		for _, x := range constants {
			VBROADCASTSD(double(x), s.constant(x))
		}
	}
	VBROADCASTSD(NewParamAddr("scale", 24), s.v(0))
	VBROADCASTSD(NewParamAddr("m", 32), s.v(1))
	for i := 2; i < 6; i++ {
		s.zero(s.v(i))
	}
	Label("scores")
	s.exponentials(in, p, 0, [2]int{1, 1}, [2]int{2, 3}, [2]int{4, 5})
	ADDQ(Imm(uint64(s.bytes())), in)
	ADDQ(Imm(uint64(s.bytes())), p)
	SUBQ(Imm(uint64(s.floats)), n)
	JNZ(LabelRef("scores"))
	for i := range 2 {
		VADDPD(s.v(3+2*i), s.v(2+2*i), s.v(2+2*i))
		if s.wide {
			VEXTRACTF64X4(Imm(1), s.v(2+2*i), Y0)
			VADDPD(Y0, lowY(2+2*i), lowY(2+2*i))
		}
		VEXTRACTF128(Imm(1), lowY(2+2*i), X0)
		VADDPD(X0, lowX(2+2*i), lowX(2+2*i))
		VPERMILPD(Imm(1), lowX(2+2*i), X0)
		VADDSD(X0, lowX(2+2*i), lowX(2+2*i))
		Store(lowX(2+2*i), ReturnIndex(i))
	}
	VZEROUPPER()
	RET()
}

// max is Max for whole vectors.
func (s set) max() {
	TEXT("greatest", NOSPLIT, "func(s *float32, n int) float32")
	Doc(fmt.Sprintf("greatest is kernel.Max for n a multiple of %d, above 0.", s.floats))
	Pragma("noescape")
	p, n := load(Param("s")), load(Param("n"))
	VMOVUPS(at(p, 0), s.v(0))
	Label("vector")
	VMAXPS(at(p, 0), s.v(0), s.v(0))
	ADDQ(Imm(uint64(s.bytes())), p)
	SUBQ(Imm(uint64(s.floats)), n)
	JNZ(LabelRef("vector"))
	if s.wide {
		VEXTRACTF64X4(Imm(1), Z0, Y1)
		VMAXPS(Y1, Y0, Y0)
	}
	VEXTRACTF128(Imm(1), Y0, X1)
	VMAXPS(X1, X0, X0)
	VPERMILPS(Imm(0xee), X0, X1)
	VMAXPS(X1, X0, X0)
	VPERMILPS(Imm(0x55), X0, X1)
	VMAXSS(X1, X0, X0)
	Store(X0, ReturnIndex(0))
	VZEROUPPER()
	RET()
}
