package memory

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"engram/index"
	"engram/internal/slab"
)

// Whatever is stored, rehearsed and deleted: there are never more records than there may be,
// and those that went were the ones to go.
func TestEvictionAgainstDefinition(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		clock := new(ticking)
		db := newDB(Options{Pool: slab.NewPool(1 << 30), Clock: clock, RehearseAfter: time.Hour}, sizes{segmentRows: 64, indexRows: 8, compactRows: 8, ivfRows: 1 << 30})
		defer func() { _ = db.Close() }()
		most := rapid.IntRange(1, 200).Draw(t, "max records")
		c := Config{
			Name: "n", Metric: index.Dot, Dimension: 1, ValueDimension: 1, MaxRecords: int64(most), Eviction: Eviction(rapid.IntRange(0, 3).Draw(t, "eviction")),
			Retention: RetentionOf(time.Second),
		}
		if _, err := db.CreateNamespace(context.Background(), &CreateNamespace{c}); err != nil {
			t.Fatal(err)
		}
		all := map[string]Record{}
		first := func(now int64) []Record { return inTurn(&c, all, now) }
		look := func() (now map[string]Record) {
			v, err := db.View("n")
			if err != nil {
				t.Fatal(err)
			}
			defer v.Release()
			now = map[string]Record{}
			for i := range v.segments {
				s := &v.segments[i]
				each(s.liveMask(), int(s.n), func(row uint32) {
					r := s.record(row, 0)
					now[r.ID] = r
				})
			}
			return now
		}
		next := 0
		for range rapid.IntRange(1, 15).Draw(t, "steps") {
			switch rapid.IntRange(0, 5).Draw(t, "step") {
			case 0:
				settle(t, db)
			case 1, 2:
				if len(all) == 0 {
					continue
				}
				v, err := db.View("n")
				if err != nil {
					t.Fatal(err)
				}
				var hits []Hit
				for i, r := range first(0) {
					if (i+next)%3 == 0 {
						ref, _ := v.Find(r.ID)
						hits = append(hits, Hit{Ref: ref})
					}
				}
				db.Rehearse([]*View{v}, [][]Hit{hits})
				v.Release()
				if err := db.CommitRehearsals(context.Background()); err != nil {
					t.Fatal(err)
				}
				all = look()
			default:
				puts := make([]Put, rapid.IntRange(1, 40).Draw(t, "records"))
				written, created := map[string]bool{}, 0
				for i := range puts {
					puts[i].Record = Record{Key: []float32{1}, Importance: float32(1+rapid.IntRange(0, 3).Draw(t, "importance")) / 4}
					puts[i].HasImportance = true
					if rapid.IntRange(0, 9).Draw(t, "again") == 0 && i < len(all) {
						puts[i].ID = first(0)[i].ID
					} else {
						next++
						puts[i].ID = fmt.Sprint("r", next)
						created++
					}
					written[puts[i].ID] = true
				}
				over := len(all) + created - most
				res, err := db.Store(context.Background(), &Store{Namespace: "n", Records: puts})
				free := 0
				for id := range all {
					if !written[id] {
						free++
					}
				}
				if created > 0 && over > 0 && (c.Eviction == EvictNone || created > most || free < over) {
					var full *Full
					if !errors.As(err, &full) || full.MaxRecords != int64(most) || full.Need != int64(len(all)+created) {
						t.Fatalf("%d records and %d more, of %d: %v", len(all), created, most, err)
					}
					if now := look(); len(now) != len(all) {
						t.Fatalf("a refused write left %d records of %d", len(now), len(all))
					}
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				now := look()
				if len(now) > most {
					t.Fatalf("%d records of at most %d", len(now), most)
				}
				gone := len(all) + created - len(now)
				if over > 0 && created > 0 && (gone < over || gone > over+most/evictShare) || (over <= 0 || created == 0) && gone != 0 {
					t.Fatalf("%d went where %d were too many, of at most %d", gone, over, most)
				}
				when := now[puts[0].ID].UpdateTime
				for _, r := range first(when) {
					if written[r.ID] {
						continue
					}
					if _, there := now[r.ID]; there == (gone > 0) {
						t.Fatalf("%+v is there: %v, and %d are yet to go", r, there, gone)
					}
					gone = max(0, gone-1)
				}
				for i := range res.Results {
					if _, there := now[res.Results[i].ID]; !there {
						t.Fatalf("%q, just stored, isn't there", res.Results[i].ID)
					}
				}
				all = now
			}
		}
	})
}

// A namespace at its capacity takes writes about as fast as one below it.
func BenchmarkStoreAtCapacity(b *testing.B) {
	for _, c := range []struct {
		name string
		most int64
	}{{"below", 0}, {"at", 100_000}} {
		for _, e := range []Eviction{EvictRetention, EvictOldest} {
			b.Run(fmt.Sprintf("%s/%d", c.name, e), func(b *testing.B) {
				db := New(Options{Pool: slab.NewPool(1 << 34)})
				defer func() { _ = db.Close() }()
				_, err := db.CreateNamespace(context.Background(), &CreateNamespace{Config{Name: "n", Metric: index.Dot, Dimension: 32, ValueDimension: 32, MaxRecords: c.most, Eviction: e}})
				if err != nil {
					b.Fatal(err)
				}
				store := func(n int) {
					puts := make([]Put, n)
					for i := range puts {
						puts[i].Key = make([]float32, 32)
					}
					if _, err := db.Store(context.Background(), &Store{Namespace: "n", Records: puts}); err != nil {
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
}
