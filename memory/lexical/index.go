package lexical

import (
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
//	hash uint32, start uint32   a term: where its postings begin; the last is a sentinel
//	row  uint16                 of each posting, ascending within a term
//	tf   uint8                  of each posting, and beside it
//	len  uint8                  the length of its row, 255 standing for more, too
//	len  uint16                 of each row: the header of its Terms
//	session, speaker uint16     of each row: numbers into the two tables that follow
//	hash uint64                 of each session's name; 0: it has none
//	row  uint16                 of each speaker: the first row of theirs
//
// Rows that were dead when it was built have no postings, and no words. It never changes.
type Index struct {
	pool   *slab.Pool
	data   []byte
	rows   int
	hashes []uint32
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
func (x *Index) postings(hash uint32) ([]uint16, []tfLen) {
	i, found := slices.BinarySearch(x.hashes, hash)
	if !found {
		return nil, nil
	}
	from, to := x.starts[i], x.starts[i+1]
	return x.row[from:to], x.tf[from:to]
}

// A counted is a term of a segment while its index is built.
type counted struct {
	hash uint32
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
func (t *table) slot(hash uint32) uint32 {
	mask := uint32(len(t.slots) - 1)
	i := hash * 0x9e3779b1 >> 7 & mask
	for t.slots[i] != 0 && t.terms[t.slots[i]-1].hash != hash {
		i = (i + 1) & mask
	}
	return i
}

func (t *table) at(hash uint32) *counted {
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

// labels numbers strings by first appearance.
type labels struct {
	number map[string]uint16
	first  []uint16 // row
}

func (l *labels) of(s string, row int) uint16 {
	n, ok := l.number[s]
	if !ok {
		n = uint16(len(l.first))
		l.number[s] = n
		l.first = append(l.first, uint16(row))
	}
	return n
}

// Build makes the index of the first rows of a source, of which there are 1 to 65,536;
// live has the bits of the rows to index, nil: all.
func Build(pool *slab.Pool, src Source, rows int, live []uint64) (*Index, error) {
	isLive := func(r int) bool { return live == nil || live[r/64]>>(r%64)&1 != 0 }
	var t table
	sessions, speakers := labels{number: map[string]uint16{}}, labels{number: map[string]uint16{}}
	session, speaker := make([]uint16, rows), make([]uint16, rows)
	var names []uint64
	postings := 0
	for r := range rows {
		terms, in, by := src.Words(uint32(r))
		session[r] = sessions.of(in, r)
		speaker[r] = speakers.of(by, r)
		if len(sessions.first) > len(names) {
			names = append(names, SessionHash(in))
		}
		if !isLive(r) {
			continue
		}
		terms.each(func(hash uint32, _ uint8) {
			t.at(hash).n++
			postings++
		})
	}
	slices.SortFunc(t.terms, func(a, b counted) int { // hashes differ
		if a.hash < b.hash {
			return -1
		}
		return 1
	})
	n := len(t.terms)
	size := 8*len(names) + 8*n + 4 + 4*postings + 6*rows + 2*len(speakers.first)
	data, err := pool.Alloc(size)
	if err != nil {
		return nil, err
	}
	x := &Index{pool: pool, data: data, rows: rows}
	rest := data
	x.sessions = carve[uint64](&rest, len(names))
	x.hashes, x.starts = carve[uint32](&rest, n), carve[uint32](&rest, n+1)
	x.row = carve[uint16](&rest, postings)
	x.header, x.session, x.speaker = carve[uint16](&rest, rows), carve[uint16](&rest, rows), carve[uint16](&rest, rows)
	x.speakers = carve[uint16](&rest, len(speakers.first))
	x.tf = carve[tfLen](&rest, postings)

	copy(x.session, session)
	copy(x.speaker, speaker)
	copy(x.sessions, names)
	copy(x.speakers, speakers.first)
	start := uint32(0)
	for i := range t.terms {
		c := &t.terms[i]
		x.hashes[i], x.starts[i] = c.hash, start
		start, c.n = start+c.n, start
	}
	x.starts[n] = start
	t.grow() // the terms have other numbers now
	for r := range rows {
		if !isLive(r) {
			continue
		}
		terms, _, _ := src.Words(uint32(r))
		x.header[r] = terms.header()
		terms.each(func(hash uint32, count uint8) {
			c := t.at(hash)
			x.row[c.n], x.tf[c.n] = uint16(r), tfLen{count, uint8(min(terms.Len(), 255))}
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
