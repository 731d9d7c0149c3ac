package lexical

import (
	"cmp"
	"slices"
	"unsafe"

	"github.com/cespare/xxhash/v2"

	"engram/internal/slab"
)

// A Source gives what is indexed of a row. What it gives aliases its owner's memory.
type Source interface {
	Words(row uint32) (terms Terms, session, speaker string)
}

// An Index is the inverted file of a segment's first rows, in one block of slab memory:
//
//	hash uint64, start uint32   a term: where its postings begin; the last is a sentinel
//	row  uint16                 of each posting, ascending within a term
//	tf   uint8                  of each posting, and beside it
//	len  uint8                  the length of its row, 255 standing for more, too
//	len  uint16                 of each row: the header of its Terms
//	session, speaker uint16     of each row: numbers into the two tables that follow
//	hash uint64                 of each session's name; 0: it has none
//	row  uint16                 of each speaker: the first row of theirs
//
// Of rows that are dead it may have postings or not. It never changes.
type Index struct {
	pool   *slab.Pool
	data   []byte
	rows   int
	hashes []uint64
	starts []uint32
	row    []uint16
	tf     []tfLen
	header []uint16

	session, speaker []uint16
	sessions         []uint64
	speakers         []uint16
}

// A tfLen is how often a term occurs in a row, and in how many words.
type tfLen struct{ tf, length uint8 }

// Rows is how many of the segment's first rows the index covers.
func (x *Index) Rows() int { return x.rows }

// Bytes is what the index takes of its pool.
func (x *Index) Bytes() int64 { return int64(cap(x.data)) }

// Free gives the memory back. No reader may be in the index any more.
func (x *Index) Free() { x.pool.Free(x.data) }

// postings gives the rows that have a term, and how often.
func (x *Index) postings(hash uint64) ([]uint16, []tfLen) {
	i, found := slices.BinarySearch(x.hashes, hash)
	if !found {
		return nil, nil
	}
	from, to := x.starts[i], x.starts[i+1]
	return x.row[from:to], x.tf[from:to]
}

// A counted is a term of a segment while its index is built.
type counted struct {
	hash uint64
	n    uint32 // postings, then where the next goes
}

// table finds terms by hash: open addressing.
type table struct {
	slots []uint32 // number of the term + 1; 0: empty
	terms []counted
}

func (t *table) grow() {
	t.slots = make([]uint32, max(1024, 2*len(t.slots)))
	for i := range t.terms {
		t.slots[t.slot(t.terms[i].hash)] = uint32(i + 1)
	}
}

// slot is where a hash is, or would be.
func (t *table) slot(hash uint64) uint32 {
	mask := uint32(len(t.slots) - 1)
	i := uint32(hash*0x9e3779b97f4a7c15>>32) & mask
	for t.slots[i] != 0 && t.terms[t.slots[i]-1].hash != hash {
		i = (i + 1) & mask
	}
	return i
}

func (t *table) at(hash uint64) *counted {
	if 2*len(t.terms) >= len(t.slots) {
		t.grow()
	}
	i := t.slot(hash)
	if t.slots[i] == 0 {
		t.terms = append(t.terms, counted{hash: hash})
		t.slots[i] = uint32(len(t.terms))
	}
	return &t.terms[t.slots[i]-1]
}

// labels numbers names by first appearance.
type labels[K comparable] struct {
	number map[K]uint16
	first  []uint16 // row
	of     []uint16 // by row
}

func (l *labels[K]) add(name K, row int) {
	n, ok := l.number[name]
	if !ok {
		n = uint16(len(l.first))
		l.number[name] = n
		l.first = append(l.first, uint16(row))
	}
	l.of[row] = n
}

// A building is an index while it is made.
type building struct {
	src      Source
	old      *Index // of fewer of the rows; an empty one at first
	rows     int
	live     []uint64
	fresh    table // terms of rows beyond old's
	postings int   // of those
	sessions labels[uint64]
	speakers labels[string]
	names    []uint64 // of sessions
}

// Build makes the index of the first rows of a source, of which there are 1 to 65,536.
// live has the bits of the rows to index, nil: all. old is an index of fewer of them, which
// saves looking at their terms again; nil: there is none.
func Build(pool *slab.Pool, src Source, old *Index, rows int, live []uint64) (*Index, error) {
	if old == nil {
		old = &Index{starts: []uint32{0}}
	}
	b := building{src: src, old: old, rows: rows, live: live}
	b.label()
	b.count()
	return b.lay(pool)
}

func (b *building) isLive(r int) bool {
	return b.live == nil || b.live[r/64]>>(r%64)&1 != 0
}

// label numbers the sessions and speakers of all rows.
func (b *building) label() {
	b.sessions = labels[uint64]{number: make(map[uint64]uint16), of: make([]uint16, b.rows)}
	b.speakers = labels[string]{number: make(map[string]uint16), of: make([]uint16, b.rows)}
	for i, hash := range b.old.sessions {
		b.sessions.number[hash] = uint16(i)
	}
	b.sessions.first = make([]uint16, len(b.old.sessions)) // that of a session isn't asked for
	for i, r := range b.old.speakers {
		_, _, name := b.src.Words(uint32(r))
		b.speakers.number[name] = uint16(i)
	}
	b.speakers.first = slices.Clone(b.old.speakers)
	copy(b.sessions.of, b.old.session)
	copy(b.speakers.of, b.old.speaker)
	b.names = slices.Clone(b.old.sessions)
	for r := b.old.rows; r < b.rows; r++ {
		_, session, speaker := b.src.Words(uint32(r))
		hash := SessionHash(session)
		if b.sessions.add(hash, r); len(b.sessions.first) > len(b.names) {
			b.names = append(b.names, hash)
		}
		b.speakers.add(speaker, r)
	}
}

// count counts the terms of the fresh rows, and sorts them.
func (b *building) count() {
	for r := b.old.rows; r < b.rows; r++ {
		if !b.isLive(r) {
			continue
		}
		terms, _, _ := b.src.Words(uint32(r))
		terms.each(func(hash uint64, _ uint8) {
			b.fresh.at(hash).n++
			b.postings++
		})
	}
	keys := make([]uint64, len(b.fresh.terms)) // which sort faster than what they stand for
	for i, c := range b.fresh.terms {
		keys[i] = c.hash<<24 | uint64(c.n) // 40 bits, and at most 65,536
	}
	slices.Sort(keys)
	for i, k := range keys {
		b.fresh.terms[i] = counted{k >> 24, uint32(k & (1<<24 - 1))}
	}
}

// lay puts everything in its place.
func (b *building) lay(pool *slab.Pool) (*Index, error) {
	old, fresh := b.old, b.fresh.terms
	n := len(old.hashes) + len(fresh)
	for i, j := 0, 0; i < len(old.hashes) && j < len(fresh); {
		switch c := cmp.Compare(old.hashes[i], fresh[j].hash); {
		case c < 0:
			i++
		case c > 0:
			j++
		default:
			i, j, n = i+1, j+1, n-1
		}
	}
	postings := len(old.row) + b.postings
	data, err := pool.Alloc(8*len(b.names) + 12*n + 4 + 4*postings + 6*b.rows + 2*len(b.speakers.first))
	if err != nil {
		return nil, err
	}
	x := &Index{pool: pool, data: data, rows: b.rows}
	rest := data
	x.sessions = carve[uint64](&rest, len(b.names))
	x.hashes, x.starts = carve[uint64](&rest, n), carve[uint32](&rest, n+1)
	x.row = carve[uint16](&rest, postings)
	x.header, x.session, x.speaker = carve[uint16](&rest, b.rows), carve[uint16](&rest, b.rows), carve[uint16](&rest, b.rows)
	x.speakers = carve[uint16](&rest, len(b.speakers.first))
	x.tf = carve[tfLen](&rest, postings)

	copy(x.sessions, b.names)
	copy(x.session, b.sessions.of)
	copy(x.speaker, b.speakers.of)
	copy(x.speakers, b.speakers.first)
	copy(x.header, old.header)

	// The postings of a term: the old ones, and behind them room for the fresh.
	start, i, j := uint32(0), 0, 0
	for at := range n {
		isOld := i < len(old.hashes) && (j == len(fresh) || old.hashes[i] <= fresh[j].hash)
		isFresh := j < len(fresh) && (!isOld || old.hashes[i] == fresh[j].hash)
		x.starts[at] = start
		if isOld {
			x.hashes[at] = old.hashes[i]
			from, to := old.starts[i], old.starts[i+1]
			copy(x.row[start:], old.row[from:to])
			copy(x.tf[start:], old.tf[from:to])
			start += to - from
			i++
		}
		if isFresh {
			c := &fresh[j]
			x.hashes[at] = c.hash
			start, c.n = start+c.n, start
			j++
		}
	}
	x.starts[n] = start
	b.fresh.grow() // the terms have other numbers now
	for r := old.rows; r < b.rows; r++ {
		if !b.isLive(r) {
			continue
		}
		terms, _, _ := b.src.Words(uint32(r))
		x.header[r] = terms.header()
		length := uint8(min(terms.Len(), 255))
		terms.each(func(hash uint64, count uint8) {
			c := b.fresh.at(hash)
			x.row[c.n], x.tf[c.n] = uint16(r), tfLen{count, length}
			c.n++
		})
	}
	return x, nil
}

// carve takes n elements from the front of rest.
func carve[T any](rest *[]byte, n int) []T {
	bytes := n * int(unsafe.Sizeof(*new(T)))
	out := slab.Slice[T]((*rest)[:bytes])
	*rest = (*rest)[bytes:]
	return out
}

// SessionHash stands for a session's name; 0 for none.
func SessionHash(name string) uint64 {
	if name == "" {
		return 0
	}
	return max(1, xxhash.Sum64String(name))
}
