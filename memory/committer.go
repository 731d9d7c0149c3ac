package memory

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/tidwall/btree"
)

// maxGroup bounds how many writes are acknowledged together.
const maxGroup = 1024

// A committer is the one writer of a DB. Its goroutine takes all calls that wait, a
// group, lets each decide a mutation, append it to the log and apply it to the drafts
// of the namespaces. What need not be durable is published and acknowledged at once.
// The rest goes to a second goroutine, which syncs the log once for all groups that
// wait, publishes and acknowledges; meanwhile the next group is decided, against the
// drafts that are pending. If the log fails they are dropped, and the DB is read-only.
type committer struct {
	db    *DB
	log   Log // nil: nothing outlives the process
	lsn   LSN // of the last mutation, pending or not
	group *group
	call  *call // that is being decided

	groups chan *group   // to be synced and published, in order
	synced chan struct{} // closed when all are

	mu      sync.Mutex        // held where views are replaced
	pending map[string]*draft // by name, the last draft that is not published
	names   *btree.BTreeG[*Namespace]
	named   bool // a namespace came or went since names were published
}

// A group is what is written and acknowledged together.
type group struct {
	calls  []*call
	drafts map[string]*draft // the last of each name
	order  []*draft          // as they were begun
	lsn    LSN               // after it
	flush  bool              // it wrote to the log what waits for no sync
	sync   bool              // something of it waits for the log's sync
}

var groups = sync.Pool{New: func() any { return &group{drafts: make(map[string]*draft)} }}

// put gives a group back, all of whose calls were answered.
func (g *group) put() {
	clear(g.drafts)
	*g = group{calls: g.calls[:0], drafts: g.drafts, order: g.order[:0]}
	groups.Put(g)
}

// A call is a write on its way through the committer.
type call struct {
	ctx  context.Context
	do   func(*committer) error
	err  error
	done chan struct{}

	drafts []*draft // what it changed, or saw
	waits  bool     // for the log's sync, whatever the drafts
}

// saw notes a draft that a call changes, or sees.
func (c *call) saw(d *draft) {
	if !slices.Contains(c.drafts, d) {
		c.drafts = append(c.drafts, d)
	}
}

// waiting says whether a call is to be answered once the log is synced, when what it saw is
// published.
func (c *call) waiting() bool {
	return c.waits || slices.ContainsFunc(c.drafts, func(d *draft) bool { return d.waits })
}

var callPool = sync.Pool{New: func() any { return &call{done: make(chan struct{}, 1)} }}

// commit runs do in the committer's goroutine and returns when what it changed is
// published. Once do was called its outcome is waited for, whatever ctx does.
func (db *DB) commit(ctx context.Context, do func(*committer) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	c := callPool.Get().(*call)
	c.ctx, c.do, c.err, c.waits = ctx, do, nil, false
	db.closing.RLock()
	if db.closed {
		db.closing.RUnlock()
		return ErrClosed
	}
	select {
	case db.calls <- c:
		db.closing.RUnlock()
	case <-ctx.Done():
		db.closing.RUnlock()
		return ctx.Err()
	}
	<-c.done
	err := c.err
	clear(c.drafts)
	c.ctx, c.do, c.drafts = nil, nil, c.drafts[:0]
	callPool.Put(c)
	return err
}

// run serves until the channel of calls is closed.
func (c *committer) run() {
	defer close(c.db.stopped)
	go c.finish()
	for first := range c.db.calls {
		g := groups.Get().(*group)
		g.calls = append(g.calls, first)
	waiting:
		for len(g.calls) < maxGroup {
			select {
			case next, ok := <-c.db.calls:
				if !ok {
					break waiting
				}
				g.calls = append(g.calls, next)
			default:
				break waiting
			}
		}
		c.decide(g)
	}
	close(c.groups)
	<-c.synced
}

// decide has every call of a group decide, and publishes what waits for nothing.
func (c *committer) decide(g *group) {
	c.group = g
	for _, call := range g.calls {
		c.call = call
		if call.err = cmp.Or(call.ctx.Err(), c.db.ReadOnly()); call.err == nil {
			call.err = call.do(c)
		}
	}
	c.call, c.group = nil, nil
	if g.flush {
		if err := c.log.Flush(); err != nil {
			c.fail(err)
		}
	}
	g.lsn = c.lsn
	c.acknowledge(g, false)
	if c.log == nil {
		g.put()
	} else {
		c.groups <- g
	}
}

// finish syncs the log, and publishes and acknowledges what waits for that.
func (c *committer) finish() {
	defer close(c.synced)
	var waiting []*group
	for first := range c.groups {
		waiting = append(waiting[:0], first)
		need := first.sync
	more:
		for {
			select {
			case g, ok := <-c.groups:
				if !ok {
					break more
				}
				waiting = append(waiting, g)
				need = need || g.sync
			default:
				break more
			}
		}
		if need && c.db.ReadOnly() == nil {
			if err := c.log.Sync(); err != nil {
				c.fail(err)
			}
		}
		for _, g := range waiting {
			c.acknowledge(g, true)
			g.put()
		}
	}
}

// fail is called on the first error of the log.
func (c *committer) fail(err error) {
	c.db.SetReadOnly(fmt.Sprintf("the journal can't be written: %v", err))
}

// acknowledge publishes the drafts of a group that wait for its sync, or those that
// don't, and answers the calls. Once the DB is read-only, it drops what isn't
// published, as the log may not have it.
func (c *committer) acknowledge(g *group, synced bool) {
	failed := c.db.ReadOnly()
	c.mu.Lock()
	for i, d := range g.order {
		if d == nil || d.waits != synced && failed == nil {
			continue
		}
		g.order[i] = nil
		if failed == nil && d.changed {
			c.publish(d)
		} else {
			d.discard()
		}
		if c.pending[d.ns.name] == d {
			delete(c.pending, d.ns.name)
		}
	}
	if c.named {
		c.db.sorted.Store(c.names.Copy())
		c.named = false
	}
	c.mu.Unlock()
	if failed == nil && (synced || c.log == nil) {
		c.db.lsn.Store(uint64(g.lsn))
		c.db.published.happened()
	}
	for i, call := range g.calls {
		if call == nil {
			continue
		}
		if call.waiting() != synced && failed == nil {
			g.sync = true
			continue
		}
		g.calls[i] = nil
		if failed != nil && call.err == nil {
			call.err = failed
		}
		call.done <- struct{}{}
	}
}

// draft gives the pending state of a namespace; nil if there is no such namespace.
func (c *committer) draft(name string) *draft {
	d, ok := c.group.drafts[name]
	if !ok {
		c.mu.Lock()
		if base := c.pending[name]; base != nil {
			// It is published in its turn even if nothing else changes: what comes
			// after begins at it.
			c.call.waits = true
			if !base.dropped {
				d = c.db.draftOf(base.View)
				d.changed, d.waits = true, true
			}
		} else if ns := c.db.lookup(name); ns != nil {
			d = c.db.draftOf(ns.view.Load())
		}
		c.mu.Unlock()
		if d == nil {
			return nil
		}
		c.hold(d)
	}
	c.call.saw(d)
	if d.dropped {
		return nil
	}
	return d
}

// hold makes a draft part of the group, and the one that later ones begin at.
func (c *committer) hold(d *draft) {
	c.group.drafts[d.ns.name] = d
	c.group.order = append(c.group.order, d)
	c.mu.Lock()
	c.pending[d.ns.name] = d
	c.mu.Unlock()
}

// begin gives the next mutation, which no one knows of until commit.
func (c *committer) begin(namespace string) *Mutation {
	return &Mutation{LSN: c.lsn + 1, Time: c.db.clock.Now().UnixNano(), Namespace: namespace}
}

// room refuses a mutation for which the disk has none.
func (c *committer) room(m *Mutation) error {
	if c.log == nil {
		return nil
	}
	return c.log.Room(m.bytes())
}

// commit appends a mutation to the log, and applies it to a draft that has room for it.
func (c *committer) commit(m *Mutation, d *draft) error {
	if c.log != nil {
		if err := c.log.Append(m); err != nil {
			c.fail(err)
			return c.db.ReadOnly()
		}
	}
	before := d.settings.Value().durability
	c.apply(m, d)
	if c.log == nil {
		return nil
	}
	switch now := d.settings.Value().durability; {
	case before == Sync || now == Sync:
		d.waits = true
	case now == Interval:
		c.db.unsynced.Store(true)
	}
	c.group.flush = c.group.flush || !d.waits
	return nil
}

func (c *committer) apply(m *Mutation, d *draft) {
	if m.Create != nil {
		c.hold(d)
		c.call.saw(d)
	}
	d.apply(m)
	c.lsn = m.LSN
}

// publish shows readers a draft.
func (c *committer) publish(d *draft) {
	ns := d.ns
	old := ns.view.Load()
	v := d.View
	if d.dropped {
		d.discard()
		if old == nil {
			return // made and deleted within the group
		}
		v = &View{ns: ns, settings: d.settings, lsn: d.lsn}
		v.refs.Store(1)
	} else if len(v.segments) > 1 {
		v.segments = slices.Clip(v.segments)
	}
	ns.view.Store(v)
	count := v.count
	if old != nil {
		count -= old.count
		old.Release()
	}
	c.db.records.Add(int64(count))
	if !d.dropped {
		c.db.agenda.look(v, c.db.clock)
		c.db.consolidating.look(v, c.db.clock)
		c.db.maintenance.look(v)
		c.db.indexing.look(v)
	}
	switch {
	case d.dropped:
		c.db.byName.CompareAndDelete(ns.name, ns)
		c.names.Delete(ns)
		c.named = true
	case old == nil:
		c.db.byName.Store(ns.name, ns)
		c.names.Set(ns)
		c.named = true
	}
}
