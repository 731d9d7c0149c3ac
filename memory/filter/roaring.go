package filter

import (
	"fmt"

	"github.com/RoaringBitmap/roaring/v2"
)

// minDense is the fewest rows that are worth opening a bitmap for.
const minDense = 32

// freeze appends rows, ascending and distinct, as a serialised roaring bitmap if that is
// smaller than the rows as postings with the bitmap's directory entry counted in; size is
// 0 where it isn't. scratch is MaxRows bits, zero before and after.
func freeze(b []byte, rows []uint16, scratch []uint64) (out []byte, size int) {
	if len(rows) < minDense || !smaller(rows) {
		return b, 0
	}
	for _, row := range rows {
		scratch[row/64] |= 1 << (row % 64)
	}
	rb := roaring.FromDense(scratch, false)
	rb.RunOptimize()
	frozen, err := rb.ToBytes()
	if err != nil {
		panic(fmt.Sprintf("writing a bitmap to memory: %v", err)) // no writer that could fail
	}
	for _, row := range rows {
		scratch[row/64] = 0
	}
	return append(b, frozen...), len(frozen)
}

// smaller tells whether rows take less room as runs or as bits than as postings.
func smaller(rows []uint16) bool {
	const header = 16 + 16 // of the bitmap and of its directory entry
	runs := 1
	for i := 1; i < len(rows); i++ {
		if rows[i] != rows[i-1]+1 {
			runs++
		}
	}
	return header+min(4*runs, MaxRows/8) < 2*len(rows)
}

// thaw sets the bits of serialised bitmaps in mask, which is MaxRows bits of zero.
func thaw(data []byte, bitmaps []bitmap, mask []uint64) {
	opened := make([]roaring.Bitmap, len(bitmaps))
	for i, b := range bitmaps {
		if _, err := opened[i].FromBuffer(data[b.at : b.at+b.size]); err != nil {
			panic(fmt.Sprintf("opening a bitmap of an index: %v", err)) // we wrote it
		}
	}
	if len(opened) == 1 {
		opened[0].WriteDenseTo(mask)
		return
	}
	all := make([]*roaring.Bitmap, len(opened))
	for i := range opened {
		all[i] = &opened[i]
	}
	roaring.FastOr(all...).WriteDenseTo(mask)
}
