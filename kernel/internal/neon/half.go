//go:build arm64 && !purego

package neon

import "engram/kernel/internal/purego"

// halves is how many numbers the assembly of this file takes at a time.
const halves = 16

// DecodeF16 is kernel.DecodeF16.
func DecodeF16(dst []float32, src []uint16) {
	whole := len(dst) &^ (halves - 1)
	if whole > 0 {
		decodeF16(&dst[0], &src[0], whole)
	}
	purego.DecodeF16(dst[whole:], src[whole:])
}

// DecodeBF16 is kernel.DecodeBF16.
func DecodeBF16(dst []float32, src []uint16) {
	whole := len(dst) &^ (halves - 1)
	if whole > 0 {
		decodeBF16(&dst[0], &src[0], whole)
	}
	purego.DecodeBF16(dst[whole:], src[whole:])
}

// EncodeF16 is kernel.EncodeF16.
func EncodeF16(dst []uint16, src []float32) {
	whole := len(src) &^ (halves - 1)
	if whole > 0 {
		encodeF16(&dst[0], &src[0], whole)
	}
	purego.EncodeF16(dst[whole:], src[whole:])
}

// EncodeBF16 is kernel.EncodeBF16.
func EncodeBF16(dst []uint16, src []float32) {
	whole := len(src) &^ (halves - 1)
	if whole > 0 {
		encodeBF16(&dst[0], &src[0], whole)
	}
	purego.EncodeBF16(dst[whole:], src[whole:])
}

//go:noescape
func decodeF16(dst *float32, src *uint16, n int)

//go:noescape
func decodeBF16(dst *float32, src *uint16, n int)

//go:noescape
func encodeF16(dst *uint16, src *float32, n int)

//go:noescape
func encodeBF16(dst *uint16, src *float32, n int)
