package memory

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"engram/index"
	"engram/internal/slab"
)

// hand is a clock that is moved by hand.
type hand struct{ ns atomic.Int64 }

func (h *hand) Now() time.Time        { return time.Unix(0, h.ns.Load()) }
func (h *hand) move(by time.Duration) { h.ns.Add(int64(by)) }

const day = 24 * time.Hour

// naiveRetention is the definition, in float64.
func naiveRetention(keep Retention, createTime int64, s Rehearsed, now int64) float64 {
	since := createTime
	if s.Count > 0 {
		since = s.Last
	}
	h := keep.HalfLife.Seconds()
	for range s.Growths {
		h = math.Min(h*keep.Growth, keep.MaxHalfLife.Seconds())
	}
	return math.Pow(2, -math.Max(0, float64(now-since)/1e9)/h)
}

func TestRetention(t *testing.T) {
	keep := RetentionOf(7 * day)
	if want := (Retention{7 * day, 2, day, 364 * day}); keep != want || !keep.IsDefault() || !(Retention{}).IsDefault() || (Retention{}).OrDefault() != want {
		t.Fatalf("%+v", keep)
	}
	at := func(d time.Duration) int64 { return 1e18 + int64(d) }
	var s Rehearsed
	for _, c := range []struct {
		now      time.Duration
		rehearse uint32 // how often, then
		before   float64
		halfLife time.Duration // after
	}{
		{0, 0, 1, 7 * day},
		{-day, 0, 1, 7 * day}, // a clock that went back
		{7 * day, 0, 0.5, 7 * day},
		{14 * day, 1, 0.25, 14 * day},
		{14 * day, 5, 1, 14 * day},             // chatter: no growth
		{15*day - 1, 9, 0.9517, 14 * day},      // so soon after it grew
		{15 * day, 1, 1, 28 * day},             // a day after it
		{15*day + 28*day, 0, 0.5, 28 * day},    //
		{15*day + 28*day, 1, 0.5, 56 * day},    //
		{14 * day, 1, 1, 56 * day},             // an earlier time, of a clock that went back
		{15*day + 84*day, 1, 0.5, 112 * day},   // from the later one
		{500 * day, 1, 0.08368, 224 * day},     //
		{600 * day, 1, 0.7339, 364 * day},      // the cap
		{700 * day, 1, 0.8266, 364 * day},      //
		{700*day + 364*day, 0, 0.5, 364 * day}, //
	} {
		if got := keep.Of(at(0), s, at(c.now)); math.Abs(got-c.before) > 1e-4 || math.Abs(got-naiveRetention(keep, at(0), s, at(c.now))) > 1e-12 {
			t.Errorf("after %v it is %v, want %v", c.now, got, c.before)
		}
		if c.rehearse > 0 {
			before := s
			s = keep.rehearse(at(0), s, at(c.now), c.rehearse)
			if s.Count != before.Count+c.rehearse || s.Last < before.Last {
				t.Errorf("after %v: %+v", c.now, s)
			}
		}
		if got := time.Duration(keep.halfLife(s.Growths)); got != c.halfLife {
			t.Errorf("after %v the half-life is %v, want %v", c.now, got, c.halfLife)
		}
	}
	// The configuration holds for all records at once.
	short := Retention{time.Hour, 3, 0, 5 * time.Hour}
	if got := time.Duration(short.halfLife(1)); got != 3*time.Hour {
		t.Error(got)
	}
	if got := time.Duration(short.halfLife(s.Growths)); got != 5*time.Hour {
		t.Error(got)
	}
	if s = (Rehearsed{Count: math.MaxUint32 - 1, Growths: math.MaxUint16, Last: 5, Grown: 5}); short.rehearse(0, s, 9, 7) != (Rehearsed{Count: math.MaxUint32, Growths: math.MaxUint16, Last: 9, Grown: 5}) {
		t.Error("counters don't stop at their most")
	}
}

// Whatever the times: from 0 to 1, falling as time goes by, and never less by a rehearsal.
func TestRetentionIsOrdered(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		keep := someRetention.Draw(t, "retention")
		if field, reason := keep.Check(); field != "" {
			t.Fatalf("%s %s", field, reason)
		}
		when := rapid.Int64()
		created := when.Draw(t, "created")
		var s Rehearsed
		for range rapid.IntRange(0, 5).Draw(t, "rehearsals") {
			now := when.Draw(t, "now")
			after := keep.rehearse(created, s, now, 1)
			if reason := after.check(); reason != "" {
				t.Fatal(reason)
			}
			later := when.Draw(t, "later")
			was, is := keep.Of(created, s, later), keep.Of(created, after, later)
			if s.Count > 0 && is < was || !(is >= 0 && is <= 1) {
				t.Fatalf("%v, and rehearsed %v", was, is)
			}
			s = after
		}
		a, b := when.Draw(t, "a"), when.Draw(t, "b")
		x, y := keep.Of(created, s, min(a, b)), keep.Of(created, s, max(a, b))
		if log := keep.log2(created, s, a); !(y <= x) || math.IsInf(log, 0) || math.IsNaN(log) {
			t.Fatalf("%v, then %v; %v", x, y, log)
		}
	})
}

var someRetention = rapid.Custom(func(t *rapid.T) Retention {
	r := RetentionOf(rapid.SampledFrom([]time.Duration{time.Second, time.Hour, 7 * day, 36500 * day}).Draw(t, "half-life"))
	r.Growth = rapid.SampledFrom([]float64{1, 1.5, 2, 100}).Draw(t, "growth")
	r.MinInterval = rapid.SampledFrom([]time.Duration{0, time.Minute, day}).Draw(t, "min interval")
	return r
})

func TestRetentionIsChecked(t *testing.T) {
	good := RetentionOf(time.Hour)
	for field, change := range map[string]func(*Retention){
		"half_life":     func(r *Retention) { r.HalfLife = time.Second - 1 },
		"growth":        func(r *Retention) { r.Growth = math.NaN() },
		"min_interval":  func(r *Retention) { r.MinInterval = -1 },
		"max_half_life": func(r *Retention) { r.MaxHalfLife = r.HalfLife - 1 },
	} {
		bad := good
		change(&bad)
		if got, reason := bad.Check(); got != field || reason == "" {
			t.Errorf("%+v: %q %q", bad, got, reason)
		}
		db := newTestDB(t)
		mustStore(t, db, "n", put("a", 1, 2))
		if err := db.UpdateNamespace(t.Context(), &UpdateNamespace{Name: "n", Retention: &bad}); !isInvalid(err) || !strings.Contains(err.Error(), "namespace.retention."+field) {
			t.Error(err)
		}
		if _, err := db.CreateNamespace(t.Context(), &CreateNamespace{Config{Name: "m", Dimension: 2, ValueDimension: 2, Retention: bad}}); !isInvalid(err) {
			t.Error(err)
		}
	}
	longest := RetentionOf(maxHalfLife)
	if field, _ := longest.Check(); field != "" || longest.MaxHalfLife != maxHalfLife {
		t.Errorf("%+v", longest)
	}
}

// created notes when records were made.
func (m *machine) created(res *StoreResult) {
	for _, r := range res.Results {
		if r.Created {
			rec := m.model[r.ID]
			rec.CreateTime = m.clock.Now().UnixNano()
			m.model[r.ID] = rec
		}
	}
}

// rehearse rehearses some records by two reads at different times, of which one finds some
// of them by two queries, and commits that; while some are deleted and made again, and are
// not rehearsed then.
func (m *machine) rehearse(t *rapid.T) {
	m.clock.move(time.Duration(rapid.Int64Range(0, int64(20*day)).Draw(t, "passes")))
	defer m.lapse()
	ids := rapid.SliceOfNDistinct(someID, 1, 30, rapid.ID).Draw(t, "ids")
	counts := map[string]uint32{}
	last := map[string]int64{}
	for range rapid.IntRange(1, 2).Draw(t, "reads") {
		v, err := m.db.View("n")
		if err != nil {
			t.Fatal(err)
		}
		var hits [2][]Hit
		for i, id := range ids[:rapid.IntRange(1, len(ids)).Draw(t, "hits")] {
			if ref, ok := v.Find(id); ok {
				hits[0] = append(hits[0], Hit{Ref: ref})
				if i%3 == 0 {
					hits[1] = append(hits[1], Hit{Ref: ref})
				}
				counts[id]++
				last[id] = m.clock.Now().UnixNano()
			}
		}
		m.db.Rehearse([]*View{v}, hits[:])
		v.Release()
		m.clock.move(time.Second)
	}
	if rapid.Bool().Draw(t, "replaced") {
		id := ids[0]
		if _, err := m.db.Delete(t.Context(), &Delete{Namespace: "n", IDs: []string{id}}); err != nil {
			t.Fatal(err)
		}
		delete(m.model, id)
		p := somePut.Draw(t, "anew")
		p.ID = id
		res, err := m.db.Store(t.Context(), &Store{Namespace: "n", Records: []Put{p}})
		if err != nil {
			t.Fatal(err)
		}
		m.model.store(m.resolved([]Put{p}), res)
		m.created(res)
		delete(counts, id)
	}
	if err := m.db.CommitRehearsals(t.Context()); err != nil {
		t.Fatal(err)
	}
	for id, n := range counts {
		rec, ok := m.model[id]
		if !ok { // it has expired
			continue
		}
		s := &rec.Rehearsed
		grown := rec.CreateTime
		if s.Growths > 0 {
			grown = s.Grown
		}
		if last[id]-grown >= int64(m.retention.MinInterval) {
			s.Grown, s.Growths = last[id], s.Growths+1
		}
		s.Last, s.Count = last[id], s.Count+n
		m.model[id] = rec
	}
}

func (m *machine) retain(t *rapid.T) {
	m.retention = someRetention.Draw(t, "retention")
	if err := m.db.UpdateNamespace(t.Context(), &UpdateNamespace{Name: "n", Retention: &m.retention}); err != nil {
		t.Fatal(err)
	}
}

// retained compares the order of all records by retention and importance.
func (m *machine) retained(t *rapid.T, v *View) {
	if got := v.Config().Retention; got != m.retention {
		t.Fatalf("the retention is %+v, want %+v", got, m.retention)
	}
	hits, _, err := m.db.Retrieve(t.Context(), []*View{v}, []Query{{}}, RetrieveOptions{
		K: len(m.model) + 1, MinScore: float32(math.Inf(-1)), Ranking: Ranking{Retention: 2, Importance: 1},
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(hits[0]) != len(m.model) {
		t.Fatalf("%d of %d records are hits", len(hits[0]), len(m.model))
	}
	now := m.clock.Now().UnixNano()
	for i, h := range hits[0] {
		rec := m.model[v.At(h.Ref, 0).ID]
		want := naiveRetention(m.retention, rec.CreateTime, rec.Rehearsed, now)
		if !near(h.Parts.Retention, float32(want)) || h.Parts.Importance != rec.Importance || !near(h.Score, float32(2*want)+rec.Importance) {
			t.Fatalf("record %+v has %+v and scores %v, want a retention of %v", rec, h.Parts, h.Score, want)
		}
		if i > 0 && h.Score > hits[0][i-1].Score {
			t.Fatalf("hit %d scores more than that before it", i)
		}
	}
}

func rehearseIDs(t testing.TB, db *DB, namespace string, ids ...string) {
	t.Helper()
	v := view(t, db, namespace)
	defer v.Release()
	var hits []Hit
	for _, id := range ids {
		ref, ok := v.Find(id)
		if !ok {
			t.Fatalf("no record %q", id)
		}
		hits = append(hits, Hit{Ref: ref})
	}
	db.Rehearse([]*View{v}, [][]Hit{hits})
}

func getRecord(t testing.TB, db *DB, namespace, id string) (r Record) {
	t.Helper()
	v := view(t, db, namespace)
	defer v.Release()
	if !v.Get(id, &r, IncludeAll) {
		t.Fatalf("no record %q", id)
	}
	return r
}

// A rehearsal is one mutation for each namespace, changes no version, and is there for
// those who look later alone.
func TestRehearsalsAreCommitted(t *testing.T) {
	clock := new(hand)
	clock.ns.Store(1e18)
	log := &memoryLog{}
	db := newTestDB(t, func(o *Options) { o.Clock, o.RehearseAfter = clock, time.Hour })
	if err := db.SetLog(log); err != nil {
		t.Fatal(err)
	}
	mustStore(t, db, "n", put("a", 1, 2), put("b", 1, 2), put("c", 1, 2))
	mustStore(t, db, "m", put("a", 1, 2))
	first := getRecord(t, db, "n", "a")
	before := view(t, db, "n")
	defer before.Release()
	clock.move(2 * day)
	rehearseIDs(t, db, "n", "b", "a", "a")
	rehearseIDs(t, db, "m", "a")
	clock.move(time.Millisecond)
	rehearseIDs(t, db, "n", "a")
	if getRecord(t, db, "n", "a").Rehearsed != (Rehearsed{}) {
		t.Error("a rehearsal is there before it is committed")
	}
	clock.move(time.Second)
	at := db.LSN()
	if err := db.CommitRehearsals(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := db.LSN(); got != at+2 {
		t.Errorf("from LSN %d to %d", at, got)
	}
	now := int64(1e18) + int64(2*day)
	a := getRecord(t, db, "n", "a")
	if want := (Rehearsed{now + 1e6, now + 1e6, 2, 1}); a.Rehearsed != want || a.Version != first.Version || a.UpdateTime != first.UpdateTime {
		t.Errorf("%+v", a)
	}
	if b := getRecord(t, db, "n", "b").Rehearsed; b != (Rehearsed{now, now, 1, 1}) || getRecord(t, db, "m", "a").Rehearsed != b {
		t.Errorf("%+v", b)
	}
	var r Record
	if before.Get("a", &r, 0); r.Rehearsed != (Rehearsed{}) {
		t.Errorf("an earlier view shows %+v", r.Rehearsed)
	}
	if got := log.mutations[len(log.mutations)-1]; got.Namespace != "n" || !slices.Equal(got.Rehearsals, []Rehearsal{{"a", now + 1e6, 2}, {"b", now, 1}}) {
		t.Errorf("the log has %+v", got.Rehearsals)
	}
	if err := db.CommitRehearsals(t.Context()); err != nil || db.LSN() != at+2 {
		t.Error("nothing is committed twice", err)
	}
	p := put("a", 3, 4)
	p.IfVersion = &first.Version
	mustStore(t, db, "n", p)
	if got := getRecord(t, db, "n", "a"); got.Rehearsed != a.Rehearsed || got.Text != p.Text {
		t.Errorf("stored anew it has %+v", got)
	}

	want := dumpAll(db)
	replayed := newTestDB(t)
	if _, err := replayed.Replay(each1(log.mutations)); err != nil {
		t.Fatal(err)
	}
	if got := dumpAll(replayed); got != want {
		t.Errorf("replayed it is\n%s\nand was\n%s", got, want)
	}
}

// memoryLog keeps mutations.
type memoryLog struct{ mutations []*Mutation }

func (l *memoryLog) Append(m *Mutation) error {
	c := *m
	c.Changes = slices.Clone(m.Changes)
	l.mutations = append(l.mutations, &c)
	return nil
}
func (*memoryLog) Epoch(LSN) error                               { return nil }
func (*memoryLog) Flush() error                                  { return nil }
func (*memoryLog) Sync() error                                   { return nil }
func (*memoryLog) Room(int) error                                { return nil }
func (*memoryLog) Import(context.Context, *View) (string, error) { return "", nil }

// Rehearsals are committed by themselves, by Close at the latest.
func TestRehearsalsCommitThemselves(t *testing.T) {
	db := newTestDB(t, func(o *Options) { o.RehearseAfter = time.Millisecond })
	mustStore(t, db, "n", put("a", 1, 2))
	for i := range uint32(3) {
		rehearseIDs(t, db, "n", "a")
		eventually(t, "the rehearsal is committed", func() bool { return getRecord(t, db, "n", "a").Rehearsed.Count == i+1 })
	}
	log := &memoryLog{}
	closed := New(Options{Pool: slab.NewPool(1 << 30), RehearseAfter: time.Hour})
	if err := closed.SetLog(log); err != nil {
		t.Fatal(err)
	}
	mustStore(t, closed, "n", put("a", 1, 2))
	rehearseIDs(t, closed, "n", "a")
	if err := closed.Close(); err != nil || len(log.mutations) != 2 {
		t.Errorf("%d mutations, %v", len(log.mutations), err)
	}
}

// Too many rehearsals are refused, and a memory that is read-only takes none.
func TestRehearsalsWait(t *testing.T) {
	db := newTestDB(t, func(o *Options) { o.RehearseAfter = time.Hour })
	mustStore(t, db, "n", put("a", 1, 2))
	v := view(t, db, "n")
	defer v.Release()
	ref, _ := v.Find("a")
	many := slices.Repeat([]Hit{{Ref: ref}}, rehearsalsWaiting+1)
	db.Rehearse([]*View{v}, [][]Hit{many})
	if n := db.rehearsing.waiting.Load(); n != 0 {
		t.Errorf("%d wait", n)
	}
	db.Rehearse([]*View{v}, [][]Hit{many[1:]})
	db.Rehearse([]*View{v}, [][]Hit{many[:1]})
	if n := db.rehearsing.waiting.Load(); n != rehearsalsWaiting {
		t.Errorf("%d wait", n)
	}
	if err := db.CommitRehearsals(t.Context()); err != nil || db.rehearsing.waiting.Load() != 0 {
		t.Error(err)
	}
	if got := getRecord(t, db, "n", "a").Rehearsed.Count; got != 1 {
		t.Errorf("rehearsed %d times", got)
	}
	db.SetReadOnly("a test")
	rehearseIDs(t, db, "n", "a")
	if n := db.rehearsing.waiting.Load(); n != 0 {
		t.Errorf("%d wait", n)
	}
}

// Many readers rehearse while records are written, replaced and compacted: none is lost, and
// none is counted twice.
func TestRehearsingUnderLoad(t *testing.T) {
	const readers, reads, kept = 4, 60, 40
	pool := slab.NewGuardedPool(1 << 30)
	db := newDB(Options{Pool: pool}, sizes{segmentRows: 64, indexRows: 16, compactRows: 4, ivfRows: 1 << 30})
	defer func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}()
	if _, err := db.CreateNamespace(t.Context(), &CreateNamespace{Config{Name: "n", Metric: index.Dot, Dimension: 2, ValueDimension: 2}}); err != nil {
		t.Fatal(err)
	}
	var puts []Put
	for i := range kept {
		puts = append(puts, put(fmt.Sprint("kept", i), float32(i), 1))
	}
	mustStore(t, db, "n", puts...)
	var counts [kept]atomic.Uint32
	var reading, writing sync.WaitGroup
	done := make(chan struct{})
	for r := range readers {
		reading.Go(func() {
			rng := rand.New(rand.NewPCG(1, uint64(r)))
			for range reads {
				v := view(t, db, "n")
				q := Query{Vector: []float32{rng.Float32() - 0.5, 1}}
				hits, _, err := db.Retrieve(t.Context(), []*View{v}, []Query{q, q}, RetrieveOptions{
					K: 5, MinScore: float32(math.Inf(-1)), Ranking: Ranking{Similarity: 1, Retention: rng.Float64()},
				})
				if err != nil {
					t.Error(err)
				}
				db.Rehearse([]*View{v}, hits)
				for _, h := range hits[0] {
					var i int
					if _, err := fmt.Sscanf(v.At(h.Ref, 0).ID, "kept%d", &i); err == nil {
						counts[i].Add(1)
					}
				}
				v.Release()
			}
		})
	}
	for w := range 2 {
		writing.Go(func() {
			rng := rand.New(rand.NewPCG(2, uint64(w)))
			for {
				select {
				case <-done:
					return
				default:
				}
				p := put(fmt.Sprint("kept", rng.IntN(kept)), 0, 1)
				p.Key[0] = float32(rng.IntN(kept))
				if _, err := db.Update(t.Context(), &Update{Namespace: "n", Mask: MaskKey, Records: []Put{p}}); err != nil {
					t.Error(err)
				}
				id := fmt.Sprint("gone", rng.IntN(100))
				mustStore(t, db, "n", put(id, 50, 1))
				if _, err := db.Delete(t.Context(), &Delete{Namespace: "n", IDs: []string{id}}); err != nil {
					t.Error(err)
				}
				if rng.IntN(20) == 0 {
					if err := db.CommitRehearsals(t.Context()); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	reading.Wait()
	close(done)
	writing.Wait()
	if err := db.CommitRehearsals(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i := range kept {
		if got := getRecord(t, db, "n", fmt.Sprint("kept", i)).Rehearsed.Count; got != counts[i].Load() {
			t.Errorf("kept%d was rehearsed %d times, and %d are counted", i, counts[i].Load(), got)
		}
	}
}
