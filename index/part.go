package index

import (
	"context"
	"math/bits"
	"runtime"
	"sync"
	"sync/atomic"
)

// A Part is what one read sees of one segment.
type Part struct {
	Segment *Segment
	Rows    int      // those published to the reader
	Mask    []uint64 // bit r of word r/64: row r is eligible; nil: all are; bits from Rows on are ignored

	// Age tells which of two records is the older: the smaller LSN of creation,
	// then the smaller place. It is asked only where scores are equal.
	Age func(row uint32) (lsn uint64, place uint32)

	// Bias fills in what is added to the scaled scores of the rows from one on, and Position
	// where they stand, NaN for a row that has no position. They are asked only by Attend
	// with a Bias; nil: 0, and NaN.
	Bias, Position func(dst []float64, from int)
}

// eligible counts the rows of [from, to) that may be read; from is a multiple of 64.
func (p *Part) eligible(from, to int) int {
	if p.Mask == nil {
		return to - from
	}
	n := 0
	for w := from / 64; w*64 < to; w++ {
		n += bits.OnesCount64(p.word(w, to))
	}
	return n
}

// word is a word of the mask, without the bits from row to on.
func (p *Part) word(w, to int) uint64 {
	m := p.Mask[w]
	if left := to - w*64; left < 64 {
		m &= 1<<left - 1
	}
	return m
}

// at appends the eligible rows of [from, to), counted from from.
func (p *Part) at(dst []uint32, from, to int) []uint32 {
	for w := from / 64; w*64 < to; w++ {
		for m := p.word(w, to); m != 0; m &= m - 1 {
			dst = append(dst, uint32(w*64+bits.TrailingZeros64(m)-from))
		}
	}
	return dst
}

func (p *Part) has(row int) bool { return p.Mask == nil || p.Mask[row/64]>>(row%64)&1 != 0 }

// Stats says how a read was done.
type Stats struct {
	RowsScanned int64 // rows scored, summed over queries, be it by their codes
	ListsProbed int64 // lists of an index that were looked into, summed over queries
	Rescored    int64 // rows of those scored exactly after their codes

	// Recall is what to expect where lists were probed, as far as it was calibrated; 0: it
	// isn't known, or nothing was left out.
	Recall float64
}

// Add counts t, too; of recalls the lesser stays.
func (s *Stats) Add(t Stats) {
	if t.ListsProbed > 0 && (s.ListsProbed == 0 || t.Recall < s.Recall) {
		s.Recall = t.Recall
	}
	s.RowsScanned += t.RowsScanned
	s.ListsProbed += t.ListsProbed
	s.Rescored += t.Rescored
}

// A block is a run of rows of one part, from a multiple of 64 on.
type block struct{ part, from, to int }

// blockBytes is the size of a block of vectors: half of a second-level cache.
const blockBytes = 256 << 10

// blockRows is how many rows of a stride make a block.
func blockRows(stride int) int { return max(64, blockBytes/(4*max(stride, 1))&^63) }

// blocks counts the blocks of at most rows rows.
func blocks(parts []Part, rows int) (n int) {
	for i := range parts {
		n += (parts[i].Rows + rows - 1) / rows
	}
	return n
}

// blockAt is the i-th block of at most rows rows; ok is false past the last. It
// looks through the parts, which are few, so that no list of blocks is made: what a
// read allocates doesn't grow with the rows.
func blockAt(parts []Part, rows, i int) (b block, ok bool) {
	for p := range parts {
		n := (parts[p].Rows + rows - 1) / rows
		if i < n {
			return block{p, i * rows, min((i+1)*rows, parts[p].Rows)}, true
		}
		i -= n
	}
	return block{}, false
}

// workUnit is the multiply-adds that are worth another goroutine.
const workUnit = 1 << 18

// workers is how many goroutines are worth a read of blocks of rows, in which each
// row takes work multiply-adds; asked 0 stands for GOMAXPROCS.
func workers(asked int, parts []Part, rows, work int) int {
	if asked <= 0 {
		asked = runtime.GOMAXPROCS(0)
	}
	total := int64(0)
	for i := range parts {
		total += int64(parts[i].Rows) * int64(work)
	}
	return int(max(1, min(int64(asked), int64(blocks(parts, rows)), 1+total/workUnit)))
}

// stretchBytes is how much a worker walks through in order before it goes where
// another may have been: memory is read fastest so.
const stretchBytes = 4 << 20

// walk gives every block of at most rows rows, of a stride, to one of n workers,
// which take stretches of them in order; each worker has its own number. It ends
// early, within a block, when ctx ends.
func walk(ctx context.Context, parts []Part, rows, stride, n int, do func(worker int, b block)) error {
	total := blocks(parts, rows)
	stretch := max(1, min(stretchBytes/(4*rows*max(stride, 1)), total/(8*n)))
	var next atomic.Int64
	work := func(worker int) {
		for {
			to := int(next.Add(int64(stretch)))
			for i := to - stretch; i < to; i++ {
				b, ok := blockAt(parts, rows, i)
				if !ok || ctx.Err() != nil {
					return
				}
				do(worker, b)
			}
		}
	}
	var wg sync.WaitGroup
	for w := 1; w < n; w++ {
		wg.Go(func() { work(w) })
	}
	work(0)
	wg.Wait()
	return ctx.Err()
}
