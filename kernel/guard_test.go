//go:build unix

package kernel

import (
	"os"
	"strconv"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

const slotBytes = 4 << 20

// slack is how many bytes lie between the end of a slice and the page that can't
// be touched: none, unless ENGRAM_KERNEL_SLACK says so, for an emulator that
// loads a masked vector whole where a processor doesn't (QEMU 7.2 with AVX2).
var slack = func() int {
	v := os.Getenv("ENGRAM_KERNEL_SLACK")
	if v == "" {
		return 0
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < 0 || n%8 != 0 {
		panic("ENGRAM_KERNEL_SLACK=" + v + ": a multiple of 8 bytes is wanted")
	}
	return n
}()

// slots are mappings between two pages that can't be touched, so an access past
// either end of a slice placed there faults. Each argument of a call has its own.
var slots = sync.OnceValue(func() (s [8][]byte) {
	page := unix.Getpagesize()
	for i := range s {
		m, err := unix.Mmap(-1, 0, slotBytes+2*page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
		if err != nil {
			panic(err)
		}
		for _, edge := range [][]byte{m[:page], m[page+slotBytes:]} {
			if err := unix.Mprotect(edge, unix.PROT_NONE); err != nil {
				panic(err)
			}
		}
		s[i] = m[page : page+slotBytes]
	}
	return s
})

// place gives n elements at the very end of a slot, or at its very start. They
// hold what was last written there.
func place[T any](slot, n int, end bool) []T {
	var zero T
	bytes := n * int(unsafe.Sizeof(zero))
	b := slots()[slot]
	if end {
		b = b[slotBytes-slack-bytes:]
	}
	if n == 0 {
		return []T{}
	}
	return unsafe.Slice((*T)(unsafe.Pointer(&b[0])), n)
}
