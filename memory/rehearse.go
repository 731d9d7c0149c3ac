package memory

import (
	"cmp"
	"context"
	"errors"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// A Rehearsal is of one record: how often it was, and when last, in Unix nanoseconds.
type Rehearsal struct {
	ID    string
	Time  int64
	Count uint32
}

const (
	// rehearsedAtOnce bounds the records of one mutation, and so its size.
	rehearsedAtOnce = 4096
	// rehearsalsWaiting bounds what waits to be committed, where the log is slower than
	// the readers. What comes beyond is not rehearsed.
	rehearsalsWaiting = 1 << 18
)

// A rehearsing gathers rehearsals. Readers put theirs on a list without a lock; some time
// later (Options.RehearseAfter), all that is there is committed.
type rehearsing struct {
	after   time.Duration
	head    atomic.Pointer[recital]
	waiting atomic.Int64               // records on the list
	timer   atomic.Pointer[time.Timer] // to the next commit
	mu      sync.Mutex                 // over committing
}

// A recital is the records that one read rehearses.
type recital struct {
	next    *recital
	time    int64
	records []recited
}

// recited names a record: its id may become another's.
type recited struct {
	ns      *Namespace
	id      string
	created LSN
	place   uint32
}

// Rehearse rehearses the records of hits in views, each once, at this moment. It takes no
// lock and waits for nothing; the rehearsals are committed after Options.RehearseAfter, one
// mutation for each namespace, and lost if the process or the log fails before. They change
// neither the version of a record nor its update time.
func (db *DB) Rehearse(views []*View, hits [][]Hit) {
	n := 0
	for _, of := range hits {
		n += len(of)
	}
	if n == 0 || db.ReadOnly() != nil {
		return
	}
	if db.rehearsing.waiting.Add(int64(n)) > rehearsalsWaiting {
		db.rehearsing.waiting.Add(int64(-n))
		return
	}
	r := &recital{time: db.clock.Now().UnixNano(), records: make([]recited, 0, n)}
	for _, of := range hits {
		for _, h := range of {
			v := views[h.View]
			s := &v.segments[h.Ref.segment]
			w := &s.rows[h.Ref.row]
			id := string([]byte(readID(s.at(w)))) // not of a slab
			r.records = append(r.records, recited{v.ns, id, LSN(w.created), w.place})
		}
	}
	for {
		r.next = db.rehearsing.head.Load()
		if db.rehearsing.head.CompareAndSwap(r.next, r) {
			break
		}
	}
	if r.next == nil { // the first since they were committed
		db.rehearsing.timer.Store(time.AfterFunc(db.rehearsing.after, func() { _ = db.CommitRehearsals(db.maintenance.ctx) }))
	}
}

// CommitRehearsals commits the rehearsals that wait, which otherwise happens by itself. If
// that fails they are lost.
func (db *DB) CommitRehearsals(ctx context.Context) error {
	q := &db.rehearsing
	q.mu.Lock()
	defer q.mu.Unlock()
	if t := q.timer.Swap(nil); t != nil {
		t.Stop()
	}
	gathered := gather(q)
	if len(gathered) == 0 {
		return nil
	}
	err := db.commit(ctx, func(c *committer) (err error) {
		for _, of := range gathered {
			for part := range slices.Chunk(of, rehearsedAtOnce) {
				err = errors.Join(err, c.rehearse(part))
			}
		}
		return err
	})
	if err != nil && db.ReadOnly() == nil && !errors.Is(err, ErrClosed) {
		db.log.Warn("rehearsals were lost", "error", err.Error())
	}
	return err
}

// gathered are the rehearsals of one record.
type gathered struct {
	recited
	count uint32
	time  int64
	by    *recital // the last that it is of
}

// gather takes what is on the list, by namespace and in the order of ids.
func gather(q *rehearsing) [][]*gathered {
	found := make(map[recited]*gathered)
	var all []*gathered
	for r := q.head.Swap(nil); r != nil; r = r.next {
		q.waiting.Add(int64(-len(r.records)))
		for _, x := range r.records {
			g := found[x]
			if g == nil {
				g = &gathered{recited: x, time: math.MinInt64}
				found[x] = g
				all = append(all, g)
			}
			if g.by != r { // two queries of a read may have found it
				g.by = r
				g.count++
			}
			g.time = max(g.time, r.time)
		}
	}
	slices.SortFunc(all, func(a, b *gathered) int {
		return cmp.Or(cmp.Compare(a.ns.name, b.ns.name), cmp.Compare(a.ns.created, b.ns.created), cmp.Compare(a.id, b.id), cmp.Compare(a.created, b.created))
	})
	var out [][]*gathered
	for len(all) > 0 {
		n := 1
		for n < len(all) && all[n].ns == all[0].ns {
			n++
		}
		out = append(out, all[:n])
		all = all[n:]
	}
	return out
}

// rehearse commits the rehearsals of records of one namespace, of those that are still there.
func (c *committer) rehearse(list []*gathered) error {
	ns := list[0].ns
	m := c.begin(ns.name)
	d := c.draft(ns.name)
	if d == nil || d.ns != ns {
		return nil
	}
	for _, g := range list {
		ref, ok := d.Find(g.id)
		if !ok {
			continue
		}
		if w := &d.segments[ref.segment].rows[ref.row]; LSN(w.created) != g.created || w.place != g.place {
			continue // another record has the id now
		}
		m.Rehearsals = append(m.Rehearsals, Rehearsal{g.id, g.time, g.count})
	}
	if len(m.Rehearsals) == 0 {
		return nil
	}
	if err := c.room(m); err != nil {
		return err
	}
	return c.commit(m, d)
}
