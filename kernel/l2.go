package kernel

import (
	"engram/kernel/internal/avx2"
	"engram/kernel/internal/avx512"
	"engram/kernel/internal/neon"
	"engram/kernel/internal/purego"
)

// L2 sets dst[i] to −½·Σₖ(qₖ − rowₖ)² of row i, in canonical arithmetic: each
// difference is rounded to float32 and its square added to its partial sum by one
// fused multiply-add; the total is multiplied by −½ before +0 is added. Its error
// is at most γ_{⌈d/64⌉+8} of the exact value.
func L2(dst, q, rows []float32, stride int) {
	checkRows(rows, stride, len(dst), len(q))
	if len(q) == 0 {
		clear(dst)
		return
	}
	if len(dst) == 0 {
		return
	}
	switch active {
	case setAVX512:
		avx512.L2(dst, q, rows, stride)
	case setAVX2:
		avx2.L2(dst, q, rows, stride)
	case setNEON:
		neon.L2(dst, q, rows, stride)
	default:
		purego.L2(dst, q, rows, stride)
	}
}

// L2At sets dst[i] to what L2 gives for row at[i], as DotAt does for Dot.
func L2At(dst, q, rows []float32, stride int, at []uint32) {
	checkAt(dst, rows, stride, len(q), at)
	if len(q) == 0 {
		clear(dst)
		return
	}
	if len(dst) == 0 {
		return
	}
	switch active {
	case setAVX512:
		avx512.L2At(dst, q, rows, stride, at)
	case setAVX2:
		avx2.L2At(dst, q, rows, stride, at)
	case setNEON:
		neon.L2At(dst, q, rows, stride, at)
	default:
		purego.L2At(dst, q, rows, stride, at)
	}
}
