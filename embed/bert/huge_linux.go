package bert

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// adviseHuge asks for huge pages where whole ones lie within s. A system without them
// serves as well, slower.
func adviseHuge(s []float32) {
	const page = 2 << 20
	b := unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(s))), 4*len(s))
	skip := int(-uintptr(unsafe.Pointer(&b[0])) % page)
	if whole := (len(b) - skip) / page * page; whole > 0 {
		_ = unix.Madvise(b[skip:skip+whole], unix.MADV_HUGEPAGE)
	}
}
