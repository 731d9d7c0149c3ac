package memory

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
	"sync"

	"engram/memory/lexical"
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
	db.restoring.Store(true)
	return &Restorer{db: db, open: make(map[string]*NamespaceRestorer)}
}

// Namespace begins a namespace as of an LSN. Its records come by Add, in any
// order, from one goroutine at a time.
func (r *Restorer) Namespace(c Config, lsn LSN, requests []RequestResult) (*NamespaceRestorer, error) {
	n, err := r.db.restoreNamespace(c, lsn, requests)
	if err != nil {
		return nil, err
	}
	n.restorer, n.draft.admitted = r, true
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

// Highest is the highest LSN of the namespaces restored.
func (r *Restorer) Highest() LSN {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.last
}

// Done publishes everything. The DB's own LSN is then last, or the highest restored:
// mutations of a log may follow (Replay) before the next epoch begins (Begin).
func (r *Restorer) Done(last LSN) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for name, n := range r.open {
		if !n.complete {
			return fmt.Errorf("namespace %q is not completely restored", name)
		}
	}
	err := r.db.commit(r.db.maintenance.ctx, func(c *committer) error {
		for _, d := range r.done {
			c.hold(d)
		}
		c.lsn = max(c.lsn, last, r.last)
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
	lsn      LSN
	settings settings
	complete bool
	part     Part   // of Add
	index    []byte // of AddIndex

	mu       sync.Mutex // over the draft, and the tables of ids in its segments
	draft    *draft
	expected int
	ids      idFilter
	filling  sync.WaitGroup // parts that have a place, and aren't in it
}

// A Part is some records of a namespace, checked, copied and put in place beside those of
// other parts.
type Part struct {
	of    *NamespaceRestorer
	seen  int
	batch batch
	runs  []run // where the rows go, once they have a place
}

// A run is rows one after the other in one segment, with room for their payloads in one
// piece.
type run struct {
	segView
	first  uint32
	chunk  int
	offset int
	rows   int
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
	d.requests = requestLogOf(requests)
	n := &NamespaceRestorer{db: db, draft: d, lsn: lsn, settings: d.settings.Value()}
	n.part.of = n
	d.settle = func() {
		n.mu.Unlock()
		n.filling.Wait()
		n.mu.Lock()
	}
	return n, nil
}

// Expect says how many records will come, so that they fit without room to spare.
// It need not be called, nor be right.
func (n *NamespaceRestorer) Expect(records int) {
	n.expected = records
	n.ids = newIDFilter(records)
}

// batchBytes is how much is gathered before it goes to slabs, which makes small
// namespaces fit.
const batchBytes = 256 << 10

// Add copies a record.
func (n *NamespaceRestorer) Add(r *Record) error {
	if err := n.part.Add(r); err != nil {
		return err
	}
	if n.part.batch.bytes() >= batchBytes {
		return n.put()
	}
	return nil
}

// put puts what Add gathered in place.
func (n *NamespaceRestorer) put() error {
	if err := n.Place(&n.part); err != nil {
		return err
	}
	return n.part.Fill()
}

// Begin makes p an empty part of the namespace, which it may have been of another.
// Parts are filled in goroutines of their own.
func (p *Part) Begin(n *NamespaceRestorer) {
	p.of, p.seen = n, 0
	p.batch.reset()
}

// Add copies a record.
func (p *Part) Add(r *Record) error {
	if err := p.of.check(r, p.seen); err != nil {
		return err
	}
	p.seen++
	p.batch.add(r, p.of.settings.lexical)
	return nil
}

// check refuses what can't have been stored.
func (n *NamespaceRestorer) check(r *Record, at int) error {
	c := checker{limits: &n.db.limits, stored: true}
	c.name(field{at, "id"}, r.ID)
	c.record(at, r, MaskAll, &n.settings, false)
	if !(r.Importance > 0 && r.Importance <= 1) {
		c.add(field{at, "importance"}, "is %v; it must be above 0 and at most 1", r.Importance)
	}
	if !(r.KeyLost >= 0 && r.KeyLost <= math.MaxFloat32) {
		c.add(field{at, "key"}, "was rounded by %v; that must be a number of at least 0", r.KeyLost)
	}
	if reason := r.Rehearsed.check(); reason != "" {
		c.add(field{at, "rehearsals"}, "%s", reason)
	}
	c.sources(field{at, "sources"}, r)
	if r.Expire < 0 {
		c.add(field{at, "expire_time"}, "is before 1970")
	}
	if r.Version > n.lsn || r.Created > r.Version {
		c.add(field{at, "version"}, "is %d, created at %d, in a namespace at %d", r.Version, r.Created, n.lsn)
	}
	return c.err()
}

// Place gives the records of a part a place behind those that have one, from one
// goroutine at a time. Fill, which must follow, puts them there.
func (n *NamespaceRestorer) Place(p *Part) error {
	b := &p.batch
	sizes := make([]int, len(b.rows))
	values := false
	for i := range b.rows {
		sizes[i] = b.rows[i].size
		values = values || b.rows[i].has(flagValue)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := n.draft.reserve(sizes, values, max(len(sizes), n.expected)); err != nil {
		return err
	}
	n.expected = max(0, n.expected-len(sizes))
	p.runs = p.runs[:0]
	for at := 0; at < len(sizes); {
		r := n.draft.claim(sizes[at:])
		to := &n.draft.segments[n.draft.open]
		for i, w := range b.rows[at : at+r.rows] {
			n.draft.words.Add(w.words)
			r.segment.payload += int64(w.content)
			to.addRehearsed(r.first+uint32(i), w.rehearsed)
			to.addExpiring(r.first+uint32(i), w.expire)
			n.draft.lapse(w.expire)
		}
		p.runs = append(p.runs, r)
		at += r.rows
	}
	n.filling.Add(1)
	return nil
}

// AddIndex adds a piece of what View.AppendIndex gave. The pieces come in order, from one
// goroutine at a time, once all records have come.
func (n *NamespaceRestorer) AddIndex(piece []byte) error {
	// It has a number for each record, centroids no more than there are records, and curves.
	if most := n.draft.count*(binary.MaxVarintLen32+4*n.settings.dim) + 8*n.settings.dim + 1<<20; len(n.index)+len(piece) > most {
		return invalid("namespace.index", "has over %d bytes, for %d records of dimension %d", most, n.draft.count, n.settings.dim)
	}
	n.index = append(n.index, piece...)
	return nil
}

// claim takes rooms that reserve made, as many as lie in one segment.
func (d *draft) claim(sizes []int) run {
	for d.segments[d.open].n == d.segments[d.open].capacity {
		d.open++
	}
	s := &d.segments[d.open]
	k := min(len(sizes), int(s.capacity-s.n))
	r := run{first: s.n, chunk: len(s.segment.chunks) - 1, offset: s.used, rows: k}
	s.vectors.Extend(k)
	s.used += sum(sizes[:k])
	s.chunks = s.segment.chunks
	s.n += uint32(k)
	d.count += k
	r.segView = *s
	return r
}

// Fill puts the records of a part, which has a place, there; its other parts may be
// filled at the same time.
func (p *Part) Fill() error {
	defer p.of.filling.Done()
	defer p.batch.reset()
	rows, payloads, floats := p.batch.rows, p.batch.payloads, p.batch.floats
	for i := range p.runs {
		r := &p.runs[i]
		mine := rows[:r.rows]
		rows = rows[r.rows:]
		// Where ids are found by scanning the rows, they have to stand still for that.
		scanned := len(p.of.ids) == 0 || len(r.segment.ids) == 0
		if scanned {
			p.of.mu.Lock()
		}
		payloads, floats = r.fill(mine, payloads, floats, &p.of.settings)
		if !scanned {
			p.of.mu.Lock()
		}
		err := p.of.enter(r)
		p.of.mu.Unlock()
		if err != nil {
			return err
		}
	}
	return nil
}

// fill copies rows to their places, and gives what it leaves of payloads and vectors.
func (r *run) fill(rows []batchRow, payloads []byte, floats []float32, set *settings) ([]byte, []float32) {
	to, offset := r.chunks[r.chunk], r.offset
	for i := range rows {
		w := &rows[i]
		at := r.first + uint32(i)
		offset += copy(to[offset:], payloads[:w.size])
		payloads = payloads[w.size:]
		key := floats[:set.dim]
		floats = floats[set.dim:]
		var value []float32
		if w.has(flagValue) {
			value = floats[:set.valueDim]
			floats = floats[set.valueDim:]
		}
		r.vectors.Put(int(at), key, value, w.lost)
		w.payload |= uint64(r.chunk)<<32 | uint64(offset-w.size)
		w.prev = noRow
		r.segment.rows[at] = w.row
	}
	return payloads, floats
}

// enter makes the rows of a run findable.
func (n *NamespaceRestorer) enter(r *run) error {
	for at := r.first; at < r.first+uint32(r.rows); at++ {
		w := &r.segment.rows[at]
		if !n.ids.add(w.hash) {
			id := readID(r.at(w))
			if ref, twice := n.draft.find(w.hash, id); twice && (ref.row != at || n.draft.segments[ref.segment].segment != r.segment) {
				return fmt.Errorf("record %q comes twice: %w", id, &Exists{kindRecord, n.draft.ns.name, id})
			}
		}
		if len(r.segment.ids) > 0 {
			r.segment.ids.insertNew(w.hash, at)
		}
	}
	return nil
}

// Done completes the namespace, all of whose parts are filled.
func (n *NamespaceRestorer) Done() error {
	if err := n.put(); err != nil {
		return err
	}
	if n.index != nil {
		saved, err := readSavedIVF(n.index, n.draft.count)
		if err != nil {
			return err
		}
		saved.placed(n.draft)
		n.draft.ns.saved.Store(saved)
	}
	n.part, n.ids, n.index, n.draft.settle = Part{}, nil, nil, nil
	n.draft.unbounded, n.draft.admitted = false, false
	n.complete = true
	if r := n.restorer; r != nil {
		r.mu.Lock()
		r.done = append(r.done, n.draft)
		r.mu.Unlock()
	}
	return nil
}

func (n *NamespaceRestorer) discard() { n.draft.discard() }

// An idFilter knows, of hashes of ids, that most weren't added before: a bit for each
// of some sixteen times as many as are expected, up to 8 MiB of bits.
type idFilter []uint64

func newIDFilter(expected int) idFilter {
	if expected < 1024 { // the table of ids is as quick
		return nil
	}
	return make(idFilter, 1<<min(bits.Len(uint(expected/4)), 20))
}

// add is true if the hash is surely a new one.
func (f idFilter) add(hash uint32) bool {
	if len(f) == 0 {
		return false
	}
	at, bit := &f[hash/64&uint32(len(f)-1)], uint64(1)<<(hash%64)
	known := *at&bit != 0
	*at |= bit
	return !known
}

// A batch is records that were copied and have no place yet.
type batch struct {
	rows     []batchRow
	payloads []byte
	floats   []float32
	terms    lexical.Terms // of the record that is added
}

type batchRow struct {
	row
	size, content int // of the payload, without its lengths
	words         lexical.Counts
	lost          float32
	rehearsed     Rehearsed
	expire        int64
}

func (b *batch) add(r *Record, a lexical.Analysis) {
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
	if r.Pinned {
		w.payload |= flagPinned
	}
	p := payloadOf(r)
	b.terms = a.Append(b.terms[:0], r.Text)
	p.terms = b.terms
	before := len(b.payloads)
	b.payloads = p.appendTo(b.payloads)
	b.rows = append(b.rows, batchRow{w, len(b.payloads) - before, p.bytes(), p.terms.Of(), r.KeyLost, r.Rehearsed, r.Expire})
}

func (b *batch) bytes() int { return len(b.payloads) + 4*len(b.floats) + rowBytes*len(b.rows) }

func (b *batch) reset() {
	b.rows, b.payloads, b.floats = b.rows[:0], b.payloads[:0], b.floats[:0]
}
