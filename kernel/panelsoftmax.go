package kernel

import (
	"engram/kernel/internal/avx2"
	"engram/kernel/internal/avx512"
	"engram/kernel/internal/neon"
	"engram/kernel/internal/purego"
)

// PanelMax sets max[j] to the greatest of itself and scores[i*W+j] of all n rows.
// It is for scores without NaN.
func PanelMax(max, scores []float32, n int) {
	checkLen("max", len(max), PanelWidth(), 1)
	checkLen("scores", len(scores), n, PanelWidth())
	if n == 0 {
		return
	}
	switch active {
	case setAVX512:
		avx512.PanelMax(max, scores, n)
	case setAVX2:
		avx2.PanelMax(max, scores, n)
	case setNEON:
		neon.PanelMax(max, scores, n)
	default:
		purego.PanelMax(max, scores, n)
	}
}

// PanelExp sets p[i*W+j] to the exponential of the shift scale·scores[i*W+j] − m[j], and
// adds lane j's sums of the exponentials and of exponential times shift to sum[j] and
// sumShift[j]. m[j] is at least the lane's greatest scale·score − 64.
//
// The shift is as exact as Exp's. p is within 5u of its exponential e, the sums are within
// γ_12·Σe and γ_14·Σe·(1+|shift|). As for Exp, exponentials below 2⁻¹²⁶ count as zero in
// all three, those of scores of −Inf among them whatever m is; here those that are less
// than 2⁻¹⁵ of itself above it may, too.
//
// p and scores may be the same slice.
func PanelExp(p, scores []float32, n int, scale float64, m, sum, sumShift []float64) {
	checkLen("p", len(p), n, PanelWidth())
	checkLen("scores", len(scores), n, PanelWidth())
	checkLen("m", len(m), PanelWidth(), 1)
	checkLen("sum", len(sum), PanelWidth(), 1)
	checkLen("sumShift", len(sumShift), PanelWidth(), 1)
	if n == 0 {
		return
	}
	switch active {
	case setAVX512:
		avx512.PanelExp(p, scores, n, scale, m, sum, sumShift)
	case setAVX2:
		avx2.PanelExp(p, scores, n, scale, m, sum, sumShift)
	case setNEON:
		neon.PanelExp(p, scores, n, scale, m, sum, sumShift)
	default:
		purego.PanelExp(p, scores, n, scale, m, sum, sumShift)
	}
}

// PanelWeightedSum adds Σᵢ p[i*W+j]·rowᵢ[k] to sum[j*d+k], for all W lanes. It adds
// up at most 32 rows in float32, at most 16 such sums in float32 again, then in
// float64; its error is at most γ_48·Σᵢ|p[i*W+j]·rowᵢ[k]|, besides float64's own.
//
// It prefetches next, as much as it has time for, and returns the rest.
func PanelWeightedSum(sum []float64, p, rows []float32, stride, n, d int, next []float32) []float32 {
	checkRows(rows, stride, n, d)
	checkLen("sum", len(sum), d, PanelWidth())
	checkLen("p", len(p), n, PanelWidth())
	if n == 0 || d == 0 {
		return next
	}
	switch active {
	case setAVX512:
		return avx512.PanelWeightedSum(sum, p, rows, stride, n, d, next)
	case setAVX2:
		return avx2.PanelWeightedSum(sum, p, rows, stride, n, d, next)
	case setNEON:
		neon.PanelWeightedSum(sum, p, rows, stride, n, d)
	default:
		purego.PanelWeightedSum(sum, p, rows, stride, n, d)
	}
	return next
}
