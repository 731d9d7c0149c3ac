package purego

import "math"

// DecodeF16 is kernel.DecodeF16.
func DecodeF16(dst []float32, src []uint16) {
	src = src[:len(dst)]
	for i, h := range src {
		sign, m := uint32(h&0x8000)<<16, uint32(h&0x7fff)
		switch {
		case m >= 0x7c00: // infinite, or NaN, which becomes a quiet one
			m = 0x7f800000 | m<<13
			if m > 0x7f800000 {
				m |= 0x400000
			}
		case m >= 0x0400:
			m = m<<13 + (127-15)<<23
		default:
			m = math.Float32bits(float32(m) * 0x1p-24)
		}
		dst[i] = math.Float32frombits(sign | m)
	}
}

// DecodeBF16 is kernel.DecodeBF16.
func DecodeBF16(dst []float32, src []uint16) {
	src = src[:len(dst)]
	for i, h := range src {
		dst[i] = math.Float32frombits(uint32(h) << 16)
	}
}

// EncodeF16 is kernel.EncodeF16.
func EncodeF16(dst []uint16, src []float32) {
	dst = dst[:len(src)]
	for i, x := range src {
		b := math.Float32bits(x)
		sign, m := uint16(b>>16&0x8000), b&^(1<<31)
		switch {
		case m > 0x7f800000: // a NaN, made quiet, with what fits of its payload
			m = 0x7e00 | m>>13&0x3ff
		case m >= 0x477ff000: // halfway beyond the greatest
			m = 0x7c00
		case m >= 0x38800000:
			m = (m + 0xfff + m>>13&1 - (127-15)<<23) >> 13
		default: // the sum's last place is 2⁻²⁴, and rounds to even
			m = math.Float32bits(math.Float32frombits(m)+0.5) - math.Float32bits(0.5)
		}
		dst[i] = sign | uint16(m)
	}
}

// EncodeBF16 is kernel.EncodeBF16.
func EncodeBF16(dst []uint16, src []float32) {
	dst = dst[:len(src)]
	for i, x := range src {
		b := math.Float32bits(x)
		if x != x {
			dst[i] = uint16(b>>16) | 0x40 // quiet
			continue
		}
		dst[i] = uint16((b + 0x7fff + b>>16&1) >> 16)
	}
}
