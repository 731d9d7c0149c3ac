package purego

import "math"

// Max is kernel.Max.
func Max(s []float32) float32 {
	m := float32(math.Inf(-1))
	for _, x := range s {
		if x > m {
			m = x
		}
	}
	return m
}

// Exp is kernel.Exp.
func Exp(p, s []float32, scale, m float64) (sum, sumShift float64) {
	p = p[:len(s)]
	for i, x := range s {
		shift, e := exp(x, scale, m)
		p[i] = float32(e)
		sum += e
		sumShift += e * shift
	}
	return sum, sumShift
}

// The exponential of a shift t: with n = round(t·log₂e) and r = t − n·ln2, so
// |r| ≤ ln2/2, it is 2ⁿ·eʳ, eʳ by the polynomial Poly. All in float64, where t
// needs no tail; rounding to float32 is the last step.
const (
	// Least is −126·ln2, the logarithm of float32's least normal number. Up to it the
	// exponential counts as zero, for a processor multiplies by numbers below the normal
	// ones up to a hundred times as slowly as by others.
	Least = -87.336544750553108986
	// Most is above where it rounds to an infinite float32.
	Most = 100
	// Log2E is log₂e and Ln2 is ln 2.
	Log2E = math.Log2E
	Ln2   = math.Ln2
	// Round is 1.5·2⁵²: adding it leaves the nearest integer in the low bits.
	Round = 0x1.8p52
)

// Poly are the coefficients, constant term first, of the polynomial that has the
// least relative error to eʳ on ±ln2/2 among those of degree 6 that begin with
// 1 + r (found by Remez' algorithm): 3.1e-9, or 2⁻²⁸·³.
var Poly = [...]float64{
	1, 1, 0x1.fffffb9b02eb5p-2, 0x1.555491680e24ap-3,
	0x1.5558f11fe442ep-5, 0x1.1239d38475584p-7, 0x1.6a244cd6f48dfp-10,
}

// exp returns the shift scale·s − m and its exponential. Where that counts as zero
// (that of s = −Inf does, whatever m is), both are 0.
func exp(s float32, scale, m float64) (shift, e float64) {
	shift = scale*float64(s) - m
	if !(shift > Least) {
		return 0, 0
	}
	t := min(shift, Most)
	z := float64(t*Log2E) + Round
	n := z - Round
	r := t - n*Ln2
	e = Poly[len(Poly)-1]
	for i := len(Poly) - 2; i >= 0; i-- {
		e = e*r + Poly[i]
	}
	// The integer in z's low bits goes to the exponent.
	return shift, math.Float64frombits(math.Float64bits(e) + math.Float64bits(z)<<52)
}

// WeightedSum is kernel.WeightedSum.
func WeightedSum(sum []float64, w, rows []float32, stride int) {
	const columns = 64
	for k := 0; k < len(sum); k += columns {
		out := sum[k:min(k+columns, len(sum))]
		for from := 0; from < len(w); from += group {
			var s [columns]float32
			for i := from; i < min(from+group, len(w)); i++ {
				for c, x := range rows[i*stride+k:][:len(out)] {
					s[c] += w[i] * x
				}
			}
			for c := range out {
				out[c] += float64(s[c])
			}
		}
	}
}
