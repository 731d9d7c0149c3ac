package memory

import (
	"cmp"
	"container/heap"
	"context"
	"encoding/binary"
	"errors"
	"math"
	"sync"
	"time"

	"engram/index"
	"engram/memory/filter"
)

// Consolidate merges records, or with DryRun says what it would merge.
type Consolidate struct {
	Namespace string
	// By is nil for the namespace's own.
	By        *Consolidation
	Filter    *filter.Filter // validated; nil: all records
	DryRun    bool
	RequestID string
	Digest    [32]byte // of the request's body
}

// Consolidated is what a Consolidate did, or would do.
type Consolidated struct {
	// Records are the first that it made, up to shownRecords of them and about shownBytes; a
	// dry run's have no ID and no Version.
	Records   []Record
	Made      int // records
	Merged    int // into these, and gone
	Cancelled int // clusters of which a record had changed
	LSN       LSN // of the last mutation, or of the namespace if there was none
}

// Bounds of what is shown of the records made.
const (
	shownRecords = 1000
	shownBytes   = 1 << 20
)

// ConsolidatedBytes is about what Records take at most.
const ConsolidatedBytes = 2 * shownBytes

// Bounds of one mutation.
const (
	mergedAtOnce = removedAtOnce // records that go
	mergedBytes  = 1 << 20       // about, of those that come
)

// passRest is how soon a round goes on that a pass didn't complete.
const passRest = 10 * time.Second

// Consolidate merges records of a namespace: see Consolidate the type.
func (db *DB) Consolidate(ctx context.Context, req *Consolidate) (*Consolidated, error) {
	c := checker{limits: &db.limits}
	c.name(of("namespace"), req.Namespace)
	c.requestID(req.RequestID)
	if req.By != nil {
		if field, reason := req.By.Check(); field != "" {
			c.add(of("consolidation."+field), "%s", reason)
		} else if req.By.Similarity == 0 {
			c.add(of("consolidation.similarity"), "is 0; give a cosine above 0, to 1")
		}
	}
	if err := c.err(); err != nil {
		return nil, err
	}
	v, err := db.View(req.Namespace)
	if err != nil {
		return nil, err
	}
	defer v.Release()
	set := v.settings.Value()
	by := set.consolidation
	if req.By != nil {
		by = *req.By
	}
	switch {
	case set.metric != index.Cosine:
		return nil, precondition("namespace %q is not of metric COSINE; what is merged is close by its cosine", req.Namespace)
	case by == Consolidation{}:
		return nil, precondition("namespace %q has no consolidation of its own: give one", req.Namespace)
	}
	now := db.clock.Now().UnixNano()
	w := merging{db: db, v: v, now: now, req: req, out: &Consolidated{LSN: v.lsn}}
	if !req.DryRun { // to do nothing that was done already
		r, err := v.requests.recall(req.RequestID, req.Digest, now, &db.limits)
		if err != nil {
			return nil, err
		}
		if r != nil {
			return v.consolidated(r), nil
		}
	}
	k := clustering{v: v, by: by, now: now, filter: req.Filter, limits: &db.limits, workers: db.workers}
	if _, err := k.run(ctx, func(x *cluster) error { return w.take(ctx, x) }); err != nil {
		return nil, err
	}
	if err := w.flush(ctx, true); err != nil {
		return nil, err
	}
	return w.out, nil
}

// consolidated answers a Consolidate again.
func (v *View) consolidated(r *RequestResult) *Consolidated {
	out := &Consolidated{Merged: int(r.Deleted), LSN: r.LSN}
	made, n := binary.Uvarint(r.Created)
	cancelled, _ := binary.Uvarint(r.Created[max(0, n):])
	out.Made, out.Cancelled = int(made), int(cancelled)
	for _, id := range r.Generated {
		var rec Record
		if v.Get(id, &rec, IncludeAll) {
			out.Records = append(out.Records, rec)
		}
	}
	return out
}

// A merging gathers clusters, and commits some at a time.
type merging struct {
	db  *DB
	v   *View
	now int64        // Unix nanoseconds
	req *Consolidate // nil: it is the background that merges
	out *Consolidated

	clusters       []*cluster
	records, bytes int // of those
	shown          int // bytes of out.Records
	last           bool
}

// take adds a cluster.
func (w *merging) take(ctx context.Context, x *cluster) error {
	n := x.merged.bytes()
	if len(w.clusters) > 0 && (w.records+len(x.members) > mergedAtOnce || w.bytes+n > mergedBytes) {
		if err := w.flush(ctx, false); err != nil {
			return err
		}
	}
	w.clusters = append(w.clusters, x)
	w.records += len(x.members)
	w.bytes += n
	return nil
}

// flush commits the clusters that were gathered; last: the request ends with that.
func (w *merging) flush(ctx context.Context, last bool) error {
	list := w.clusters
	w.clusters, w.records, w.bytes, w.last = nil, 0, 0, last
	if w.req != nil && w.req.DryRun {
		for _, x := range list {
			x.merged.CreateTime, x.merged.Rehearsed = w.v.retained(x)
			x.merged.UpdateTime = w.now
			w.made(&x.merged, len(x.members))
		}
		return nil
	}
	if len(list) == 0 && (!last || w.req == nil || w.req.RequestID == "") {
		return nil
	}
	return w.db.commit(ctx, func(c *committer) error { return c.merge(w, list) })
}

// made counts a record that was made.
func (w *merging) made(r *Record, of int) {
	w.out.Made++
	w.out.Merged += of
	if n := r.bytes(); w.req != nil && len(w.out.Records) < shownRecords && w.shown+n <= shownBytes {
		w.out.Records = append(w.out.Records, *r)
		w.shown += n
	}
}

// merge commits clusters, those of which no record was changed.
func (c *committer) merge(w *merging, list []*cluster) error {
	name := w.v.ns.name
	m := c.begin(name)
	d := c.draft(name)
	if d == nil || d.ns != w.v.ns {
		return noNamespace(name)
	}
	if w.req != nil {
		r, err := d.requests.recall(w.req.RequestID, w.req.Digest, m.Time, &c.db.limits)
		if err != nil {
			return err
		}
		if r != nil {
			w.out = d.consolidated(r)
			return nil
		}
	}
	out := *w.out // until it is committed
	before := *w
	w.out = &out
	merged := 0
	for _, x := range list {
		if !d.unchanged(x) {
			out.Cancelled++
			continue
		}
		ch := Change{Record: x.merged, Mask: MaskAll, analysed: x.analysed}
		ch.ID, ch.Version, ch.UpdateTime = c.db.newID(), m.LSN, m.Time
		ch.CreateTime, ch.Rehearsed = d.retained(x)
		for i := range x.members {
			m.Deletes = append(m.Deletes, x.members[i].id)
		}
		merged += len(x.members)
		m.Changes = append(m.Changes, ch)
		w.made(&ch.Record, len(x.members))
	}
	err := func() error {
		remembered := w.last && w.req != nil && w.req.RequestID != ""
		if len(m.Changes) == 0 && !remembered {
			return nil
		}
		if remembered {
			m.Request = &RequestResult{ID: w.req.RequestID, Digest: w.req.Digest, Time: m.Time, LSN: m.LSN, Deleted: uint64(out.Merged)}
			m.Request.Created = binary.AppendUvarint(binary.AppendUvarint(nil, uint64(out.Made)), uint64(out.Cancelled))
			for i := range out.Records {
				m.Request.Generated = append(m.Request.Generated, out.Records[i].ID)
			}
		}
		if err := c.admit(m, d, 0); err != nil {
			return err
		}
		out.LSN = m.LSN
		return c.commit(m, d)
	}()
	if err != nil {
		*w = before
		return err
	}
	c.db.gone(w.v.ns, mergedAt, merged)
	return nil
}

// unchanged says whether all records of a cluster are as they were when it was found.
func (d *draft) unchanged(x *cluster) bool {
	for i := range x.members {
		m := &x.members[i]
		ref, ok := d.Find(m.id)
		if !ok || LSN(d.segments[ref.segment].rows[ref.row].version) != m.version {
			return false
		}
	}
	return true
}

// retained gives the create time and the rehearsals of what a cluster becomes, so that it is
// retained as well as the best of its records, at any time to come: it fades since the latest
// of what they fade since, with the longest half-life.
func (v *View) retained(x *cluster) (createTime int64, s Rehearsed) {
	createTime = math.MinInt64
	since := createTime
	for i := range x.members {
		ref, _ := v.Find(x.members[i].id)
		seg := &v.segments[ref.segment]
		at, r := seg.rows[ref.row].createTime, seg.rehearsals(ref.row)
		createTime = max(createTime, at)
		if r.Count > 0 {
			at = r.Last
		}
		since = max(since, at)
		s.Count += min(r.Count, math.MaxUint32-s.Count)
		if r.Growths > s.Growths || r.Growths == s.Growths && r.Grown > s.Grown {
			s.Growths, s.Grown = r.Growths, r.Grown
		}
	}
	if s.Count > 0 {
		s.Last = since
	}
	return createTime, s
}

// bytes is about what a record takes in a message.
func (r *Record) bytes() int {
	n := 128 + len(r.ID) + len(r.Text) + len(r.Metadata) + len(r.Session) + len(r.Speaker) + 4*(len(r.Key)+len(r.Value))
	for i := range r.Sources {
		n += sourceBytes + len(r.Sources[i].ID)
	}
	return n
}

// consolidating is when the namespaces that have a consolidation look for what it merges.
type consolidating struct {
	mu      sync.Mutex
	due     dueHeap
	passing sync.Mutex    // held while passes are made
	ended   chan struct{} // closed when no more are
}

// look notes when a view's namespace looks next, in an interval of its consolidation.
func (q *consolidating) look(v *View, clock Clock) {
	if by := v.settings.Value().consolidation; by != (Consolidation{}) {
		q.note(v.ns, clock.Now().UnixNano()+by.every())
	}
}

// note has a namespace look at a time at the latest. An entry that an earlier one has
// overtaken stays until its time, when it does nothing.
func (q *consolidating) note(ns *Namespace, at int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if ns.consolidateDue == 0 || at < ns.consolidateDue {
		ns.consolidateDue = at
		heap.Push(&q.due, due{at, ns})
	}
}

// next takes a namespace that looks by now; nil: none does.
func (q *consolidating) next(now int64) *Namespace {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.due) > 0 && q.due[0].at <= now {
		if x := heap.Pop(&q.due).(due); x.ns.consolidateDue == x.at {
			x.ns.consolidateDue = 0
			return x.ns
		}
	}
	return nil
}

// consolidates merges what is to be merged, once a second, until the DB is closed.
func (db *DB) consolidates() {
	defer close(db.consolidating.ended)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-db.maintenance.ctx.Done():
			return
		case <-tick.C:
		}
		if db.restoring.Load() || db.ReadOnly() != nil {
			continue
		}
		_ = db.ConsolidateDue(db.maintenance.ctx) // which tells of what fails
	}
}

// ConsolidateDue makes a pass over each namespace that has a consolidation, and for which it is
// time. It happens by itself, once a second.
func (db *DB) ConsolidateDue(ctx context.Context) (err error) {
	db.consolidating.passing.Lock()
	defer db.consolidating.passing.Unlock()
	now := db.clock.Now().UnixNano()
	for ctx.Err() == nil {
		ns := db.consolidating.next(now)
		if ns == nil {
			return err
		}
		failed := db.pass(ctx, ns, now)
		if db.lookup(ns.name) == ns {
			db.consolidating.look(ns.view.Load(), db.clock)
			if p := ns.passed; failed == nil && p != nil && p.after != nil {
				db.consolidating.note(ns, now+int64(passRest))
			}
		}
		if failed != nil && ctx.Err() == nil && db.ReadOnly() == nil && !errors.Is(failed, ErrClosed) {
			db.log.Error("records that are close were not merged", "namespace", ns.name, "error", failed.Error())
		}
		err = cmp.Or(err, failed)
	}
	return ctx.Err()
}

// passed is what a pass leaves for the next one. Passes, each of which goes on where the one
// before stopped, make a round.
type passed struct {
	by    Consolidation
	after *led // where it stopped; nil: the round is complete
	// The namespace's LSN throughout the round; 0 if it rose.
	lsn    LSN
	ripens int64 // when a record was to become old enough, at the round's start; 0: never
}

// pass merges what is close in a namespace, as far as one pass may.
func (db *DB) pass(ctx context.Context, ns *Namespace, now int64) error {
	v := ns.View()
	defer v.Release()
	by := v.settings.Value().consolidation
	if by == (Consolidation{}) {
		ns.passed = nil
		return nil
	}
	k := clustering{v: v, by: by, now: now, limits: &db.limits, workers: 1, most: db.sizes.passWork}
	round := passed{by: by, lsn: v.lsn}
	if p := ns.passed; p != nil && p.by == by {
		switch quiet := p.lsn == v.lsn; {
		case p.after != nil:
			k.after, round.ripens = p.after, p.ripens
			if !quiet {
				round.lsn = 0
			}
		case quiet && (p.ripens == 0 || now < p.ripens):
			return nil // nothing is new
		}
	}
	w := merging{db: db, v: v, now: now, out: new(Consolidated)}
	stopped, err := k.run(ctx, func(x *cluster) error { return w.take(ctx, x) })
	if err == nil {
		err = w.flush(ctx, true)
	}
	var gone *NotFound
	if errors.As(err, &gone) { // the namespace
		return nil
	}
	if err != nil {
		return err
	}
	round.after = stopped
	if k.after == nil {
		round.ripens = k.ripens
	}
	if w.out.Made+w.out.Cancelled > 0 {
		round.lsn = 0
	}
	ns.passed = &round
	return nil
}
