package index

import (
	"math"
	"testing"

	"pgregory.net/rapid"
)

// Lists come in the order of what their rows may weigh, but for the thousandth part of the range;
// what is without bounds counts as an end of it.
func TestPlanOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		mosts := rapid.SliceOfN(rapid.OneOf(
			rapid.Float64Range(-10, 10), rapid.Float64Range(-1e308, 1e308), rapid.SampledFrom([]float64{0, 7, math.Inf(1), math.Inf(-1)}),
		), 0, 50).Draw(t, "mosts")
		s := new(planScratch)
		low, high := math.Inf(1), math.Inf(-1)
		for i, m := range mosts {
			s.lists = append(s.lists, listBound{list: uint32(i), most: m})
			if !math.IsInf(m, 0) {
				low, high = min(low, m), max(high, m)
			}
		}
		s.sort()
		if len(s.sorted) != len(mosts) {
			t.Fatalf("%d lists become %d", len(mosts), len(s.sorted))
		}
		seen := map[uint32]bool{}
		for i, b := range s.sorted {
			if seen[b.list] || b.most != mosts[b.list] {
				t.Fatalf("list %d of %v comes with %v, or twice", b.list, mosts[b.list], b.most)
			}
			seen[b.list] = true
			if i > 0 && !math.IsInf(high-low, 0) {
				before, after := min(max(s.sorted[i-1].most, low), high), min(max(b.most, low), high)
				if after-before > (high-low)/1000 {
					t.Fatalf("%v comes after %v, in a range from %v to %v", b.most, s.sorted[i-1].most, low, high)
				}
			}
		}
	})
}
