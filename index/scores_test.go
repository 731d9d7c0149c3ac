package index

import (
	"math"
	"math/rand/v2"
	"testing"
)

// Scores of all rows, and of hits, are those of Search to the bit.
func TestScores(t *testing.T) {
	r := rand.New(rand.NewPCG(21, 22))
	for name, metric := range metrics {
		for _, e := range []Encoding{F32, Int8, Int8Only, F16, BF16} {
			for _, masked := range []int{0, 3, 20} {
				f := newFixture(t, r, Shape{metric, 70, 70, e, F32, 1}, near, false, masked, 900, 1, 300)
				query := make([]float32, 70)
				near(r, query)
				base, n := []int{}, 0
				for i := range f.parts {
					base = append(base, n)
					n += f.parts[i].Rows
				}
				hits, _, err := Search(t.Context(), f.shape, f.parts, [][]float32{query}, SearchOptions{K: n, MinScore: float32(math.Inf(-1))})
				if err != nil {
					t.Fatal(err)
				}
				scores := make([]float32, n)
				stats, err := Scores(t.Context(), f.shape, f.parts, query, base, scores, 2)
				if err != nil || int(stats.RowsScanned) != len(hits[0]) {
					t.Fatalf("%d rows scanned, %d found, %v", stats.RowsScanned, len(hits[0]), err)
				}
				again := make([]Hit, len(hits[0]))
				top := NewTop(f.parts, 7, float32(math.Inf(-1)))
				for i, h := range hits[0] {
					if got := scores[base[h.Part]+int(h.Row)]; math.Float32bits(got) != math.Float32bits(h.Score) {
						t.Fatalf("%s, encoding %d: row %d of part %d scores %v, in a search %v", name, e, h.Row, h.Part, got, h.Score)
					}
					again[i] = Hit{Part: h.Part, Row: h.Row}
				}
				ScoreHits(f.parts, query, again)
				for i := range again {
					if h := again[len(again)-1-i]; h.Score >= top.Threshold() {
						top.Offer(h)
					}
					if again[i] != hits[0][i] {
						t.Fatalf("%s, encoding %d: hit %d is %+v, in a search %+v", name, e, i, again[i], hits[0][i])
					}
				}
				for i, h := range top.Best() {
					if h != hits[0][i] {
						t.Fatalf("the best are %+v, in a search %+v", h, hits[0][i])
					}
				}
			}
		}
	}
}
