package roofline

import (
	"encoding/binary"
	"runtime"
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
	runtime.KeepAlive(a | b | c | d) // or the compiler would leave the loop out
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
	runtime.KeepAlive(a + b + c + d + e + f + g + h)
	return 8 * turns
}
