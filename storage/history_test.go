package storage

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"pgregory.net/rapid"

	"engram/index"
	"engram/memory"
	"engram/memory/lexical"
)

// Whatever happens to a memory and its directory, in any order, with starts, power cuts and
// repairs, it holds what a naive model does; after a power cut, what that did up to the
// LSN which was recovered, and no less than is durable. More steps: -rapid.steps.
func TestRandomHistories(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := &historyRun{world: newWorld(vfs.NewCrashableMem()), states: []historyState{{0, historyModel{}, true}}}
		h.began(t, 0)
		defer func() { _ = h.stop() }()
		t.Repeat(map[string]func(*rapid.T){
			"create":    h.create,
			"settings":  h.settings,
			"drop":      h.drop,
			"store":     h.store,
			"storeMore": h.store,
			"update":    h.update,
			"delete":    h.delete,
			"where":     h.deleteWhere,
			"retry":     h.retry,
			"import":    h.importing,
			"snapshot":  h.snapshot,
			"barrier":   h.barrier,
			"restart":   h.restart,
			"crash":     h.crash,
			"repair":    h.repair,
			"rehearse":  h.rehearse,
			"":          h.check,
		})
	})
}

// A historyRun is a world, the states that it has been in, one for each mutation and for
// each epoch, and which of them is durable for sure.
type historyRun struct {
	*world
	states  []historyState
	durable int // index of the last state that no power cut takes
	n       int
}

type historyState struct {
	lsn   memory.LSN
	model historyModel
	base  bool // of an epoch: nothing happened
}

func (h *historyRun) now() historyModel { return h.states[len(h.states)-1].model }

// did notes a mutation and the state that it leaves; SYNC ones are durable with all
// before them.
func (h *historyRun) did(lsn memory.LSN, m historyModel, d ...memory.Durability) {
	h.states = append(h.states, historyState{lsn: lsn, model: m})
	if slices.Contains(d, memory.Sync) {
		h.durable = len(h.states) - 1
	}
	h.clock.move(time.Millisecond)
}

func (h *historyRun) check(t *rapid.T) {
	if err := h.now().differs(h.db); err != nil {
		t.Fatal(err)
	}
}

func historyName(t *rapid.T) string {
	return fmt.Sprint("n", rapid.IntRange(0, 3).Draw(t, "namespace"))
}

func historyVector(t *rapid.T) []float32 {
	return []float32{float32(rapid.IntRange(1, 5).Draw(t, "x")), 1}
}

func (h *historyRun) puts(t *rapid.T, name string, ids bool) (puts []memory.Put) {
	seen := map[string]bool{}
	for range rapid.IntRange(1, 4).Draw(t, "records") {
		p := memory.Put{Record: memory.Record{ID: fmt.Sprint("id", rapid.IntRange(0, 12).Draw(t, "id"))}}
		if !ids && rapid.IntRange(0, 9).Draw(t, "no id") == 0 {
			p.ID = ""
		}
		if seen[p.ID] {
			continue
		}
		seen[p.ID] = true
		p.Key = historyVector(t)
		p.Text = strings.Repeat("x", rapid.SampledFrom([]int{0, 3, 40, 900, 3000}).Draw(t, "text"))
		p.Metadata = rapid.SampledFrom(historyMetadata).Draw(t, "metadata")
		p.Session = rapid.SampledFrom([]string{"", "s"}).Draw(t, "session")
		p.Speaker = rapid.SampledFrom([]string{"", "someone"}).Draw(t, "speaker")
		if rapid.IntRange(0, 4).Draw(t, "own value") == 0 {
			p.Value = historyVector(t)
		}
		if p.HasTime = rapid.Bool().Draw(t, "own time"); p.HasTime {
			p.Time = rapid.Int64Range(-5, 5).Draw(t, "time")
		}
		if p.Pinned = rapid.Bool().Draw(t, "pinned"); p.Pinned {
			p.Expire = 1 << 62 // years after the test
		}
		if p.HasImportance = rapid.Bool().Draw(t, "own importance"); p.HasImportance {
			p.Importance = 0.25
		}
		if p.HasPosition = rapid.Bool().Draw(t, "with a position"); p.HasPosition {
			p.Position = rapid.Int64Range(-5, 5).Draw(t, "position")
		}
		if n := h.now()[name]; p.ID != "" && rapid.IntRange(0, 5).Draw(t, "condition") == 0 {
			v := memory.LSN(0)
			if n != nil && rapid.IntRange(0, 3).Draw(t, "met") > 0 {
				v = n.records[p.ID].Version
			}
			p.IfVersion = &v
		}
		puts = append(puts, p)
	}
	return puts
}

func (h *historyRun) request(t *rapid.T) (id string, digest [32]byte) {
	if h.n++; rapid.Bool().Draw(t, "request id") {
		id = fmt.Sprint("request", h.n)
	}
	return id, sha256.Sum256([]byte(id))
}

func (h *historyRun) expect(t *rapid.T, err error, want string) bool {
	t.Helper()
	if got := historyOutcome(err); got != want {
		t.Fatalf("the outcome is %q, want %q", got, want)
	}
	return want == historyFine
}

func (h *historyRun) create(t *rapid.T) {
	terms := lexical.Analysis(rapid.IntRange(0, 2).Draw(t, "lexical"))
	c := memory.Config{
		Name: historyName(t), Metric: rapid.SampledFrom([]index.Metric{index.Dot, index.L2}).Draw(t, "metric"), Dimension: 2, ValueDimension: 2,
		KVHeads: rapid.IntRange(1, 2).Draw(t, "heads"), Lexical: terms, Ranking: drawRanking(t, terms), Retention: drawRetention(t), Durability: memory.Durability(rapid.IntRange(0, 2).Draw(t, "durability")),
	}
	want := historyFine
	if h.now()[c.Name] != nil {
		want = historyExists
	}
	now := h.clock.Now().UnixNano()
	made, err := h.db.CreateNamespace(context.Background(), &memory.CreateNamespace{Config: c})
	if h.expect(t, err, want) {
		c.CreateTime, c.Created = now, made.Created
		h.did(made.Created, h.now().with(c.Name, made.Created, func(n *historyNamespace) { n.config = c }), c.Durability)
	}
}

// drawRanking gives one that a namespace with this lexical analysis may have.
func drawRanking(t *rapid.T, terms lexical.Analysis) memory.Ranking {
	if rapid.Bool().Draw(t, "plain") {
		return memory.Ranking{}
	}
	r := memory.Ranking{
		Similarity: rapid.Float64Range(0, 2).Draw(t, "similarity"), Association: rapid.Float64Range(0, 2).Draw(t, "association"),
		Mention: 0.5, Fusion: memory.Fusion(rapid.IntRange(0, 1).Draw(t, "fusion")),
	}
	if terms != lexical.None {
		r.Lexical, r.Kin = rapid.Float64Range(0, 2).Draw(t, "words"), rapid.Float64Range(0, 2).Draw(t, "kin")
	}
	return r
}

func drawRetention(t *rapid.T) memory.Retention {
	r := memory.RetentionOf(rapid.SampledFrom([]time.Duration{time.Second, time.Hour, memory.DefaultHalfLife}).Draw(t, "half-life"))
	r.MinInterval = rapid.SampledFrom([]time.Duration{0, time.Millisecond, r.MinInterval}).Draw(t, "min interval")
	return r
}

// rehearse rehearses records, some of which may be gone before that is committed.
func (h *historyRun) rehearse(t *rapid.T) {
	name := historyName(t)
	n := h.now()[name]
	if n == nil || len(n.records) == 0 {
		t.Skip("no record")
	}
	ids := rapid.SliceOfNDistinct(rapid.SampledFrom(slices.Sorted(maps.Keys(n.records))), 1, len(n.records), rapid.ID).Draw(t, "ids")
	v, err := h.db.View(name)
	if err != nil {
		t.Fatal(err)
	}
	var hits []memory.Hit
	for _, id := range ids {
		ref, _ := v.Find(id)
		hits = append(hits, memory.Hit{Ref: ref})
	}
	reads := rapid.IntRange(1, 2).Draw(t, "reads")
	for range reads {
		h.db.Rehearse([]*memory.View{v}, [][]memory.Hit{hits})
	}
	v.Release()
	now := h.clock.Now().UnixNano()
	if rapid.IntRange(0, 3).Draw(t, "deleted") == 0 {
		h.remove(t, &memory.Delete{Namespace: name, IDs: ids[:1]}, func(r *memory.Record) bool { return r.ID == ids[0] })
		ids = ids[1:]
	}
	if err := h.db.CommitRehearsals(context.Background()); err != nil {
		t.Fatal(err)
	}
	if len(ids) == 0 {
		return
	}
	lsn := h.appended()
	h.did(lsn, h.now().with(name, lsn, func(n *historyNamespace) {
		for _, id := range ids {
			rec := n.records[id]
			s := &rec.Rehearsed
			grown := s.Grown
			if s.Growths == 0 {
				grown = rec.CreateTime
			}
			if now-grown >= int64(n.config.Retention.MinInterval) {
				s.Grown, s.Growths = now, s.Growths+1
			}
			s.Last, s.Count = now, s.Count+uint32(reads)
			n.records[id] = rec
		}
	}), n.config.Durability)
}

func (h *historyRun) settings(t *rapid.T) {
	name := historyName(t)
	n := h.now()[name]
	var terms lexical.Analysis
	if n != nil {
		terms = n.config.Lexical
	}
	u := &memory.UpdateNamespace{Name: name}
	if rapid.Bool().Draw(t, "durability too") {
		d := memory.Durability(rapid.IntRange(0, 2).Draw(t, "durability"))
		u.Durability = &d
	}
	bytes := rapid.SampledFrom([]int64{0, 1 << 20}).Draw(t, "max bytes")
	u.MaxBytes = &bytes
	if rapid.Bool().Draw(t, "ranking too") {
		r := drawRanking(t, terms)
		u.Ranking = &r
	}
	if rapid.Bool().Draw(t, "retention too") {
		r := drawRetention(t)
		u.Retention = &r
	}
	if rapid.Bool().Draw(t, "bounds too") {
		most := int64(1 << rapid.IntRange(20, 40).Draw(t, "most"))
		e := memory.Eviction(rapid.IntRange(0, 3).Draw(t, "eviction"))
		x := rapid.SampledFrom([]float64{0, 1e-300}).Draw(t, "forget")
		u.MaxRecords, u.Eviction, u.Forget = &most, &e, &x
	}
	if rapid.Bool().Draw(t, "values too") {
		e := rapid.SampledFrom([]index.Encoding{index.F32, index.BF16}).Draw(t, "values")
		u.ValueEncoding = &e
	}
	if n == nil {
		h.expect(t, h.db.UpdateNamespace(context.Background(), u), historyMissing)
		return
	}
	h.expect(t, h.db.UpdateNamespace(context.Background(), u), historyFine)
	lsn := h.appended()
	after := n.config.Durability
	if u.Durability != nil {
		after = *u.Durability
	}
	h.did(lsn, h.now().with(name, lsn, func(n *historyNamespace) {
		n.config.MaxBytes, n.config.Durability = bytes, after
		if u.Ranking != nil {
			n.config.Ranking = *u.Ranking
		}
		if u.Retention != nil {
			n.config.Retention = *u.Retention
		}
		if u.MaxRecords != nil {
			n.config.MaxRecords, n.config.Eviction, n.config.Forget = *u.MaxRecords, *u.Eviction, *u.Forget
		}
		if u.ValueEncoding != nil {
			n.config.ValueEncoding = *u.ValueEncoding
		}
	}), n.config.Durability, after)
}

func (h *historyRun) drop(t *rapid.T) {
	name := historyName(t)
	n := h.now()[name]
	r, err := h.db.DeleteNamespace(context.Background(), &memory.DeleteNamespace{Name: name})
	if n == nil {
		h.expect(t, err, historyMissing)
		return
	}
	if h.expect(t, err, historyFine); r.Deleted != len(n.records) {
		t.Fatalf("%d records deleted of %d", r.Deleted, len(n.records))
	}
	h.did(r.LSN, h.now().without(name), n.config.Durability)
}

func (h *historyRun) store(t *rapid.T) {
	name := historyName(t)
	mode := rapid.SampledFrom([]memory.Mode{memory.Upsert, memory.Upsert, memory.Insert, memory.ModeUpdate}).Draw(t, "mode")
	s := &memory.Store{Namespace: name, Mode: mode, Records: h.puts(t, name, mode == memory.ModeUpdate)}
	s.RequestID, s.Digest = h.request(t)
	n := h.now()[name]
	want := n.outcome(s.Records, s.Mode != memory.Insert, s.Mode != memory.ModeUpdate)
	now := h.clock.Now()
	r, err := h.db.Store(context.Background(), s)
	if !h.expect(t, err, want) {
		return
	}
	var d memory.Durability
	h.did(r.LSN, h.now().with(name, r.LSN, func(n *historyNamespace) {
		if n.config.Name == "" {
			n.config = memory.Config{Name: name, Metric: index.Cosine, Dimension: 2, ValueDimension: 2, KVHeads: 1, Retention: memory.RetentionOf(memory.DefaultHalfLife), CreateTime: now.UnixNano(), Created: r.LSN}
		}
		d = n.config.Durability
		n.put(s.Records, memory.MaskAll, r, now)
		if s.RequestID != "" {
			n.requests = append(n.requests, &historyRequest{store: s, result: *r})
		}
	}), memory.Interval)
	if d == memory.Sync {
		h.durable = len(h.states) - 1
	}
}

func (h *historyRun) update(t *rapid.T) {
	name := historyName(t)
	u := &memory.Update{Namespace: name, Records: h.puts(t, name, true), Mask: memory.Mask(rapid.IntRange(1, int(memory.MaskAll)).Draw(t, "mask"))}
	n := h.now()[name]
	want := historyMissing
	if n != nil {
		want = n.outcome(u.Records, true, false)
	}
	now := h.clock.Now()
	r, err := h.db.Update(context.Background(), u)
	if h.expect(t, err, want) {
		h.did(r.LSN, h.now().with(name, r.LSN, func(n *historyNamespace) { n.put(u.Records, u.Mask, r, now) }), n.config.Durability)
	}
}

func (h *historyRun) delete(t *rapid.T) {
	del := &memory.Delete{Namespace: historyName(t)}
	for range rapid.IntRange(1, 4).Draw(t, "ids") {
		del.IDs = append(del.IDs, fmt.Sprint("id", rapid.IntRange(0, 12).Draw(t, "id")))
	}
	del.RequestID, del.Digest = h.request(t)
	h.remove(t, del, func(r *memory.Record) bool { return slices.Contains(del.IDs, r.ID) })
}

func (h *historyRun) deleteWhere(t *rapid.T) {
	f, matches := historyWhere(rapid.IntRange(1, 4).Draw(t, "bound"))
	del := &memory.Delete{Namespace: historyName(t), Filter: f}
	h.remove(t, del, matches)
}

func (h *historyRun) remove(t *rapid.T, del *memory.Delete, matches func(*memory.Record) bool) {
	n := h.now()[del.Namespace]
	r, err := h.db.Delete(context.Background(), del)
	if n == nil {
		h.expect(t, err, historyMissing)
		return
	}
	h.expect(t, err, historyFine)
	deleted := 0
	after := h.now().with(del.Namespace, r.LSN, func(n *historyNamespace) {
		for id, rec := range n.records {
			if matches(&rec) {
				delete(n.records, id)
				deleted++
			}
		}
		if del.RequestID != "" {
			n.requests = append(n.requests, &historyRequest{removal: del, removed: *r})
		}
	})
	if r.Deleted != deleted {
		t.Fatalf("%d records deleted, want %d", r.Deleted, deleted)
	}
	if deleted == 0 && del.RequestID == "" {
		if r.LSN != n.lsn {
			t.Fatalf("nothing was deleted at LSN %d, not %d", r.LSN, n.lsn)
		}
		return
	}
	h.did(r.LSN, after, n.config.Durability)
}

// retry repeats a write that was acknowledged and is remembered: it gets its answer, and
// changes nothing.
func (h *historyRun) retry(t *rapid.T) {
	name := historyName(t)
	n := h.now()[name]
	if n == nil || len(n.requests) == 0 {
		t.Skip("no request")
	}
	q := rapid.SampledFrom(n.requests).Draw(t, "request")
	if q.store != nil {
		r, err := h.db.Store(context.Background(), q.store)
		if err != nil || r.LSN != q.result.LSN || !slices.Equal(r.Results, q.result.Results) {
			t.Fatalf("answered with %+v (%v), and first with %+v", r, err, q.result)
		}
		return
	}
	if r, err := h.db.Delete(context.Background(), q.removal); err != nil || *r != q.removed {
		t.Fatalf("answered with %+v (%v), and first with %+v", r, err, q.removed)
	}
}

func (h *historyRun) importing(t *rapid.T) {
	c := memory.Config{
		Name: historyName(t), Metric: index.L2, Dimension: 2, ValueDimension: 2, KVHeads: 2, CreateTime: 7, Created: memory.MakeLSN(1, 3),
		Retention:  drawRetention(t),
		Durability: memory.Durability(rapid.IntRange(0, 2).Draw(t, "durability")),
	}
	epoch := uint64(1)
	if rapid.IntRange(0, 3).Draw(t, "of a later epoch") == 0 {
		epoch = h.appended().Epoch() + 2
	}
	lsn := memory.MakeLSN(epoch, 90)
	records := map[string]memory.Record{}
	for i := range rapid.IntRange(0, 5).Draw(t, "records") {
		at := memory.MakeLSN(1, uint64(10+i))
		r := memory.Record{ID: fmt.Sprint("id", i), Key: historyVector(t), Text: "imported", Importance: 0.5, Position: int64(i), HasPosition: true, Created: at, Version: at}
		if i%2 == 1 {
			r.Rehearsed = memory.Rehearsed{Last: 5, Grown: 5, Count: 3, Growths: 1}
		}
		records[r.ID] = r
	}
	want := historyFine
	if h.now()[c.Name] != nil {
		want = historyExists
	}
	err := h.db.Import(context.Background(), c, lsn, func(yield func(*memory.Record, error) bool) {
		for _, r := range records {
			if !yield(&r, nil) {
				return
			}
		}
	})
	if !h.expect(t, err, want) {
		return
	}
	at := h.appended()
	if last := h.states[len(h.states)-1].lsn; at.Epoch() > last.Epoch() {
		h.epoch(at - 1) // above that of the records, and durable before them
	}
	h.did(at, h.now().with(c.Name, at, func(n *historyNamespace) { n.config, n.records = c, records }), c.Durability)
}

func (h *historyRun) snapshot(t *rapid.T) {
	if _, err := h.snaps.Snapshot(context.Background()); err != nil {
		t.Fatal(err)
	}
	h.durable = len(h.states) - 1
}

func (h *historyRun) barrier(t *rapid.T) {
	if _, err := h.db.Barrier(context.Background()); err != nil {
		t.Fatal(err)
	}
	h.durable = len(h.states) - 1
}

func (h *historyRun) restart(t *rapid.T) {
	if err := h.stop(); err != nil {
		t.Fatal(err)
	}
	h.began(t, len(h.states)-1)
}

// epoch notes that one has begun, which is durable.
func (h *historyRun) epoch(base memory.LSN) {
	h.states = append(h.states, historyState{base, h.now(), true})
	h.durable = len(h.states) - 1
}

// began starts, and finds out which of the states, from one on, is there.
func (h *historyRun) began(t *rapid.T, from int) {
	r, err := h.start()
	if err != nil {
		t.Fatal(err)
	}
	last := from
	for last+1 < len(h.states) && h.states[last+1].lsn <= r.LSN {
		last++
	}
	if got := h.states[last].lsn; got != r.LSN {
		t.Fatalf("LSN %x was recovered; %x was durable, and the last %x", r.LSN, h.states[from].lsn, h.states[len(h.states)-1].lsn)
	}
	h.states = h.states[:last+1]
	h.epoch(h.appended())
}

// crash cuts the power: what is left is all up to some state, and no earlier one than is
// durable.
func (h *historyRun) crash(t *rapid.T) {
	percent := rapid.SampledFrom([]int{0, 30, 70, 100}).Draw(t, "percent unsynced that stay")
	seed := rapid.Uint64().Draw(t, "seed")
	left := h.fs.(*vfs.MemFS).CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rand.New(rand.NewPCG(seed, 0))})
	if err := h.stop(); err != nil { // on the disk that is left behind
		t.Fatal(err)
	}
	h.fs = left
	h.began(t, h.durable)
}

// repair goes back to an earlier state, after a look at it.
func (h *historyRun) repair(t *rapid.T) {
	if err := h.stop(); err != nil {
		t.Fatal(err)
	}
	h.durable = len(h.states) - 1
	d, err := Open(h.path, h.options())
	if err != nil {
		t.Fatal(err)
	}
	report, err := d.Check(context.Background())
	if err != nil || report.Err != nil {
		t.Fatal(errors.Join(err, report.Err))
	}
	var reached []int
	for i, s := range h.states {
		if !s.base && s.lsn >= report.Lowest {
			reached = append(reached, i)
		}
	}
	if len(reached) > 0 {
		to := rapid.SampledFrom(reached).Draw(t, "to")
		at := h.states[to].lsn
		db := h.newDB()
		_, err := d.RecoverUntil(context.Background(), db, at)
		if err == nil {
			err = h.states[to].model.differs(db)
		}
		if err := errors.Join(err, db.Close()); err != nil {
			t.Fatalf("as of LSN %x: %v", at, err)
		}
		if _, err := d.Repair(context.Background(), at); err != nil {
			t.Fatalf("repair to LSN %x: %v", at, err)
		}
		// It begins an epoch of its own.
		h.states = append(h.states[:to+1], historyState{h.repaired(t, d), h.states[to].model, true})
		h.durable = to + 1
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	h.began(t, h.durable)
}

// repaired is the base of the epoch that a repair began.
func (h *historyRun) repaired(t *rapid.T, d *Dir) memory.LSN {
	l, err := d.list()
	if err != nil {
		t.Fatal(err)
	}
	n, _, _ := numberOf(l.segments[len(l.segments)-1], segmentPrefix)
	return memory.LSN(n)
}
