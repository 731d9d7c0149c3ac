package storage

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"engram/index"
	"engram/internal/slab"
	"engram/memory"
)

// hand is a clock that is moved by hand.
type hand struct{ ns atomic.Int64 }

func newHand() *hand {
	h := &hand{}
	h.ns.Store(stopped{}.Now().UnixNano())
	return h
}

func (h *hand) Now() time.Time        { return time.Unix(0, h.ns.Load()).UTC() }
func (h *hand) move(by time.Duration) { h.ns.Add(int64(by)) }

// A world is a memory in a directory, and what the steps of a history work on.
type world struct {
	fs    vfs.FS
	path  string
	clock *hand
	log   *slog.Logger
	ids   int
	made  atomic.Uint64 // ids of segments and imports
	size  int64         // of a segment
	retry time.Duration // of making one

	db    *memory.DB
	dir   *Dir
	snaps *Snapshots
}

func newWorld(fsys vfs.FS) *world {
	return &world{fs: fsys, path: data, clock: newHand(), log: slog.New(slog.DiscardHandler), size: 4 << 10, retry: time.Hour}
}

func (w *world) options() Options {
	return Options{Log: w.log, Clock: w.clock, FS: w.fs, SegmentSize: w.size, Workers: 1, idle: time.Hour, retry: w.retry, random: func() uint64 { return w.made.Add(1) }}
}

// sharedPool serves all worlds: to map memory anew for each takes longer than the rest.
var sharedPool = slab.NewPool(1 << 30)

func (w *world) newDB() *memory.DB {
	return memory.New(memory.Options{
		Pool: sharedPool, Clock: w.clock, Limits: memory.DefaultLimits(), Log: w.log, RehearseAfter: time.Hour,
		NewID: func() string { w.ids++; return fmt.Sprintf("made-%d", w.ids) },
	})
}

// start opens the directory and recovers it.
func (w *world) start() (*Recovered, error) {
	d, err := Open(w.path, w.options())
	if err != nil {
		return nil, err
	}
	db := w.newDB()
	r, err := d.Recover(context.Background(), db)
	if err != nil {
		return nil, errors.Join(err, db.Close(), d.Close())
	}
	w.db, w.dir, w.snaps = db, d, d.Snapshots(db)
	return r, nil
}

// stop ends what start began.
func (w *world) stop() error {
	if w.db == nil {
		return nil
	}
	err := errors.Join(w.db.Close(), w.dir.Close())
	w.db, w.dir, w.snaps = nil, nil, nil
	return err
}

// appended is the LSN of the last mutation, which the memory itself tells a little later.
func (w *world) appended() memory.LSN {
	j := w.dir.journal
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.last
}

// A step is one thing that someone does.
type step struct {
	name string
	do   func(*world) error
	// durable: once it is done, it and all before it are on the disk.
	durable bool
}

// scripted is a record to put, with a text of some length.
func scripted(id string, n int, key ...float32) memory.Put {
	return memory.Put{Record: memory.Record{ID: id, Key: key, Text: strings.Repeat(id+" ", n/(len(id)+1)+1)[:n]}}
}

func storing(namespace string, durable bool, request string, puts ...memory.Put) step {
	return step{fmt.Sprintf("store %d in %s", len(puts), namespace), func(w *world) error {
		_, err := w.db.Store(context.Background(), &memory.Store{
			Namespace: namespace, Records: slices.Clone(puts), RequestID: request, Digest: sha256.Sum256([]byte(request)),
		})
		return err
	}, durable}
}

func creating(name string, d memory.Durability) step {
	return step{"create " + name, func(w *world) error {
		_, err := w.db.CreateNamespace(context.Background(), &memory.CreateNamespace{Config: memory.Config{
			Name: name, Metric: index.Dot, Dimension: 2, ValueDimension: 2, Durability: d, MaxBytes: 1 << 20,
		}})
		return err
	}, d == memory.Sync}
}

func updating(namespace string, durable bool, mask memory.Mask, p memory.Put) step {
	return step{"update in " + namespace, func(w *world) error {
		_, err := w.db.Update(context.Background(), &memory.Update{Namespace: namespace, Mask: mask, Records: []memory.Put{p}})
		return err
	}, durable}
}

func deleting(namespace string, durable bool, request string, ids ...string) step {
	return step{"delete from " + namespace, func(w *world) error {
		_, err := w.db.Delete(context.Background(), &memory.Delete{Namespace: namespace, IDs: ids, RequestID: request, Digest: sha256.Sum256([]byte(request))})
		return err
	}, durable}
}

func dropping(name string, durable bool) step {
	return step{"drop " + name, func(w *world) error {
		_, err := w.db.DeleteNamespace(context.Background(), &memory.DeleteNamespace{Name: name})
		return err
	}, durable}
}

func settling(name string, durable bool, max int64, d memory.Durability) step {
	return step{"settings of " + name, func(w *world) error {
		e, recall := index.Int8, 0.5 // change no answer to so few records
		return w.db.UpdateNamespace(context.Background(), &memory.UpdateNamespace{Name: name, MaxBytes: &max, Durability: &d, KeyEncoding: &e, Recall: &recall})
	}, durable}
}

// retaining changes how fast records fade, and their ranking with it.
func retaining(name string, durable bool, halfLife time.Duration) step {
	return step{"retention of " + name, func(w *world) error {
		keep := memory.RetentionOf(halfLife)
		keep.MinInterval = time.Second
		by := memory.Ranking{Similarity: 1, Retention: 0.5, Importance: 0.25}
		return w.db.UpdateNamespace(context.Background(), &memory.UpdateNamespace{Name: name, Retention: &keep, Ranking: &by})
	}, durable}
}

// rehearsing rehearses records, and waits until that is committed.
func rehearsing(name string, durable bool, ids ...string) step {
	return step{fmt.Sprintf("rehearse %d in %s", len(ids), name), func(w *world) error {
		if err := w.rehearse(name, ids...); err != nil {
			return err
		}
		return w.db.CommitRehearsals(context.Background())
	}, durable}
}

// rehearse rehearses records, and doesn't wait.
func (w *world) rehearse(name string, ids ...string) error {
	v, err := w.db.View(name)
	if err != nil {
		return err
	}
	defer v.Release()
	var hits []memory.Hit
	for _, id := range ids {
		ref, ok := v.Find(id)
		if !ok {
			return &memory.NotFound{Kind: "record", Namespace: name, Name: id}
		}
		hits = append(hits, memory.Hit{Ref: ref})
	}
	w.db.Rehearse([]*memory.View{v}, [][]memory.Hit{hits})
	return nil
}

// importing brings a namespace whose LSNs are of an epoch.
func importing(name string, epoch uint64, records int) step {
	return step{"import " + name, func(w *world) error {
		c := memory.Config{Name: name, Metric: index.L2, Dimension: 2, ValueDimension: 2, CreateTime: 5, Created: memory.MakeLSN(epoch, 1)}
		return w.db.Import(context.Background(), c, memory.MakeLSN(epoch, 100), func(yield func(*memory.Record, error) bool) {
			for i := range records {
				r := scripted(fmt.Sprint(name, i), 100+i, float32(i), 1).Record
				r.Created, r.Version, r.Importance = memory.MakeLSN(epoch, uint64(i+2)), memory.MakeLSN(epoch, uint64(i+2)), 0.5
				if !yield(&r, nil) {
					return
				}
			}
		})
	}, true}
}

var errNotRefused = errors.New("it should have been refused")

// refused is a step that must fail, and change nothing.
func refused(s step) step {
	do := s.do
	s.name += ", refused"
	s.do = func(w *world) error {
		err := do(w)
		var exists *memory.Exists
		var missing *memory.NotFound
		var conflict *memory.Conflict
		if errors.As(err, &exists) || errors.As(err, &missing) || errors.As(err, &conflict) {
			return nil
		}
		if err == nil {
			err = errNotRefused
		}
		return err
	}
	s.durable = false
	return s
}

var (
	starting  = step{"start", func(w *world) error { _, err := w.start(); return err }, true}
	stopping  = step{"stop", (*world).stop, true}
	taking    = step{"snapshot", func(w *world) error { _, err := w.snaps.Snapshot(context.Background()); return err }, true}
	idling    = step{"idle", func(w *world) error { return w.dir.journal.mark() }, true}
	syncing   = step{"sync interval", func(w *world) error { return w.db.SyncInterval(context.Background()) }, false}
	conflicts = step{"conflict", func(w *world) error {
		p := scripted("a", 9, 1, 2)
		v := memory.LSN(1)
		p.IfVersion = &v
		return storing("s", true, "", p).do(w)
	}, true}
	passing10m = step{"ten minutes pass", func(w *world) error { w.clock.move(10 * time.Minute); return nil }, false}
)

// everything is a history of all there is to do, over several segments of 4 KiB, three
// snapshots and four starts.
func everything() []step {
	return []step{
		starting,
		creating("s", memory.Sync), creating("i", memory.Interval), creating("n", memory.None),
		refused(creating("s", memory.Sync)),
		storing("s", true, "r1", scripted("a", 10, 1, 2), scripted("b", 300, 3, 4)),
		storing("s", false, "r1", scripted("a", 10, 1, 2), scripted("b", 300, 3, 4)), // answered, not done again
		storing("n", false, "", scripted("x", 700, 1, 2)),
		storing("n", false, "r2", scripted("y", 70, 1, 2), memory.Put{Record: memory.Record{Key: []float32{0, 1}}}),
		storing("i", false, "", scripted("p", 900, 1, 2)),
		syncing,
		updating("s", true, memory.MaskText|memory.MaskImportance, scripted("b", 500, 0, 0)),
		refused(conflicts),
		refused(updating("s", true, memory.MaskText, scripted("missing", 5, 0, 0))),
		rehearsing("s", true, "b", "a"),
		storing("n", false, "", scripted("z", 800, 1, 2)),
		storing("s", true, "", scripted("c", 1200, 5, 6)),
		deleting("s", true, "r3", "a", "missing"),
		deleting("n", false, "", "y"),
		retaining("s", true, time.Hour),
		rehearsing("s", true, "c", "b"),
		rehearsing("n", false, "x"),
		taking,
		rehearsing("s", true, "c"),
		storing("s", true, "r4", scripted("d", 1500, 7, 8), memory.Put{Record: memory.Record{Key: []float32{9, 9}}}),
		storing("n", false, "", scripted("w", 1500, 7, 8)),
		storing("big", true, "", scripted("larger than a segment", 6000, 1)),
		storing("big", true, "", scripted("after it", 60, 1)),
		stopping, starting,
		importing("imported", 1, 3),
		storing("imported", true, "", scripted("more", 400, 1, 2)),
		refused(importing("imported", 1, 1)),
		importing("later", 9, 2), // LSNs go on from a higher epoch
		storing("i", false, "", scripted("q", 1000, 1, 2)),
		storing("n", false, "", scripted("v", 100, 1, 2)),
		dropping("big", true),
		refused(dropping("big", true)),
		storing("big", true, "", scripted("again", 1000, 1, 2, 3)),
		storing("close", true, "", scripted("m", 300, 1, 2), scripted("o", 200, 1, 2), scripted("p", 100, 0, 1), scripted("q", 50, 0, 1)),
		passing10m,
		consolidating("close", true, "r7"),
		storing("s", true, "r1", scripted("a", 10, 1, 2)), // r1 is forgotten
		settling("n", true, 1<<21, memory.Sync),
		storing("n", true, "", scripted("t", 300, 1, 2)),
		settling("n", true, 1<<20, memory.None),
		storing("n", false, "", scripted("u", 300, 1, 2)),
		idling,
		storing("s", true, "", scripted("e", 1800, 7, 8)),
		taking,
		storing("s", true, "", scripted("f", 1800, 7, 8)),
		dropping("later", true),
		stopping, starting, stopping, starting,
		storing("n", false, "", scripted("k", 1000, 1, 2)),
		storing("s", true, "r5", scripted("g", 1300, 7, 8), scripted("h", 40, 1, 1)),
		taking, // older segments go
		storing("s", true, "", scripted("i", 1300, 7, 8)),
		taking, // and the imports' files
		dropping("n", false),
		creating("n", memory.None),
		storing("n", false, "", scripted("l", 900, 1, 2)),
		rehearsing("s", true, "g"),
		updating("s", true, memory.MaskKey, scripted("g", 0, 1, 1)),
		deleting("s", true, "r6", "h", "i"),
		stopping, starting, stopping,
	}
}

// A script is steps and the states that they lead to.
type script struct {
	steps  []step
	states []string // after each step
	lsns   []memory.LSN
}

// play runs steps where nothing fails, to know their states.
func play(t testing.TB, steps []step, fsys vfs.FS) *script {
	t.Helper()
	return playIn(t, steps, newWorld(fsys))
}

func playIn(t testing.TB, steps []step, w *world) *script {
	t.Helper()
	h := &script{steps: steps}
	state, lsn := "", memory.LSN(0)
	for i, s := range steps {
		w.clock.move(time.Second)
		if err := s.do(w); err != nil {
			t.Fatalf("step %d, %s: %v", i, s.name, err)
		}
		if w.db != nil {
			state, lsn = dump(w.db), w.appended()
		}
		h.states, h.lsns = append(h.states, state), append(h.lsns, lsn)
	}
	return h
}

// at finds the step from one to another after which the state was this one; −1: none.
func (h *script) at(state string, from, to int) int {
	if from < 0 && state == "" {
		return 0
	}
	for i := max(from, 0); i <= min(to, len(h.states)-1); i++ {
		if h.states[i] == state {
			return i
		}
	}
	return -1
}

// differ shows the first line in which two states differ; empty: in none.
func differ(got, want string) string {
	if got == want {
		return ""
	}
	a, b := strings.Split(got, "\n"), strings.Split(want, "\n")
	i := 0
	for i < min(len(a), len(b)) && a[i] == b[i] {
		i++
	}
	line := func(s []string) string {
		if i >= len(s) {
			return "nothing more"
		}
		return fmt.Sprintf("%.400s", s[i])
	}
	return fmt.Sprintf("line %d is\n%s\nand should be\n%s", i, line(a), line(b))
}

// made waits until the next segment is there.
func (s *spare) made() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.busy || s.held || s.err != nil {
		s.changed.Wait()
	}
}
