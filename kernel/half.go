package kernel

import (
	"math"

	"engram/kernel/internal/avx2"
	"engram/kernel/internal/avx512"
	"engram/kernel/internal/neon"
	"engram/kernel/internal/purego"
)

// MostF16 is the greatest finite number of IEEE 754's binary16, and LeastF16 the least
// one above zero that has all of its 11 significant bits.
const (
	MostF16  = 65504
	LeastF16 = 0x1p-14
)

// DecodeF16 writes the values of binary16 numbers, which is exact. A NaN stays one.
func DecodeF16(dst []float32, src []uint16) {
	checkLen("src", len(src), len(dst), 1)
	if len(dst) == 0 {
		return
	}
	switch active {
	case setAVX512:
		avx512.DecodeF16(dst, src)
	case setAVX2:
		avx2.DecodeF16(dst, src)
	case setNEON:
		neon.DecodeF16(dst, src)
	default:
		purego.DecodeF16(dst, src)
	}
}

// DecodeBF16 writes the values of bfloat16 numbers, which is exact: they are the upper
// halves of float32s.
func DecodeBF16(dst []float32, src []uint16) {
	checkLen("src", len(src), len(dst), 1)
	if len(dst) == 0 {
		return
	}
	switch active {
	case setAVX512:
		avx512.DecodeBF16(dst, src)
	case setAVX2:
		avx2.DecodeBF16(dst, src)
	case setNEON:
		neon.DecodeBF16(dst, src)
	default:
		purego.DecodeBF16(dst, src)
	}
}

// EncodeF16 rounds to binary16, to nearest and of ties to even: by at most 2⁻¹¹ of the
// result's magnitude, or 2⁻²⁵ below LeastF16. From 65520 on, halfway beyond MostF16, it
// gives an infinity; a NaN stays one.
func EncodeF16(dst []uint16, src []float32) {
	checkLen("dst", len(dst), len(src), 1)
	if len(src) == 0 {
		return
	}
	switch active {
	case setAVX512:
		avx512.EncodeF16(dst, src)
	case setAVX2:
		avx2.EncodeF16(dst, src)
	case setNEON:
		neon.EncodeF16(dst, src)
	default:
		purego.EncodeF16(dst, src)
	}
}

// EncodeBF16 rounds to bfloat16, to nearest and of ties to even: by at most 2⁻⁸ of the
// result's magnitude, or 2⁻¹³⁴ below 2⁻¹²⁶. From (2−2⁻⁸)·2¹²⁷ on it gives an infinity; a
// NaN stays one.
func EncodeBF16(dst []uint16, src []float32) {
	checkLen("dst", len(dst), len(src), 1)
	if len(src) == 0 {
		return
	}
	switch active {
	case setAVX512:
		avx512.EncodeBF16(dst, src)
	case setAVX2:
		avx2.EncodeBF16(dst, src)
	case setNEON:
		neon.EncodeBF16(dst, src)
	default:
		purego.EncodeBF16(dst, src)
	}
}

// Largest is the greatest magnitude in a row, a NaN if it has one, 0 if it is empty.
func Largest(row []float32) float32 {
	if len(row) == 0 {
		return 0
	}
	return math.Float32frombits(largest(row))
}
