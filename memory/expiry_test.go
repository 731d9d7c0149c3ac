package memory

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"engram/index"
)

// resolved gives puts with the expiry that their TTL sets now.
func (m *machine) resolved(puts []Put) []Put {
	out := slices.Clone(puts)
	for i := range out {
		if out[i].TTL != 0 {
			out[i].Expire = m.clock.Now().UnixNano() + int64(out[i].TTL)
		}
	}
	return out
}

// lapse takes what has expired from the model.
func (m *machine) lapse() {
	now := m.clock.Now().UnixNano()
	for id, r := range m.model {
		if r.Expire != 0 && r.Expire <= now {
			delete(m.model, id)
		}
	}
}

func (m *machine) pass(t *rapid.T) {
	m.clock.move(rapid.SampledFrom([]time.Duration{1, 99, 100, day}).Draw(t, "passes"))
	m.lapse()
}

// tidy removes what no one sees any more.
func (m *machine) tidy(t *rapid.T) {
	if err := m.db.Tidy(t.Context()); err != nil {
		t.Fatal(err)
	}
	if v := m.db.lookup("n").View(); v.count != len(m.model) {
		t.Fatalf("%d records are kept, of which %d are seen", v.count, len(m.model))
	} else {
		v.Release()
	}
}

// clocked is a DB in memory with a clock that stands still, and a namespace.
func clocked(t *testing.T, c Config) (*DB, *hand) {
	clock := new(hand)
	clock.ns.Store(int64(time.Hour))
	db := newTestDB(t, func(o *Options) { o.Clock, o.RehearseAfter = clock, time.Hour })
	c.Name, c.Metric, c.Dimension, c.ValueDimension = "n", index.Dot, 2, 2
	if _, err := db.CreateNamespace(t.Context(), &CreateNamespace{c}); err != nil {
		t.Fatal(err)
	}
	return db, clock
}

func plain(id string) Put { return Put{Record: Record{ID: id, Key: []float32{1, 2}}} }

func storePuts(t *testing.T, db *DB, puts ...Put) error {
	_, err := db.Store(t.Context(), &Store{Namespace: "n", Records: puts})
	return err
}

func living(t *testing.T, db *DB) (ids []string) {
	v, err := db.View("n")
	if err != nil {
		t.Fatal(err)
	}
	defer v.Release()
	v.Records(func(r *Record) bool {
		ids = append(ids, string([]byte(r.ID)))
		return true
	})
	return ids
}

func TestExpiredIsAbsentToWrites(t *testing.T) {
	db, clock := clocked(t, Config{})
	with := func(id string, mode Mode, ifVersion *LSN) error {
		p := plain(id)
		p.TTL, p.IfVersion = time.Second, ifVersion
		_, err := db.Store(t.Context(), &Store{Namespace: "n", Mode: mode, Records: []Put{p}})
		return err
	}
	for _, id := range []string{"a", "b", "c", "d"} {
		if err := with(id, Insert, nil); err != nil {
			t.Fatal(err)
		}
	}
	clock.move(time.Second - 1)
	var exists *Exists
	if err := with("a", Insert, nil); !errors.As(err, &exists) {
		t.Fatalf("a nanosecond before it expires: %v", err)
	}
	clock.move(1)
	if got := living(t, db); len(got) != 0 {
		t.Fatalf("expired, and seen: %v", got)
	}
	if err := with("b", ModeUpdate, nil); !isNotFound(err) {
		t.Errorf("an expired record was updated: %v", err)
	}
	_, err := db.Update(t.Context(), &Update{Namespace: "n", Mask: MaskPinned, Records: []Put{plain("c")}})
	if !isNotFound(err) {
		t.Errorf("an expired record was updated: %v", err)
	}
	none := LSN(0)
	if err := with("a", Insert, &none); err != nil {
		t.Error(err)
	}
	if r, err := db.Delete(t.Context(), &Delete{Namespace: "n", IDs: []string{"a", "d"}}); err != nil || r.Deleted != 1 {
		t.Errorf("deleted %+v, %v; want 1", r, err)
	}
	if n := db.Removed(); n[expiredAt] != 4 {
		t.Errorf("%d expired, want 4", n[expiredAt])
	}
}

func TestTTLBounds(t *testing.T) {
	db, _ := clocked(t, Config{})
	for _, bad := range []Put{{TTL: -1}, {TTL: MaxTTL + 1}, {TTL: 1, Record: Record{Expire: 1}}, {Record: Record{Expire: -1}}} {
		bad.ID, bad.Key = "a", []float32{1, 2}
		var invalid *Invalid
		if err := storePuts(t, db, bad); !errors.As(err, &invalid) {
			t.Errorf("%v, %v: %v", bad.TTL, bad.Expire, err)
		}
	}
}

// TestViewKeepsItsTime reads a view that was taken before its records expired.
func TestViewKeepsItsTime(t *testing.T) {
	db, clock := clocked(t, Config{})
	a, b := plain("a"), plain("b")
	a.TTL = time.Second
	if err := storePuts(t, db, a, b); err != nil {
		t.Fatal(err)
	}
	v, err := db.View("n")
	if err != nil {
		t.Fatal(err)
	}
	defer v.Release()
	clock.move(time.Second)
	if v.Count() != 2 {
		t.Errorf("%d records", v.Count())
	}
	if got := living(t, db); !slices.Equal(got, []string{"b"}) {
		t.Errorf("got %v", got)
	}
}

// TestPinnedStay evicts all that may go, by each eviction.
func TestPinnedStay(t *testing.T) {
	for _, policy := range []Eviction{EvictRetention, EvictOldest, EvictLeastRecentlyUsed} {
		db, clock := clocked(t, Config{MaxRecords: 3, Eviction: policy})
		for i := range 3 {
			p := plain(fmt.Sprint(i))
			p.Pinned = i < 2
			if err := storePuts(t, db, p); err != nil {
				t.Fatal(err)
			}
			clock.move(time.Hour)
		}
		if err := storePuts(t, db, plain("3")); err != nil {
			t.Fatal(err)
		}
		var full *Full
		if err := storePuts(t, db, plain("4"), plain("5")); !errors.As(err, &full) {
			t.Errorf("%d: two of which the second would need a pinned one's place: %v", policy, err)
		}
		if got := living(t, db); !slices.Equal(got, []string{"0", "1", "3"}) {
			t.Errorf("%d: left are %v", policy, got)
		}
		if n := db.Removed(); n != [4]uint64{0, 1, 0} {
			t.Errorf("%d: removed %v", policy, n)
		}
		unpinned := plain("0")
		if _, err := db.Update(t.Context(), &Update{Namespace: "n", Mask: MaskPinned, Records: []Put{unpinned}}); err != nil {
			t.Fatal(err)
		}
		if err := storePuts(t, db, plain("4"), plain("5")); err != nil {
			t.Fatal(err)
		}
		if got := living(t, db); !slices.Equal(got, []string{"1", "4", "5"}) {
			t.Errorf("%d: left are %v", policy, got)
		}
	}
}

func TestForget(t *testing.T) {
	db, clock := clocked(t, Config{Forget: 0.25, Retention: RetentionOf(time.Hour)})
	pinned := plain("pinned")
	pinned.Pinned = true
	if err := storePuts(t, db, plain("a"), plain("b"), pinned); err != nil {
		t.Fatal(err)
	}
	clock.move(time.Hour)
	v, err := db.View("n")
	if err != nil {
		t.Fatal(err)
	}
	ref, _ := v.Find("b")
	db.Rehearse([]*View{v}, [][]Hit{{{Ref: ref}}})
	v.Release()
	if err := db.CommitRehearsals(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, want := range [][]string{{"a", "b", "pinned"}, {"b", "pinned"}} {
		if err := db.Tidy(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := living(t, db); !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
		clock.move(time.Hour + time.Minute)
	}
	if n := db.Removed(); n != [4]uint64{0, 0, 1} {
		t.Errorf("removed %v", n)
	}
}

// TestExpiryUnderLoad reads, writes and removes at once: no view shows a record whose time is
// over, and none changes while it is held.
func TestExpiryUnderLoad(t *testing.T) {
	db, clock := clocked(t, Config{})
	var all sync.WaitGroup
	stop := make(chan struct{})
	for range 3 {
		all.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				now := clock.Now().UnixNano()
				v, err := db.View("n")
				if err != nil {
					t.Error(err)
					return
				}
				for range 2 {
					n := 0
					v.Records(func(r *Record) bool {
						if n++; r.Expire != 0 && r.Expire <= now {
							t.Errorf("%q, which expired at %d, is seen at %d", r.ID, r.Expire, now)
						}
						return true
					})
					if n != v.Count() {
						t.Errorf("%d records of %d", n, v.Count())
					}
				}
				v.Release()
			}
		})
	}
	for i := range 400 {
		var puts []Put
		for j := range 10 {
			p := plain(fmt.Sprint((i*10 + j) % 500))
			if j%3 > 0 {
				p.TTL = time.Duration(1 + (i+j)%50)
			}
			puts = append(puts, p)
		}
		if err := storePuts(t, db, puts...); err != nil {
			t.Error(err)
		}
		clock.move(time.Duration(i % 5))
		if i%7 == 0 {
			if err := db.Tidy(t.Context()); err != nil {
				t.Error(err)
			}
		}
	}
	close(stop)
	all.Wait()
}

// BenchmarkStoreWithTTL is of single records into namespaces of 100,000: without expiries,
// and with as many that expire as are stored.
func BenchmarkStoreWithTTL(b *testing.B) {
	for _, ttl := range []time.Duration{0, 100_000} {
		b.Run(fmt.Sprint("100k×2/ttl=", ttl), func(b *testing.B) {
			db := newTestDB(b) // its clock moves by a nanosecond when it is read, at least once a Store
			if _, err := db.CreateNamespace(b.Context(), &CreateNamespace{Config{Name: "n", Metric: index.Dot, Dimension: 2, ValueDimension: 2}}); err != nil {
				b.Fatal(err)
			}
			store := func(n int) {
				puts := make([]Put, n)
				for i := range puts {
					puts[i] = Put{Record: Record{Key: []float32{1, 2}}, TTL: ttl}
					if ttl != 0 {
						puts[i].TTL += time.Duration(i)
					}
				}
				if _, err := db.Store(b.Context(), &Store{Namespace: "n", Records: puts}); err != nil {
					b.Fatal(err)
				}
			}
			for range 100 {
				store(1000)
			}
			for b.Loop() {
				store(1)
			}
		})
	}
}

// BenchmarkViewOfExpired acquires a view of a namespace of which a share has expired and is
// not removed yet.
func BenchmarkViewOfExpired(b *testing.B) {
	for _, expired := range []int{0, 1, 1000, 50_000} {
		b.Run(fmt.Sprint("100k×2/expired=", expired), func(b *testing.B) {
			clock := new(hand)
			db := newTestDB(b, func(o *Options) { o.Clock = clock })
			db.restoring.Store(true) // nothing is removed
			for n := 0; n < 100_000; n += 1000 {
				puts := make([]Put, 1000)
				for i := range puts {
					puts[i] = Put{Record: Record{Key: []float32{1, 2}}, TTL: 2}
					if n+i < expired {
						puts[i].TTL = 1
					}
				}
				if _, err := db.Store(b.Context(), &Store{Namespace: "n", Records: puts}); err != nil {
					b.Fatal(err)
				}
			}
			clock.move(1)
			for b.Loop() {
				v, err := db.View("n")
				if err != nil || v.Count() != 100_000-expired {
					b.Fatal(err)
				}
				v.Release()
			}
		})
	}
}
