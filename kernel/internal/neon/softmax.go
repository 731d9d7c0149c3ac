//go:build arm64 && !purego

package neon

import (
	"math"

	"engram/kernel/internal/purego"
)

// Max is kernel.Max.
func Max(s []float32) float32 { return maximum(&s[0], len(s)) }

// PanelMax is kernel.PanelMax.
func PanelMax(max, scores []float32, n int) { panelMax(&max[0], &scores[0], n) }

// exponential is what exp4 needs besides its arguments, in the order it reads
// them: see package purego for the method.
type exponential struct {
	scale, log2E, round, ln2, least, most float64
	poly                                  [7]float64
}

func newExponential(scale float64) exponential {
	return exponential{scale, purego.Log2E, purego.Round, purego.Ln2, purego.Least, purego.Most, purego.Poly}
}

// Exp is kernel.Exp.
func Exp(p, s []float32, scale, m float64) (sum, sumShift float64) {
	e := newExponential(scale)
	minus := [4]float64{-m, -m, -m, -m}
	var a, b [4]float64
	n := len(s) &^ 3
	if n > 0 {
		exp4(&p[0], &s[0], n/4, 4, &e, &minus[0], &a[0], &b[0])
	}
	if n < len(s) {
		inf := float32(math.Inf(-1))
		rest := [4]float32{inf, inf, inf, inf}
		copy(rest[:], s[n:])
		exp4(&rest[0], &rest[0], 1, 4, &e, &minus[0], &a[0], &b[0])
		copy(p[n:], rest[:])
	}
	return a[0] + a[1] + (a[2] + a[3]), b[0] + b[1] + (b[2] + b[3])
}

// PanelExp is kernel.PanelExp.
func PanelExp(p, scores []float32, n int, scale float64, m, sum, sumShift []float64) {
	e := newExponential(scale)
	for j := 0; j < Width; j += 4 {
		minus := [4]float64{-m[j], -m[j+1], -m[j+2], -m[j+3]}
		exp4(&p[j], &scores[j], n, Width, &e, &minus[0], &sum[j], &sumShift[j])
	}
}

// WeightedSum is kernel.WeightedSum.
func WeightedSum(sum []float64, w, rows []float32, stride int) {
	weightedSum(&sum[0], &w[0], &rows[0], len(w), len(sum), stride)
}

// PanelWeightedSum is kernel.PanelWeightedSum.
func PanelWeightedSum(sum []float64, p, rows []float32, stride, n, d int) {
	const super = 512 // rows added up in float32
	for i := 0; i < n; i += super {
		some := min(super, n-i)
		p, rows := p[i*Width:], rows[i*stride:]
		k := 0
		for ; k+8 <= d; k += 8 {
			panelSum8(&sum[k], &p[0], &rows[k], some, d, stride)
			panelSum8(&sum[8*d+k], &p[8], &rows[k], some, d, stride)
		}
		for ; k < d; k++ {
			panelSum1(&sum[k], &p[0], &rows[k], some, d, stride)
		}
	}
}

//go:noescape
func maximum(s *float32, n int) float32

//go:noescape
func panelMax(max, scores *float32, n int)

// exp4 takes n times four scores, each step float32s after the one before; the
// j-th of four has minus[j], −m, and adds to sum[j] and sumShift[j].
//
//go:noescape
func exp4(p, s *float32, n, step int, e *exponential, minus, sum, sumShift *float64)

//go:noescape
func weightedSum(sum *float64, w, rows *float32, n, d, stride int)

// panelSum8 adds the weighted sum of eight columns, those at rows, in eight
// lanes, those at p, to the eight elements from sum, sum+d, … on.
//
//go:noescape
func panelSum8(sum *float64, p, rows *float32, n, d, stride int)

// panelSum1 adds the weighted sum of the column at rows, in all 16 lanes, to the
// elements at sum, sum+d, ….
//
//go:noescape
func panelSum1(sum *float64, p, rows *float32, n, d, stride int)
