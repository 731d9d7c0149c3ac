package memory

import (
	"cmp"
	"math"
	"slices"
)

// A segment's rows that were rehearsed are in one sorted column beside it, of its view's
// own: a row that never was takes nothing, and one that was the 24 bytes of its entry. A
// view's column never changes; a draft that changes it copies it first. Entries of dead rows
// stay until the segment is rewritten.
type rehearsedRow struct {
	last, grown int64
	count       uint32
	growths     uint16
	row         uint16
}

func rehearsedRowOf(row uint32, r Rehearsed) rehearsedRow {
	return rehearsedRow{r.Last, r.Grown, r.Count, r.Growths, uint16(row)}
}

func (e *rehearsedRow) state() Rehearsed { return Rehearsed{e.last, e.grown, e.count, e.growths} }

func searchRehearsed(of []rehearsedRow, row uint32) (at int, found bool) {
	return slices.BinarySearchFunc(of, row, func(e rehearsedRow, row uint32) int { return cmp.Compare(uint32(e.row), row) })
}

// rehearsals is what is kept of a row's.
func (s *segView) rehearsals(row uint32) Rehearsed {
	if at, found := searchRehearsed(s.rehearsed, row); found {
		return s.rehearsed[at].state()
	}
	return Rehearsed{}
}

// addRehearsed adds what is kept of a row behind all others, to a column that no one else
// has.
func (s *segView) addRehearsed(row uint32, r Rehearsed) {
	if r.Count > 0 {
		s.rehearsed = append(s.rehearsed, rehearsedRowOf(row, r))
	}
}

// logRetention gives log₂ of the retention of the rows from one on.
func (s *segView) logRetention(dst []float64, from int, r *Retention, now int64) {
	last, x := int64(math.MinInt64), math.NaN() // what is stored together fades together
	for j := range dst {
		w := &s.rows[from+j]
		if w.createTime != last || j == 0 {
			last, x = w.createTime, r.log2(w.createTime, Rehearsed{}, now)
		}
		dst[j] = x
	}
	at, _ := searchRehearsed(s.rehearsed, uint32(from))
	for ; at < len(s.rehearsed) && int(s.rehearsed[at].row) < from+len(dst); at++ {
		e := &s.rehearsed[at]
		dst[int(e.row)-from] = r.log2(s.rows[e.row].createTime, e.state(), now)
	}
}

// ownRehearsed gives a segment with a column that the draft may change.
func (d *draft) ownRehearsed(at uint32) *segView {
	s := &d.segments[at]
	if !d.rehearsing[s.segment] {
		if d.rehearsing == nil {
			d.rehearsing = make(map[*segment]bool)
		}
		d.rehearsing[s.segment] = true
		s.rehearsed = slices.Clone(s.rehearsed)
	}
	return s
}

// rehearse makes the rehearsals of a mutation. Records that are gone are passed over.
func (d *draft) rehearse(list []Rehearsal) {
	if len(list) == 0 {
		return
	}
	keep := d.settings.Value().retention
	fresh := make(map[uint32][]rehearsedRow)
	for i := range list {
		x := &list[i]
		ref, ok := d.Find(x.ID)
		if !ok {
			continue
		}
		s := d.ownRehearsed(ref.segment)
		at, found := searchRehearsed(s.rehearsed, ref.row)
		var before Rehearsed
		if found {
			before = s.rehearsed[at].state()
		}
		e := rehearsedRowOf(ref.row, keep.rehearse(s.rows[ref.row].createTime, before, x.Time, x.Count))
		if found {
			s.rehearsed[at] = e
		} else {
			fresh[ref.segment] = append(fresh[ref.segment], e)
		}
	}
	for at, entries := range fresh {
		s := &d.segments[at]
		s.rehearsed = append(s.rehearsed, entries...)
		slices.SortFunc(s.rehearsed, func(a, b rehearsedRow) int { return cmp.Compare(a.row, b.row) })
	}
}
