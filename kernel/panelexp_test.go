package kernel

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// An exponentials is a call of PanelExp.
type exponentials struct {
	scores []float32
	n      int
	scale  float64
	m      []float64
}

// peaks are the greatest of the scaled scores in each lane, −Inf for none.
func (x exponentials) peaks() []float64 {
	m := make([]float64, PanelWidth())
	for j := range m {
		m[j] = math.Inf(-1)
		for i := range x.n {
			if s := float64(x.scores[i*len(m)+j]); !math.IsInf(s, -1) {
				m[j] = max(m[j], x.scale*s)
			}
		}
	}
	return m
}

// check runs PanelExp in memory that ends where the slices do, and again in place, and
// holds it to its bounds.
func (x exponentials) check(t rapid.TB, end bool) {
	t.Helper()
	w := PanelWidth()
	m, sum, sumShift := place[float64](1, w, end), place[float64](2, w, end), place[float64](3, w, end)
	copy(m, x.m)
	for j := range w {
		sum[j], sumShift[j] = float64(j), float64(-2*j)
	}
	p := place[float32](4, x.n*w, end)
	PanelExp(p, x.scores, x.n, x.scale, m, sum, sumShift)
	for j := range w {
		var want, wantShift, abs, slack float64
		for i := range x.n {
			s, got := x.scores[i*w+j], p[i*w+j]
			shift, e := refExp(s, x.scale, m[j])
			off := 0.0
			if e > 0 {
				off = 0x1p-51 * (math.Abs(x.scale*float64(s)) + math.Abs(m[j]))
			}
			near := got >= leastNormal && math.Abs(float64(got)-e) <= e*(5*u+off)*(1+1e-6)
			if got == 0 {
				near = e < leastNormal*(1+0x1p-15+off)
			}
			if !near {
				t.Fatalf("n=%d lane %d: exp(%g·%g − %g) = %g, want %g: off by %.2f u", x.n, j, x.scale, s, m[j], got, e, (float64(got)/e-1)/u)
			}
			if math.IsInf(float64(s), -1) && math.Float32bits(got) != 0 {
				t.Fatalf("n=%d lane %d: p of −Inf is %g", x.n, j, got)
			}
			if got == 0 {
				continue
			}
			want += e
			wantShift += e * shift
			abs += e * (math.Abs(shift) + 1)
			slack += e * off * (math.Abs(shift) + 1)
		}
		rounding := 1e-14 * (float64(j) + abs)
		if d := math.Abs(sum[j] - float64(j) - want); !(d <= gamma(12)*want+slack+rounding) {
			t.Fatalf("n=%d lane %d, scale %g, m %g: the sum is %g, want %g", x.n, j, x.scale, m[j], sum[j]-float64(j), want)
		}
		if d := math.Abs(sumShift[j] + float64(2*j) - wantShift); !(d <= gamma(14)*abs+slack+2*rounding) {
			t.Fatalf("n=%d lane %d, scale %g, m %g: the sum of shifts is %g, want %g", x.n, j, x.scale, m[j], sumShift[j]+float64(2*j), wantShift)
		}
	}
	again := slices.Clone(x.scores)
	PanelExp(again, again, x.n, x.scale, m, sum, sumShift)
	if !slices.Equal(again, p) {
		t.Fatalf("n=%d: in place gives another result", x.n)
	}
}

func TestPanelExp(t *testing.T) {
	inf := float32(math.Inf(-1))
	eachSet(t, func(t *testing.T) {
		w := PanelWidth()
		for _, n := range append([]int{1000}, counts...) {
			// The last ones are of scores so large, once scaled, that float32 has no thousandths left.
			for _, c := range []struct{ scale, middle, spread float64 }{
				{0, 0, 40}, {0.3, 0, 40}, {1, 0, 1e-3}, {1, 0, 1}, {1, 0, 80}, {1, -1e4, 20}, {1, 1e4, 20}, {0.125, 1e4, 100}, {1, 0, 1e4},
				{4, 1e4, 10}, {40, 1e4, 0.5}, {1e3, -1e4, 0.03}, {1e-20, 1e21, 3e20}, {1e-30, 0, 1e31}, {3e6, 2e4, 1},
			} {
				r := source(uint64(n))
				x := exponentials{n: n, scale: c.scale}
				x.scores = newVector(0, n*w, n%2 == 0, func() float32 {
					if r.IntN(20) == 0 {
						return inf
					}
					return float32(c.middle + r.NormFloat64()*c.spread)
				})
				for i := range n {
					x.scores[i*w+3], x.scores[i*w+w-1] = inf, inf
				}
				x.m = x.peaks() // in lane 3, −Inf
				x.m[w-1] = 0
				x.check(t, n%2 == 0)
				for j := range x.m { // as behind rows of greater scores, or fewer
					x.m[j] += []float64{0.3, 50, 90, -60, 3e4}[j%5]
				}
				x.check(t, n%2 == 0)
			}
		}
	})
}

// TestPanelExpSweep walks the whole range of shifts, what counts as zero included.
func TestPanelExpSweep(t *testing.T) {
	step := float32(0.00037)
	if testing.Short() {
		step = 0.0137
	}
	eachSet(t, func(t *testing.T) {
		w := PanelWidth()
		for _, m := range []float64{0, 1e-9, -0.49 / math.Log2E, 0.51 / math.Log2E, 12345.678} {
			var x exponentials
			for s := float32(-110); s < 64; s += step {
				x.scores = append(x.scores, s+float32(m))
			}
			least := float32(m + math.Log(leastNormal)) // and its neighbourhood
			for i := range 4 * w {
				x.scores = append(x.scores, least+float32(i-2*w)*8e-6)
			}
			x.n, x.scale = len(x.scores)/w, 1
			x.scores = x.scores[:x.n*w]
			x.m = slices.Repeat([]float64{m}, w)
			x.check(t, false)
		}
		// The greatest score weighs 1 to the bit, and what float32 has no normal number for nothing.
		p, zeros := make([]float32, w), make([]float64, w)
		p[1] = -87.5
		PanelExp(p, p, 1, 1, zeros, zeros, zeros)
		if p[0] != 1 || p[1] != 0 {
			t.Fatalf("exp(0) = %g, exp(−87.5) = %g", p[0], p[1])
		}
	})
}

// TestPanelExpGreatestScale: two neighbouring scores, as far apart as scores can be once scaled.
func TestPanelExpGreatestScale(t *testing.T) {
	eachSet(t, func(t *testing.T) {
		w, scale := PanelWidth(), float64(math.MaxFloat32)
		p := slices.Concat(slices.Repeat([]float32{1e4}, w), slices.Repeat([]float32{math.Nextafter32(1e4, 0)}, w))
		sum, sumShift := make([]float64, w), make([]float64, w)
		PanelExp(p, p, 2, scale, slices.Repeat([]float64{scale * 1e4}, w), sum, sumShift)
		for j := range w {
			if p[j] != 1 || p[w+j] != 0 || sum[j] != 1 || sumShift[j] != 0 {
				t.Fatalf("lane %d: %g and %g, sums %g, %g", j, p[j], p[w+j], sum[j], sumShift[j])
			}
		}
	})
}

// TestPanelExpLargeScores: scores of ±1e4 keep the precision of small ones, at any scale.
func TestPanelExpLargeScores(t *testing.T) {
	eachSet(t, func(t *testing.T) {
		w := PanelWidth()
		rapid.Check(t, func(t *rapid.T) {
			x := exponentials{n: rapid.IntRange(1, 40).Draw(t, "n"), scale: math.Exp(rapid.Float64Range(-10, 12).Draw(t, "ln scale"))}
			base := rapid.Float32Range(-1e4, 1e4).Draw(t, "base")
			depth := float32(min(2e4, rapid.SampledFrom([]float64{1, 20, 110}).Draw(t, "depth")/x.scale))
			r := source(rapid.Uint64().Draw(t, "seed"))
			for range x.n * w {
				x.scores = append(x.scores, base-depth*r.Float32())
			}
			x.m = x.peaks()
			x.check(t, true)
		})
	})
}
