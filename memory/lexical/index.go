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

// A posting is a term of a row while an index is made: from the highest bits on, the hash,
// the row, and how often the term occurs.
type posting uint64

func (p posting) hash() uint64 { return uint64(p >> 24) }

// A building is an index while it is made.
type building struct {
	src      Source
	old      *Index // of fewer of the rows; an empty one at first
	rows     int
	live     []uint64
	header   []uint16  // by row
	fresh    []posting // of rows beyond old's, by hash, then by row
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
	b.begin()
	b.fresh = make([]posting, 0, 16*(rows-old.rows))
	for r := old.rows; r < rows; r++ {
		b.add(r)
	}
	b.fresh = byHash(b.fresh)
	return b.lay(pool)
}

// begin takes over what old has of its rows.
func (b *building) begin() {
	old := b.old
	b.header = append(make([]uint16, 0, b.rows), old.header...)[:b.rows]
	b.sessions = labels[uint64]{number: make(map[uint64]uint16), of: make([]uint16, b.rows)}
	b.speakers = labels[string]{number: make(map[string]uint16), of: make([]uint16, b.rows)}
	for i, hash := range old.sessions {
		b.sessions.number[hash] = uint16(i)
	}
	b.sessions.first = make([]uint16, len(old.sessions)) // that of a session isn't asked for
	for i, r := range old.speakers {
		_, _, name := b.src.Words(uint32(r))
		b.speakers.number[name] = uint16(i)
	}
	b.speakers.first = slices.Clone(old.speakers)
	copy(b.sessions.of, old.session)
	copy(b.speakers.of, old.speaker)
	b.names = slices.Clone(old.sessions)
}

// add notes a fresh row.
func (b *building) add(r int) {
	terms, session, speaker := b.src.Words(uint32(r))
	hash := SessionHash(session)
	if b.sessions.add(hash, r); len(b.sessions.first) > len(b.names) {
		b.names = append(b.names, hash)
	}
	b.speakers.add(speaker, r)
	if b.live != nil && b.live[r/64]>>(r%64)&1 == 0 {
		return
	}
	b.header[r] = terms.header()
	row := posting(r) << 8
	terms.each(func(hash uint64, count uint8) {
		b.fresh = append(b.fresh, posting(hash)<<24|row|posting(count))
	})
}

// byHash sorts by hashes, and leaves those of one hash in their order: a radix sort, digit
// by digit from the lowest.
func byHash(p []posting) []posting {
	const bits = 10
	into := make([]posting, len(p))
	for shift := 24; shift < 64; shift += bits {
		var ends [1 << bits]uint32 // of each digit, first its number, then where the next goes
		for _, x := range p {
			ends[x>>shift%(1<<bits)]++
		}
		at := uint32(0)
		for i, n := range ends {
			ends[i], at = at, at+n
		}
		for _, x := range p {
			to := &ends[x>>shift%(1<<bits)]
			into[*to] = x
			*to++
		}
		p, into = into, p
	}
	return p
}

// terms is how many distinct terms old and fresh have.
func (b *building) terms() int {
	n, i := len(b.old.hashes), 0
	for j, p := range b.fresh {
		hash := p.hash()
		if j > 0 && b.fresh[j-1].hash() == hash {
			continue
		}
		for i < len(b.old.hashes) && b.old.hashes[i] < hash {
			i++
		}
		if i == len(b.old.hashes) || b.old.hashes[i] != hash {
			n++
		}
	}
	return n
}

// lay puts everything in its place.
func (b *building) lay(pool *slab.Pool) (*Index, error) {
	old, fresh := b.old, b.fresh
	n, postings := b.terms(), len(old.row)+len(fresh)
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
	copy(x.header, b.header)

	// The postings of a term: the old ones, and behind them the fresh.
	at, i := uint32(0), 0
	for t := range n {
		isOld := i < len(old.hashes) && (len(fresh) == 0 || old.hashes[i] <= fresh[0].hash())
		x.starts[t] = at
		if isOld {
			x.hashes[t] = old.hashes[i]
			from, to := old.starts[i], old.starts[i+1]
			copy(x.row[at:], old.row[from:to])
			copy(x.tf[at:], old.tf[from:to])
			at += to - from
			i++
		} else {
			x.hashes[t] = fresh[0].hash()
		}
		for len(fresh) > 0 && fresh[0].hash() == x.hashes[t] {
			p := fresh[0]
			row := uint16(p >> 8)
			x.row[at], x.tf[at] = row, tfLen{tf: uint8(p), length: uint8(min(b.header[row]&maxLen, 255))}
			at, fresh = at+1, fresh[1:]
		}
	}
	x.starts[n] = at
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
