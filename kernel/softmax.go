package kernel

import (
	"fmt"
	"math"

	"engram/kernel/internal/avx2"
	"engram/kernel/internal/avx512"
	"engram/kernel/internal/neon"
	"engram/kernel/internal/purego"
)

// Max is the greatest of s, −Inf if s is empty. It is for scores without NaN.
func Max(s []float32) float32 {
	if len(s) == 0 {
		return float32(math.Inf(-1))
	}
	switch active {
	case setAVX512:
		return avx512.Max(s)
	case setAVX2:
		return avx2.Max(s)
	case setNEON:
		return neon.Max(s)
	default:
		return purego.Max(s)
	}
}

// Exp sets p[i] to the exponential of the shift scale·s[i] − m, and returns the
// sums of the exponentials and of exponential times shift.
//
// The shift is a float64, within 2⁻⁵²·(|scale·s[i]| + |m|) of exact, so scores of
// ±1e4 lose nothing that float32 could show; the exponential of that shift has a
// relative error below 2⁻²⁸ before it is rounded to float32. The sums are of what
// was there before that rounding. An exponential below 2⁻¹²⁶, float32's least normal
// number, counts as zero, in p and in both sums (shifts below −87.34, those of
// s[i] = −Inf among them, whatever m is): weighted sums by such weights would take up to
// a hundred times as long. Shifts above 88 overflow to +Inf in p.
//
// There are as many p as s, and they may be the same slice.
func Exp(p, s []float32, scale, m float64) (sum, sumShift float64) {
	if len(p) != len(s) {
		panic(fmt.Sprintf("kernel: %d exponentials of %d scores", len(p), len(s)))
	}
	if len(s) == 0 {
		return 0, 0
	}
	switch active {
	case setAVX512:
		return avx512.Exp(p, s, scale, m)
	case setAVX2:
		return avx2.Exp(p, s, scale, m)
	case setNEON:
		return neon.Exp(p, s, scale, m)
	default:
		return purego.Exp(p, s, scale, m)
	}
}

// WeightedSum adds Σᵢ w[i]·rowᵢ to sum: sum has d elements, w has n. It adds up at
// most 32 rows in float32, then in float64; its error in each component is at most
// γ_32·Σ|w[i]·rowᵢ| of that component, besides float64's own.
func WeightedSum(sum []float64, w, rows []float32, stride int) {
	checkRows(rows, stride, len(w), len(sum))
	if len(sum) == 0 || len(w) == 0 {
		return
	}
	switch active {
	case setAVX512:
		avx512.WeightedSum(sum, w, rows, stride)
	case setAVX2:
		avx2.WeightedSum(sum, w, rows, stride)
	case setNEON:
		neon.WeightedSum(sum, w, rows, stride)
	default:
		purego.WeightedSum(sum, w, rows, stride)
	}
}
