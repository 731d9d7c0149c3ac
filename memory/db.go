package memory

import (
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/tidwall/btree"

	"engram/index"
	"engram/internal/slab"
)

// Options say what a DB works with.
type Options struct {
	Pool   *slab.Pool    // required: where everything that is stored lies
	Clock  Clock         // default SystemClock()
	Limits Limits        // default DefaultLimits()
	Log    *slog.Logger  // default: nothing is logged
	NewID  func() string // ids of records that come without; default: UUIDv7

	// Embedder makes the vectors of texts for those who serve the DB, which stores
	// what they made and refuses what another made. nil: none.
	Embedder Embedder

	// Durability is that of namespaces which Store makes.
	Durability Durability

	// RehearseAfter is how long rehearsals gather before they are committed, and what a crash
	// loses of them; 0: a second.
	RehearseAfter time.Duration

	// Workers bounds the goroutines of one read, and of all reads that share passes; 0:
	// as many as processors.
	Workers int

	// Unshared has every read walk by itself; otherwise concurrent reads of a large
	// namespace ride one pass over it (index.Sharing).
	Unshared bool
}

// A DB is a set of namespaces.
type DB struct {
	pool     *slab.Pool
	beyond   *slab.Pool // pool, with CopyBytes more
	recovery *slab.Pool // pool, with half as much again
	clock    Clock
	limits   Limits
	log      *slog.Logger
	newID    func() string
	embedder Embedder
	workers  int
	sharing  *index.Sharing // nil: every read walks by itself
	sizes    sizes

	durability Durability

	byName  sync.Map // name → *Namespace
	sorted  atomic.Pointer[btree.BTreeG[*Namespace]]
	lsn     atomic.Uint64 // up to which everything is published
	records atomic.Int64

	published signal // when lsn rises

	rehearsing rehearsing

	agenda  agenda
	removed removed

	consolidating consolidating
	restoring     atomic.Bool // mutations of a log may follow

	unsynced   atomic.Bool // a namespace of durability Interval was written to
	journal    atomic.Pointer[Log]
	readOnly   atomic.Pointer[ReadOnly]
	onReadOnly atomic.Pointer[func(error)]

	calls       chan *call
	closing     sync.RWMutex // held, shared, while a call is handed over
	closed      bool
	stopped     chan struct{}
	committer   *committer
	maintenance *maintenance
	indexing    *maintenance // of namespaces with a recall
}

// sizes are from where on segments split, are indexed and are compacted. Tests
// take smaller ones.
type sizes struct {
	segmentRows uint32 // the most rows of a segment

	// A secondary index is built once so many rows are without one, and as many as
	// are indexed already: so a row is indexed a bounded number of times.
	indexRows uint32
	// Compacting a segment needs so many dead rows, or compactBytes of them, beside their
	// share of over a quarter.
	compactRows uint32
	// A namespace with a recall has an index from so many records on.
	ivfRows uint32

	// Of index.ShareOptions.
	sharedBytes int64
	sharedYield int

	// About how many multiply-adds a pass of consolidation takes at most; 0: no bound.
	passWork int64
}

// CopyBytes is how far a DB goes beyond the limit of its pool while it copies a segment to
// free more than the copy takes. Before it begins an epoch, when it holds what was admitted
// before and serves no one, it may be half the limit.
func CopyBytes(limit int64) int64 { return min(limit/2, 2*segmentBytes) }

// New makes an empty DB, of epoch 1, and starts its committer.
func New(opt Options) *DB {
	return newDB(opt, sizes{segmentRows: index.MaxRows, indexRows: 1000, compactRows: 64, ivfRows: 50_000, passWork: 1 << 34})
}

func newDB(opt Options, sizes sizes) *DB {
	db := &DB{
		sizes: sizes,
		pool:  opt.Pool, beyond: opt.Pool.Beyond(CopyBytes(opt.Pool.Limit())),
		recovery: opt.Pool.Beyond(opt.Pool.Limit() / 2), clock: opt.Clock, limits: opt.Limits, log: opt.Log, newID: opt.NewID,
		embedder: opt.Embedder, workers: opt.Workers, durability: opt.Durability,
		calls: make(chan *call, maxGroup), stopped: make(chan struct{}),
	}
	if !opt.Unshared {
		db.sharing = index.NewSharing(index.ShareOptions{Workers: opt.Workers, Least: sizes.sharedBytes, Yield: sizes.sharedYield})
	}
	if db.clock == nil {
		db.clock = SystemClock()
	}
	if db.rehearsing.after = opt.RehearseAfter; db.rehearsing.after == 0 {
		db.rehearsing.after = time.Second
	}
	if db.limits == (Limits{}) {
		db.limits = DefaultLimits()
	}
	if db.log == nil {
		db.log = slog.New(slog.DiscardHandler)
	}
	if db.newID == nil {
		db.newID = func() string { return uuid.Must(uuid.NewV7()).String() }
	}
	first := MakeLSN(1, 0)
	db.lsn.Store(uint64(first))
	db.committer = &committer{
		db: db, lsn: first, pending: make(map[string]*draft),
		groups: make(chan *group, 64), synced: make(chan struct{}),
		names: btree.NewBTreeGOptions(
			func(a, b *Namespace) bool { return a.name < b.name }, btree.Options{NoLocks: true, Degree: 32}),
	}
	db.sorted.Store(db.committer.names.Copy())
	db.maintenance = newMaintenance(db, (*View).job)
	db.indexing = newMaintenance(db, (*View).ivfJob)
	go db.committer.run()
	go db.tidy()
	db.consolidating.ended = make(chan struct{})
	go db.consolidates()
	return db
}

// Close commits the rehearsals that wait, waits for the writes under way, refuses further
// ones and frees what no view holds. Views that are still held stay good.
func (db *DB) Close() error {
	_ = db.CommitRehearsals(db.maintenance.ctx) // a failure makes the memory read-only, and says so
	db.closing.Lock()
	if db.closed {
		db.closing.Unlock()
		return ErrClosed
	}
	db.closed = true
	db.closing.Unlock()
	db.maintenance.stop()
	db.indexing.stop()
	<-db.consolidating.ended
	close(db.calls)
	<-db.stopped
	for _, ns := range db.sorted.Load().Items() {
		last := ns.view.Load()
		empty := &View{ns: ns, settings: last.settings, lsn: last.lsn}
		empty.refs.Store(1)
		ns.view.Store(empty)
		last.Release()
	}
	return nil
}

// Pool is what everything stored is charged to.
func (db *DB) Pool() *slab.Pool { return db.pool }

// Embedder is the one given to New; nil if there is none.
func (db *DB) Embedder() Embedder { return db.embedder }

// LSN is the last mutation's of those that are published, up to the first that isn't.
func (db *DB) LSN() LSN { return LSN(db.lsn.Load()) }

// NamespaceCount is how many namespaces there are.
func (db *DB) NamespaceCount() int { return db.sorted.Load().Len() }

// RecordCount is how many records there are in all.
func (db *DB) RecordCount() int64 { return db.records.Load() }

func (db *DB) lookup(name string) *Namespace {
	if ns, ok := db.byName.Load(name); ok {
		return ns.(*Namespace)
	}
	return nil
}

// Namespace finds a namespace; *NotFound if there is none of that name.
func (db *DB) Namespace(name string) (*Namespace, error) {
	if ns := db.lookup(name); ns != nil {
		return ns, nil
	}
	return nil, noNamespace(strings.Clone(name))
}

// View acquires the current view of a namespace, without what has expired by now, which the
// caller releases.
func (db *DB) View(name string) (*View, error) {
	ns, err := db.Namespace(name)
	if err != nil {
		return nil, err
	}
	v := ns.View()
	if v.expires == 0 {
		return v, nil
	}
	defer v.Release()
	return db.Living(v), nil
}

// Namespaces gives up to n namespaces whose names come after one, in the order of
// the names' bytes.
func (db *DB) Namespaces(after string, n int) []Config {
	var out []Config
	db.ascend(after, func(ns *Namespace) bool {
		if len(out) == n {
			return false
		}
		out = append(out, ns.Config())
		return true
	})
	return out
}

func (db *DB) ascend(after string, yield func(*Namespace) bool) {
	tree := db.sorted.Load()
	tree.Ascend(&Namespace{name: after}, func(ns *Namespace) bool {
		return ns.name == after || yield(ns)
	})
}

// Views yields a view of every namespace, in the order of names, each acquired
// when it is reached and released after. Namespaces that come meanwhile are left
// out, and those that go too. What has expired is in them until it is removed: see Living.
func (db *DB) Views(yield func(*View) bool) {
	db.sorted.Load().Scan(func(ns *Namespace) bool {
		if db.lookup(ns.name) != ns {
			return true
		}
		v := ns.View()
		defer v.Release()
		return yield(v)
	})
}
