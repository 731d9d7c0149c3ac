package kernel

import (
	"math"
	"slices"
	"testing"
)

// eachVNNI runs a test with and without VNNI, where it is used at all.
func eachVNNI(t *testing.T, test func(t *testing.T)) {
	eachSet(t, func(t *testing.T) {
		test(t)
		if CodePanels() {
			before := vnni
			defer func() { vnni = before }()
			vnni = false
			test(t)
		}
	})
}

// TestCodePanel holds panels to CodeDot and CodeSelect, which give the same for one
// query at a time.
func TestCodePanel(t *testing.T) {
	eachVNNI(t, func(t *testing.T) {
		for d := 0; d <= 8192; d = nextLength(d) {
			r := source(uint64(d))
			end, stride, n := r.IntN(2) == 0, d+r.IntN(40), r.IntN(30)
			if d > 1000 {
				n %= 15
			}
			lanes := r.IntN(CodePanelWidth + 1)
			limit := mostQueryCode
			if d > 0 {
				limit = min(limit, math.MaxInt32/(MaxCode*d))
			}
			length := 0
			if n > 0 {
				length = (n-1)*stride + d
			}
			rows := place[int8](0, length, end)
			for i := range rows {
				rows[i] = max(int8(r.IntN(256)-128), -MaxCode)
			}
			queries := make([][]int16, lanes)
			for j := range queries {
				queries[j] = make([]int16, d)
				for k := range queries[j] {
					queries[j][k] = int16(r.IntN(2*limit+1) - limit)
				}
			}
			if lanes > 1 && n > 0 { // the greatest sums there are, and the least
				for k := range d {
					queries[0][k], queries[1][k] = int16(limit), int16(-limit)
					rows[k] = MaxCode
				}
			}
			panel := place[uint8](1, CodePanelLen(d), end)
			PackCodes(panel, queries, d)
			ones, sums := slices.Repeat([]int16{1}, d), place[int32](2, n, end)
			CodeDot(sums, ones, rows, stride)
			dst := place[int32](3, n*CodePanelWidth, end)
			CodePanelDot(dst, panel, rows, sums, stride, n, d)

			scale, err, offset := newVector(4, n, end, r.Float32), newVector(5, n, end, r.Float32), newVector(6, n, end, normal(r))
			var b CodePanelBound
			var want []uint32
			for j := range CodePanelWidth {
				one := make([]int32, n)
				if j < lanes {
					CodeDot(one, queries[j], rows, stride)
				}
				for i, x := range one {
					if got := dst[i*CodePanelWidth+j]; got != x {
						t.Fatalf("d=%d, row %d of %d, lane %d of %d: %d, want %d", d, i, n, j, lanes, got, x)
					}
				}
				c := CodeBound{Unit: r.Float32() / 1e6, Base: r.Float32(), Slope: r.Float32(), Limit: float32(r.NormFloat64()) + 1}
				if j == 5 {
					c.Limit = float32(math.NaN()) // all
				}
				b.Unit[j], b.Base[j], b.Slope[j], b.Limit[j] = c.Unit, c.Base, c.Slope, c.Limit
				hits := make([]uint32, n)
				for _, i := range hits[:CodeSelect(hits, one, scale, err, offset, &c)] {
					want = append(want, i*CodePanelWidth+uint32(j))
				}
			}
			slices.Sort(want)
			hits := place[uint32](7, n*CodePanelWidth, end)
			if got := hits[:CodePanelSelect(hits, dst, scale, err, offset, &b, n)]; !slices.Equal(got, want) {
				t.Fatalf("d=%d, n=%d: selected %v, want %v", d, n, got, want)
			}
		}
	})
}
