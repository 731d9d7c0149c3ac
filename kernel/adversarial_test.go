package kernel

import (
	"fmt"
	"math"
	"slices"
	"testing"
)

// poisons are values that spoil whatever they meet.
var poisons = []float32{float32(math.NaN()), float32(math.Inf(1)), float32(math.Inf(-1))}

// TestPoisonStays: a NaN or an Inf in one row, query, column or weight spoils the
// results that it is part of, and no others, wherever the loops put it: no row
// stands in for another, and no tail is multiplied by what doesn't belong to it.
func TestPoisonStays(t *testing.T) {
	finite := func(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }
	eachSet(t, func(t *testing.T) {
		w := PanelWidth()
		for _, d := range []int{1, 3, 4, 7, 8, 15, 17, 31, 65, 100} {
			for _, n := range []int{1, 2, 5, 6, 7, 8, 9, 13, 33} {
				r := source(uint64(1000*d + n))
				poison := poisons[r.IntN(len(poisons))]
				row, lane, column := r.IntN(n), r.IntN(w), r.IntN(d)
				at := fmt.Sprintf("n=%d d=%d, %g in row %d, lane %d, column %d", n, d, poison, row, lane, column)

				b := newBlock(0, n, d, 3, true, normal(r))
				queries, panel := newPanel(1, d, true, normal(r))
				clean := b.row(row)[column]
				b.row(row)[column] = poison
				panelScores, scores, squares := make([]float32, n*w), make([]float32, n), make([]float64, n)
				for _, f := range scoreForms {
					f.panel(panelScores, panel, b.rows, b.stride, n, d)
					for i, x := range panelScores {
						if finite(float64(x)) == (i/w == row) {
							t.Fatalf("%s: Panel%s gives row %d %g", at, f.name, i/w, x)
						}
					}
					f.all(scores, queries[lane], b.rows, b.stride)
					for i, x := range scores {
						if finite(float64(x)) == (i == row) {
							t.Fatalf("%s: %s gives row %d %g", at, f.name, i, x)
						}
					}
				}
				SumSquares(squares, b.rows, b.stride, d)
				for i, x := range squares {
					if finite(x) == (i == row) {
						t.Fatalf("%s: SumSquares gives row %d %g", at, i, x)
					}
				}

				sum, weights := make([]float64, d), newVector(2, n, true, normal(r))
				WeightedSum(sum, weights, b.rows, b.stride)
				for k, x := range sum {
					if finite(x) == (k == column) {
						t.Fatalf("%s: WeightedSum gives column %d %g", at, k, x)
					}
				}
				sums, p := make([]float64, w*d), newVector(3, n*w, true, normal(r))
				PanelWeightedSum(sums, p, b.rows, b.stride, n, d, nil)
				for i, x := range sums {
					if finite(x) == (i%d == column) {
						t.Fatalf("%s: PanelWeightedSum gives lane %d column %d %g", at, i/d, i%d, x)
					}
				}

				// In the query and the weight of one lane instead.
				b.row(row)[column] = clean
				panel[column*w+lane], p[row*w+lane] = poison, poison
				for _, f := range scoreForms {
					f.panel(panelScores, panel, b.rows, b.stride, n, d)
					for i, x := range panelScores {
						if finite(float64(x)) == (i%w == lane) {
							t.Fatalf("%s of the query: Panel%s gives lane %d %g", at, f.name, i%w, x)
						}
					}
				}
				clear(sums)
				PanelWeightedSum(sums, p, b.rows, b.stride, n, d, nil)
				for i, x := range sums {
					if finite(x) == (i/d == lane) {
						t.Fatalf("%s of the weights: PanelWeightedSum gives lane %d %g", at, i/d, x)
					}
				}
			}
		}
	})
}

var scoreForms = []struct {
	name  string
	all   func(dst, q, rows []float32, stride int)
	panel func(dst, panel, rows []float32, stride, n, d int)
}{
	{"Dot", Dot, PanelDot},
	{"L2", L2, PanelL2},
}

// TestPlaceDoesNotMatter: a canonical score has the same bits wherever the query
// and the row start, however many rows are scored with it and how far apart.
func TestPlaceDoesNotMatter(t *testing.T) {
	eachSet(t, func(t *testing.T) {
		for _, d := range []int{1, 5, 16, 37, 63, 64, 65, 127, 130, 200, 384} {
			r := source(uint64(d))
			q, row := newVector(0, d, true, wild(r)), newVector(1, d, true, wild(r))
			want, wantSquare := make([]float32, 1), make([]float64, 1)
			SumSquares(wantSquare, row, d, d)
			for _, f := range scores {
				f.all(want, q, row, d)
				for offset := range 17 {
					n, stride := 1+r.IntN(5), d+r.IntN(9)
					i := r.IntN(n)
					moved := append(make([]float32, offset), q...)[offset:]
					rows := newVector(2, offset+n*stride, true, wild(r))[offset:]
					copy(rows[i*stride:], row)
					got, named, squares := make([]float32, n), make([]float32, 1), make([]float64, n)
					f.all(got, moved, rows, stride)
					f.at(named, moved, rows, stride, []uint32{uint32(i)})
					if !sameBits(got[i], want[0]) || !sameBits(named[0], want[0]) {
						t.Fatalf("%s: d=%d, row %d of %d, %d past: %x and %x, alone %x", f.name, d, i, n, offset, got[i], named[0], want[0])
					}
					SumSquares(squares, rows, stride, d)
					if squares[i] != wantSquare[0] && !(math.IsNaN(squares[i]) && math.IsNaN(wantSquare[0])) {
						t.Fatalf("SumSquares: d=%d, row %d of %d, %d past: %x, alone %x", d, i, n, offset, squares[i], wantSquare[0])
					}
				}
			}
		}
	})
}

// TestWritesOnlyResults: what lies before and after the results stays, and so do
// the arguments, though the slices go on.
func TestWritesOnlyResults(t *testing.T) {
	const canary, around = 12345, 70
	eachSet(t, func(t *testing.T) {
		w := PanelWidth()
		for _, d := range []int{1, 6, 8, 13, 24, 67} {
			for _, n := range []int{1, 2, 3, 5, 6, 7, 10, 17, 40} {
				r := source(uint64(100*d + n))
				rows := newVector(0, (n+8)*d, true, normal(r))
				q, weights := newVector(1, d, true, normal(r)), newVector(2, n+8, true, normal(r))
				panel, p := newVector(3, w*d, true, normal(r)), newVector(4, (n+8)*w, true, normal(r))
				before := [][]float32{rows, q, weights, panel, p}
				for i := range before {
					before[i] = slices.Clone(before[i])
				}
				f32 := func(name string, length int, call func(dst []float32)) {
					dst := slices.Repeat([]float32{canary}, length+2*around)
					call(dst[around:])
					for i, x := range dst {
						if (i < around || i >= around+length) && x != canary {
							t.Fatalf("%s, n=%d d=%d: wrote at %d of %d results", name, n, d, i-around, length)
						}
					}
				}
				f64 := func(name string, length int, call func(dst []float64)) {
					dst := slices.Repeat([]float64{canary}, length+2*around)
					call(dst[around:])
					for i, x := range dst {
						if (i < around || i >= around+length) && x != canary {
							t.Fatalf("%s, n=%d d=%d: wrote at %d of %d results", name, n, d, i-around, length)
						}
					}
				}
				for _, f := range scoreForms {
					f32(f.name, n, func(dst []float32) { f.all(dst[:n], q, rows, d) })
					f32("Panel"+f.name, n*w, func(dst []float32) { f.panel(dst, panel, rows, d, n, d) })
				}
				f32("PanelScale", n*w, func(dst []float32) { PanelScale(dst, weights, p[:w], n) })
				f32("PanelMax", w, func(dst []float32) { PanelMax(dst, p, n) })
				f32("Exp", n, func(dst []float32) { Exp(dst[:n], weights[:n], 1, 0) })
				f32("PanelExp", n*w, func(dst []float32) {
					f64("PanelExp's sums", w, func(sum []float64) {
						PanelExp(dst, p, n, 1, make([]float64, w), sum, make([]float64, w))
					})
				})
				f64("SumSquares", n, func(dst []float64) { SumSquares(dst[:n], rows, d, d) })
				f64("WeightedSum", d, func(dst []float64) { WeightedSum(dst[:d], weights[:n], rows, d) })
				f64("PanelWeightedSum", w*d, func(dst []float64) { PanelWeightedSum(dst, p, rows, d, n, d, nil) })
				for i, after := range [][]float32{rows, q, weights, panel, p} {
					if !slices.Equal(before[i], after) {
						t.Fatalf("n=%d d=%d: argument %d was written to", n, d, i)
					}
				}
			}
		}
	})
}
