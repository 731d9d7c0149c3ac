//go:build arm64 && !purego

package neon

// Dot is kernel.Dot.
func Dot(dst, q, rows []float32, stride int) {
	tail := tailOf(q)
	dot(&dst[0], &q[0], &rows[0], len(dst), len(q), stride, nil, &tail)
}

// DotAt is kernel.DotAt.
func DotAt(dst, q, rows []float32, stride int, at []uint32) {
	tail := tailOf(q)
	dot(&dst[0], &q[0], &rows[0], len(dst), len(q), stride, &at[0], &tail)
}

// L2 is kernel.L2.
func L2(dst, q, rows []float32, stride int) {
	tail := tailOf(q)
	l2(&dst[0], &q[0], &rows[0], len(dst), len(q), stride, nil, &tail)
}

// L2At is kernel.L2At.
func L2At(dst, q, rows []float32, stride int, at []uint32) {
	tail := tailOf(q)
	l2(&dst[0], &q[0], &rows[0], len(dst), len(q), stride, &at[0], &tail)
}

// SumSquares is kernel.SumSquares.
func SumSquares(dst []float64, rows []float32, stride, d int) {
	var tail [16]float32
	sumSquares(&dst[0], &rows[0], len(dst), d, stride, &tail)
}

// tailOf gives the components of q after the last whole 16, padded with zeros to
// 16, and as many zeros again, where the assembly keeps the tail of a row.
func tailOf(q []float32) (tail [32]float32) {
	copy(tail[:], q[len(q)&^15:])
	return tail
}

// dot scores n rows: those that at numbers, or the first if it is nil.
//
//go:noescape
func dot(dst, q, rows *float32, n, d, stride int, at *uint32, tail *[32]float32)

// l2 is as dot.
//
//go:noescape
func l2(dst, q, rows *float32, n, d, stride int, at *uint32, tail *[32]float32)

//go:noescape
func sumSquares(dst *float64, rows *float32, n, d, stride int, tail *[16]float32)
