package main

import (
	"math"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// PanelExp works on float32 lanes, in powers of two. With A = scale·log₂e, as a float32
// and its rest, and M = m·log₂e, as an integer N and what is left, L, it takes the integer
// k nearest to A·s and f = A·s − k. Fused multiply-adds give f with no error but its own
// two roundings, however large A·s is. Then
//
//	2^(A·s−M) = 2^(k−N) · 2^f · 2^−L
//
// with 2^f from a polynomial and 2^−L the same for a lane's rows. Where |m| is so large
// that the rest of A would take f out of the polynomial's range, the float32 nearest to
// m/scale is first taken off both: off scores whose exponential isn't zero without error.
const (
	farther = 0x1p15   // the |m| beyond which m/scale is taken off
	nearest = 0x1.8p23 // adding it leaves the nearest integer in the low bits
	raised  = 32       // binary places by which AVX2 keeps 2^(k−N)·2^f a normal number
	chained = 8        // rows that are added up in float32

	// thin is the power of two up to which an exponential counts as zero: that of float32's
	// least normal number, and more than the shift and thin + L lose to float32, 2⁻¹⁸ each.
	thin = -126 + 0x1p-16
)

// pow2 are the coefficients, constant term first, of the polynomial of degree 6 that begins
// with 1 and has the least relative error to 2^f for |f| ≤ 0.502, each rounded to float32
// and those after it fitted anew: 2⁻²⁸.
var pow2 = []float32{
	1, 0x1.62e43p-1, 0x1.ebfbdcp-3, 0x1.c6af78p-5, 0x1.3b2ddep-7, 0x1.5f0b1ap-10, 0x1.4170ep-13,
}

// A powers is where panelExp keeps what all rows of a vector of lanes share.
type powers struct {
	set
	thin          VecPhysical // thin + L
	round         VecPhysical // the constant nearest
	head, rest    VecPhysical // A
	minus         VecPhysical // −m/scale, or 0
	whole         VecPhysical // N
	factor        VecPhysical // 2^−L, AVX2's lowered by raised
	shift         VecPhysical // AVX2: raised − N, as integers
	sum, sumShift VecPhysical // of a few rows: the latter of shift + L, in powers of two
	left          Mem         // L, as float64s
	halves        [4]Mem      // where vectors of float32s meet those of float64s
}

// panelExp takes as many lanes as a vector has float32s, down all rows.
func (s set) panelExp() {
	TEXT("PanelExp", NOSPLIT, "func(p, scores []float32, n int, scale float64, m, sum, sumShift []float64)")
	Doc("PanelExp is kernel.PanelExp.")
	Pragma("noescape")
	p, in, n := load(Param("p").Base()), load(Param("scores").Base()), load(Param("n"))
	m, sum, sumShift := load(Param("m").Base()), load(Param("sum").Base()), load(Param("sumShift").Base())
	groups, a, b, k, few := GP64(), GP64(), GP64(), GP64(), GP64()
	w := powers{
		set: s, thin: s.v(5), head: s.v(6), rest: s.v(7), minus: s.v(8), whole: s.v(9), factor: s.v(10),
		shift: s.v(11), round: s.v(12), sum: s.v(13), sumShift: s.v(14), left: AllocLocal(2 * s.bytes()),
		halves: [4]Mem{AllocLocal(s.bytes()), AllocLocal(s.bytes()), AllocLocal(s.bytes()), AllocLocal(s.bytes())},
	}
	VMOVSD(NewParamAddr("scale", 56), X0)
	VMULSD(double(log2e), X0, X0)
	VMINSD(double(math.MaxFloat32), X0, X0)
	VCVTSD2SS(X0, X0, X1)
	VBROADCASTSS(X1, w.head)
	VCVTSS2SD(X1, X1, X1)
	VSUBSD(X1, X0, X0)
	VCVTSD2SS(X0, X0, X0)
	VBROADCASTSS(X0, w.rest)
	s.broadcast(nearest, w.round)
	MOVQ(U32(2), groups)

	Label("lanes")
	w.lanes(m)
	MOVQ(in, a)
	MOVQ(p, b)
	MOVQ(n, k)
	Label("rows")
	MOVQ(U32(chained), few)
	CMPQ(k, few)
	CMOVQLT(k, few)
	SUBQ(few, k)
	s.zero(w.sum)
	s.zero(w.sumShift)
	Label("row")
	w.row(a, b)
	ADDQ(U32(uint32(2*s.bytes())), a)
	ADDQ(U32(uint32(2*s.bytes())), b)
	DECQ(few)
	JNZ(LabelRef("row"))
	VMOVUPS(w.sum, w.halves[0])
	VMOVUPS(w.sumShift, w.halves[1])
	for v := range 2 {
		VCVTPS2PD(w.halves[0].Offset(v*s.bytes()/2), s.v(0))
		VCVTPS2PD(w.halves[1].Offset(v*s.bytes()/2), s.v(1))
		VFNMADD231PD(w.left.Offset(v*s.bytes()), s.v(0), s.v(1))
		VADDPD(at(sum, v*s.bytes()), s.v(0), s.v(0))
		VMOVUPD(s.v(0), at(sum, v*s.bytes()))
		VMOVUPD(at(sumShift, v*s.bytes()), s.v(0))
		VFMADD231PD(double(ln2), s.v(1), s.v(0))
		VMOVUPD(s.v(0), at(sumShift, v*s.bytes()))
	}
	TESTQ(k, k)
	JNZ(LabelRef("rows"))
	for _, base := range []Register{m, sum, sumShift} {
		ADDQ(U32(uint32(2*s.bytes())), base)
	}
	ADDQ(Imm(uint64(s.bytes())), in)
	ADDQ(Imm(uint64(s.bytes())), p)
	DECQ(groups)
	JNZ(LabelRef("lanes"))
	VZEROUPPER()
	RET()
}

// coefficient is pow2's i-th, of AVX-512 times 2^−L.
func (w powers) coefficient(i int) Op {
	if w.wide {
		return w.v(16 + i)
	}
	return float(pow2[i])
}

// lanes sets what rows share, from the m at a register.
func (w powers) lanes(m Register) {
	for v := range 2 {
		half := v * w.bytes() / 2
		VMOVUPD(at(m, v*w.bytes()), w.v(0))
		VMULPD(w.v(0), w.v(0), w.v(1))
		VBROADCASTSD(NewParamAddr("scale", 56), w.v(2))
		VDIVPD(w.v(2), w.v(0), w.v(3))
		if w.wide {
			VCMPPD(Imm(greater), double(farther*farther), w.v(1), K1)
			VMOVAPD_Z(w.v(3), K1, w.v(3))
		} else {
			VCMPPD(Imm(greater), double(farther*farther), w.v(1), w.v(1))
			VANDPD(w.v(1), w.v(3), w.v(3))
		}
		w.narrow(3, w.halves[0].Offset(half))
		VCVTPS2PD(w.halves[0].Offset(half), w.v(3))
		VFNMADD231PD(w.v(2), w.v(3), w.v(0))
		VMULPD(double(log2e), w.v(0), w.v(0))
		if w.wide {
			VRNDSCALEPD(Imm(8), w.v(0), w.v(1))
		} else {
			VROUNDPD(Imm(8), w.v(0), w.v(1))
		}
		VSUBPD(w.v(1), w.v(0), w.v(0))
		// Of a NaN, as where m is −Inf, and −1 this gives −1.
		VMOVUPD(double(-1), w.v(3))
		VMAXPD(w.v(3), w.v(0), w.v(0))
		VMOVUPD(w.v(0), w.left.Offset(v*w.bytes()))
		VADDPD(double(thin), w.v(0), w.v(2))
		VMULPD(double(-ln2), w.v(0), w.v(0))
		VMOVUPD(double(poly[len(poly)-1]), w.v(3))
		for c := len(poly) - 2; c >= 0; c-- {
			VFMADD213PD(double(poly[c]), w.v(0), w.v(3))
		}
		if !w.wide {
			VMULPD(double(1.0/(1<<raised)), w.v(3), w.v(3))
		}
		w.narrow(1, w.halves[1].Offset(half))
		w.narrow(3, w.halves[2].Offset(half))
		w.narrow(2, w.halves[3].Offset(half))
	}
	w.zero(w.minus)
	VSUBPS(w.halves[0], w.minus, w.minus)
	VMOVUPS(w.halves[1], w.whole)
	VMOVUPS(w.halves[2], w.factor)
	VMOVUPS(w.halves[3], w.thin)
	if w.wide {
		for i, c := range pow2 {
			VMULPS(float(c), w.factor, w.v(16+i))
		}
	} else {
		VMOVUPS(float(raised), w.shift)
		VSUBPS(w.whole, w.shift, w.shift)
		VCVTPS2DQ(w.shift, w.shift)
	}
}

// row takes the scores at in to exponentials at out.
func (w powers) row(in, out Register) {
	x, z, f, n, e, p := w.v(0), w.v(1), w.v(2), w.v(3), w.v(4), w.v(15)
	VADDPS(at(in, 0), w.minus, x)
	VMOVAPS(w.round, z)
	VFMADD231PS(w.head, x, z)
	VSUBPS(w.round, z, f)
	VSUBPS(w.whole, f, n)
	VFMSUB231PS(w.head, x, f)
	VFMADD231PS(w.rest, x, f)
	VMOVUPS(w.coefficient(len(pow2)-1), e)
	for c := len(pow2) - 2; c >= 0; c-- {
		VFMADD213PS(w.coefficient(c), f, e)
	}
	VADDPS(n, f, f)
	// A score of −Inf gives a NaN, which compares as not greater.
	if w.wide {
		VCMPPS(Imm(greater), w.thin, f, K1)
		VSCALEFPS_Z(n, e, K1, p)
		VADDPS(p, w.sum, w.sum)
		VFMADD231PS(f, p, K1, w.sumShift)
	} else {
		VCMPPS(Imm(greater), w.thin, f, x)
		VPADDD(w.shift, z, z)
		VPSLLD(Imm(23), z, z)
		VPADDD(z, e, e)
		VANDPS(x, e, p)
		VMULPS(w.factor, p, p)
		VADDPS(p, w.sum, w.sum)
		VANDPS(x, f, f)
		VFMADD231PS(f, p, w.sumShift)
	}
	VMOVUPS(p, at(out, 0))
}

// narrow stores the float64s of register i as float32s.
func (w powers) narrow(i int, to Mem) {
	if w.wide {
		VCVTPD2PS(w.v(i), lowY(i))
		VMOVUPS(lowY(i), to)
	} else {
		VCVTPD2PSY(w.v(i), lowX(i))
		VMOVUPS(lowX(i), to)
	}
}
