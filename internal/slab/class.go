package slab

import "math/bits"

// Size classes: every multiple of 64 bytes up to 4 KiB, so that small
// namespaces waste next to nothing, then eight a doubling up to 1 MiB. Larger
// blocks are whole pages.
const (
	unit      = 64
	fineUnits = 64 // classes below fineLimit, one a unit
	fineLimit = fineUnits * unit
	fineBits  = 12 // log2(fineLimit)
	maxClass  = 1 << 20
	classes   = fineUnits + 8*(20-fineBits)
)

// ClassSize returns how many bytes a block of n bytes is charged.
func ClassSize(n int) int {
	if n > maxClass {
		return roundUp(n, pageSize)
	}
	return sizeOf(classOf(n))
}

// classOf returns the smallest class that holds n bytes, 0 < n ≤ maxClass.
func classOf(n int) int {
	if n <= fineLimit {
		return (n+unit-1)/unit - 1
	}
	doubling := bits.Len(uint(n-1)) - 1 // 2^doubling < n ≤ 2^(doubling+1)
	eighth := (n - 1 - 1<<doubling) >> (doubling - 3)
	return fineUnits + 8*(doubling-fineBits) + eighth
}

// sizeOf returns the bytes of a block of class c.
func sizeOf(c int) int {
	if c < fineUnits {
		return (c + 1) * unit
	}
	doubling := fineBits + (c-fineUnits)/8
	return 1<<doubling + ((c-fineUnits)%8+1)<<(doubling-3)
}

// spanPages is, per class, the pages of its spans: the fewest that leave at
// most a sixteenth unused.
var spanPages = func() (pages [classes]uint8) {
	for c := range pages {
		n := 1
		for n*pageSize < sizeOf(c) || n*pageSize%sizeOf(c) > n*pageSize/16 {
			n++
		}
		pages[c] = uint8(n)
	}
	return pages
}()
