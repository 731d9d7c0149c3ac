package kernel

import (
	"math"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"
)

var scores = []struct {
	name string
	all  func(dst, q, rows []float32, stride int)
	at   func(dst, q, rows []float32, stride int, at []uint32)
	ref  func(q, r []float32) float32
}{
	{"Dot", Dot, DotAt, refDot},
	{"L2", L2, L2At, refL2},
}

var sources = []struct {
	name string
	of   func(*rand.Rand) func() float32
}{
	{"normal", normal}, {"any", anyBits}, {"edges", edges}, {"wild", wild}, {"small", small},
}

// TestCanonicalBits holds every set to the definition, bit for bit, at every
// length, with garbage between rows and protected pages around the slices.
func TestCanonicalBits(t *testing.T) {
	eachSet(t, func(t *testing.T) {
		for _, f := range scores {
			for _, d := range lengths(t) {
				src := sources[d%len(sources)]
				r := source(uint64(d))
				value, end := src.of(r), r.IntN(2) == 0
				n := r.IntN(10)
				b := newBlock(0, n, d, gap(r, d), end, value)
				q := newVector(1, d, end, value)
				dst := place[float32](2, n, end)
				f.all(dst, q, b.rows, b.stride)
				for i := range n {
					if want := f.ref(q, b.row(i)); !sameBits(dst[i], want) {
						t.Fatalf("%s: %s values, d=%d, row %d of %d: %x (%g), want %x (%g)", f.name, src.name, d, i, n,
							math.Float32bits(dst[i]), dst[i], math.Float32bits(want), want)
					}
				}
				if n == 0 {
					continue
				}
				at := place[uint32](3, r.IntN(12), end)
				for i := range at {
					at[i] = uint32(r.IntN(n))
				}
				some := place[float32](4, len(at), end)
				f.at(some, q, b.rows, b.stride, at)
				for i, row := range at {
					if !sameBits(some[i], dst[row]) {
						t.Fatalf("%sAt: d=%d: %g for row %d, %s gave %g", f.name, d, some[i], row, f.name, dst[row])
					}
				}
			}
		}
	})
}

// TestCanonicalError holds the scores to the bounds their comments state.
func TestCanonicalError(t *testing.T) {
	eachSet(t, func(t *testing.T) {
		for _, d := range lengths(t) {
			r := source(uint64(d))
			b := newBlock(0, 5, d, 3, true, normal(r))
			q := newVector(1, d, true, normal(r))
			dot, l2 := make([]float32, b.n), make([]float32, b.n)
			Dot(dot, q, b.rows, b.stride)
			L2(l2, q, b.rows, b.stride)
			for i := range b.n {
				sum, abs := sums(q, b.row(i))
				if e := math.Abs(float64(dot[i]) - sum); e > gamma((d+63)/64+6)*abs+underflow(d) {
					t.Fatalf("Dot: d=%d: error %g of Σ|qk| = %g", d, e, abs)
				}
				exact := halfSquare(q, b.row(i))
				if e := math.Abs(float64(l2[i]) - exact); e > gamma((d+63)/64+8)*-exact+underflow(d) {
					t.Fatalf("L2: d=%d: error %g of %g", d, e, exact)
				}
			}
		}
	})
}

// TestDoubleRounding has sums that float64 rounds onto a tie of float32: a
// rounding from there goes to the even neighbour, the exact sum's to the other.
func TestDoubleRounding(t *testing.T) {
	cases := []struct{ x, y, z float32 }{
		// Up past the tie by 2⁻⁶⁰ of it, and down.
		{0x1p-30, 0x1p-30, 1},
		{1 + 0x1p-12, 1 + 0x1p-12, 0x1p-149},
		// x·y = 2⁻²⁴ + 2⁻⁴⁶ beside 2⁸: the last bit goes in float64.
		{0x1.000002p-12, 0x1.000002p-12, 1},
		// A tie of the denormals, which lies at 2⁻¹⁵⁰.
		{0x1.000002p-75, 0x1.000002p-75, 0x1p-127},
		{0x1.fffffep-76, 0x1.000002p-75, 0x1p-126},
		{0x1p-75, 0x1p-75, 0x1p-149},
		{0x1.8p-75, 0x1p-75, 0x1p-149},
		// At the overflow's edge: a tie of the last float32 and 2¹²⁸.
		{0x1p52, 0x1p51, 0x1.fffffep127},
		{0x1.fffffep51, 0x1.000002p51, 0x1.fffffep127},
		{0x1.fffffep127, 0x1.fffffep127, -0x1.fffffep127},
	}
	r := source(1)
	// And many found by search: a product next to a tie, the sum inexact.
	for found := 0; found < 300; {
		x, y := float32(r.NormFloat64()), float32(math.Ldexp(r.NormFloat64(), -r.IntN(40)))
		z := float32(math.Ldexp(r.NormFloat64(), r.IntN(8)))
		if r.IntN(2) == 0 { // near the least normal float32
			x, y, z = x*0x1p-70, y*0x1p-60, z*0x1p-130
		}
		// Choose z's scale so that x·y's leading bit is its tie.
		if r.IntN(2) == 0 {
			y = float32(math.Ldexp(1+math.Ldexp(float64(r.IntN(3)-1), -23), math.Ilogb(float64(z))-24))
			x = 1 + float32(r.IntN(3)-1)*0x1p-23
		}
		if float32(float64(x)*float64(y)+float64(z)) != refFMA(x, y, z) {
			cases = append(cases, struct{ x, y, z float32 }{x, y, z})
			found++
		}
	}
	eachSet(t, func(t *testing.T) {
		dst := make([]float32, 1)
		for _, c := range cases {
			for _, sign := range []float32{1, -1} {
				// z reaches lane 0 as the product z·1; 64 components later x·y meets it.
				q, row := make([]float32, 65), make([]float32, 65)
				q[0], row[0] = c.z, sign
				q[64], row[64] = c.x*sign, c.y
				Dot(dst, q, row, 65)
				if want := refFMA(c.x*sign, c.y, c.z*sign) + 0; !sameBits(dst[0], want) {
					t.Fatalf("%x·%x + %x = %x, want %x", c.x*sign, c.y, c.z*sign, dst[0], want)
				}
			}
		}
	})
}

// TestZeroIsPositive: no score is −0, whatever signs the zeros had.
func TestZeroIsPositive(t *testing.T) {
	negative := float32(math.Copysign(0, -1))
	eachSet(t, func(t *testing.T) {
		for _, d := range []int{0, 1, 7, 8, 63, 64, 65, 128, 200} {
			for _, pair := range [][2]float32{{negative, 1}, {0, negative}, {-0x1p-149, 0x1p-149}, {negative, negative}} {
				q, row, dst := make([]float32, d), make([]float32, d), make([]float32, 1)
				for k := range q {
					q[k], row[k] = pair[0], pair[1]
				}
				Dot(dst, q, row, d)
				if math.Float32bits(dst[0]) != 0 {
					t.Errorf("Dot of %d×(%g·%g) = %g", d, pair[0], pair[1], dst[0])
				}
				L2(dst, row, row, d)
				if math.Float32bits(dst[0]) != 0 {
					t.Errorf("L2 of equal vectors = %g", dst[0])
				}
			}
		}
	})
}

// TestZeroPaddingAgrees: zeros appended to both vectors don't change a bit.
func TestZeroPaddingAgrees(t *testing.T) {
	eachSet(t, func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) {
			q := rapid.SliceOfN(rapid.Float32(), 0, 200).Draw(t, "q")
			row := rapid.SliceOfN(rapid.Float32(), len(q), len(q)).Draw(t, "row")
			zeros := make([]float32, rapid.IntRange(0, 100).Draw(t, "zeros"))
			a, b := make([]float32, 1), make([]float32, 1)
			for _, f := range scores {
				f.all(a, q, row, len(row))
				f.all(b, append(q[:len(q):len(q)], zeros...), append(row[:len(row):len(row)], zeros...), len(row)+len(zeros))
				if !sameBits(a[0], b[0]) {
					t.Fatalf("%s: %g, with %d zeros %g", f.name, a[0], len(zeros), b[0])
				}
			}
		})
	})
}

func TestSumSquaresBits(t *testing.T) {
	eachSet(t, func(t *testing.T) {
		for _, d := range lengths(t) {
			src := sources[d%len(sources)]
			r := source(uint64(d))
			end := d%2 == 0
			b := newBlock(0, r.IntN(7), d, gap(r, d), end, src.of(r))
			dst := place[float64](1, b.n, end)
			SumSquares(dst, b.rows, b.stride, d)
			for i, got := range dst {
				want := refSumSquares(b.row(i))
				if math.Float64bits(got) != math.Float64bits(want) && !(math.IsNaN(got) && math.IsNaN(want)) {
					t.Fatalf("%s values, d=%d: %x, want %x", src.name, d, got, want)
				}
			}
		}
	})
}

// TestMisuse: slices that don't fit panic, and say what doesn't.
func TestMisuse(t *testing.T) {
	f := func(n int) []float32 { return make([]float32, n) }
	g := func(n int) []float64 { return make([]float64, n) }
	eachSet(t, func(t *testing.T) {
		w := PanelWidth()
		for name, call := range map[string]func(){
			"Dot, a row short":          func() { Dot(f(3), f(4), f(11), 4) },
			"Dot, stride below d":       func() { Dot(f(1), f(4), f(40), 3) },
			"Dot, stride overflows":     func() { Dot(f(3), f(4), f(11), math.MaxInt) },
			"DotAt, row out of range":   func() { DotAt(f(1), f(4), f(12), 4, []uint32{3}) },
			"DotAt, results":            func() { DotAt(f(2), f(4), f(12), 4, []uint32{0}) },
			"L2, a row short":           func() { L2(f(3), f(4), f(11), 4) },
			"L2At, row out of range":    func() { L2At(f(1), f(4), f(12), 4, []uint32{1 << 31}) },
			"SumSquares, negative d":    func() { SumSquares(g(1), f(4), 4, -1) },
			"Pack, too many":            func() { Pack(f(2*w), make([][]float32, w+1), 2) },
			"Pack, a query's length":    func() { Pack(f(2*w), [][]float32{f(3)}, 2) },
			"Pack, panel short":         func() { Pack(f(2*w-1), nil, 2) },
			"PanelDot, dst short":       func() { PanelDot(f(2*w-1), f(4*w), f(8), 4, 2, 4) },
			"PanelDot, panel short":     func() { PanelDot(f(2*w), f(4*w-1), f(8), 4, 2, 4) },
			"PanelDot, negative n":      func() { PanelDot(f(2*w), f(4*w), f(8), 4, -1, 4) },
			"PanelL2, rows short":       func() { PanelL2(f(2*w), f(4*w), f(7), 4, 2, 4) },
			"PanelScale, rowScale":      func() { PanelScale(f(2*w), f(1), f(w), 2) },
			"PanelScale, laneScale":     func() { PanelScale(f(2*w), f(2), f(w-1), 2) },
			"PanelSelect, hits":         func() { PanelSelect(make([]uint32, 2*w-1), f(2*w), f(w), 2) },
			"Exp, lengths":              func() { Exp(f(2), f(3), 1, 0) },
			"WeightedSum, rows short":   func() { WeightedSum(g(4), f(3), f(11), 4) },
			"PanelMax, max":             func() { PanelMax(f(w-1), f(w), 1) },
			"PanelExp, sum":             func() { PanelExp(f(w), f(w), 1, 1, g(w), g(w-1), g(w)) },
			"PanelWeightedSum, sum":     func() { PanelWeightedSum(g(4*w-1), f(w), f(4), 4, 1, 4, nil) },
			"PanelWeightedSum, weights": func() { PanelWeightedSum(g(4*w), f(w-1), f(4), 4, 1, 4, nil) },
		} {
			func() {
				defer func() {
					if recover() == nil {
						t.Errorf("%s: no panic", name)
					}
				}()
				call()
			}()
		}
	})
}
