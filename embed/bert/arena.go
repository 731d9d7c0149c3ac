package bert

import "unsafe"

// An arena gives weights places one after the other in few large slices, which the
// system is asked to back with huge pages: one short text reads every weight once, and
// with pages of 4 KiB the look-ups of their addresses would take as long as the reading.
type arena struct{ free []float32 }

// chunk is the float32s of a slice: 32 MiB.
const chunk = 8 << 20

// take gives n zeros, whose first lies at the start of a cache line.
func (a *arena) take(n int) []float32 {
	const line = 64 / 4
	n = (n + line - 1) / line * line
	if n > len(a.free) {
		a.free = make([]float32, max(n, chunk)+line)
		skip := -uintptr(unsafe.Pointer(&a.free[0])) % 64 / 4
		a.free = a.free[skip:]
		adviseHuge(a.free)
	}
	s := a.free[:n:n]
	a.free = a.free[n:]
	return s
}
