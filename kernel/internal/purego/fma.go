package purego

import "math"

const (
	// dropped are the bits of a float64 that a normal float32 has no room for;
	// tie is their pattern halfway between two float32s.
	dropped = 1<<29 - 1
	tie     = 1 << 28
	// smallestNormal is the least normal float32. Below it a float32 keeps
	// fewer bits, and the tie lies elsewhere.
	smallestNormal = 0x1p-126
)

// fma returns x·y + z rounded once to float32.
//
// The product of two float32s is exact in float64, so only the sum is rounded
// before the conversion rounds again. Those two roundings differ from one only
// where the first lands on a tie of the second. There the sum is rounded to odd
// instead, which keeps a trace of what was lost: Boldo & Melquiond, Emulation of
// FMA and correctly rounded sums (2008), theorem 2.
func fma(x, y, z float32) float32 {
	p := float64(float64(x) * float64(y))
	s := float64(p + float64(z))
	if math.Float64bits(s)&dropped != tie && (s >= smallestNormal || s <= -smallestNormal || s == 0) {
		return float32(s)
	}
	return float32(roundToOdd(s, p, float64(z)))
}

// roundToOdd returns the sum of a and b, of which s is the nearest float64,
// rounded to odd: where it is inexact, to the neighbour whose last bit is set.
func roundToOdd(s, a, b float64) float64 {
	// TwoSum (Knuth): s + lost is the exact sum. NaN and Inf leave lost NaN,
	// which neither comparison takes.
	t := s - a
	lost := (a - (s - t)) + (b - t)
	bits := math.Float64bits(s)
	if bits&1 == 0 && (lost > 0 || lost < 0) {
		if (lost > 0) == (s > 0) {
			bits++
		} else {
			bits--
		}
	}
	return math.Float64frombits(bits)
}
