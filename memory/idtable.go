package memory

import (
	"hash/maphash"
	"sync/atomic"
)

// An id table finds the rows of one segment by their ids: open addressing with
// linear probing over 32-bit slots, each the upper half of an id's hash and a row,
// or 0. It lies behind the rows in the segment's slab.
//
// The committer alone writes, one atomic store at a time; readers load. A slot
// holds the newest row of its id in this segment, from which row.prev leads to
// those before: a reader follows it to the first row that its view has published,
// and asks the view's dead bitmap about that one. Segments of up to smallRows have
// no table: scanning the rows' hashes is as quick.
//
// A table belongs to its segment, so growing or compacting one never touches
// another, and a lookup costs one probe a segment.
type idTable []uint32

const smallRows = 32

// idTableSlots is the length of the table of a segment of capacity rows.
func idTableSlots(capacity int) int {
	if capacity <= smallRows {
		return 0
	}
	slots := 64
	for slots*3 < capacity*4 {
		slots *= 2
	}
	return slots
}

var hashSeed = maphash.MakeSeed()

func hashID(id string) uint32 { return uint32(maphash.String(hashSeed, id)) }

// tag is the part of a hash that a slot keeps; never 0, which marks a free slot.
func tag(hash uint32) uint32 { return max(hash>>16, 1) << 16 }

// insertNew is insert of an id that the table lacks, into a row that is in place.
func (t idTable) insertNew(hash, row uint32) {
	t.insert(hash, row, func(uint32) bool { return false }, func(uint16) {})
}

// insert makes row the newest of its id and gives the one that was, or noRow. The
// row itself is not published by this: link is called before it can be found.
func (t idTable) insert(hash, row uint32, same func(row uint32) bool, link func(prev uint16)) {
	mask := uint32(len(t) - 1)
	for i := hash & mask; ; i = (i + 1) & mask {
		slot := t[i]
		if slot != 0 && (slot&^0xffff != tag(hash) || !same(slot&0xffff)) {
			continue
		}
		if slot == 0 {
			link(noRow)
		} else {
			link(uint16(slot))
		}
		atomic.StoreUint32(&t[i], tag(hash)|row)
		return
	}
}
