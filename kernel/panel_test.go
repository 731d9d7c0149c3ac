package kernel

import (
	"math"
	"slices"
	"testing"
)

// newPanel gives W queries of d components, packed at a slot's edge.
func newPanel(slot, d int, end bool, value func() float32) (queries [][]float32, panel []float32) {
	queries = make([][]float32, PanelWidth())
	for j := range queries {
		queries[j] = make([]float32, d)
		for k := range queries[j] {
			queries[j][k] = value()
		}
	}
	panel = place[float32](slot, PackedLen(d), end)
	Pack(panel, queries, d)
	return queries, panel
}

func TestPack(t *testing.T) {
	eachSet(t, func(t *testing.T) {
		w := PanelWidth()
		r := source(1)
		for _, d := range []int{0, 1, 5, 64, 100} {
			for _, n := range []int{0, 1, w / 2, w} {
				panel := newVector(0, PackedLen(d), true, normal(r))
				queries := make([][]float32, n)
				for j := range queries {
					queries[j] = newVector(1, d, true, normal(r))
					queries[j] = slices.Clone(queries[j])
				}
				Pack(panel, queries, d)
				for i, x := range panel {
					want := float32(0)
					if i%w < n {
						want = queries[i%w][i/w]
					}
					if x != want {
						t.Fatalf("%d queries, d=%d: panel[%d] = %g, want %g", n, d, i, x, want)
					}
				}
			}
		}
	})
}

// TestPanelScores holds PanelDot and PanelL2 to their bounds.
func TestPanelScores(t *testing.T) {
	eachSet(t, func(t *testing.T) {
		w := PanelWidth()
		for _, d := range lengths(t) {
			r := source(uint64(d))
			end := d%2 == 0
			n := counts[d%18]
			if d > 2000 {
				n = 13
			}
			value := normal(r)
			if d%7 == 0 {
				value = small(r)
			}
			b := newBlock(0, n, d, gap(r, d), end, value)
			queries, panel := newPanel(1, d, end, value)
			dot := place[float32](2, n*w, end)
			PanelDot(dot, panel, b.rows, b.stride, n, d)
			l2 := place[float32](3, n*w, end)
			PanelL2(l2, panel, b.rows, b.stride, n, d)
			for i := range n {
				for j, q := range queries {
					sum, abs := sums(q, b.row(i))
					if e := math.Abs(float64(dot[i*w+j]) - sum); !(e <= gamma(d)*abs+underflow(2*d)) {
						t.Fatalf("PanelDot: n=%d d=%d row %d lane %d: %g, want %g", n, d, i, j, dot[i*w+j], sum)
					}
					exact := halfSquare(q, b.row(i))
					if e := math.Abs(float64(l2[i*w+j]) - exact); !(e <= gamma(d+3)*-exact+underflow(2*d)) {
						t.Fatalf("PanelL2: n=%d d=%d row %d lane %d: %g, want %g", n, d, i, j, l2[i*w+j], exact)
					}
				}
			}
		}
	})
}

func TestPanelScale(t *testing.T) {
	eachSet(t, func(t *testing.T) {
		w := PanelWidth()
		for _, n := range counts {
			r := source(uint64(n))
			end := n%2 == 0
			scores := newVector(0, n*w, end, anyBits(r))
			rowScale := newVector(1, n, end, anyBits(r))
			laneScale := newVector(2, w, end, anyBits(r))
			before := slices.Clone(scores)
			PanelScale(scores, rowScale, laneScale, n)
			for i, got := range scores {
				if want := float32(before[i]*rowScale[i/w]) * laneScale[i%w]; !sameBits(got, want) {
					t.Fatalf("row %d lane %d: %x, want %x", i/w, i%w, got, want)
				}
			}
		}
	})
}

func TestPanelSelect(t *testing.T) {
	eachSet(t, func(t *testing.T) {
		w := PanelWidth()
		for _, share := range []float64{0, 0.01, 0.5, 1} {
			for _, n := range counts {
				r := source(uint64(n))
				end := n%2 == 0
				threshold := newVector(1, w, end, func() float32 { return float32(r.IntN(5)) })
				scores := newVector(0, n*w, end, func() float32 { return -1 })
				var want []uint32
				for i := range scores {
					if r.Float64() < share {
						scores[i] = threshold[i%w] + float32(r.IntN(2))
						want = append(want, uint32(i))
					} else if r.IntN(50) == 0 {
						scores[i] = float32(math.NaN())
					}
				}
				hits := place[uint32](2, n*w, end)
				got := hits[:PanelSelect(hits, scores, threshold, n)]
				if !slices.Equal(got, want) {
					t.Fatalf("n=%d: %v, want %v", n, got, want)
				}
			}
		}
		// Limits that let all, or no number, through.
		s := []float32{float32(math.Inf(-1)), 0, float32(math.Inf(1)), float32(math.NaN())}
		scores, threshold := make([]float32, w), make([]float32, w)
		for i := range scores {
			scores[i] = s[i%4]
			threshold[i] = s[i/4%4]
		}
		var want []uint32
		for i := range scores {
			if scores[i] >= threshold[i] {
				want = append(want, uint32(i))
			}
		}
		hits := make([]uint32, w)
		if got := hits[:PanelSelect(hits, scores, threshold, 1)]; !slices.Equal(got, want) {
			t.Fatalf("limits: %v, want %v", got, want)
		}
	})
}

func TestPanelMax(t *testing.T) {
	eachSet(t, func(t *testing.T) {
		w := PanelWidth()
		for _, n := range counts {
			r := source(uint64(n))
			end := n%2 == 0
			scores := newVector(0, n*w, end, normal(r))
			got := newVector(1, w, end, normal(r))
			want := slices.Clone(got)
			for i, s := range scores {
				want[i%w] = max(want[i%w], s)
			}
			PanelMax(got, scores, n)
			if !slices.Equal(got, want) {
				t.Fatalf("n=%d: %v, want %v", n, got, want)
			}
		}
	})
}

func TestPanelWeightedSum(t *testing.T) {
	long := []int{511, 512, 513, 1100}
	eachSet(t, func(t *testing.T) {
		w := PanelWidth()
		for i, d := range lengths(t) {
			r := source(uint64(d))
			end := d%2 == 0
			n := counts[i%len(counts)]
			switch {
			case d > 2000:
				n = 5
			case d > 0 && i%75 == 0:
				n = long[i/75-1]
			}
			b := newBlock(0, n, d, gap(r, d), end, normal(r))
			p := newVector(1, n*w, end, func() float32 { return r.Float32() })
			sum := place[float64](2, w*d, end)
			for k := range sum {
				sum[k] = float64(k)
			}
			next := newVector(3, r.IntN(40_000), end, func() float32 { return 0 })
			rest := PanelWeightedSum(sum, p, b.rows, b.stride, n, d, next)
			if len(rest) > len(next) || len(rest) > 0 && &rest[len(rest)-1] != &next[len(next)-1] {
				t.Fatalf("n=%d d=%d: %d float32s are left of %d, not the last ones", n, d, len(rest), len(next))
			}
			want, abs := make([]float64, w*d), make([]float64, w*d)
			for i := range n {
				for j := range w {
					for k, v := range b.row(i) {
						x := float64(p[i*w+j]) * float64(v)
						want[j*d+k] += x
						abs[j*d+k] += math.Abs(x)
					}
				}
			}
			for k, got := range sum {
				if math.Abs(got-float64(k)-want[k]) > gamma(48)*abs[k]+1e-12*(abs[k]+float64(k)) {
					t.Fatalf("n=%d d=%d lane %d component %d: %g, want %g", n, d, k/d, k%d, got-float64(k), want[k])
				}
			}
		}
	})
}
