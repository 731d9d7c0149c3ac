package memory

import (
	"errors"
	"fmt"
	"slices"
	"unique"

	"engram/index"
	"engram/internal/slab"
)

// A draft is the pending state of one namespace: the view that will be published
// next, while mutations still apply to it. It belongs to one goroutine, the
// committer's, or the one that builds a namespace to restore.
type draft struct {
	*View
	db      *DB
	open    int    // the first segment that rows may still go to
	ownDead []bool // by segment: the dead bitmap is the draft's own
	changed bool   // there is something to publish
	dropped bool   // the namespace is deleted
	waits   bool   // it is published once the log is synced
	deleted bool   // a row died since the last sweep

	rehearsing map[*segment]bool // segments whose column of rehearsals is the draft's own

	doomed    []doomed // by segment, of the mutation that is being decided: see makeBytes
	swept     bool     // likewise: no dead rows are left to sweep out
	unbounded bool     // max_bytes doesn't count: what is restored has been admitted before
	admitted  bool     // here: the server's budget doesn't count either

	// settle waits until the rows that have a place are in it; nil: they are always.
	settle func()
}

// newDraft begins a namespace.
func (db *DB) newDraft(c *Config) *draft {
	ns := &Namespace{name: c.Name, createTime: c.CreateTime, created: c.Created}
	v := &View{ns: ns, settings: c.settings()}
	v.refs.Store(1)
	return &draft{View: v, db: db}
}

// draftOf begins a draft at a view, its namespace's current one or one still pending.
func (db *DB) draftOf(base *View) *draft {
	v := &View{count: base.count, words: base.words, lsn: base.lsn, ns: base.ns, settings: base.settings, requests: base.requests, ivf: base.ivf, expires: base.expires}
	if v.ivf != nil {
		v.ivf.Retain()
	}
	v.refs.Store(1)
	if len(base.segments) == 1 {
		v.one[0] = base.segments[0]
		v.segments = v.one[:]
	} else {
		v.segments = slices.Clone(base.segments)
	}
	for i := range v.segments {
		s := &v.segments[i]
		s.refs.Add(1)
		s.keepIndexes()
	}
	return &draft{View: v, db: db, open: max(0, len(v.segments)-1)}
}

func (d *draft) shape() index.Shape { return d.settings.Value().shape() }

// bytes is what the namespace takes outside the heap.
func (v *View) bytes() int64 {
	n := totalBytes(v.segments)
	if v.ivf != nil {
		n += v.ivf.Bytes()
	}
	return n
}

func (s *segView) totalBytes() int64 { return s.bytes() + s.indexBytes() }

func (s *segView) indexBytes() (n int64) {
	if s.index != nil {
		n += s.index.Bytes()
	}
	if s.lexical != nil {
		n += s.lexical.Bytes()
	}
	return n
}

// add takes over a segment.
func (d *draft) add(s segView) {
	d.changed = true
	d.own(len(d.segments) - 1)
	if len(d.segments) == 0 {
		d.one[0] = s
		d.segments = d.one[:]
	} else {
		d.segments = append(d.segments[:len(d.segments):len(d.segments)], s)
		d.one[0] = segView{}
	}
	d.ownDead = append(d.ownDead, false)
}

// replace puts a segment, which is taken over, in the place of n others from at on.
func (d *draft) replace(at, n int, s ...segView) {
	d.changed = true
	for i := at; i < at+n; i++ {
		d.segments[i].releaseIndexes()
		d.segments[i].release()
	}
	d.own(len(d.segments) - 1)
	d.segments = slices.Replace(slices.Clone(d.segments), at, at+n, s...)
	d.ownDead = slices.Replace(d.ownDead, at, at+n, make([]bool, len(s))...)
	d.one[0] = segView{}
	if len(d.segments) == 1 {
		d.one[0] = d.segments[0]
		d.segments = d.one[:]
	}
	d.open = max(0, len(d.segments)-1)
}

// own makes ownDead reach to a segment.
func (d *draft) own(segment int) {
	for len(d.ownDead) <= segment {
		d.ownDead = append(d.ownDead, false)
	}
}

// kill marks a row dead, in a bitmap of the draft's own.
func (d *draft) kill(ref Ref) {
	s := &d.segments[ref.segment]
	p, size := readPayload(s.at(&s.rows[ref.row]))
	d.words.Remove(p.terms.Of())
	d.own(int(ref.segment))
	words := int(s.capacity+63) / 64
	if !d.ownDead[ref.segment] {
		dead := make([]uint64, words)
		copy(dead, s.dead)
		s.dead, d.ownDead[ref.segment] = dead, true
	}
	s.dead[ref.row/64] |= 1 << (ref.row % 64)
	s.deadRows++
	s.deadSize += size
	d.deleted = true
}

// sweep lets go of segments in which nothing lives.
func (d *draft) sweep() {
	if !d.deleted {
		return
	}
	d.deleted = false
	for i := len(d.segments) - 1; i >= 0; i-- {
		if d.segments[i].live() == 0 {
			d.replace(i, 1)
		}
	}
}

// reserve makes room for rows with payloads of the given sizes, so that appending
// them can't fail; values says whether one has a value of its own. It changes
// nothing that a reader could tell, and on an error nothing at all.
func (d *draft) reserve(sizes []int, values bool, expected int) error {
	if len(sizes) == 0 {
		return nil
	}
	n, err := d.reserveTail(sizes, values)
	if err != nil {
		return err
	}
	for made := 0; n < len(sizes); made++ {
		k, err := d.reserveNew(sizes[n:], values, expected-n)
		if err != nil {
			for ; made > 0; made-- { // rooms without rows
				d.replace(len(d.segments)-1, 1)
			}
			return err
		}
		n += k
	}
	return nil
}

// reserveTail makes room in the last segment, as far as that can grow, and says
// for how many rows.
func (d *draft) reserveTail(sizes []int, values bool) (int, error) {
	if len(d.segments) == 0 {
		return 0, nil
	}
	at := len(d.segments) - 1
	d.open = at
	s := &d.segments[at]
	if s.chunkBytes()+int64(sum(sizes)) > segmentPayload {
		d.seal(at)
		return 0, nil
	}
	usable := !values || s.vectors.HasValues()
	free := int(s.capacity - s.n)
	limit := d.db.maxRows(d.shape(), values || s.vectors.HasValues())
	live := s.live()
	fresh := min(len(sizes), limit-live) // that a new copy could take
	worth := int(s.capacity) < limit || 4*s.deadRows > s.n
	if usable && (free >= len(sizes) || !worth || fresh <= free) {
		k := min(free, len(sizes))
		if k == 0 {
			return 0, nil
		}
		return k, d.reservePayload(at, sum(sizes[:k]))
	}
	if fresh <= 0 || !worth && !usable {
		d.seal(at)
		return 0, nil
	}
	if d.settle != nil {
		d.settle()
	}
	rows := live + fresh
	bytes := s.livePayload() + sum(sizes[:fresh])
	// A quarter to spare: more would cost more than 100 bytes a record in its row. Where that
	// isn't to be had, a little, or every record would take a copy.
	tries := [][2]int{{min(limit, rows+rows/4), 0}, {min(limit, rows+rows/evictShare), 0}, {rows, bytes}}
	for i := range tries {
		tries[i][1] = int(int64(bytes) * int64(tries[i][0]) / int64(rows))
	}
	var grown segView
	err := d.attempt(tries, values || s.vectors.HasValues(), at, func(pool *slab.Pool, capacity, payload int) (err error) {
		if s.deadRows == 0 {
			grown, err = grow(pool, s, capacity, payload, values)
		} else {
			grown, err = rewrite(pool, d.shape(), d.segments[at:at+1], capacity, payload, values, nil)
		}
		return err
	})
	if err != nil {
		return 0, err
	}
	if s.deadRows == 0 { // the rows kept their numbers
		s.keepIndexes()
		grown.index, grown.lexical = s.index, s.lexical
	}
	if s.deadRows == 0 {
		d.moveIVF(d.segments[at:at+1], grown.vectors, nil)
	}
	d.replace(at, 1, grown)
	return fresh, nil
}

// seal keeps rows out of a segment that can't take what comes next.
func (d *draft) seal(at int) { d.open = at + 1 }

// reservePayload makes room for bytes of payloads in a segment that has the rows.
func (d *draft) reservePayload(at, bytes int) error {
	s := &d.segments[at]
	if s.room() >= bytes {
		return nil
	}
	spare := int(min(s.chunkBytes()/2, 1<<20))
	little := int(min(s.chunkBytes()/evictShare, 1<<20))
	return d.attempt([][2]int{{0, max(bytes, spare)}, {0, max(bytes, little)}, {0, bytes}}, false, at, func(pool *slab.Pool, _, payload int) error {
		return s.addChunk(pool, payload)
	})
}

// reserveNew begins a segment and says for how many rows it has room. A
// namespace's first segment fits what comes; what follows a full one has room for as
// many rows at once.
func (d *draft) reserveNew(sizes []int, values bool, expected int) (int, error) {
	limit := d.db.maxRows(d.shape(), values)
	k := min(len(sizes), limit)
	bytes := sum(sizes[:k])
	want := min(limit, max(k, expected))
	if len(d.segments) > 0 && expected <= len(sizes) {
		want = min(limit, max(k, int(d.segments[len(d.segments)-1].n)))
	}
	tries := [][2]int{{want, min(bytes*want/k, max(bytes, 1<<20))}, {k, bytes}}
	var made *segment
	err := d.attempt(tries, values, none, func(pool *slab.Pool, capacity, payload int) (err error) {
		made, err = newSegment(pool, d.shape(), capacity, payload, values)
		return err
	})
	if err == nil {
		d.add(segView{segment: made, chunks: made.chunks})
	}
	return k, err
}

// none is the place of no segment.
const none = -1

// attempt tries sizes (rows, bytes of payload) until one fits the budgets: of a new segment, of
// one in the place of the segment at a place, whose bytes come back to the budgets when it is
// done, or without rows of a chunk for that one. The last may go beyond the server's budget if
// as much is freed, or if it is to hold what was admitted before.
func (d *draft) attempt(tries [][2]int, values bool, at int, make func(pool *slab.Pool, capacity, payload int) error) error {
	var err error
	freed := int64(0)
	if at != none && tries[0][0] > 0 {
		s := &d.segments[at]
		if freed = s.bytes(); s.deadRows > 0 { // else it keeps its indexes
			freed = s.totalBytes()
		}
	}
	for i, t := range tries {
		cost := int64(slab.ClassSize(max(t[1], 1)))
		if t[0] > 0 {
			cost = segmentCost(d.shape(), t[0], t[1], values)
		}
		if limit := d.settings.Value().maxBytes; limit > 0 && !d.unbounded {
			err = d.fits(limit, d.bytes()-freed+cost, cost, at, t, values)
			if errors.Is(err, errCrowded) {
				return err
			}
			if err != nil {
				continue
			}
		}
		pool := d.db.pool
		switch {
		case i < len(tries)-1:
		case d.admitted:
			pool = d.db.recovery
		case cost <= freed:
			pool = d.db.beyond
		}
		if err = make(pool, t[0], t[1]); err == nil {
			return nil
		}
		if !errors.Is(err, slab.ErrBudget) {
			return err
		}
		err = &Exhausted{What: "the server", Limit: pool.Limit(), Need: pool.InUse() + cost, cause: err}
	}
	return err
}

// push appends a row for which reserve made room.
func (d *draft) push(r row, p payload, key, value []float32, lost float32, rehearsed Rehearsed, expire int64) {
	for d.segments[d.open].n == d.segments[d.open].capacity {
		d.open++
	}
	if err := d.segments[d.open].append(r, p, key, value, lost); err != nil {
		panic(fmt.Sprintf("memory: no room where some was reserved: %v", err))
	}
	if rehearsed.Count > 0 {
		s := d.ownRehearsed(uint32(d.open))
		s.addRehearsed(s.n-1, rehearsed)
	}
	s := &d.segments[d.open]
	s.addExpiring(s.n-1, expire)
	d.lapse(expire)
	d.count++
	d.words.Add(p.terms.Of())
}

// discard lets go of everything; the draft is not published.
func (d *draft) discard() { d.Release() }

// set changes the namespace's settings.
func (d *draft) set(change func(*settings)) {
	s := d.settings.Value()
	change(&s)
	d.settings = unique.Make(s)
}

func sum(sizes []int) (n int) {
	for _, s := range sizes {
		n += s
	}
	return n
}
