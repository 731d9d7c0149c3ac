package filter

import (
	"cmp"
	"math/bits"
	"slices"
	"sync"
)

// Costs in nanoseconds, rough ones: they only rank ways to the same answer.
const (
	costRead    = 15  // Source.Fields
	costField   = 5   // a test of a fixed field
	costString  = 20  // of a short string
	costText    = 200 // of a record's text
	costPath    = 60  // of metadata
	costPosting = 1   // setting a bit
	costOpen    = 700 // reading a bitmap
	costScan    = 25  // looking for a substring in a distinct string
	costMasks   = 700 // clearing and merging masks
)

// Select clears the bits of mask (bit r%64 of word r/64) for the rows of [0, n) that the
// filter, which must be valid, doesn't let through, and all bits from n on. On entry the
// bits of eligible rows are set; only those are read. idx, which may be nil, was built
// over some of these rows.
//
// The index tells of each row that it matches, or that it doesn't, or leaves it open; a
// condition is asked of the index only where that is cheaper than testing the rows that
// the conditions before it left. Each row still open in the end is read once and tested.
func (f *Filter) Select(mask []uint64, src Source, n int, idx *Index) {
	f.selectRows(mask, src, n, idx)
}

// selectRows also tells how many rows were read from the source.
func (f *Filter) selectRows(mask []uint64, src Source, n int, idx *Index) (tested int) {
	clear(mask[(n+63)/64:])
	mask = mask[:(n+63)/64]
	clipTo(mask, n)
	switch {
	case f == nil:
		return 0
	case idx == nil:
		return f.test(mask, src, 0)
	}
	tested = f.test(mask, src, idx.rows)
	head := takeMask(mask[:(idx.rows+63)/64])
	defer head.put()
	clipTo(head.bits, idx.rows)
	if eligible := count(head.bits); eligible > 0 {
		p := idx.plan(f, eligible)
		tested += p.fit(head.bits, src, idx)
	}
	last := len(head.bits) - 1
	copy(mask, head.bits[:last])
	mask[last] = head.bits[last] | mask[last]&^rowsBelow(idx.rows-64*last)
	return tested
}

// test clears the rows from one on that the filter doesn't let through.
func (f *Filter) test(mask []uint64, src Source, from int) (tested int) {
	fields := fieldsPool.Get().(*Fields)
	for i := from / 64; i < len(mask); i++ {
		word := mask[i]
		if i == from/64 {
			word &^= rowsBelow(from % 64)
		}
		for ; word != 0; word &= word - 1 {
			bit := bits.TrailingZeros64(word)
			src.Fields(uint32(64*i+bit), fields)
			tested++
			if !f.Match(fields) {
				mask[i] &^= 1 << bit
			}
		}
	}
	*fields = Fields{} // keep no slab's bytes
	fieldsPool.Put(fields)
	return tested
}

var fieldsPool = sync.Pool{New: func() any { return new(Fields) }}

// plan is a node with what is known before any row is looked at.
type plan struct {
	filter *Filter
	kids   []plan      // those of all: fewest rows first
	rows   int         // expected to match
	found  *candidates // of a condition that the index knows
	cost   int         // of asking the index
	test   int         // of testing one row instead
}

// plan estimates a tree for a number of eligible rows.
func (x *Index) plan(f *Filter, eligible int) plan {
	p := plan{filter: f, rows: eligible}
	switch {
	case f.Cond != nil:
		x.planCondition(&p, eligible)
	case f.Not != nil:
		p.kids = x.plans([]*Filter{f.Not}, eligible)
		p.rows = eligible - p.kids[0].rows
	case f.Any != nil:
		p.kids = x.plans(f.Any, eligible)
		p.rows = 0
		for _, kid := range p.kids {
			p.rows = min(p.rows+kid.rows, eligible)
		}
	default:
		p.kids = x.plans(f.All, eligible)
		slices.SortStableFunc(p.kids, func(a, b plan) int { return cmp.Compare(a.rows, b.rows) })
		p.rows = p.kids[0].rows
	}
	return p
}

func (x *Index) plans(filters []*Filter, eligible int) []plan {
	plans := make([]plan, len(filters))
	for i, f := range filters {
		plans[i] = x.plan(f, eligible)
	}
	return plans
}

func (x *Index) planCondition(p *plan, eligible int) {
	c := p.filter.Cond
	p.test = costRead
	switch c.Field {
	case FieldMetadata:
		p.test += costPath
	case FieldText:
		p.test += costText
	case FieldID, FieldSession, FieldSpeaker:
		p.test += costString
	default:
		p.test += costField
	}
	if c.Op == OpContains {
		p.cost = x.strings(c) * costScan
		if p.cost >= eligible*p.test {
			return
		}
	}
	found, ok := x.find(c)
	if !ok {
		return
	}
	p.found = &found
	p.rows = min(found.count, eligible)
	p.cost += costMasks + found.posted*costPosting + found.opens*costOpen
}

// fit clears the rows of mask that don't match.
func (p *plan) fit(mask []uint64, src Source, x *Index) (tested int) {
	sure, open := takeMask(nil), takeMask(nil)
	defer sure.put()
	defer open.put()
	sure.bits, open.bits = sure.bits[:len(mask)], open.bits[:len(mask)]
	p.bound(mask, sure.bits, open.bits, x)
	subtract(open.bits, sure.bits)
	tested = p.filter.test(open.bits, src, 0)
	copy(mask, sure.bits)
	unite(mask, open.bits)
	return tested
}

// bound sets sure to rows of within that match and possible to all that may, sure ones
// included, by the index alone. The masks are as long and don't overlap.
func (p *plan) bound(within, sure, possible []uint64, x *Index) {
	f := p.filter
	if f.Cond != nil {
		p.boundCondition(within, sure, possible, x)
		return
	}
	if f.Not != nil {
		p.kids[0].bound(within, possible, sure, x)
		complement(possible, within)
		complement(sure, within)
		return
	}
	kidSure, kidPossible, rest := takeMask(within), takeMask(within), takeMask(within)
	defer kidSure.put()
	defer kidPossible.put()
	defer rest.put()
	if f.Any != nil {
		clear(sure)
		clear(possible)
		for i := range p.kids {
			p.kids[i].bound(rest.bits, kidSure.bits, kidPossible.bits, x)
			unite(sure, kidSure.bits)
			unite(possible, kidPossible.bits)
			subtract(rest.bits, kidSure.bits)
		}
		return
	}
	copy(sure, within)
	for i := range p.kids {
		p.kids[i].bound(rest.bits, kidSure.bits, kidPossible.bits, x)
		intersect(sure, kidSure.bits)
		copy(rest.bits, kidPossible.bits)
	}
	copy(possible, rest.bits)
}

func (p *plan) boundCondition(within, sure, possible []uint64, x *Index) {
	if p.found == nil || p.cost >= count(within)*p.test {
		clear(sure)
		copy(possible, within)
		return
	}
	scratch := takeMask(nil)
	defer scratch.put()
	clear(possible)
	for _, r := range p.found.ranks {
		x.or(r, possible, scratch.bits)
	}
	if p.found.without {
		complement(possible, within)
	} else {
		intersect(possible, within)
	}
	if p.found.exact {
		copy(sure, possible)
	} else {
		clear(sure)
	}
}

// mask is MaxRows bits from a pool; bits views as many of them as are in use.
type mask struct {
	bits []uint64
	all  [MaxRows / 64]uint64
}

var masks = sync.Pool{New: func() any { return new(mask) }}

// takeMask gives a mask like another; for nil a whole one of no content.
func takeMask(like []uint64) *mask {
	m := masks.Get().(*mask)
	if like == nil {
		m.bits = m.all[:]
	} else {
		m.bits = m.all[:copy(m.all[:], like)]
	}
	return m
}

func (m *mask) put() { masks.Put(m) }

// rowsBelow has the bits below n, at most 64, set.
func rowsBelow(n int) uint64 { return 1<<n - 1 }

// clipTo clears the bits from n on; the mask has no word that begins there.
func clipTo(mask []uint64, n int) {
	if n%64 != 0 {
		mask[len(mask)-1] &= rowsBelow(n % 64)
	}
}

func count(mask []uint64) (n int) {
	for _, word := range mask {
		n += bits.OnesCount64(word)
	}
	return n
}

func subtract(mask, rows []uint64) {
	for i, word := range rows {
		mask[i] &^= word
	}
}

// complement turns mask into the rows of within that it lacks.
func complement(mask, within []uint64) {
	for i, word := range within {
		mask[i] = word &^ mask[i]
	}
}

func unite(mask, with []uint64) {
	for i, word := range with {
		mask[i] |= word
	}
}

func intersect(mask, with []uint64) {
	for i, word := range with {
		mask[i] &= word
	}
}
