package kernel

import (
	"math"
	"testing"

	"pgregory.net/rapid"
)

// counts are numbers of rows or scores that meet every loop and its remainder.
var counts = []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 15, 16, 17, 23, 31, 32, 33, 47, 48, 63, 64, 65, 100}

func TestMax(t *testing.T) {
	eachSet(t, func(t *testing.T) {
		for n := range 300 {
			r := source(uint64(n))
			s := newVector(0, n, n%2 == 0, normal(r))
			want := float32(math.Inf(-1))
			for _, x := range s {
				want = max(want, x)
			}
			if got := Max(s); got != want {
				t.Fatalf("of %d: %g, want %g", n, got, want)
			}
			for i := range s { // wherever the greatest lies
				kept := s[i]
				s[i] = 100
				if Max(s) != 100 {
					t.Fatalf("of %d: missed the greatest at %d", n, i)
				}
				s[i] = kept
			}
		}
	})
}

// leastNormal is float32's least normal number, below which an exponential counts as zero.
const leastNormal = 0x1p-126

// refExp gives the shift and its exponential in float64, however small.
func refExp(s float32, scale, m float64) (shift, e float64) {
	if math.IsInf(float64(s), -1) {
		return 0, 0
	}
	shift = math.FMA(scale, float64(s), -m)
	return shift, math.Exp(shift)
}

// nearExp reports whether p is exp(shift) as Exp promises, given how far the
// shift itself may be off.
func nearExp(p float32, e, slack float64) bool {
	switch {
	case e > math.MaxFloat32:
		return p > 0x1.fffff0p127
	case p == 0:
		return e < leastNormal*(1+0x1p-50+slack)
	}
	return p >= leastNormal && math.Abs(float64(p)-e) <= e*(u+0x1p-28+slack)*1.0001
}

func TestExp(t *testing.T) {
	eachSet(t, func(t *testing.T) {
		for _, c := range []struct{ scale, spread float64 }{{1, 1}, {0.125, 30}, {1, 80}, {0.7, 1e4}, {1e-3, 1e6}, {0, 1}, {1, 0}} {
			for n := range 131 {
				r := source(uint64(n))
				end := n%2 == 0
				s := newVector(0, n, end, func() float32 {
					if r.IntN(20) == 0 {
						return float32(math.Inf(-1))
					}
					return float32(r.NormFloat64() * c.spread)
				})
				m := math.Inf(-1)
				for _, x := range s {
					if !math.IsInf(float64(x), -1) {
						m = math.Max(m, c.scale*float64(x))
					}
				}
				p := place[float32](1, n, end)
				sum, sumShift := Exp(p, s, c.scale, m)
				var wantSum, wantShift, abs float64
				for i, x := range s {
					shift, e := refExp(x, c.scale, m)
					slack := 0x1p-51 * (math.Abs(c.scale*float64(x)) + math.Abs(m))
					if e == 0 {
						slack = 0
					}
					if !nearExp(p[i], e, slack) {
						t.Fatalf("scale %g, shift %g: %g, want %g", c.scale, shift, p[i], e)
					}
					if math.IsInf(float64(x), -1) && math.Float32bits(p[i]) != 0 {
						t.Fatalf("p of −Inf = %g", p[i])
					}
					if p[i] == 0 {
						continue
					}
					wantSum += e
					wantShift += e * shift
					abs += e * math.Abs(shift)
				}
				if math.Abs(sum-wantSum) > wantSum*1e-8 || math.Abs(sumShift-wantShift) > (abs+wantSum)*1e-8 {
					t.Fatalf("n=%d: sums %g, %g; want %g, %g", n, sum, sumShift, wantSum, wantShift)
				}
				again := append([]float32(nil), s...)
				if a, b := Exp(again, again, c.scale, m); a != sum || b != sumShift {
					t.Fatalf("in place: %g, %g; want %g, %g", a, b, sum, sumShift)
				}
				for i := range p {
					if p[i] != again[i] {
						t.Fatal("in place gives another result")
					}
				}
			}
		}
	})
}

// TestExpSweep walks the whole range of shifts, what counts as zero and the overflow
// included.
func TestExpSweep(t *testing.T) {
	step := float32(0.00037)
	if testing.Short() {
		step = 0.0137
	}
	eachSet(t, func(t *testing.T) {
		var s []float32
		for x := float32(-110); x < 95; x += step {
			s = append(s, x)
		}
		least := float32(math.Log(leastNormal)) // and its neighbours
		s = append(s, math.Nextafter32(least, 0), least, math.Nextafter32(least, -100))
		p := make([]float32, len(s))
		Exp(p, s, 1, 0)
		for i, x := range s {
			if _, e := refExp(x, 1, 0); !nearExp(p[i], e, 0x1p-50) {
				t.Fatalf("exp(%g) = %g, want %g", x, p[i], e)
			}
		}
		if Exp(p[:2], []float32{0, -200}, 1, 0); p[0] != 1 || p[1] != 0 {
			t.Fatalf("exp(0) = %g, exp(−200) = %g", p[0], p[1])
		}
	})
}

// TestExpNothing: where every score is −Inf the sums are 0, even with m = −Inf
// or a scale of 0.
func TestExpNothing(t *testing.T) {
	inf := math.Inf(-1)
	eachSet(t, func(t *testing.T) {
		for _, scale := range []float64{0, 1} {
			for _, m := range []float64{0, inf} {
				s := make([]float32, 37)
				for i := range s {
					s[i] = float32(inf)
				}
				if a, b := Exp(s, s, scale, m); a != 0 || b != 0 {
					t.Errorf("scale %g, m %g: sums %g, %g", scale, m, a, b)
				}
				for _, p := range s {
					if p != 0 {
						t.Errorf("scale %g, m %g: p = %g", scale, m, p)
					}
				}
			}
		}
	})
}

// TestExpLargeScores: scores of ±1e4 keep the precision of small ones.
func TestExpLargeScores(t *testing.T) {
	eachSet(t, func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) {
			base := rapid.Float32Range(-1e4, 1e4).Draw(t, "base")
			s := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) float32 {
				return base - rapid.Float32Range(0, 20).Draw(t, "below")
			}), 1, 40).Draw(t, "s")
			m := float64(Max(s))
			p := make([]float32, len(s))
			sum, _ := Exp(p, s, 1, m)
			var want float64
			for i, x := range s {
				e := math.Exp(float64(x) - m) // the difference is exact
				want += e
				if !nearExp(p[i], e, 1e-11) {
					t.Fatalf("exp(%g − %g) = %g, want %g", x, m, p[i], e)
				}
			}
			if math.Abs(math.Log(sum/want)) > 1e-8 {
				t.Fatalf("log-sum-exp off by %g", math.Log(sum/want))
			}
		})
	})
}

func TestWeightedSum(t *testing.T) {
	eachSet(t, func(t *testing.T) {
		for _, d := range lengths(t) {
			r := source(uint64(d))
			end := d%2 == 0
			n := counts[d%len(counts)]
			if d > 300 {
				n = 37
			}
			b := newBlock(0, n, d, gap(r, d), end, normal(r))
			w := newVector(1, n, end, func() float32 { return r.Float32() })
			sum := place[float64](2, d, end)
			for k := range sum {
				sum[k] = float64(k)
			}
			WeightedSum(sum, w, b.rows, b.stride)
			for k, got := range sum {
				var want, abs float64
				for i := range n {
					x := float64(w[i]) * float64(b.row(i)[k])
					want += x
					abs += math.Abs(x)
				}
				if math.Abs(got-float64(k)-want) > gamma(32)*abs+1e-12*(abs+float64(k)) {
					t.Fatalf("n=%d d=%d component %d: %g, want %g", n, d, k, got-float64(k), want)
				}
			}
		}
	})
}
