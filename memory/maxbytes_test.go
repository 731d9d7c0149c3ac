package memory

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"engram/index"
	"engram/internal/slab"
	"engram/memory/lexical"
)

// naiveWorth is what an eviction compares, by its definition.
func naiveWorth(c *Config, r *Record, now int64) float64 {
	switch c.Eviction {
	case EvictRetention:
		return math.Log2(c.Retention.Of(r.CreateTime, r.Rehearsed, now)) + math.Log2(float64(r.Importance))
	case EvictLeastRecentlyUsed:
		return float64(max(r.CreateTime, r.Rehearsed.Last))
	}
	return 0
}

// inTurn orders records by when they are evicted at a time; pinned ones are left out.
func inTurn(c *Config, all map[string]Record, now int64) (list []Record) {
	for _, r := range all {
		if !r.Pinned {
			list = append(list, r)
		}
	}
	slices.SortFunc(list, func(a, b Record) int {
		return cmp.Or(cmp.Compare(naiveWorth(c, &a, now), naiveWorth(c, &b, now)), cmp.Compare(a.Created, b.Created), cmp.Compare(a.Place, b.Place))
	})
	return list
}

// naiveBytes is the least that records of 16 components can take: a key, a row and what they
// are made of.
func naiveBytes(records iter.Seq[Record]) (n float64) {
	for r := range records {
		n += 64 + 64 + float64(len(r.ID)+len(r.Text))
	}
	return n
}

// byHand stops a DB's maintenance, and gives what does all of it there is to do.
func byHand(t interface{ Fatal(...any) }, db *DB) (tend func()) {
	db.maintenance.stop()
	hand := &maintenance{db: db, ctx: context.Background()}
	return func() {
		db.Views(func(v *View) bool {
			for again := true; again; {
				now := v.ns.View()
				job := now.job(db)
				if again = job != nil; again {
					if err := job(hand, now); err != nil {
						t.Fatal(err)
					}
				}
				now.Release()
			}
			return true
		})
	}
}

// Whatever is stored, updated, rehearsed and deleted, with maintenance and without: what
// counts never passes max_bytes, what is taken passes it by no more than it may, those that
// went were the ones to go, only what can't fit is refused, and a replay gives the same.
func TestMaxBytesAgainstDefinition(t *testing.T) {
	small := sizes{segmentRows: 64, indexRows: 8, compactRows: 8, ivfRows: 1 << 30}
	rapid.Check(t, func(t *rapid.T) {
		clock := new(ticking)
		db := newDB(Options{Pool: slab.NewPool(1 << 30), Clock: clock, RehearseAfter: time.Hour, Durability: None}, small)
		defer func() { _ = db.Close() }()
		g := newGate()
		if err := db.SetLog(g); err != nil {
			t.Fatal(err)
		}
		maintained, tend := rapid.Bool().Draw(t, "maintained"), byHand(t, db)
		limit := rapid.Int64Range(2<<10, 96<<10).Draw(t, "max bytes")
		c := Config{
			Name: "n", Metric: index.Dot, Dimension: 16, ValueDimension: 16, MaxBytes: limit, Eviction: Eviction(rapid.IntRange(1, 3).Draw(t, "eviction")),
			Retention: RetentionOf(time.Second), Durability: None, Lexical: lexical.Analysis(rapid.IntRange(0, 1).Draw(t, "lexical")),
		}
		if _, err := db.CreateNamespace(context.Background(), &CreateNamespace{c}); err != nil {
			t.Fatal(err)
		}
		look := func() (now map[string]Record, taken int64) {
			v, err := db.View("n")
			if err != nil {
				t.Fatal(err)
			}
			defer v.Release()
			d := db.draftOf(v)
			defer d.discard()
			if counts := d.counted(none); counts > limit {
				t.Fatalf("%d bytes count, of %d", counts, limit)
			}
			now = map[string]Record{}
			for i := range v.segments {
				s := &v.segments[i]
				each(s.liveMask(), int(s.n), func(row uint32) {
					r := s.record(row, IncludeText)
					now[r.ID] = r
				})
			}
			return now, v.bytes()
		}
		all := map[string]Record{}
		next := 0
		for range rapid.IntRange(1, 25).Draw(t, "steps") {
			step := rapid.IntRange(0, 7).Draw(t, "step")
			known := inTurn(&c, all, 0)
			switch {
			case step == 0 && maintained:
				tend()
				now, taken := look() // an index may have taken room
				if most := limit + limit/sweepShare; taken > most {
					t.Fatalf("%d bytes are taken when all is swept, of %d", taken, most)
				}
				for id := range now {
					delete(all, id)
				}
				for id, r := range all {
					if r.Pinned {
						t.Fatalf("%q was pinned, and went for an index", id)
					}
				}
				all = now
			case step == 1 && len(known) > 0:
				v, err := db.View("n")
				if err != nil {
					t.Fatal(err)
				}
				var hits []Hit
				for i, r := range known {
					if (i+next)%3 == 0 {
						if ref, ok := v.Find(r.ID); ok {
							hits = append(hits, Hit{Ref: ref})
						}
					}
				}
				db.Rehearse([]*View{v}, [][]Hit{hits})
				v.Release()
				if err := db.CommitRehearsals(context.Background()); err != nil {
					t.Fatal(err)
				}
				all, _ = look()
			case step == 2 && len(known) > 3:
				if _, err := db.Delete(context.Background(), &Delete{Namespace: "n", IDs: []string{known[1].ID, known[len(known)/2].ID}}); err != nil {
					t.Fatal(err)
				}
				all, _ = look()
			default:
				_, before := look()
				known = inTurn(&c, all, 0)
				update := step == 3 && len(known) > 0
				puts := make([]Put, 0, 20)
				written := map[string]Record{}
				for range rapid.IntRange(1, 20).Draw(t, "records") {
					p := Put{Record: Record{Key: make([]float32, 16), Importance: float32(1+rapid.IntRange(0, 3).Draw(t, "importance")) / 4}, HasImportance: true}
					p.Text = strings.Repeat("some words ", rapid.SampledFrom([]int{0, 1, 3, 50, 400}).Draw(t, "text"))
					if update || rapid.IntRange(0, 9).Draw(t, "again") == 0 && len(known) > 0 {
						p.ID = known[rapid.IntRange(0, len(known)-1).Draw(t, "which")].ID
					} else {
						next++
						p.ID = fmt.Sprint("r", next)
						p.Pinned = rapid.IntRange(0, 19).Draw(t, "pinned") == 0
					}
					if _, twice := written[p.ID]; !twice {
						written[p.ID] = p.Record
						puts = append(puts, p)
					}
				}
				var err error
				if update {
					_, err = db.Update(context.Background(), &Update{Namespace: "n", Mask: MaskText, Records: puts})
				} else {
					_, err = db.Store(context.Background(), &Store{Namespace: "n", Records: puts})
				}
				stays := maps.Clone(written)
				for id, r := range all {
					if _, again := written[id]; r.Pinned && !again {
						stays[id] = r
					}
				}
				least := naiveBytes(maps.Values(stays))
				var full *Exhausted
				if errors.As(err, &full) {
					if now, _ := look(); !maps.EqualFunc(now, all, func(a, b Record) bool { return a.Version == b.Version }) {
						t.Fatalf("a refused write left %d records of %d", len(now), len(all))
					}
					// Words beside the text, tables of ids, classes of sizes, and each segment's
					// last lines of its own.
					if most := 2*least + 2048; most < float64(limit) {
						t.Fatalf("%v, though what stays takes less than %.0f", err, most)
					}
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				if least > float64(limit) {
					t.Fatalf("what is there takes %.0f bytes at least, of %d", least, limit)
				}
				now, taken := look()
				var gone []Record // by this write, their old versions
				for id, r := range all {
					if n, there := now[id]; !there || n.Version != r.Version {
						gone = append(gone, r)
					}
				}
				most := float64(limit+limit/deadShare) + 2*naiveBytes(slices.Values(gone)) + 1024
				if float64(taken) > max(most, float64(before)) { // a write that needs no block sweeps nothing
					t.Fatalf("%d bytes are taken, of %.0f at most", taken, most)
				}
				for id := range stays {
					if _, there := now[id]; !there {
						t.Fatalf("%q, pinned or just written, isn't there", id)
					}
				}
				when, _ := now[puts[0].ID]
				evicted := 0
				for id := range all {
					if _, there := now[id]; !there {
						evicted++
					}
				}
				for _, r := range inTurn(&c, all, when.UpdateTime) {
					if _, stays := written[r.ID]; stays {
						continue
					}
					if _, there := now[r.ID]; there == (evicted > 0) {
						t.Fatalf("%+v is there: %v, and %d are yet to go", r, there, evicted)
					}
					evicted = max(0, evicted-1)
				}
				all = now
			}
		}
		want := dumpAll(db)
		again := newDB(Options{Pool: slab.NewPool(1 << 30), Clock: new(ticking)}, small)
		defer func() { _ = again.Close() }()
		if _, err := again.Replay(each1(g.appended)); err != nil {
			t.Fatal(err)
		}
		if dumpAll(again) != want {
			t.Fatal("replayed, it isn't the same")
		}
	})
}

// byteCapacity makes a namespace of records of 1 KiB each, of which it takes about n.
func byteCapacity(t testing.TB, db *DB, n int, e Eviction) {
	t.Helper()
	c := Config{Name: "n", Metric: index.Dot, Dimension: 2, ValueDimension: 2, MaxBytes: int64(n) * 1250, Eviction: e}
	if _, err := db.CreateNamespace(t.Context(), &CreateNamespace{c}); err != nil {
		t.Fatal(err)
	}
}

func kib(id string, n int) Put {
	return Put{Record: Record{ID: id, Key: []float32{1, 2}, Text: strings.Repeat("x", n<<10)}}
}

// byCreation gives the ids of records in the order of their creation.
func byCreation(t testing.TB, db *DB, namespace string) (ids []string) {
	t.Helper()
	v := view(t, db, namespace)
	defer v.Release()
	var all []Record
	v.Records(func(r *Record) bool {
		all = append(all, Record{ID: strings.Clone(r.ID), Created: r.Created, Place: r.Place})
		return true
	})
	slices.SortFunc(all, func(a, b Record) int { return cmp.Or(cmp.Compare(a.Created, b.Created), cmp.Compare(a.Place, b.Place)) })
	for _, r := range all {
		ids = append(ids, r.ID)
	}
	return ids
}

// The least worth goes first, and no more than must.
func TestMaxBytesEvicts(t *testing.T) {
	for _, c := range []struct {
		eviction Eviction
		gone     []string
	}{{EvictOldest, []string{"0", "1"}}, {EvictRetention, []string{"1", "3"}}, {EvictLeastRecentlyUsed, []string{"1", "2"}}} {
		clock := new(hand)
		clock.ns.Store(1e18)
		db := newTestDB(t, func(o *Options) { o.Clock, o.RehearseAfter = clock, time.Hour })
		byteCapacity(t, db, 8, c.eviction)
		for i := range 8 {
			p := kib(fmt.Sprint(i), 1)
			p.Importance, p.HasImportance = 1, true
			if i == 1 || i == 3 {
				p.Importance = 0.01
			}
			mustStore(t, db, "n", p)
			clock.ns.Add(int64(time.Hour))
		}
		v := view(t, db, "n")
		ref, _ := v.Find("0")
		db.Rehearse([]*View{v}, [][]Hit{{{Ref: ref}}})
		v.Release()
		if err := db.CommitRehearsals(t.Context()); err != nil {
			t.Fatal(err)
		}
		clock.ns.Add(int64(time.Hour))
		mustStore(t, db, "n", kib("new", 2))
		ids := byCreation(t, db, "n")
		for _, id := range c.gone {
			if slices.Contains(ids, id) {
				t.Errorf("%v: %q stays, of %q", c.eviction, id, ids)
			}
		}
		if len(ids) < 6 || ids[len(ids)-1] != "new" {
			t.Errorf("%v: %q stay", c.eviction, ids)
		}
		if st := statsOf(t, db, "n"); st.Evicted != uint64(9-len(ids)) {
			t.Errorf("%v: %d evicted, and %q stay", c.eviction, st.Evicted, ids)
		}
	}
}

// An Update makes room for what it adds; a record that is replaced makes room for itself.
func TestMaxBytesOfUpdate(t *testing.T) {
	db := newTestDB(t)
	byteCapacity(t, db, 16, EvictOldest)
	for i := range 16 {
		mustStore(t, db, "n", kib(fmt.Sprint(i), 1))
	}
	update := func(p Put) error {
		_, err := db.Update(t.Context(), &Update{Namespace: "n", Mask: MaskText | MaskPinned, Records: []Put{p}})
		return err
	}
	before := byCreation(t, db, "n")
	if err := update(kib(before[0], 8)); err != nil {
		t.Fatal(err)
	}
	after := byCreation(t, db, "n")
	if after[0] != before[0] || len(after) < 7 || len(after) > 9 {
		t.Errorf("the oldest grew, and %q stay of %q", after, before)
	}
	if err := update(kib(after[1], 20)); !isFull(err) || !strings.Contains(err.Error(), "eviction makes no more room") {
		t.Errorf("a record of 20 KiB: %v", err)
	}
	if now := byCreation(t, db, "n"); !slices.Equal(now, after) {
		t.Errorf("refused, it left %q", now)
	}
	big := kib(after[0], 14)
	big.Pinned = true
	if err := update(big); err != nil {
		t.Fatal(err)
	}
	if err := update(kib(after[0], 14)); err != nil { // in its own place, pinned no more
		t.Error(err)
	}
	if err := update(big); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Store(t.Context(), &Store{Namespace: "n", Records: []Put{kib("new", 8)}}); !isFull(err) {
		t.Errorf("all else is pinned: %v", err)
	}
	if now := byCreation(t, db, "n"); !slices.Contains(now, after[0]) {
		t.Errorf("a pinned record went: %q", now)
	}
}

// A namespace that comes whole leaves out what doesn't fit, or is refused; one that was at its
// capacity comes whole.
func TestMaxBytesOfImport(t *testing.T) {
	db := newTestDB(t)
	byteCapacity(t, db, 300, EvictOldest)
	for i := range 1000 {
		p := kib(fmt.Sprint(i), 1)
		p.Pinned = i%50 == 0
		mustStore(t, db, "n", p)
	}
	v := view(t, db, "n")
	defer v.Release()
	bring := func(name string, limit int64, e Eviction) error {
		c := v.Config()
		c.Name, c.MaxBytes, c.Eviction = name, limit, e
		return db.Import(t.Context(), c, v.LSN(), func(yield func(*Record, error) bool) {
			v.Records(func(r *Record) bool { return yield(r, nil) })
		})
	}
	limit := v.Config().MaxBytes
	if err := bring("same", limit, EvictOldest); err != nil {
		t.Fatal(err)
	}
	whole := byCreation(t, db, "n")
	if got := byCreation(t, db, "same"); !slices.Equal(got, whole) {
		t.Errorf("%d records came of %d", len(got), len(whole))
	}
	if err := bring("half", limit/2, EvictOldest); err != nil {
		t.Fatal(err)
	}
	half := byCreation(t, db, "half")
	if len(half) < len(whole)*4/10 || len(half) > len(whole)*6/10 {
		t.Errorf("%d records came of %d", len(half), len(whole))
	}
	gone := len(whole) - len(half)
	left := slices.DeleteFunc(slices.Clone(whole), func(id string) bool {
		n, _ := strconv.Atoi(id)
		if n%50 != 0 && gone > 0 {
			gone--
			return true
		}
		return false
	})
	if !slices.Equal(half, left) {
		t.Errorf("%q came of %q", half, whole)
	}
	if st := statsOf(t, db, "half"); st.Evicted != uint64(len(whole)-len(half)) {
		t.Errorf("%d evicted, of %d to %d", st.Evicted, len(whole), len(half))
	}
	for name, e := range map[string]Eviction{"none": EvictNone, "pinned": EvictRetention} {
		bound := limit / 2
		if e != EvictNone {
			bound = 8 << 10
		}
		if err := bring(name, bound, e); !isFull(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// At its capacity a namespace gets its indexes, for which records go as for others.
func TestMaxBytesOfIndexes(t *testing.T) {
	clock := new(ticking)
	clock.ns.Store(1e18)
	pool := slab.NewPool(1 << 30)
	db := newDB(Options{Pool: pool, Clock: clock}, sizes{segmentRows: 512, indexRows: 100, compactRows: 64, ivfRows: 500})
	defer func() {
		if err := db.Close(); err != nil || pool.InUse() != 0 {
			t.Errorf("%v; %d bytes are in use after Close", err, pool.InUse())
		}
	}()
	limit := int64(1 << 20)
	c := Config{
		Name: "n", Metric: index.Cosine, Dimension: 16, ValueDimension: 16, MaxBytes: limit, Eviction: EvictRetention,
		Lexical: lexical.English, Ranking: Ranking{Lexical: 1}, Recall: 0.9,
	}
	if _, err := db.CreateNamespace(t.Context(), &CreateNamespace{c}); err != nil {
		t.Fatal(err)
	}
	for i := range 800 {
		puts := make([]Put, 10)
		for j := range puts {
			k := 10*i + j
			key := make([]float32, 16)
			key[k%16], key[k/16%16] = 1, 2
			puts[j] = Put{Record: Record{Key: key, Session: fmt.Sprint(k / 30), Text: fmt.Sprintf("turn %d of a long talk about lake number %d", k, k%97), Importance: float32(1+k%7) / 8}, HasImportance: true}
		}
		mustStore(t, db, "n", puts...)
		if i%100 == 0 {
			settle(t, db)
		}
	}
	settle(t, db)
	eventually(t, "the index is built", func() bool {
		v := view(t, db, "n")
		defer v.Release()
		return v.ivf != nil && v.ivfJob(db) == nil && v.job(db) == nil
	})
	v := view(t, db, "n")
	defer v.Release()
	for i := range v.segments[:len(v.segments)-1] {
		if s := &v.segments[i]; s.lexical == nil || s.index == nil {
			t.Errorf("segment %d of %d, with %d rows, has no index", i, len(v.segments), s.n)
		}
	}
	d := db.draftOf(v)
	defer d.discard()
	if n := d.counted(none); n > limit || n < limit*3/4 {
		t.Errorf("%d records count %d bytes, of %d", v.count, n, limit)
	}
	if n := v.bytes(); n > limit+limit/sweepShare {
		t.Errorf("%d records take %d bytes, of %d", v.count, n, limit)
	}
}

// A namespace at its max_bytes takes writes about as fast as one below it.
func BenchmarkStoreAtByteCapacity(b *testing.B) {
	for _, at := range []string{"below", "at"} {
		for _, e := range []Eviction{EvictRetention, EvictOldest} {
			b.Run(fmt.Sprintf("%s/%d", at, e), func(b *testing.B) {
				db := New(Options{Pool: slab.NewPool(1 << 34)})
				defer func() { _ = db.Close() }()
				if _, err := db.CreateNamespace(b.Context(), &CreateNamespace{Config{Name: "n", Metric: index.Dot, Dimension: 32, ValueDimension: 32, Eviction: e}}); err != nil {
					b.Fatal(err)
				}
				text := strings.Repeat("a turn of a talk ", 6)
				store := func(n int) {
					puts := make([]Put, n)
					for i := range puts {
						puts[i].Key, puts[i].Text = make([]float32, 32), text
					}
					if _, err := db.Store(b.Context(), &Store{Namespace: "n", Records: puts}); err != nil {
						b.Fatal(err)
					}
				}
				for range 100 {
					store(1000)
				}
				idle(b, db, "n")
				if at == "at" {
					v := view(b, db, "n")
					limit := v.bytes()
					v.Release()
					if err := db.UpdateNamespace(b.Context(), &UpdateNamespace{Name: "n", MaxBytes: &limit}); err != nil {
						b.Fatal(err)
					}
					store(1000)
				}
				for b.Loop() {
					store(1)
				}
			})
		}
	}
}
