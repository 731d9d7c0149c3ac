package memory

import (
	"context"
	"errors"
	"fmt"
	"slices"
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

func idsOf(t *testing.T, db *DB) (ids []string) {
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
	if got := idsOf(t, db); len(got) != 0 {
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
	if got := idsOf(t, db); !slices.Equal(got, []string{"b"}) {
		t.Errorf("got %v", got)
	}
}

// TestEvictionAgainstReference stores at a namespace's capacity, and compares what is left
// with a list that evicts one by one.
func TestEvictionAgainstReference(t *testing.T) {
	for _, policy := range []Eviction{EvictOldest, EvictLeastRecent} {
		t.Run(fmt.Sprint(policy), func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) {
				limit := rapid.IntRange(1, 200).Draw(rt, "limit")
				db, clock := clocked(t, Config{MaxRecords: int64(limit), Eviction: policy})
				type kept struct {
					id     string
					used   int64
					pinned bool
				}
				var list []kept // in the order of creation
				next := 0
				for range rapid.IntRange(1, 60).Draw(rt, "steps") {
					clock.move(1)
					now := clock.Now().UnixNano()
					switch rapid.IntRange(0, 4).Draw(rt, "step") {
					case 0: // rehearse
						if len(list) == 0 {
							continue
						}
						i := rapid.IntRange(0, len(list)-1).Draw(rt, "rehearsed")
						v, err := db.View("n")
						if err != nil {
							rt.Fatal(err)
						}
						ref, _ := v.Find(list[i].id)
						db.Rehearse([]*View{v}, [][]Hit{{{Ref: ref}}})
						v.Release()
						if err := db.CommitRehearsals(context.Background()); err != nil {
							rt.Fatal(err)
						}
						list[i].used = now
					case 1: // pin, or unpin
						if len(list) == 0 {
							continue
						}
						i := rapid.IntRange(0, len(list)-1).Draw(rt, "pinned")
						p := plain(list[i].id)
						p.Pinned = !list[i].pinned
						if _, err := db.Update(t.Context(), &Update{Namespace: "n", Mask: MaskPinned, Records: []Put{p}}); err != nil {
							rt.Fatal(err)
						}
						list[i].pinned = p.Pinned
					default:
						n := rapid.IntRange(1, 20).Draw(rt, "records")
						var puts []Put
						for range n {
							puts = append(puts, plain(fmt.Sprint(next)))
							next++
						}
						after := slices.Clone(list)
						for len(after)+n > limit {
							worst := -1
							for i, k := range after {
								if !k.pinned && (worst < 0 || policy == EvictLeastRecent && k.used < after[worst].used) {
									worst = i
								}
							}
							if worst < 0 {
								break
							}
							after = slices.Delete(after, worst, worst+1)
						}
						fits := len(after)+n <= limit
						err := storePuts(t, db, puts...)
						var full *Full
						if fits != (err == nil) || err != nil && !errors.As(err, &full) {
							rt.Fatalf("fits: %v; got %v", fits, err)
						}
						if fits {
							for _, p := range puts {
								after = append(after, kept{p.ID, now, false})
							}
							list = after
						}
					}
					var want []string
					for _, k := range list {
						want = append(want, k.id)
					}
					if got := idsOf(t, db); !slices.Equal(got, want) {
						rt.Fatalf("left are %v, want %v", got, want)
					}
				}
			})
		})
	}
}

// TestEvictionByRetention evicts what has least retention × importance: all is stored at
// once, so that the choice is exact.
func TestEvictionByRetention(t *testing.T) {
	db, clock := clocked(t, Config{MaxRecords: 4, Eviction: EvictRetention, Retention: RetentionOf(time.Hour)})
	store := func(id string, importance float32, pinned bool) {
		p := plain(id)
		p.Importance, p.HasImportance, p.Pinned = importance, true, pinned
		if err := storePuts(t, db, p); err != nil {
			t.Fatal(err)
		}
	}
	store("old", 0.8, false)
	clock.move(time.Hour) // 0.4
	store("slight", 0.3, false)
	store("pinned", 0.01, true)
	store("fine", 0.9, false)
	store("more", 1, false)
	if got := idsOf(t, db); !slices.Equal(got, []string{"old", "pinned", "fine", "more"}) {
		t.Errorf("got %v", got)
	}
	store("and more", 1, false)
	if got := idsOf(t, db); !slices.Equal(got, []string{"pinned", "fine", "more", "and more"}) {
		t.Errorf("got %v", got)
	}
	if v, err := db.View("n"); err != nil || v.Stats().Evicted != 2 {
		t.Errorf("%v", err)
	} else {
		v.Release()
	}
}

func TestCapacityThatEvictsNone(t *testing.T) {
	db, _ := clocked(t, Config{MaxRecords: 2})
	if err := storePuts(t, db, plain("a"), plain("b")); err != nil {
		t.Fatal(err)
	}
	var full *Full
	if err := storePuts(t, db, plain("c")); !errors.As(err, &full) || full.Need != 3 || full.Evicts {
		t.Fatalf("got %v", err)
	}
	if err := storePuts(t, db, plain("a"), plain("b")); err != nil {
		t.Errorf("what replaces is refused: %v", err)
	}
	most, oldest := int64(1), EvictOldest
	if err := db.UpdateNamespace(t.Context(), &UpdateNamespace{Name: "n", MaxRecords: &most, Eviction: &oldest}); err != nil {
		t.Fatal(err)
	}
	if got := idsOf(t, db); !slices.Equal(got, []string{"b"}) {
		t.Errorf("a lower bound leaves %v", got)
	}
	if err := storePuts(t, db, plain("b"), plain("d")); !errors.As(err, &full) {
		t.Errorf("more than the bound at once: %v", err)
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
		if got := idsOf(t, db); !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
		clock.move(time.Hour + time.Minute)
	}
	if n := db.Removed(); n != [3]uint64{0, 0, 1} {
		t.Errorf("removed %v", n)
	}
}

// BenchmarkStoreAtCapacity is of single records, of namespaces of 100,000.
func BenchmarkStoreAtCapacity(b *testing.B) {
	for _, policy := range []Eviction{EvictNone, EvictRetention, EvictOldest, EvictLeastRecent} {
		b.Run(fmt.Sprint("100k×2/eviction=", policy), func(b *testing.B) {
			db := newTestDB(b)
			c := Config{Name: "n", Metric: index.Dot, Dimension: 2, ValueDimension: 2, Eviction: policy}
			if policy != EvictNone {
				c.MaxRecords = 100_000
			}
			if _, err := db.CreateNamespace(b.Context(), &CreateNamespace{c}); err != nil {
				b.Fatal(err)
			}
			store := func(n int) {
				puts := make([]Put, n)
				for i := range puts {
					puts[i] = Put{Record: Record{Key: []float32{1, 2}}}
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
