package memory

import (
	"cmp"
	"container/heap"
	"context"
	"math"
	"slices"
	"sync"
	"time"
)

// A record is expired from the moment on that its Expire names. A view that DB.View gives is
// a picture as of one LSN and one time: what has expired by then isn't in it. Behind the
// reads, once a second, and before a write to its namespace, an expired record is deleted by
// a mutation as any other, which Watch and a replay see.

// MaxTTL is the longest that a record can be stored for.
const MaxTTL = 100 * 365 * 24 * time.Hour

// expiring is what a view shows of the expiries in one segment; nil where no row has one.
// It never changes. Rows are added in order, and what is behind the rows of a view isn't
// read through it: views that follow one another share the entries.
type expiring struct {
	rows     []expiringRow
	next     int64 // no live row expires before
	from     int   // the rows before are dead
	unsorted bool  // some row expires before one that precedes it
}

type expiringRow struct {
	at  int64 // Unix nanoseconds
	row uint16
}

// addExpiring notes that a row, which follows those noted before, expires; 0: never.
func (s *segView) addExpiring(row uint32, at int64) {
	if at == 0 {
		return
	}
	x := &expiring{next: at}
	if s.expiring != nil {
		*x = *s.expiring
		x.next = min(x.next, at)
		x.unsorted = x.unsorted || at < x.rows[len(x.rows)-1].at
	}
	x.rows = append(x.rows, expiringRow{at, uint16(row)})
	s.expiring = x
}

// expires is when a row expires; 0: never.
func (s *segView) expires(row uint32) int64 {
	if s.expiring == nil {
		return 0
	}
	rows := s.expiring.rows
	at, found := slices.BinarySearchFunc(rows, row, func(e expiringRow, row uint32) int { return cmp.Compare(uint32(e.row), row) })
	if !found {
		return 0
	}
	return rows[at].at
}

// eachExpired yields the live rows that have expired by now, which then die, until yield is
// false, and gives what is left of the expiries: nil where no live row has one.
func (s *segView) eachExpired(now int64, yield func(row uint32) bool) *expiring {
	x := *s.expiring
	x.next = math.MaxInt64
	dead := true
	for i := x.from; i < len(x.rows); i++ {
		e := x.rows[i]
		switch {
		case s.isDead(uint32(e.row)):
		case e.at > now:
			x.next = min(x.next, e.at)
			dead = false
			if !x.unsorted {
				return &x
			}
		case !yield(uint32(e.row)):
			x.next = min(x.next, e.at)
			return &x
		}
		if dead {
			x.from = i + 1
		}
	}
	if x.next == math.MaxInt64 {
		return nil
	}
	return &x
}

// due tells that records may have expired.
func (v *View) due(now int64) bool { return v.expires != 0 && v.expires <= now }

// lapse notes when a record that was added expires; 0: never.
func (v *View) lapse(at int64) {
	if at != 0 && (v.expires == 0 || at < v.expires) {
		v.expires = at
	}
}

// Living acquires what is left of a view, which stays acquired, at this moment.
func (db *DB) Living(v *View) *View {
	now := int64(0)
	if v.expires != 0 {
		now = db.clock.Now().UnixNano()
	}
	if !v.due(now) {
		v.refs.Add(1)
		return v
	}
	d := db.draftOf(v)
	d.expires = 0
	for i := range d.segments {
		s := &d.segments[i]
		if s.expiring == nil {
			continue
		}
		s.expiring = s.eachExpired(now, func(row uint32) bool {
			d.kill(Ref{uint32(i), row})
			d.count--
			return true
		})
		if s.expiring != nil {
			d.lapse(s.expiring.next)
		}
	}
	return d.View
}

// removedAtOnce bounds the records that one mutation removes.
const removedAtOnce = 4096

// expired gives the ids of some records that have expired; none, if none has.
func (d *draft) expired(now int64) (ids []string) {
	d.expires = 0
	for i := range d.segments {
		s := &d.segments[i]
		if s.expiring == nil {
			continue
		}
		if s.expiring.next <= now {
			s.expiring = s.eachExpired(now, func(row uint32) bool {
				if len(ids) == removedAtOnce {
					return false
				}
				ids = append(ids, string([]byte(readID(s.at(&s.rows[row])))))
				return true
			})
		}
		if s.expiring != nil {
			d.lapse(s.expiring.next)
		}
	}
	d.changed = true
	return ids
}

// expire removes some of the records that have expired by now, and says how many.
func (c *committer) expire(d *draft, now int64) (int, error) {
	if !d.due(now) {
		return 0, nil
	}
	ids := d.expired(now)
	if len(ids) == 0 {
		return 0, nil
	}
	m := &Mutation{LSN: c.lsn + 1, Time: now, Namespace: d.ns.name, Deletes: ids}
	if err := c.commit(m, d); err != nil {
		return 0, err
	}
	d.db.gone(d.ns, expiredAt, len(ids))
	return len(ids), nil
}

// fresh gives the draft of a mutation's namespace as draft does, without what has expired
// by the mutation's time. What removes that goes before the mutation, in LSNs too.
func (c *committer) fresh(m *Mutation) (*draft, error) {
	d := c.draft(m.Namespace)
	if d == nil {
		return nil, nil
	}
	for {
		n, err := c.expire(d, m.Time)
		if n == 0 || err != nil {
			m.LSN = c.lsn + 1
			return d, err
		}
	}
}

// An agenda is when the namespaces that have something to remove have it.
type agenda struct {
	mu  sync.Mutex
	due dueHeap
}

type due struct {
	at int64
	ns *Namespace
}

type dueHeap []due

func (h dueHeap) Len() int           { return len(h) }
func (h dueHeap) Less(i, j int) bool { return h[i].at < h[j].at }
func (h dueHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *dueHeap) Push(x any)        { *h = append(*h, x.(due)) }
func (h *dueHeap) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}

// look notes when a view that is published has something to remove. An entry that an
// earlier one has overtaken stays until its time, when it does nothing.
func (a *agenda) look(v *View, clock Clock) {
	set := v.settings.Value()
	if v.expires == 0 && set.forget == 0 {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	at, ns := v.expires, v.ns
	if set.forget > 0 {
		next := clock.Now().UnixNano() + set.forgetEvery()
		if ns.forgetDue == 0 || next < ns.forgetDue {
			ns.forgetDue = next
		}
		if at == 0 || ns.forgetDue < at {
			at = ns.forgetDue
		}
	}
	if ns.due == 0 || at < ns.due {
		ns.due = at
		heap.Push(&a.due, due{at, ns})
	}
}

// next takes a namespace that has something to remove by now, and whether it looks for what
// it forgets; nil: none has.
func (a *agenda) next(now int64) (ns *Namespace, forgets bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for len(a.due) > 0 && a.due[0].at <= now {
		x := heap.Pop(&a.due).(due)
		if ns = x.ns; ns.due == x.at {
			ns.due = 0
			if forgets = ns.forgetDue != 0 && ns.forgetDue <= now; forgets {
				ns.forgetDue = 0
			}
			return ns, forgets
		}
	}
	return nil, false
}

// tidy removes what is to be removed, once a second, until the DB is closed.
func (db *DB) tidy() {
	db.eachSecond(func() {
		if err := db.Tidy(db.maintenance.ctx); err != nil && db.maintenance.ctx.Err() == nil && db.ReadOnly() == nil {
			db.log.Error("records that are to go were not removed", "error", err.Error())
		}
	})
}

// eachSecond does something each second that the DB can be written to, until it is closed.
func (db *DB) eachSecond(do func()) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-db.maintenance.ctx.Done():
			return
		case <-tick.C:
		}
		if !db.restoring.Load() && db.ReadOnly() == nil {
			do()
		}
	}
}

// Tidy removes the records that have expired, and those that are to be forgotten where it is
// time to look for them. It happens by itself, once a second.
func (db *DB) Tidy(ctx context.Context) error {
	now := db.clock.Now().UnixNano()
	for {
		ns, forgets := db.agenda.next(now)
		if ns == nil {
			return nil
		}
		err := db.removeExpired(ctx, ns, now)
		if err == nil && forgets {
			err = db.forget(ctx, ns, now)
		}
		if db.lookup(ns.name) == ns {
			db.agenda.look(ns.view.Load(), db.clock)
		}
		if err != nil {
			return err
		}
	}
}

// removeExpired lets other writes in between its mutations.
func (db *DB) removeExpired(ctx context.Context, ns *Namespace, now int64) error {
	for more := true; more; {
		err := db.commit(ctx, func(c *committer) error {
			more = false
			d := c.draft(ns.name)
			if d == nil || d.ns != ns {
				return nil
			}
			n, err := c.expire(d, now)
			more = n == removedAtOnce
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}
