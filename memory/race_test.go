package memory

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"engram/index"
	"engram/internal/slab"
)

// TestEveryAnswerIsOfItsLSN writes, reads and compacts at once, and then checks
// every answer against a model that has applied the acknowledged writes up to the
// LSN which the answer claims.
func TestEveryAnswerIsOfItsLSN(t *testing.T) {
	answersOfTheirLSN(t, slab.NewPool(1<<30), 400, 4, sizes{segmentRows: 128, indexRows: 32, compactRows: 8})
}

// TestEverySharedAnswerIsOfItsLSN does the same with so many readers, and so small a
// namespace that shares, that they ride passes with views of different LSNs.
func TestEverySharedAnswerIsOfItsLSN(t *testing.T) {
	db := answersOfTheirLSN(t, slab.NewGuardedPool(1<<30), 200, 16, sizes{segmentRows: 128, indexRows: 32, compactRows: 8, sharedBytes: 1, sharedYield: 1})
	if st, _ := db.Sharing(); float64(st.Reads) <= st.Passes || st.Riding != 0 { // how many ride together is the scheduler's matter
		t.Errorf("%+v: nothing was shared", st)
	} else {
		t.Logf("%d reads rode in %.1f passes", st.Reads, st.Passes)
	}
}

// TestNoReaderOutlivesItsSlabs does the same where a read of a freed slab faults.
func TestNoReaderOutlivesItsSlabs(t *testing.T) {
	answersOfTheirLSN(t, slab.NewGuardedPool(1<<30), 150, 4, sizes{segmentRows: 128, indexRows: 32, compactRows: 8})
}

type answer struct {
	lsn   LSN
	check func(model) error
}

func answersOfTheirLSN(t *testing.T, pool *slab.Pool, writes, readers int, sizes sizes) *DB {
	const writers, ids, dim = 4, 150, 3
	db := newDB(Options{Pool: pool}, sizes)
	if _, err := db.CreateNamespace(t.Context(), &CreateNamespace{Config{Name: "n", Metric: index.Dot, Dimension: dim, ValueDimension: dim}}); err != nil {
		t.Fatal(err)
	}

	var mu sync.Mutex
	history := map[LSN]func(model){}
	var answers []answer
	commit := func(lsn LSN, apply func(model)) {
		mu.Lock()
		defer mu.Unlock()
		if history[lsn] != nil {
			t.Errorf("two writes of LSN %x", lsn)
		}
		history[lsn] = apply
	}
	vector := func(r *rand.Rand) []float32 {
		v := make([]float32, dim)
		for i := range v {
			v[i] = float32(r.IntN(5) - 2)
		}
		return v
	}
	randomPut := func(r *rand.Rand) Put {
		id := fmt.Sprint("id", r.IntN(ids))
		p := Put{Record: Record{
			ID: id, Key: vector(r), Text: fmt.Sprint("text ", r.Uint32()), Metadata: less[r.IntN(10)], Time: int64(r.IntN(50)),
		}, HasTime: true}
		if r.IntN(4) == 0 {
			p.Value = vector(r)
		}
		return p
	}
	puts := func(r *rand.Rand) []Put {
		seen := map[string]bool{}
		var out []Put
		for range 1 + r.IntN(20) {
			if p := randomPut(r); !seen[p.ID] {
				seen[p.ID] = true
				out = append(out, p)
			}
		}
		return out
	}
	write := func(r *rand.Rand) {
		switch r.IntN(10) {
		default:
			batch := puts(r)
			res, err := db.Store(t.Context(), &Store{Namespace: "n", Records: batch})
			if err != nil {
				t.Error(err)
				return
			}
			commit(res.LSN, func(m model) { m.store(batch, res) })
		case 0, 1, 2:
			batch := puts(r)[:1]
			mask := []Mask{MaskText, MaskMetadata | MaskText, MaskKey}[r.IntN(3)]
			res, err := db.Update(t.Context(), &Update{Namespace: "n", Mask: mask, Records: batch})
			if err != nil {
				if !isNotFound(err) {
					t.Error(err)
				}
				return
			}
			commit(res.LSN, func(m model) { m.update(mask, batch, res.LSN) })
		case 3, 4:
			var gone []string
			for range 1 + r.IntN(40) {
				gone = append(gone, fmt.Sprint("id", r.IntN(ids)))
			}
			res, err := db.Delete(t.Context(), &Delete{Namespace: "n", IDs: gone})
			if err != nil {
				t.Error(err)
				return
			}
			if res.Deleted > 0 {
				commit(res.LSN, func(m model) {
					for _, id := range gone {
						delete(m, id)
					}
				})
			}
		case 5:
			f, keep := where(1 + r.IntN(3))
			res, err := db.Delete(t.Context(), &Delete{Namespace: "n", Filter: f})
			if err != nil {
				t.Error(err)
				return
			}
			if res.Deleted > 0 {
				commit(res.LSN, func(m model) {
					for id, rec := range m {
						if keep(&rec) {
							delete(m, id)
						}
					}
				})
			}
		}
	}
	ns, err := db.Namespace("n")
	if err != nil {
		t.Fatal(err)
	}
	read := func(r *rand.Rand) {
		v := ns.View()
		defer v.Release()
		var check func(model) error
		f, keep := where(1 + r.IntN(9))
		if r.IntN(3) == 0 {
			f, keep = nil, nil
		}
		kind := r.IntN(5)
		if sizes.sharedBytes > 0 && kind < 2 {
			kind += 3
		}
		switch kind {
		case 0:
			id := fmt.Sprint("id", r.IntN(ids))
			var got Record
			ok := v.Get(id, &got, IncludeAll)
			check = func(m model) error {
				want, there := m[id]
				if ok != there {
					return fmt.Errorf("Get(%q) finds it: %v, want %v", id, ok, there)
				}
				if !ok {
					return nil
				}
				return same(&got, &want)
			}
		case 1:
			var got []Record
			v.Records(func(rec *Record) bool {
				c := *rec
				c.ID, c.Text = string([]byte(rec.ID)), string([]byte(rec.Text))
				c.Key, c.Value, c.Metadata = slices.Clone(rec.Key), slices.Clone(rec.Value), slices.Clone(rec.Metadata)
				got = append(got, c)
				return true
			})
			count := v.Count()
			check = func(m model) error {
				if count != len(m) {
					return fmt.Errorf("Count is %d, want %d", count, len(m))
				}
				return sameRecords(got, m.list(CreatedAsc, nil))
			}
		case 2:
			order := Order(r.IntN(4))
			got, _, more := v.List(ListOptions{Order: order, Filter: f, N: 20, Include: IncludeAll})
			n := v.CountWhere(f)
			check = func(m model) error {
				want := m.list(order, keep)
				if more != (len(want) > 20) || n != len(want) {
					return fmt.Errorf("List says more: %v, CountWhere %d; there are %d", more, n, len(want))
				}
				return sameRecords(got, want[:min(20, len(want))])
			}
		case 3:
			q := vector(r)
			hits, _, err := db.Retrieve(t.Context(), []*View{v}, []Query{{Vector: q}}, RetrieveOptions{K: 7, Filter: f, MinScore: float32(math.Inf(-1))})
			if err != nil {
				t.Error(err)
				return
			}
			var got []string
			for _, h := range hits[0] {
				rec := v.At(h.Ref, 0)
				got = append(got, rec.ID)
			}
			check = func(m model) error {
				if want := m.nearest(q, 7, keep); !slices.Equal(got, want) {
					return fmt.Errorf("Retrieve gives %v, want %v", got, want)
				}
				return nil
			}
		case 4:
			scale := 0.0
			att, _, err := db.Attend(t.Context(), []*View{v}, []Query{{Vector: vector(r)}}, AttendOptions{Scale: &scale, Filter: f})
			if err != nil {
				t.Error(err)
				return
			}
			check = func(m model) error {
				all := m.list(CreatedAsc, keep)
				mean := make([]float64, dim)
				for _, rec := range all {
					value := rec.Value
					if value == nil {
						value = rec.Key
					}
					for i, x := range value {
						mean[i] += float64(x) / float64(len(all))
					}
				}
				for i := range mean {
					if math.Abs(mean[i]-float64(att[0].Context[i])) > 1e-5 || int(att[0].Heads[0].Attended) != len(all) {
						return fmt.Errorf("Attend gives %v over %d, want %v over %d", att[0].Context, att[0].Heads[0].Attended, mean, len(all))
					}
				}
				return nil
			}
		}
		mu.Lock()
		answers = append(answers, answer{v.LSN(), check})
		mu.Unlock()
	}

	var done atomic.Bool
	var writing, reading sync.WaitGroup
	for w := range writers {
		writing.Go(func() {
			r := rand.New(rand.NewPCG(1, uint64(w)))
			for range writes {
				write(r)
			}
		})
	}
	for i := range readers {
		reading.Go(func() {
			r := rand.New(rand.NewPCG(2, uint64(i)))
			for n := 0; !done.Load() || n < 50; n++ {
				read(r)
			}
		})
	}
	writing.Wait()
	done.Store(true)
	reading.Wait()

	slices.SortStableFunc(answers, func(a, b answer) int { return int(int64(a.lsn) - int64(b.lsn)) })
	m := model{}
	at := LSN(0)
	var lsns []LSN
	for lsn := range history {
		lsns = append(lsns, lsn)
	}
	slices.Sort(lsns)
	for i := 1; i < len(lsns); i++ {
		if lsns[i] != lsns[i-1]+1 {
			t.Fatalf("no write has LSN %x", lsns[i-1]+1)
		}
	}
	for _, a := range answers {
		for len(lsns) > 0 && lsns[0] <= a.lsn {
			at = lsns[0]
			history[at](m)
			lsns = lsns[1:]
		}
		if err := a.check(m); err != nil {
			t.Fatalf("at LSN %x: %v", a.lsn, err)
		}
	}
	t.Logf("%d answers of %d writes", len(answers), len(history))
	if err := errors.Join(db.Close()); err != nil {
		t.Fatal(err)
	}
	if used := pool.InUse(); used != 0 {
		t.Errorf("%d bytes of slabs are in use after Close", used)
	}
	return db
}
