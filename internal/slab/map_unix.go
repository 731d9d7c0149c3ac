//go:build unix

package slab

import (
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mapMemory maps n bytes of zeroes. With huge it starts at a multiple of
// arenaSize and asks for huge pages, which spare a scan most of its misses in
// the translation cache.
func mapMemory(n int, huge bool) ([]byte, error) {
	span := uintptr(n)
	if huge {
		span += arenaSize // room to align; what's over is given back
	}
	at, err := unix.MmapPtr(-1, 0, nil, span, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return nil, err
	}
	if !huge {
		return unsafe.Slice((*byte)(at), n), nil
	}
	before := -uintptr(at) % arenaSize
	start := unsafe.Add(at, before)
	after := span - before - uintptr(n)
	if before > 0 {
		must(unix.MunmapPtr(at, before))
	}
	if after > 0 {
		must(unix.MunmapPtr(unsafe.Add(start, n), after))
	}
	b := unsafe.Slice((*byte)(start), n)
	if runtime.GOOS == "linux" {
		const hugepage = 14           // MADV_HUGEPAGE, which other systems' packages lack
		_ = unix.Madvise(b, hugepage) // a kernel without huge pages serves as well, slower
	}
	return b, nil
}

func unmap(b []byte) {
	must(unix.MunmapPtr(unsafe.Pointer(unsafe.SliceData(b)), uintptr(len(b))))
}

// retire gives b's memory back and makes any use of its address fault.
func retire(b []byte) {
	must(unix.Madvise(b, unix.MADV_DONTNEED))
	must(unix.Mprotect(b, unix.PROT_NONE))
}

// must: these calls fail only where the arguments are wrong or the system has
// no room for one more mapping, and memory in a half-known state is no ground
// to go on from.
func must(err error) {
	if err != nil {
		panic("slab: " + err.Error())
	}
}
