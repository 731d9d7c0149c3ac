package kernel

import (
	"engram/kernel/internal/avx2"
	"engram/kernel/internal/avx512"
	"engram/kernel/internal/neon"
	"engram/kernel/internal/purego"
)

// Dot sets dst[i] to the inner product of q and row i, in canonical arithmetic:
// dst has n elements, q has d. Its error is at most γ_{⌈d/64⌉+6}·Σ|qₖ·rowₖ|.
func Dot(dst, q, rows []float32, stride int) {
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
		avx512.Dot(dst, q, rows, stride)
	case setAVX2:
		avx2.Dot(dst, q, rows, stride)
	case setNEON:
		neon.Dot(dst, q, rows, stride)
	default:
		purego.Dot(dst, q, rows, stride)
	}
}

// DotAt sets dst[i] to what Dot gives for row at[i]. There are as many results as
// rows named; a row may be named more than once.
func DotAt(dst, q, rows []float32, stride int, at []uint32) {
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
		avx512.DotAt(dst, q, rows, stride, at)
	case setAVX2:
		avx2.DotAt(dst, q, rows, stride, at)
	case setNEON:
		neon.DotAt(dst, q, rows, stride, at)
	default:
		purego.DotAt(dst, q, rows, stride, at)
	}
}
