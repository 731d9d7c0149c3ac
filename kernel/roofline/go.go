package roofline

import "encoding/binary"

// sinks keep the compiler from leaving the loops out.
var (
	byteSink  uint64
	floatSink float32
)

func readGo(p []byte) {
	var a, b, c, d uint64
	for len(p) >= 512 {
		block := p[:512]
		for i := 0; i < 512; i += 32 {
			a |= binary.LittleEndian.Uint64(block[i:])
			b |= binary.LittleEndian.Uint64(block[i+8:])
			c |= binary.LittleEndian.Uint64(block[i+16:])
			d |= binary.LittleEndian.Uint64(block[i+24:])
		}
		p = p[512:]
	}
	byteSink = a | b | c | d
}

func multiplyAddGo(turns int) int {
	var a, b, c, d, e, f, g, h float32
	x, y := float32(turns&1), float32(turns&2)
	for range turns {
		a += x * y
		b += x * y
		c += x * y
		d += x * y
		e += x * y
		f += x * y
		g += x * y
		h += x * y
	}
	floatSink = a + b + c + d + e + f + g + h
	return 8 * turns
}
