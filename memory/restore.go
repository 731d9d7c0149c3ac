package memory

import (
	"fmt"
	"sync"
)

// A Restorer fills an empty DB with namespaces as they were, before it is served.
// Namespaces may be restored in parallel.
type Restorer struct {
	db   *DB
	mu   sync.Mutex
	last LSN // the highest restored
	open map[string]*NamespaceRestorer
	done []*draft
}

// Restore begins. Nothing is visible until Done.
func (db *DB) Restore() *Restorer {
	return &Restorer{db: db, open: make(map[string]*NamespaceRestorer)}
}

// Namespace begins a namespace as of an LSN. Its records come by Add, in any
// order, from one goroutine at a time.
func (r *Restorer) Namespace(c Config, lsn LSN, requests []RequestResult) (*NamespaceRestorer, error) {
	n, err := r.db.restoreNamespace(c, lsn, requests)
	if err != nil {
		return nil, err
	}
	n.restorer = r
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, twice := r.open[c.Name]; twice {
		n.discard()
		return nil, &Exists{kindNamespace, c.Name, c.Name}
	}
	r.open[c.Name] = n
	r.last = max(r.last, lsn)
	return n, nil
}

// Done publishes everything, and begins the epoch after that of last and of every
// LSN restored.
func (r *Restorer) Done(last LSN) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for name, n := range r.open {
		if !n.complete {
			return fmt.Errorf("namespace %q is not completely restored", name)
		}
	}
	next, err := max(last, r.last).nextEpoch()
	if err != nil {
		return err
	}
	if last == 0 && len(r.done) == 0 {
		next = MakeLSN(1, 0)
	}
	err = r.db.commit(r.db.maintenance.ctx, func(c *committer) error {
		for _, d := range r.done {
			c.hold(d)
		}
		c.lsn = max(c.lsn, next)
		return nil
	})
	if err == nil {
		r.open, r.done = nil, nil
	}
	return err
}

// Abort frees what was restored. No Add may be under way.
func (r *Restorer) Abort() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, n := range r.open {
		n.discard()
	}
	r.open, r.done = nil, nil
}

// A NamespaceRestorer takes the records of one namespace.
type NamespaceRestorer struct {
	restorer *Restorer
	db       *DB
	draft    *draft
	lsn      LSN
	settings settings
	expected int
	seen     int
	last     LSN // the highest of a record
	complete bool
	batch    batch
}

func (db *DB) restoreNamespace(c Config, lsn LSN, requests []RequestResult) (*NamespaceRestorer, error) {
	if err := db.checkConfig(&c); err != nil {
		return nil, err
	}
	if c.Created > lsn {
		return nil, invalid("namespace.created", "is %d, after the namespace's own LSN, %d", c.Created, lsn)
	}
	d := db.newDraft(&c)
	d.lsn, d.unbounded, d.changed = lsn, true, true
	for i := range requests {
		d.requests = d.requests.with(requests[i], &db.limits)
	}
	return &NamespaceRestorer{db: db, draft: d, lsn: lsn, settings: d.settings.Value()}, nil
}

// Expect says how many records will come, so that they fit without room to spare.
// It need not be called, nor be right.
func (n *NamespaceRestorer) Expect(records int) { n.expected = records }

// batchBytes is how much is gathered before it goes to slabs, which makes small
// namespaces fit.
const batchBytes = 256 << 10

// Add copies a record.
func (n *NamespaceRestorer) Add(r *Record) error {
	if err := n.check(r); err != nil {
		return err
	}
	n.last = max(n.last, r.Version)
	n.seen++
	n.batch.add(r)
	if n.batch.bytes() >= batchBytes {
		return n.flush()
	}
	return nil
}

// check refuses what can't have been stored.
func (n *NamespaceRestorer) check(r *Record) error {
	c := checker{limits: &n.db.limits}
	c.name(field{n.seen, "id"}, r.ID)
	c.record(n.seen, r, MaskAll, &n.settings, false)
	if !(r.Importance > 0 && r.Importance <= 1) {
		c.add(field{n.seen, "importance"}, "is %v; it must be above 0 and at most 1", r.Importance)
	}
	if r.Version > n.lsn || r.Created > r.Version {
		c.add(field{n.seen, "version"}, "is %d, created at %d, in a namespace at %d", r.Version, r.Created, n.lsn)
	}
	return c.err()
}

func (n *NamespaceRestorer) flush() error {
	b := &n.batch
	if len(b.rows) == 0 {
		return nil
	}
	sizes := make([]int, len(b.rows))
	values := false
	for i := range b.rows {
		sizes[i] = b.rows[i].size
		values = values || b.rows[i].has(flagValue)
	}
	if err := n.draft.reserve(sizes, values, max(len(sizes), n.expected)); err != nil {
		return err
	}
	n.expected = max(0, n.expected-len(sizes))
	floats := b.floats
	at := 0
	for i := range b.rows {
		w := &b.rows[i]
		p, size := readPayload(b.payloads[at:])
		at += size
		if _, twice := n.draft.find(w.hash, p.id); twice {
			return fmt.Errorf("record %q comes twice: %w", p.id, &Exists{kindRecord, n.draft.ns.name, p.id})
		}
		key := floats[:n.settings.dim]
		floats = floats[n.settings.dim:]
		var value []float32
		if w.has(flagValue) {
			value = floats[:n.settings.valueDim]
			floats = floats[n.settings.valueDim:]
		}
		n.draft.push(w.row, p, key, value)
	}
	b.reset()
	return nil
}

// Done completes the namespace.
func (n *NamespaceRestorer) Done() error {
	if err := n.flush(); err != nil {
		return err
	}
	n.batch = batch{}
	n.draft.unbounded = false
	n.complete = true
	if r := n.restorer; r != nil {
		r.mu.Lock()
		r.done = append(r.done, n.draft)
		r.mu.Unlock()
	}
	return nil
}

func (n *NamespaceRestorer) discard() { n.draft.discard() }

// A batch is records that were copied and have no place yet.
type batch struct {
	rows     []batchRow
	payloads []byte
	floats   []float32
}

type batchRow struct {
	row
	size int // of the payload
}

func (b *batch) add(r *Record) {
	w := row{
		created: uint64(r.Created), version: uint64(r.Version), createTime: r.CreateTime, updateTime: r.UpdateTime,
		time: r.Time, hash: hashID(r.ID), place: r.Place, importance: r.Importance,
	}
	b.floats = append(b.floats, r.Key...)
	if r.Value != nil {
		w.payload |= flagValue
		b.floats = append(b.floats, r.Value...)
	}
	if r.KeyFromText {
		w.payload |= flagKeyText
	}
	p := payloadOf(r)
	before := len(b.payloads)
	b.payloads = p.appendTo(b.payloads)
	b.rows = append(b.rows, batchRow{w, len(b.payloads) - before})
}

func (b *batch) bytes() int { return len(b.payloads) + 4*len(b.floats) + rowBytes*len(b.rows) }

func (b *batch) reset() {
	b.rows, b.payloads, b.floats = b.rows[:0], b.payloads[:0], b.floats[:0]
}
