package memory

import (
	"cmp"
	"container/heap"
	"context"
	"fmt"
	"math"
	"slices"
	"time"
)

// Eviction says what a namespace at its most records does with a Store of more. Pinned
// records, and those that the Store itself writes, are never evicted.
type Eviction uint8

// The evictions.
const (
	EvictNone        Eviction = iota // the Store is refused
	EvictRetention                   // the records go whose retention × importance is least
	EvictOldest                      // those go that were created first
	EvictLeastRecent                 // those go whose last rehearsal (being stored is the first) is longest ago
)

// Valid is true of the evictions there are.
func (e Eviction) Valid() bool { return e <= EvictLeastRecent }

// CheckForget says what is wrong with a threshold of retention, or gives "".
func CheckForget(x float64) string {
	if !(x >= 0 && x < 1) {
		return fmt.Sprintf("is %v; give 0, to forget nothing, to less than 1", x)
	}
	return ""
}

// checkMaxRecords says what is wrong with a bound of records, or gives "".
func checkMaxRecords(n int64) string {
	if n < 0 {
		return fmt.Sprintf("is %d; it can't be negative", n)
	}
	return ""
}

// A victim is a record that goes soon, as it was when it was chosen.
type victim struct {
	key  int64 // those of the least go first, and of equal ones the older
	last int64 // when it was rehearsed last
	Position
	id string
}

func (v *victim) compare(o *victim) int {
	return cmp.Or(cmp.Compare(v.key, o.key), CreatedAsc.compare(v.Position, o.Position))
}

// victimHeap has on top the one that goes last.
type victimHeap []victim

func (h victimHeap) Len() int           { return len(h) }
func (h victimHeap) Less(i, j int) bool { return h[i].compare(&h[j]) > 0 }
func (h victimHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *victimHeap) Push(x any)        { *h = append(*h, x.(victim)) }
func (h *victimHeap) Pop() any          { panic("memory: victims only come") }

// victimsOf is how many victims are chosen at a time: a sixteenth of the records, so that
// a look at all of them serves many a Store.
func victimsOf(count int) int { return min(max(count/16, 64), 1<<14) }

// lastUse is when a row was rehearsed last; being stored is the first time.
func (s *segView) lastUse(row uint32) int64 {
	if r := s.rehearsals(row); r.Count > 0 {
		return r.Last
	}
	return s.rows[row].createTime
}

// choose looks for the n records that go first.
func (d *draft) choose(n int, now int64) []victim {
	set := d.settings.Value()
	var logs []float64
	found := make(victimHeap, 0, n)
	for i := range d.segments {
		s := &d.segments[i]
		if set.eviction == EvictRetention {
			logs = slices.Grow(logs[:0], int(s.n))[:s.n]
			s.logRetention(logs, 0, &set.retention, now)
		}
		for row := range s.n {
			w := &s.rows[row]
			if s.isDead(row) || w.has(flagPinned) {
				continue
			}
			v := victim{Position: w.position()}
			switch set.eviction {
			case EvictRetention:
				// None is above 0; so their bits are in the order of their numbers, but for the sign.
				v.key = -int64(math.Float64bits(math.Abs(logs[row] + math.Log2(float64(w.importance)))))
			case EvictLeastRecent:
				v.key = s.lastUse(row)
			}
			if len(found) == n && v.compare(&found[0]) >= 0 {
				continue
			}
			v.id, v.last = string([]byte(readID(s.at(w)))), s.lastUse(row)
			if len(found) < n {
				heap.Push(&found, v)
			} else {
				found[0] = v
				heap.Fix(&found, 0)
			}
		}
	}
	slices.SortFunc(found, func(a, b victim) int { return a.compare(&b) })
	return found
}

// still says whether a victim is there as it was when it was chosen.
func (d *draft) still(v *victim) bool {
	ref, ok := d.Find(v.id)
	if !ok {
		return false
	}
	s := &d.segments[ref.segment]
	w := &s.rows[ref.row]
	same := LSN(w.created) == v.Created && w.place == v.Place && !w.has(flagPinned)
	// One that was rehearsed since isn't the next any more, but where only its age counts.
	return same && (s.lastUse(ref.row) == v.last || d.settings.Value().eviction == EvictOldest)
}

// victims gives the ids of the n records that go now, none of which a mutation changes;
// fewer where there are no more.
func (d *draft) victims(n int, changes []Change, now int64) []string {
	changed := make(map[string]bool, len(changes))
	for i := range changes {
		changed[changes[i].ID] = true
	}
	var ids []string
	for again := false; ; again = true {
		list := d.ns.victims
		ids = ids[:0]
		gone := true
		for i := range list {
			if !d.still(&list[i]) {
				if gone { // for good, those before too
					d.ns.victims = list[i+1:]
				}
				continue
			}
			gone = false
			if !changed[list[i].id] {
				if ids = append(ids, list[i].id); len(ids) == n {
					return ids
				}
			}
		}
		if again {
			return ids
		}
		d.ns.victims = d.choose(max(victimsOf(d.count), n+len(changes)), now)
	}
}

// evict has a Store that creates records evict others, where its namespace holds no more.
func (d *draft) evict(m *Mutation, created int) error {
	set := d.settings.Value()
	over := d.count + created - int(min(set.maxRecords, math.MaxInt))
	if set.maxRecords == 0 || created == 0 || over <= 0 {
		return nil
	}
	full := &Full{Namespace: d.ns.name, Limit: set.maxRecords, Need: int64(d.count + created), Evicts: set.eviction != EvictNone}
	if !full.Evicts || int64(created) > set.maxRecords {
		return full
	}
	ids := d.victims(over, m.Changes, m.Time)
	if len(ids) < over {
		return full
	}
	m.Deletes = ids
	return nil
}

// shrink evicts what a namespace has beyond its most records, as far as it may.
func (c *committer) shrink(d *draft, now int64) error {
	for {
		set := d.settings.Value()
		over := int64(d.count) - set.maxRecords
		if set.maxRecords == 0 || set.eviction == EvictNone || over <= 0 {
			return nil
		}
		n := int(min(over, removedAtOnce))
		ids := d.victims(n, nil, now)
		if len(ids) == 0 {
			return nil
		}
		m := &Mutation{LSN: c.lsn + 1, Time: now, Namespace: d.ns.name, Deletes: ids}
		if err := c.commit(m, d); err != nil {
			return err
		}
		d.db.gone(d.ns, evictedAt, len(ids))
		if len(ids) < n {
			return nil
		}
	}
}

// Full says that a namespace holds as many records as it may.
type Full struct {
	Namespace string
	Limit     int64 // records
	Need      int64 // records that the refused write would have brought it to
	Evicts    bool  // it evicts, and what is left is pinned or of the write itself
}

func (e *Full) Error() string {
	why := "and evicts none"
	if e.Evicts {
		why = "and those that this write leaves alone are pinned, or too few"
	}
	return fmt.Sprintf("namespace %q holds at most %d records, %s: this write would bring it to %d", e.Namespace, e.Limit, why, e.Need)
}

// forgetEvery is how often a namespace looks for what it forgets: 64 times while a record
// that is never rehearsed fades so far, but at least once an hour and at most once a second.
func (s *settings) forgetEvery() int64 {
	fade := float64(s.retention.HalfLife) * -math.Log2(s.forget)
	return int64(min(max(fade/64, float64(time.Second)), float64(time.Hour)))
}

// forgets says whether a row's retention is below the namespace's threshold.
func (v *View) forgets(ref Ref, now int64) bool {
	set := v.settings.Value()
	s := &v.segments[ref.segment]
	w := &s.rows[ref.row]
	return set.forget > 0 && !w.has(flagPinned) && set.retention.Of(w.createTime, s.rehearsals(ref.row), now) < set.forget
}

// forget removes the records of a namespace whose retention is below its threshold.
func (db *DB) forget(ctx context.Context, ns *Namespace, now int64) error {
	v := ns.View()
	defer v.Release()
	set := v.settings.Value()
	if set.forget == 0 {
		return nil
	}
	least := math.Log2(set.forget)
	var ids []string
	commit := func() error {
		if len(ids) == 0 {
			return nil
		}
		err := db.commit(ctx, func(c *committer) error {
			m := c.begin(ns.name)
			d := c.draft(ns.name)
			if d == nil || d.ns != ns {
				return nil
			}
			for _, id := range ids { // some were rehearsed since, or are others now
				if ref, ok := d.Find(id); ok && d.forgets(ref, now) {
					m.Deletes = append(m.Deletes, id)
				}
			}
			if len(m.Deletes) == 0 {
				return nil
			}
			if err := c.commit(m, d); err != nil {
				return err
			}
			db.gone(ns, forgottenAt, len(m.Deletes))
			return nil
		})
		ids = ids[:0]
		return err
	}
	var logs []float64
	for i := range v.segments {
		s := &v.segments[i]
		logs = slices.Grow(logs[:0], int(s.n))[:s.n]
		s.logRetention(logs, 0, &set.retention, now)
		for row := range s.n {
			// Rounding may differ by a bit: the commit decides.
			if w := &s.rows[row]; logs[row] > least+1e-9 || s.isDead(row) || w.has(flagPinned) {
				continue
			}
			if ids = append(ids, string([]byte(readID(s.at(&s.rows[row]))))); len(ids) == removedAtOnce {
				if err := commit(); err != nil {
					return err
				}
			}
		}
	}
	return commit()
}
