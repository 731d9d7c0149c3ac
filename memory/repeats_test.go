package memory

import (
	"context"
	"fmt"
	"math"
	"slices"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"engram/index"
	"engram/internal/slab"
)

func repeating(t interface {
	Helper()
	Fatal(...any)
}, db *DB, similarity float64, dim int) {
	t.Helper()
	_, err := db.CreateNamespace(context.Background(), &CreateNamespace{Config{Name: "n", Metric: index.Cosine, Dimension: dim, ValueDimension: dim, Repeats: similarity}})
	if err != nil {
		t.Fatal(err)
	}
}

// cosineOf is that of two keys of small whole numbers, which float64 has exactly but for
// the last step.
func cosineOf(a, b []float32) float64 {
	var ab, aa, bb float64
	for i := range a {
		ab, aa, bb = ab+float64(a[i])*float64(b[i]), aa+float64(a[i])*float64(a[i]), bb+float64(b[i])*float64(b[i])
	}
	return ab / math.Sqrt(aa*bb)
}

// Whatever was stored, deleted and changed before, a Store without ids adds what the
// definition says, and rehearses the rest. Cosines are far from the threshold or equal.
func TestRepeatsAgainstDefinition(t *testing.T) {
	const similarity = 0.9123 // no cosine of such keys is near it
	rapid.Check(t, func(t *rapid.T) {
		db := newDB(Options{Pool: slab.NewPool(1 << 30), Clock: new(ticking)}, sizes{segmentRows: 64, indexRows: 8, compactRows: 8, ivfRows: 1 << 30})
		defer func() { _ = db.Close() }()
		repeating(t, db, similarity, 3)
		type kept struct {
			id, speaker string
			key         []float32
			rehearsed   uint32
		}
		var all []kept // by creation
		key := rapid.Custom(func(t *rapid.T) []float32 {
			k := make([]float32, 3)
			for i := range k {
				k[i] = float32(rapid.IntRange(-3, 3).Draw(t, "x"))
			}
			if k[0] == 0 && k[1] == 0 && k[2] == 0 {
				k[0] = 1
			}
			return k
		})
		speaker := rapid.SampledFrom([]string{"", "Ann", "Bob"})
		// find gives those that may be repeated: of cosines that float32 can't tell apart all.
		find := func(k []float32, by string) (nearest []int) {
			best := similarity
			for _, r := range all {
				if r.speaker == by {
					best = max(best, cosineOf(k, r.key))
				}
			}
			for i, r := range all {
				if r.speaker == by && cosineOf(k, r.key) > best-1e-6 {
					nearest = append(nearest, i)
				}
			}
			return nearest
		}
		number := 0
		for range rapid.IntRange(1, 12).Draw(t, "steps") {
			switch rapid.IntRange(0, 4).Draw(t, "step") {
			case 0:
				if len(all) > 0 {
					i := rapid.IntRange(0, len(all)-1).Draw(t, "deleted")
					if _, err := db.Delete(context.Background(), &Delete{Namespace: "n", IDs: []string{all[i].id}}); err != nil {
						t.Fatal(err)
					}
					all = slices.Delete(all, i, i+1)
				}
			case 1:
				if len(all) > 0 {
					i := rapid.IntRange(0, len(all)-1).Draw(t, "changed")
					all[i].key = key.Draw(t, "to")
					if _, err := db.Update(context.Background(), &Update{Namespace: "n", Mask: MaskKey, Records: []Put{{Record: Record{ID: all[i].id, Key: all[i].key}}}}); err != nil {
						t.Fatal(err)
					}
				}
			case 2:
				settle(t, db)
			default:
				puts := make([]Put, rapid.IntRange(1, 8).Draw(t, "records"))
				for i := range puts {
					puts[i].Record = Record{Key: key.Draw(t, "key"), Speaker: speaker.Draw(t, "speaker")}
				}
				// One with an id of its own is stored whatever it is like.
				if rapid.IntRange(0, 3).Draw(t, "named") == 0 {
					number++
					puts[0].ID = fmt.Sprint("named", number)
				}
				res, err := db.Store(context.Background(), &Store{Namespace: "n", Records: puts})
				if err != nil {
					t.Fatal(err)
				}
				for i := range puts {
					var may []int
					got := res.Results[i]
					if puts[i].ID == "" || i > 0 {
						may = find(puts[i].Key, puts[i].Speaker)
					}
					if len(may) > 0 {
						at := slices.IndexFunc(may, func(at int) bool { return got == RecordResult{ID: all[at].id, Repeated: true} })
						if at < 0 {
							t.Fatalf("record %d, %v by %q: %+v, want one of %v", i, puts[i].Key, puts[i].Speaker, got, may)
						}
						all[may[at]].rehearsed++
						continue
					}
					if !got.Created || got.Repeated || got.Version != res.LSN {
						t.Fatalf("record %d, %v by %q, is new: %+v", i, puts[i].Key, puts[i].Speaker, got)
					}
					all = append(all, kept{got.ID, puts[i].Speaker, puts[i].Key, 0})
				}
			}
			v, err := db.View("n")
			if err != nil {
				t.Fatal(err)
			}
			if v.Count() != len(all) {
				t.Fatalf("%d records, want %d", v.Count(), len(all))
			}
			for _, want := range all {
				var r Record
				if !v.Get(want.id, &r, IncludeKey) || !slices.Equal(r.Key, want.key) || r.Rehearsed.Count != want.rehearsed {
					t.Fatalf("record %+v, want %+v", r, want)
				}
			}
			v.Release()
		}
	})
}

// What another request stores between the search and the commit is seen, and so is what it
// deletes and changes.
func TestRepeatsOfPendingRecords(t *testing.T) {
	db := New(Options{Pool: slab.NewPool(1 << 30)})
	defer func() { _ = db.Close() }()
	repeating(t, db, 0.99, 2)
	store := func(id string, key ...float32) *Store {
		return &Store{Namespace: "n", Records: []Put{{Record: Record{ID: id, Key: key}}}}
	}
	for _, s := range []*Store{store("near", 1, 0.01), store("nearer", 1, 0.001)} {
		if _, err := db.Store(context.Background(), s); err != nil {
			t.Fatal(err)
		}
	}
	ask := store("", 1, 0)
	late := func(between func()) RecordResult {
		t.Helper()
		prior, err := db.searchPrior(context.Background(), ask)
		if err != nil || prior.view == nil {
			t.Fatalf("%+v, %v", prior, err)
		}
		defer prior.release()
		between()
		var out *StoreResult
		err = db.commit(context.Background(), func(c *committer) (err error) {
			out, err = c.store(ask, &prior)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return out.Results[0]
	}
	if r := late(func() {}); r.ID != "nearer" || !r.Repeated {
		t.Errorf("it repeats %+v", r)
	}
	if r := late(func() { mustDo(t)(db.Store(context.Background(), store("nearest", 1, 0.0001))) }); r.ID != "nearest" {
		t.Errorf("with a nearer one stored meanwhile it repeats %+v", r)
	}
	if r := late(func() { mustDo(t)(db.Store(context.Background(), store("nearest", 0, 1))) }); r.ID != "nearer" {
		t.Errorf("with that moved away it repeats %+v", r)
	}
	gone := func() {
		if _, err := db.Delete(context.Background(), &Delete{Namespace: "n", IDs: []string{"near", "nearer"}}); err != nil {
			t.Fatal(err)
		}
	}
	if r := late(gone); !r.Created {
		t.Errorf("with all deleted it repeats %+v", r)
	}
}

func mustDo(t *testing.T) func(*StoreResult, error) {
	return func(_ *StoreResult, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
}

// Of equal records that are stored at once, one is added.
func TestRepeatsAtOnce(t *testing.T) {
	db := New(Options{Pool: slab.NewPool(1 << 30)})
	defer func() { _ = db.Close() }()
	repeating(t, db, 1, 8)
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := range 50 {
				key := make([]float32, 8)
				key[i%8], key[(i/8)%8] = 1, 2
				if _, err := db.Store(context.Background(), &Store{Namespace: "n", Records: []Put{{Record: Record{Key: key}}}}); err != nil {
					t.Errorf("writer %d: %v", w, err)
				}
			}
		})
	}
	wg.Wait()
	v, err := db.View("n")
	if err != nil {
		t.Fatal(err)
	}
	defer v.Release()
	distinct := map[string]bool{}
	for i := range 50 {
		key := make([]float32, 8)
		key[i%8], key[(i/8)%8] = 1, 2
		distinct[fmt.Sprint(key)] = true
	}
	if v.Count() != len(distinct) {
		t.Errorf("%d records of %d distinct", v.Count(), len(distinct))
	}
}
