package kernel

import (
	"math"

	"engram/kernel/internal/avx2"
	"engram/kernel/internal/avx512"
	"engram/kernel/internal/neon"
	"engram/kernel/internal/purego"
)

const (
	// CodeUnit is what rows of codes and queries for them are whole multiples of.
	CodeUnit = 32
	// MaxCode is the greatest magnitude of a row's code.
	MaxCode = 127
	// mostQueryCode bounds the magnitude of a query's code: a sum of two products
	// stays far from the end of int32, and a code keeps 13 bits.
	mostQueryCode = 8191
	// leastScale is the least scale but 0: 16 significant bits above the smallest
	// float32.
	leastScale = 0x1p-134
	// mostQuantised is the greatest magnitude that codes can stand for: a scale of
	// 2¹²⁰ times the greatest code.
	mostQuantised = MaxCode * 0x1p120
)

// Quantise writes a row's codes, k/scale rounded to the nearest integer, of ties
// the even one, and returns the scale and the row's error ‖row − scale·codes‖,
// rounded up. All are the same on every instruction set.
//
// The scale is the greatest magnitude over MaxCode, rounded up to 16 significant
// bits and at least 2⁻¹³⁴, so that scale·code is exact for every code (16 bits and 7
// are fewer than 24), and a row that Decode gave has the very same scale and codes,
// and error 0. A row that vanishes beside the least scale has scale 0 and codes 0.
//
// A row with a component that isn't finite, or beyond 127·2¹²⁰, has scale 0, codes 0
// and an infinite error: nothing is known of it.
func Quantise(codes []int8, row []float32) (scale, err float32) {
	checkLen("codes", len(codes), len(row), 1)
	if len(row) == 0 {
		return 0, 0
	}
	codes = codes[:len(row)]
	most := math.Float32frombits(largest(row))
	if !(most <= mostQuantised) {
		clear(codes)
		return 0, float32(math.Inf(1))
	}
	scale = float32(max(leastScale, roundUp16(float64(most)/MaxCode)))
	if most <= scale/2 {
		clear(codes)
		return 0, roundUp(math.Sqrt(sumSquares(row)))
	}
	// What a code leaves of its component is exact: the two differ by at most half
	// the scale, so one is at most twice the other (Sterbenz), unless the code is 0.
	const chunk = 512
	var left [chunk]float32
	sum := 0.0
	for k := 0; k < len(row); k += chunk {
		part := row[k:min(k+chunk, len(row))]
		quantise(codes[k:], left[:len(part)], part, scale)
		sum += sumSquares(left[:len(part)])
	}
	return scale, roundUp(math.Sqrt(sum))
}

func sumSquares(v []float32) float64 {
	var sum [1]float64
	SumSquares(sum[:], v, len(v), len(v))
	return sum[0]
}

// roundUp gives a float32 that is at least x, which may lack 1e-12 of itself.
func roundUp(x float64) float32 {
	x *= 1 + 1e-12
	f := float32(x)
	if float64(f) < x {
		f = math.Nextafter32(f, float32(math.Inf(1)))
	}
	return f
}

// roundUp16 rounds up to 16 significant bits.
func roundUp16(x float64) float64 {
	const dropped = 1<<(52-15) - 1
	b := math.Float64bits(x)
	if b&dropped != 0 {
		b = (b | dropped) + 1
	}
	return math.Float64frombits(b)
}

// QueryCodes is how many codes a query of d components has, with the zeros at its
// end: the next multiple of CodeUnit.
func QueryCodes(d int) int { return (d + CodeUnit - 1) &^ (CodeUnit - 1) }

// QuantiseQuery writes a query's codes, QueryCodes of them, and returns their scale
// and a bound of the query's error ‖query − scale·codes‖. A code is at most so
// large, depending on the number of components, that no CodeDot leaves int32. A
// query with a component that isn't finite has scale 0, codes 0 and an infinite
// error.
func QuantiseQuery(codes []int16, query []float32) (scale float32, err float64) {
	d := len(query)
	checkLen("codes", len(codes), QueryCodes(d), 1)
	clear(codes[:QueryCodes(d)])
	if d == 0 {
		return 0, 0
	}
	most := math.Float32frombits(largest(query))
	if !(most <= math.MaxFloat32) {
		return 0, math.Inf(1)
	}
	limit := min(mostQueryCode, (1<<31-1)/(MaxCode*d))
	scale = float32(float64(most) / float64(limit))
	if scale < 0x1p-120 {
		// A denormal scale has too few bits to divide by.
		return 0, math.Sqrt(sumSquares(query)) * (1 + 1e-12)
	}
	inverse := 1 / float64(scale)
	sum := 0.0
	for k, x := range query {
		c := math.RoundToEven(float64(x) * inverse)
		codes[k] = int16(c)
		e := float64(x) - c*float64(scale)
		sum += e * e
	}
	return scale, math.Sqrt(sum) * (1 + 1e-9)
}

// Decode writes scale·code of a row's first len(dst) codes, which is exact for a
// scale that Quantise gave.
func Decode(dst []float32, codes []int8, scale float32) {
	checkLen("codes", len(codes), len(dst), 1)
	if len(dst) == 0 {
		return
	}
	switch active {
	case setAVX512:
		avx512.Decode(dst, codes, scale)
	case setAVX2:
		avx2.Decode(dst, codes, scale)
	case setNEON:
		neon.Decode(dst, codes, scale)
	default:
		purego.Decode(dst, codes, scale)
	}
}

// largest gives the bits of the greatest magnitude of a row, which is not empty.
func largest(row []float32) uint32 {
	switch active {
	case setAVX512:
		return avx512.Largest(row)
	case setAVX2:
		return avx2.Largest(row)
	case setNEON:
		return neon.Largest(row)
	default:
		return purego.Largest(row)
	}
}

// quantise writes the codes of a part of a row, and what they leave of it.
func quantise(codes []int8, left, row []float32, scale float32) {
	switch active {
	case setAVX512:
		avx512.Quantise(codes, left, row, scale)
	case setAVX2:
		avx2.Quantise(codes, left, row, scale)
	case setNEON:
		neon.Quantise(codes, left, row, scale)
	default:
		purego.Quantise(codes, left, row, scale)
	}
}
