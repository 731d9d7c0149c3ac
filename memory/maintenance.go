package memory

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"engram/internal/slab"
	"engram/memory/filter"
	"engram/memory/lexical"
)

// maintenance is what goes on behind the writes. One goroutine compacts segments with
// many dead rows, builds secondary indexes, and notes the bounds of segments that are
// complete; another one builds the indexes of namespaces with a recall, which takes
// longer. Each works on views, and hands what it made to the
// committer, which puts it in the place of what was there if that still is.
type maintenance struct {
	db     *DB
	job    func(*View, *DB) func(*maintenance, *View) error // the next on a view; nil: none
	mu     sync.Mutex
	queued map[*Namespace]bool
	queue  []*Namespace
	wake   chan struct{} // of one: there is something in the queue
	ctx    context.Context
	cancel context.CancelFunc
	ended  chan struct{}
}

func newMaintenance(db *DB, job func(*View, *DB) func(*maintenance, *View) error) *maintenance {
	m := &maintenance{db: db, job: job, queued: make(map[*Namespace]bool), wake: make(chan struct{}, 1), ended: make(chan struct{})}
	m.ctx, m.cancel = context.WithCancel(context.Background())
	go m.run()
	return m
}

func (m *maintenance) stop() {
	m.cancel()
	<-m.ended
}

// look queues a namespace if there is work on it. It is quick: the committer calls
// it for every view it publishes.
func (m *maintenance) look(v *View) {
	if m.job(v, m.db) == nil {
		return
	}
	m.mu.Lock()
	if !m.queued[v.ns] {
		m.queued[v.ns] = true
		m.queue = append(m.queue, v.ns)
	}
	m.mu.Unlock()
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

func (m *maintenance) next() *Namespace {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.queue) == 0 {
		return nil
	}
	ns := m.queue[0]
	m.queue[0] = nil
	m.queue = m.queue[1:]
	delete(m.queued, ns)
	return ns
}

func (m *maintenance) run() {
	defer close(m.ended)
	for {
		select {
		case <-m.ctx.Done():
			return
		case <-m.wake:
		}
		for ns := m.next(); ns != nil && m.ctx.Err() == nil; ns = m.next() {
			m.serve(ns)
		}
	}
}

// serve does what there is to do on a namespace's current view.
func (m *maintenance) serve(ns *Namespace) {
	v := ns.View()
	defer v.Release()
	job := m.job(v, m.db)
	if job == nil {
		return
	}
	if err := job(m, v); err != nil && !errors.Is(err, slab.ErrBudget) && m.ctx.Err() == nil {
		m.db.log.Error("maintenance failed", "namespace", ns.name, "error", err.Error())
	}
	m.look(v)
}

// compactBytes of dead rows are worth a segment's compaction, few as the rows may be.
const compactBytes = 64 << 10

// compactAll compacts whatever has dead rows, as far as there is room for the copies in
// a recovery.
func (m *maintenance) compactAll() {
	for _, ns := range m.db.sorted.Load().Items() {
		v := ns.View()
		for i := range v.segments {
			if v.segments[i].deadRows > 0 {
				// Where it fails the dead rows stay.
				_ = m.compact(v, i, m.db.recovery)
			}
		}
		v.Release()
	}
}

// mayEncode is false where an encoding was refused for want of room, and little came free
// since.
func (s *segView) mayEncode(inUse int64) bool {
	refused := s.encodeRefused.Load()
	return refused == 0 || inUse+s.bytes() < refused
}

// job gives the first thing to do on a view; nil if there is nothing.
func (v *View) job(db *DB) func(*maintenance, *View) error {
	z := &db.sizes
	if i := v.crowdedBy(); i != none {
		return func(m *maintenance, v *View) error { return m.compact(v, i, m.db.beyond) }
	}
	for i := range v.segments {
		s := &v.segments[i]
		complete := i < len(v.segments)-1
		indexed := uint32(0)
		if s.index != nil {
			indexed = uint32(s.index.Rows())
		}
		fresh := s.n - indexed
		switch {
		case s.deadRows > 0 && 4*s.deadRows > s.n && s.deadRows > s.compactRefused.Load() &&
			(s.deadRows >= z.compactRows || s.bytes()/int64(s.n)*int64(s.deadRows) >= compactBytes):
			return func(m *maintenance, v *View) error { return m.compact(v, i, m.db.beyond) }
		case s.vectors.Shape() != v.settings.Value().shape() && s.mayEncode(db.pool.InUse()):
			return func(m *maintenance, v *View) error { return m.compact(v, i, m.db.beyond) }
		case complete && !s.bounded():
			return func(_ *maintenance, v *View) error {
				s := &v.segments[i]
				s.bounds.Store(boundsOf(s.rows[:s.n]))
				return nil
			}
		case s.n >= z.indexRows && s.n > s.indexRefused.Load() &&
			(fresh >= max(z.indexRows, indexed) || complete && fresh > 0):
			return func(m *maintenance, v *View) error { return m.index(v, i) }
		case s.wantsLexical(z.indexRows, complete) && v.settings.Value().lexical != lexical.None:
			return func(m *maintenance, v *View) error { return m.indexWords(v, i) }
		}
	}
	return nil
}

// index builds the secondary index of a segment's rows.
func (m *maintenance) index(v *View, i int) error {
	s := &v.segments[i]
	built, err := filter.Build(m.db.pool, s, int(s.n), s.liveMask())
	if err != nil {
		s.indexRefused.Store(2 * s.n) // try again when there is twice as much
		return err
	}
	x := &filterIndex{Index: built}
	x.refs.Store(1)
	return m.handOver(v, s, &s.indexRefused, x, func(to *segView) released {
		old := to.index
		to.index = x
		return old
	})
}

// released is an index of a segment's rows, or a nil pointer to one.
type released interface{ release() }

// handOver puts an index of a segment's rows, which put does and gives the one before, into
// its namespace. If there is no room for it, it is not made again before there are twice as
// many rows.
func (m *maintenance) handOver(v *View, s *segView, refused *atomic.Uint32, x released, put func(*segView) released) error {
	taken := false
	err := m.db.commit(m.ctx, func(c *committer) error {
		d := c.draft(v.ns.name)
		if d == nil || d.ns != v.ns || d.place(s.segment) < 0 {
			return nil
		}
		with := d.segments[d.place(s.segment)]
		before := with.indexBytes()
		put(&with)
		if ok, err := c.makeRoom(d, with.indexBytes()-before); !ok {
			refused.Store(2 * s.n)
			return err
		}
		if at := d.place(s.segment); at >= 0 { // some may have died for it
			put(&d.segments[at]).release()
			d.changed, taken = true, true
		}
		return nil
	})
	if !taken {
		x.release()
	}
	return err
}

// wantsLexical says whether the rows without a lexical index are many. It is extended
// when a quarter of what it has was added, so that a read looks through few rows by itself.
func (s *segView) wantsLexical(least uint32, complete bool) bool {
	indexed := uint32(0)
	if s.lexical != nil {
		indexed = uint32(s.lexical.Rows())
	}
	fresh := s.n - min(indexed, s.n)
	return s.n >= least && s.n > s.lexicalRefused.Load() && (fresh >= max(least, indexed/4) || complete && fresh > 0)
}

// indexWords builds the lexical index of a segment's rows.
func (m *maintenance) indexWords(v *View, i int) error {
	s := &v.segments[i]
	var old *lexical.Index
	if s.lexical != nil {
		old = s.lexical.Index
	}
	built, err := lexical.Build(m.db.pool, s, old, int(s.n), s.liveMask())
	if err != nil {
		s.lexicalRefused.Store(2 * s.n)
		return err
	}
	x := &lexicalIndex{Index: built}
	x.refs.Store(1)
	return m.handOver(v, s, &s.lexicalRefused, x, func(to *segView) released {
		old := to.lexical
		to.lexical = x
		return old
	})
}

// liveMask has the bits of the live rows; nil: all are.
func (s *segView) liveMask() []uint64 {
	if s.deadRows == 0 {
		return nil
	}
	live := make([]uint64, (s.n+63)/64)
	s.liveInto(live)
	return live
}

// place finds a segment, −1 if the draft shows it no more.
func (d *draft) place(s *segment) int {
	for i := range d.segments {
		if d.segments[i].segment == s {
			return i
		}
	}
	return -1
}

// compact rewrites a segment without its dead rows and as the namespace now keeps its
// keys and values, together with neighbours that have become small enough to share a segment with it.
// It frees more than it takes, but where keys are kept more largely, and so may go beyond
// the budget for a while. Where dead rows have brought the namespace over its max_bytes, it
// takes no more than it must.
func (m *maintenance) compact(v *View, i int, beyond *slab.Pool) error {
	shape := v.settings.Value().shape()
	values := v.segments[i].givenValues()
	limit := m.db.maxRows(shape, values)
	first, end := i, i+1
	rows, payload := v.segments[i].live(), v.segments[i].livePayload()
	join := func(j int) bool {
		if j < 0 || j == len(v.segments) {
			return false
		}
		s := &v.segments[j]
		if s.givenValues() != values || 2*s.live() > limit || rows+s.live() > limit {
			return false
		}
		more := s.livePayload()
		if payload+more > segmentPayload {
			return false
		}
		rows, payload = rows+s.live(), payload+more
		return true
	}
	tight := v.tight()
	for !tight && join(first-1) {
		first--
	}
	for !tight && join(end) {
		end++
	}
	from := v.segments[first:end]
	live, bytes := rows, payload
	if end == len(v.segments) && !tight { // what is written meanwhile needs room
		rows = min(limit, rows+rows/8+16)
		payload += payload/8 + 1024
	}
	moved := make([][]uint32, len(from))
	for j := range from {
		moved[j] = make([]uint32, from[j].n)
	}
	to := func(j int, r, to uint32) { moved[j][r] = to }
	made, err := rewrite(m.db.pool, shape, from, max(rows, 1), max(payload, 1), values, to)
	if errors.Is(err, slab.ErrBudget) { // at least without room to spare
		if segmentCost(shape, max(live, 1), max(bytes, 1), values) > totalBytes(from) {
			beyond = m.db.pool
		}
		made, err = rewrite(beyond, shape, from, max(live, 1), max(bytes, 1), values, to)
	}
	if err != nil {
		v.segments[i].compactRefused.Store(v.segments[i].deadRows * 5 / 4)
		v.segments[i].encodeRefused.Store(m.db.pool.InUse())
		return err
	}
	taken := false
	err = m.db.commit(m.ctx, func(c *committer) error {
		d := c.draft(v.ns.name)
		if d == nil || d.ns != v.ns {
			return nil
		}
		more := made.bytes()
		for j := range from {
			if at := d.place(from[j].segment); at >= 0 {
				more -= d.left(at, 0)
			}
		}
		if limit := d.settings.Value().maxBytes; limit > 0 && more > 0 && d.counted(none)+more > limit {
			if made.bytes() > totalBytes(from) { // keys that take more room now
				v.segments[i].compactRefused.Store(v.segments[i].deadRows * 5 / 4)
				v.segments[i].encodeRefused.Store(m.db.pool.InUse())
			} // else room to spare, which there is no more
			return nil
		}
		taken = d.swapIn(from, made, moved)
		return nil
	})
	if !taken {
		made.release()
	}
	return err
}

func totalBytes(segments []segView) (n int64) {
	for i := range segments {
		n += segments[i].totalBytes()
	}
	return n
}

// swapIn puts a compacted copy of segments in their place, once it has caught up
// with what was written since; false if it can't.
func (d *draft) swapIn(from []segView, made segView, moved [][]uint32) bool {
	at := d.place(from[0].segment)
	if at < 0 || at+len(from) > len(d.segments) {
		return false
	}
	dead := make([]uint64, (made.capacity+63)/64)
	made.rehearsed = nil // some may have been since
	for j := range from {
		now := &d.segments[at+j]
		if now.segment != from[j].segment {
			return false
		}
		for i := range now.rehearsed {
			e := now.rehearsed[i]
			if r := uint32(e.row); r < from[j].n && moved[j][r] != gone {
				made.addRehearsed(moved[j][r], e.state())
			}
		}
	}
	for j := range from {
		now := &d.segments[at+j]
		for r := range from[j].n {
			if to := moved[j][r]; to != gone && now.isDead(r) {
				dead[to/64] |= 1 << (to % 64)
				made.deadRows++
				_, size := readPayload(made.at(&made.rows[to]))
				made.deadSize += size
			}
		}
		for r := from[j].n; r < now.n; r++ {
			if now.isDead(r) {
				continue
			}
			p, _ := readPayload(now.at(&now.rows[r]))
			if made.n == made.capacity || made.room() < p.size() {
				return false
			}
			if err := made.copyRow(now, r); err != nil {
				return false
			}
		}
	}
	if made.deadRows > 0 {
		made.dead = dead
	}
	if made.n > 0 {
		d.moveIVF(from, made.vectors, func(segment int, row uint32) (uint32, bool) {
			to := moved[segment][row]
			return to, to != gone
		})
	}
	if made.n == 0 {
		return false // all died meanwhile: sweep has taken the originals, or will
	}
	d.replace(at, len(from), made)
	return true
}
