package memory

import (
	"context"
	"slices"
	"sync"

	"github.com/tidwall/btree"
)

// maxGroup bounds how many writes are acknowledged together.
const maxGroup = 1024

// A committer is the one writer of a DB. Its goroutine takes all calls that wait,
// lets each decide a mutation and apply it to the drafts of the namespaces, and
// then publishes the drafts and acknowledges the calls. Between the two stands
// the place of a journal: what is not in it yet is in the drafts only, and can
// still be dropped.
type committer struct {
	db     *DB
	lsn    LSN // of the last mutation
	drafts map[string]*draft
	order  []*draft // of this group, as they were begun
	names  *btree.BTreeG[*Namespace]
	named  bool // a namespace came or went in this group
}

// A call is a write on its way through the committer.
type call struct {
	ctx  context.Context
	do   func(*committer) error
	err  error
	done chan struct{}
}

var callPool = sync.Pool{New: func() any { return &call{done: make(chan struct{}, 1)} }}

// commit runs do in the committer's goroutine and returns when what it changed is
// published. Once do was called its outcome is waited for, whatever ctx does.
func (db *DB) commit(ctx context.Context, do func(*committer) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	c := callPool.Get().(*call)
	c.ctx, c.do, c.err = ctx, do, nil
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
	c.ctx, c.do = nil, nil
	callPool.Put(c)
	return err
}

// run serves until the channel of calls is closed.
func (c *committer) run() {
	defer close(c.db.stopped)
	group := make([]*call, 0, maxGroup)
	for first := range c.db.calls {
		group = append(group[:0], first)
	waiting:
		for len(group) < maxGroup {
			select {
			case next, ok := <-c.db.calls:
				if !ok {
					break waiting
				}
				group = append(group, next)
			default:
				break waiting
			}
		}
		for _, call := range group {
			if call.err = call.ctx.Err(); call.err == nil {
				call.err = call.do(c)
			}
		}
		c.publish()
		for _, call := range group {
			call.done <- struct{}{}
		}
	}
}

// draft gives the pending state of a namespace; nil if there is no such namespace.
func (c *committer) draft(name string) *draft {
	if d, ok := c.drafts[name]; ok {
		if d.dropped {
			return nil
		}
		return d
	}
	ns := c.db.lookup(name)
	if ns == nil {
		return nil
	}
	d := c.db.draftOf(ns)
	c.hold(d)
	return d
}

// hold makes a draft part of what is published next.
func (c *committer) hold(d *draft) {
	c.drafts[d.ns.name] = d
	c.order = append(c.order, d)
}

// begin gives the next mutation, which no one knows of until commit.
func (c *committer) begin(namespace string) *Mutation {
	return &Mutation{LSN: c.lsn + 1, Time: c.db.clock.Now().UnixNano(), Namespace: namespace}
}

// commit applies a mutation to a draft that has room for it.
func (c *committer) commit(m *Mutation, d *draft) {
	if m.Create != nil {
		c.hold(d)
	}
	d.apply(m)
	c.lsn = m.LSN
}

// publish shows readers the drafts of this group.
func (c *committer) publish() {
	if len(c.order) == 0 {
		c.db.lsn.Store(uint64(c.lsn))
		return
	}
	for _, d := range c.order {
		if !d.changed {
			d.discard()
			continue
		}
		c.publishDraft(d)
	}
	if c.named {
		c.db.sorted.Store(c.names.Copy())
		c.named = false
	}
	c.db.lsn.Store(uint64(c.lsn))
	clear(c.drafts)
	clear(c.order)
	c.order = c.order[:0]
}

func (c *committer) publishDraft(d *draft) {
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
		c.db.maintenance.look(v)
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
