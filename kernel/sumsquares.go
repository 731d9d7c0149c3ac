package kernel

import (
	"engram/kernel/internal/avx2"
	"engram/kernel/internal/avx512"
	"engram/kernel/internal/neon"
	"engram/kernel/internal/purego"
)

// SumSquares sets dst[i] to Σₖ rowₖ² of row i, in float64 and to the same bits on
// every instruction set: 16 partial sums, the j-th taking components j, j+16, … in
// order, then sums of halves. Each square is exact, so the inverse norm
// float32(1/√dst[i]) has no error to speak of.
func SumSquares(dst []float64, rows []float32, stride, d int) {
	checkRows(rows, stride, len(dst), d)
	if d == 0 {
		clear(dst)
		return
	}
	if len(dst) == 0 {
		return
	}
	switch active {
	case setAVX512:
		avx512.SumSquares(dst, rows, stride, d)
	case setAVX2:
		avx2.SumSquares(dst, rows, stride, d)
	case setNEON:
		neon.SumSquares(dst, rows, stride, d)
	default:
		purego.SumSquares(dst, rows, stride, d)
	}
}
