//go:build heavy

package index

import (
	"context"
	"math"
	"math/rand/v2"
	"testing"
)

// A million rows in sixteen parts: Search against the reference, Attend within its
// bounds, with weights spread over all rows and with scores to ±1e4.
func TestMillionRows(t *testing.T) {
	r := rand.New(rand.NewPCG(41, 42))
	rows := make([]int, 0, 16)
	for left := 1_000_000; left > 0; left -= rows[len(rows)-1] {
		rows = append(rows, min(left, MaxRows-3)) // newFixture adds three
	}
	for name, metric := range metrics {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, r, Shape{metric, 32, 32, F32, F32, 1}, uniform, true, 0, rows...)
			for _, n := range []int{1, 20} {
				queries := f.queries(r, uniform, n)
				for _, w := range []int{1, 2, 5} {
					f.checkSearch(t, queries[:min(n, 7)], SearchOptions{K: 100, MinScore: never, Workers: w})
				}
				if n > 1 { // the reference takes long: check the first of a batch
					got, _, err := Search(context.Background(), f.shape, f.parts, queries, SearchOptions{K: 100, MinScore: never})
					if err != nil {
						t.Fatal(err)
					}
					alone, _, err := Search(context.Background(), f.shape, f.parts, queries[:1], SearchOptions{K: 100, MinScore: never, Workers: 1})
					if err != nil {
						t.Fatal(err)
					}
					for i := range alone[0] {
						if got[0][i] != alone[0][i] {
							t.Fatalf("hit %d is %v in a batch of %d, %v alone", i, got[0][i], n, alone[0][i])
						}
					}
				}
				for _, scale := range []float64{0, 0.2, 5} {
					got, _, err := Attend(context.Background(), f.shape, f.parts, queries, AttendOptions{Scale: scale, TopWeights: 10})
					if err != nil {
						t.Fatal(err)
					}
					delta := 0.0
					if n >= attendPanelQueries {
						delta = f.delta(queries[0], scale)
					}
					f.attend(queries[0], scale).check(t, got[0], delta)
				}
			}
		})
	}
	t.Run("to 1e4", func(t *testing.T) {
		f := newFixture(t, r, Shape{Dot, 16, 32, F32, F32, 1}, func(r *rand.Rand, v []float32) {
			clear(v)
			v[0] = float32(math.Max(-1e4, 1e4+100*math.Log(r.Float64())))
		}, true, 0, rows...)
		queries := make([][]float32, 20)
		for q := range queries {
			queries[q] = make([]float32, 16)
			queries[q][0] = 1
		}
		for _, scale := range []float64{0.01, 1} {
			e := f.attend(queries[0], scale)
			for _, n := range []int{1, 20} {
				got, _, err := Attend(context.Background(), f.shape, f.parts, queries[:n], AttendOptions{Scale: scale})
				if err != nil {
					t.Fatal(err)
				}
				for _, a := range got {
					e.check(t, a, 0)
				}
			}
		}
	})
	t.Run("to 1e4, in heads", func(t *testing.T) {
		f := newFixture(t, r, Shape{Dot, 2 * 16, 2 * 24, F32, F32, 2}, func(r *rand.Rand, v []float32) {
			clear(v)
			v[0] = float32(math.Max(-1e4, 1e4+100*math.Log(r.Float64())))
			v[len(v)/2] = float32(2e4*r.Float64() - 1e4)
		}, true, 2, rows...)
		for _, n := range []int{1, 5} {
			queries := make([][]float32, n)
			for q := range queries {
				queries[q] = make([]float32, 4*16)
				for head := range 4 { // two share a head of keys, one of them asks for the opposite
					queries[q][head*16] = float32(1 - 2*(head%2))
				}
			}
			for _, scale := range []float64{0.01, 1} {
				f.checkHeads(t, queries, AttendOptions{Scale: scale, QueryHeads: 4})
			}
		}
	})
}

// As TestCalibrate, of indexes as large as they are where they pay.
func TestCalibrateLarge(t *testing.T) { checkCalibration(t, 60000, 1000, 3000, 1, 10, 30, 100) }
