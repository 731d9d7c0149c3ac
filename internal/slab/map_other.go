//go:build !unix

package slab

import "sync"

// Where there is no mmap, blocks come from the Go heap as plain bytes; held
// keeps the whole allocation alive, and the collector doesn't look inside.
var (
	heldMu sync.Mutex
	held   = make(map[uintptr][]byte)
)

func mapMemory(n int, huge bool) ([]byte, error) {
	align := uintptr(unit)
	if huge {
		align = arenaSize
	}
	whole := make([]byte, n+int(align))
	b := whole[-address(whole)%align:][:n:n]
	heldMu.Lock()
	held[address(b)] = whole
	heldMu.Unlock()
	return b, nil
}

func unmap(b []byte) {
	heldMu.Lock()
	delete(held, address(b))
	heldMu.Unlock()
}

// retire can't make memory fault here: it fills it with NaNs that no test
// could take for data, and keeps it.
func retire(b []byte) {
	for i := range b {
		b[i] = 0xff
	}
}
