package filter

import (
	"bytes"
	"cmp"
	"math"
	"slices"
	"sort"
	"strings"
	"unsafe"

	"engram/internal/slab"
)

// MaxRows is the most rows that a segment, and so an Index, has.
const MaxRows = 1 << 16

// MaxPaths is how many metadata paths an Index covers.
const MaxPaths = 64

// maxString is how many bytes of a string a column keeps. Longer ones are cut, and
// conditions that the cut could decide are tested on the rows that it leaves.
const maxString = 64

// Index finds the rows of [0, Rows) that meet a condition on session, speaker, time,
// create_time, importance or the most frequent metadata paths. It is immutable and safe
// for concurrent use, and all its data lie in one slab: the Go object has no part that
// grows with the rows.
type Index struct {
	pool     *slab.Pool
	data     []byte
	columns  []column // in data, ascending by compareColumn
	rows     int
	complete bool // every path of the rows has columns: any other one is nowhere
}

// column is the directory entry of the values of one kind at one place. Offsets are into
// Index.data; sections are aligned to eight bytes.
//
// The distinct values ascend, and a value's place among them is its rank. A value's rows
// are either a run of postings, beginning at starts[rank], or a serialised roaring bitmap
// where that is smaller; postings therefore hold the rows of a whole range of ranks in one
// piece, and the bitmaps of a range are few.
type column struct {
	name, nameLen uint32 // appendPath of a metadata path
	field         Field
	kind          Kind // 0: the rows in which the path is, as the only value
	arrays        bool // some values are elements of arrays
	cut           bool // some strings are longer than maxString and kept cut
	distinct      uint32
	keys          uint32 // uint64[distinct]: sortable; or for strings uint32[distinct+1]: their ends in blob
	blob          uint32
	starts        uint32 // uint32[distinct+1] into postings
	postings      uint32 // uint16[posted]: rows
	posted        uint32
	bitmaps       uint32 // bitmap[dense+1]; the last one is a sentinel
	dense         uint32
	single        bool // every value has one posting: there are no starts
}

// bitmap is the rows of one value as a roaring bitmap.
type bitmap struct {
	rank, at, size uint32
	before         uint32 // rows in the bitmaps before this one
}

// Rows is how many of the segment's first rows the index covers.
func (x *Index) Rows() int { return x.rows }

// Bytes is what the index's slab takes of the pool.
func (x *Index) Bytes() int64 { return int64(cap(x.data)) }

// Free gives the slab back. No reader may be in the index any more.
func (x *Index) Free() {
	x.pool.Free(x.data)
	x.data, x.columns = nil, nil
}

// section views n elements at an offset.
func section[T any](x *Index, at uint32, n int) []T {
	return slab.Slice[T](x.data[at : int(at)+n*int(unsafe.Sizeof(*new(T)))])
}

func (x *Index) name(c *column) []byte { return x.data[c.name : c.name+c.nameLen] }

// compareColumn orders columns by place, then by kind.
func (x *Index) compareColumn(c *column, field Field, name []byte, kind Kind) int {
	if d := cmp.Compare(c.field, field); d != 0 {
		return d
	}
	if d := bytes.Compare(x.name(c), name); d != 0 {
		return d
	}
	return cmp.Compare(c.kind, kind)
}

func (x *Index) column(field Field, name []byte, kind Kind) *column {
	i := sort.Search(len(x.columns), func(i int) bool {
		return x.compareColumn(&x.columns[i], field, name, kind) >= 0
	})
	if i < len(x.columns) && x.compareColumn(&x.columns[i], field, name, kind) == 0 {
		return &x.columns[i]
	}
	return nil
}

// sortable maps a number, bool or time to a uint64 of the same order. A number isn't NaN.
func (s Scalar) sortable() uint64 {
	switch s.Kind {
	case KindNumber:
		bits := math.Float64bits(s.N + 0) // −0 + 0 is 0
		if bits>>63 != 0 {
			return ^bits
		}
		return bits | 1<<63
	case KindTime:
		return uint64(s.T) ^ 1<<63
	default:
		return uint64(bit(s.B))
	}
}

// strings is how many distinct strings there are where a condition looks.
func (x *Index) strings(c *Condition) int {
	var stack [128]byte
	if col := x.column(c.Field, c.name(stack[:0]), KindString); col != nil {
		return int(col.distinct)
	}
	return 0
}

// name appends what columns of the condition's operand are called.
func (c *Condition) name(b []byte) []byte {
	if c.Field == FieldMetadata {
		b = appendPath(b, c.Path)
	}
	return b
}

// ranks is the interval [lo, hi) of a column's ranks.
type ranks struct {
	column *column
	lo, hi uint32
}

// candidates are the rows that an index finds for a condition.
type candidates struct {
	ranks   []ranks
	without bool // all rows but those
	exact   bool // these and no others match; else at most these
	count   int  // of rows at most, without counted in
	posted  int  // postings to read
	opens   int  // bitmaps to open
}

// find gives a condition's candidates; ok is false where the index can't tell.
func (x *Index) find(c *Condition) (found candidates, ok bool) {
	var stack [128]byte
	name := c.name(stack[:0])
	f := finder{index: x, cond: c, name: name, candidates: candidates{exact: true}}
	switch c.Field {
	case FieldMetadata:
		there := x.column(FieldMetadata, name, 0)
		if there == nil && !x.complete {
			return candidates{}, false
		}
		if there != nil && !f.scalars(there) {
			return candidates{}, false
		}
	case FieldSession, FieldSpeaker, FieldTime, FieldCreateTime, FieldImportance:
		if !f.scalars(x.column(c.Field, nil, c.Field.kind())) {
			return candidates{}, false
		}
	default:
		return candidates{}, false
	}
	f.without = c.Op == OpExists && !c.Exists
	for _, r := range f.ranks {
		posted, dense, opens := x.count(r)
		f.count += posted + dense
		f.posted += posted
		f.opens += opens
	}
	f.count = min(f.count, x.rows)
	if f.without {
		f.count = x.rows - f.count
	}
	return f.candidates, true
}

type finder struct {
	candidates
	index *Index
	cond  *Condition
	name  []byte
}

// scalars adds the ranks that meet the condition; there is the column of all rows that
// have the operand. It is false where every row would have to be tested after all.
func (f *finder) scalars(there *column) bool {
	switch c := f.cond; c.Op {
	case OpExists:
		f.add(there, 0, there.distinct)
	case OpEquals, OpIn:
		for _, s := range c.Values {
			f.equal(c.operand(s))
		}
	case OpRange:
		f.within(&c.Range)
	case OpPrefix:
		f.prefix(c.Values[0].S)
	case OpContains:
		return f.contains(c.Values[0])
	}
	return true
}

func (f *finder) add(c *column, lo, hi uint32) {
	if lo < hi {
		f.ranks = append(f.ranks, ranks{c, lo, hi})
	}
}

func (f *finder) column(kind Kind) *column { return f.index.column(f.cond.Field, f.name, kind) }

func (f *finder) equal(s Scalar) {
	if col := f.column(s.Kind); col != nil {
		lo, hi := f.below(col, s, false), f.below(col, s, true)
		f.add(col, lo, hi)
	}
}

func (f *finder) within(r *Range) {
	kind := max(r.Gt.Kind, r.Gte.Kind, r.Lt.Kind, r.Lte.Kind)
	col := f.column(kind)
	if col == nil {
		return
	}
	lo, hi := uint32(0), col.distinct
	for i, b := range r.bounds() {
		if b.Kind == 0 {
			continue
		}
		s := f.cond.operand(b.Scalar)
		// A string that was cut may be on either side of a bound that long: keep it.
		long := col.cut && len(s.S) >= maxString
		switch i {
		case 0:
			lo = max(lo, f.below(col, s, !long))
		case 1:
			lo = max(lo, f.below(col, s, false))
		case 2:
			hi = min(hi, f.below(col, s, long))
		case 3:
			hi = min(hi, f.below(col, s, true))
		}
	}
	f.add(col, lo, hi)
}

// below counts the values less than s, or not greater if also equal ones count. Cutting
// keeps order, so a long s is cut like the values, and the answer then isn't exact.
func (f *finder) below(col *column, s Scalar, equal bool) uint32 {
	x, n := f.index, int(col.distinct)
	if s.Kind != KindString {
		keys, want := section[uint64](x, col.keys, n), s.sortable()
		return uint32(sort.Search(n, func(i int) bool { return keys[i] > want || keys[i] == want && !equal }))
	}
	if len(s.S) >= maxString && col.cut {
		f.exact = false
		s.S = s.S[:maxString]
	}
	return uint32(sort.Search(n, func(i int) bool {
		d := strings.Compare(x.text(col, i), s.S)
		return d > 0 || d == 0 && !equal
	}))
}

// text is the string of a rank, aliasing the slab.
func (x *Index) text(col *column, rank int) string {
	ends := section[uint32](x, col.keys, int(col.distinct)+1)
	return text(x.data[col.blob+ends[rank] : col.blob+ends[rank+1]])
}

func (f *finder) prefix(p string) {
	col := f.column(KindString)
	if col == nil {
		return
	}
	if col.cut && len(p) > maxString {
		f.exact = false
		p = p[:maxString]
	}
	n := int(col.distinct)
	lo := sort.Search(n, func(i int) bool { return f.index.text(col, i) >= p })
	hi := lo + sort.Search(n-lo, func(i int) bool { return !strings.HasPrefix(f.index.text(col, lo+i), p) })
	f.add(col, uint32(lo), uint32(hi))
}

// contains looks a substring up in every distinct string, and an element among all
// values: scalars among those don't match, so where there are arrays rows are tested.
func (f *finder) contains(s Scalar) bool {
	col := f.column(s.Kind)
	switch {
	case col == nil:
		return true
	case s.Kind == KindString && col.cut:
		return false
	case s.Kind == KindString:
		for i := range int(col.distinct) {
			if !strings.Contains(f.index.text(col, i), s.S) {
				continue
			}
			if last := len(f.ranks) - 1; last >= 0 && f.ranks[last].hi == uint32(i) {
				f.ranks[last].hi++
			} else {
				f.add(col, uint32(i), uint32(i)+1)
			}
		}
		f.exact = !col.arrays
	case col.arrays:
		f.equal(s)
		f.exact = false
	}
	return true
}

// interval gives the postings of an interval of ranks.
func (x *Index) interval(r ranks) (lo, hi uint32) {
	if r.column.single {
		return r.lo, r.hi
	}
	starts := section[uint32](x, r.column.starts, int(r.column.distinct)+1)
	return starts[r.lo], starts[r.hi]
}

// dense gives the bitmaps of an interval of ranks, and the entry that follows them.
func (x *Index) dense(r ranks) []bitmap {
	all := section[bitmap](x, r.column.bitmaps, int(r.column.dense)+1)
	byRank := func(b bitmap, rank uint32) int { return cmp.Compare(b.rank, rank) }
	lo, _ := slices.BinarySearchFunc(all, r.lo, byRank)
	hi, _ := slices.BinarySearchFunc(all, r.hi, byRank)
	return all[lo : hi+1]
}

// count gives the postings of an interval, the rows in its bitmaps and how many those are.
func (x *Index) count(r ranks) (posted, dense, opens int) {
	lo, hi := x.interval(r)
	bitmaps := x.dense(r)
	last := len(bitmaps) - 1
	return int(hi - lo), int(bitmaps[last].before - bitmaps[0].before), last
}

// or sets the bits of the rows of an interval. scratch is MaxRows bits of no content.
func (x *Index) or(r ranks, mask, scratch []uint64) {
	lo, hi := x.interval(r)
	for _, row := range section[uint16](x, r.column.postings, int(r.column.posted))[lo:hi] {
		mask[row/64] |= 1 << (row % 64)
	}
	dense := x.dense(r)
	if len(dense) == 1 {
		return
	}
	clear(scratch)
	thaw(x.data, dense[:len(dense)-1], scratch)
	unite(mask, scratch[:len(mask)])
}
