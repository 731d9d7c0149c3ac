package memory

import (
	"cmp"
	"fmt"
	"math"
	"slices"
)

// Eviction says which records make room for others in a namespace that is at its bounds,
// max_records or max_bytes.
type Eviction uint8

// The evictions.
const (
	EvictNone              Eviction = iota // none: a write that would pass the bound is refused
	EvictRetention                         // the least retention × importance
	EvictOldest                            // those that were created first
	EvictLeastRecentlyUsed                 // those that were rehearsed, or if never created, longest ago
)

// Valid is false for a number that is no eviction.
func (e Eviction) Valid() bool { return e <= EvictLeastRecentlyUsed }

// MaxRecords bounds max_records.
const MaxRecords = 1 << 40

// CheckMaxRecords says what is wrong with a namespace's bound, or gives "". 0 stands for none.
func CheckMaxRecords(n int64) string {
	if n < 0 || n > MaxRecords {
		return fmt.Sprintf("is %d; give 1 to %d, or 0 for no bound", n, int64(MaxRecords))
	}
	return ""
}

// Looking for the records that are to go takes a look at all there are. So more go at once
// than must: a share of the bound, but no more than a mutation should carry.
const (
	evictShare  = 64
	evictAtOnce = 8192
)

// Full says that a namespace has as many records as it may, and none that can go.
type Full struct {
	Namespace  string
	MaxRecords int64
	Need       int64 // records that the refused write would have brought it to
}

func (e *Full) Error() string {
	return fmt.Sprintf("namespace %q may have %d records (max_records), and would have %d; its eviction makes no room for that, as pinned records stay", e.Namespace, e.MaxRecords, e.Need)
}

// makeRecords adds to a mutation that creates so many records the deletion of those that are to
// go for them. Records that it changes or rehearses stay.
func (d *draft) makeRecords(m *Mutation, created int) error {
	set := d.settings.Value()
	over := int64(d.count+created) - set.maxRecords
	if set.maxRecords == 0 || created == 0 || over <= 0 {
		return nil
	}
	full := &Full{d.ns.name, set.maxRecords, int64(d.count + created)}
	if set.eviction == EvictNone || int64(created) > set.maxRecords {
		return full
	}
	n := int(min(over+set.maxRecords/evictShare, max(over, evictAtOnce)))
	m.Deletes = d.victims(n, m.Time, m.spared(), func(int, int64) bool { return true })
	if int64(len(m.Deletes)) < over {
		return full
	}
	return nil
}

// spared are the ids of the records that a mutation's eviction leaves alone: those that it
// writes or rehearses, and those that it deletes already.
func (m *Mutation) spared() map[string]bool {
	stay := make(map[string]bool, len(m.Changes)+len(m.Rehearsals)+len(m.Deletes))
	for i := range m.Changes {
		stay[m.Changes[i].ID] = true
	}
	for i := range m.Rehearsals {
		stay[m.Rehearsals[i].ID] = true
	}
	for _, id := range m.Deletes {
		stay[id] = true
	}
	return stay
}

// victims are the ids of the n records that are to go first at a time, or of as many as may:
// pinned ones never go. Further ones are asked for until more, which is told how many there
// are and about how many bytes they take, is false.
func (d *draft) victims(n int, now int64, stay map[string]bool, more func(n int, bytes int64) bool) []string {
	type candidate struct {
		worth   float64
		created LSN
		place   uint32
		ref     Ref
	}
	later := func(a, b candidate) int { // it goes later
		return cmp.Or(cmp.Compare(a.worth, b.worth), cmp.Compare(a.created, b.created), cmp.Compare(a.place, b.place))
	}
	var all []candidate
	for i := range d.segments {
		s := &d.segments[i]
		worth := d.worths(s, now)
		each(s.liveMask(), int(s.n), func(row uint32) {
			w := &s.rows[row]
			if w.has(flagPinned) {
				return
			}
			all = append(all, candidate{worth[row], LSN(w.created), w.place, Ref{uint32(i), row}})
			if len(all) >= 2*(n+len(stay))+1024 { // so that it stays small beside the namespace
				slices.SortFunc(all, later)
				all = all[:n+len(stay)]
			}
		})
	}
	slices.SortFunc(all, later)
	ids := make([]string, 0, min(n, len(all)))
	bytes := int64(0)
	for _, c := range all {
		if len(ids) == n || !more(len(ids), bytes) {
			break
		}
		s := &d.segments[c.ref.segment]
		if p, size := readPayload(s.at(&s.rows[c.ref.row])); !stay[p.id] {
			ids = append(ids, string([]byte(p.id))) // not of a slab
			bytes += s.rowCost() + int64(size)
		}
	}
	return ids
}

// worths give for each row of a segment what is compared: the least goes first.
func (d *draft) worths(s *segView, now int64) []float64 {
	set := d.settings.Value()
	out := make([]float64, s.n)
	switch set.eviction {
	case EvictRetention:
		s.logRetention(out, 0, &set.retention, now)
		for row := range out {
			out[row] += math.Log2(float64(s.rows[row].importance))
		}
	case EvictOldest: // by creation alone
	case EvictLeastRecentlyUsed:
		for row := range out {
			out[row] = float64(s.rows[row].createTime)
		}
		for i := range s.rehearsed {
			e := &s.rehearsed[i]
			out[e.row] = float64(max(e.last, s.rows[e.row].createTime))
		}
	}
	return out
}
