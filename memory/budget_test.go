package memory

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"engram/internal/slab"
)

// What a full memory has acknowledged fits when it is replayed or restored, whatever died
// on the way there; and deletes make room, few as the records may be.
func TestFullBudget(t *testing.T) {
	const budget = 4 << 20
	small := func(o *Options) { o.Pool, o.Durability = slab.NewPool(budget), None }
	rng := rand.New(rand.NewPCG(1, 2))
	for _, c := range []struct {
		name              string
		namespaces, bytes int
	}{{"large records", 2, 60_000}, {"middling records", 5, 3_000}, {"small records", 40, 20}} {
		t.Run(c.name, func(t *testing.T) {
			db, g := newTestDB(t, small), newGate()
			if err := db.SetLog(g); err != nil {
				t.Fatal(err)
			}
			next := 0
			stored := map[string][]string{}
			store := func(namespace string) error {
				var puts []Put
				for range 1 + rng.IntN(8) {
					next++
					p := put(fmt.Sprint(next), 1, 2)
					p.Text = strings.Repeat("x", rng.IntN(c.bytes))
					puts = append(puts, p)
				}
				_, err := db.Store(t.Context(), &Store{Namespace: namespace, Records: puts})
				if err == nil {
					for _, p := range puts {
						stored[namespace] = append(stored[namespace], p.ID)
					}
				}
				return err
			}
			for range 8 {
				var full *Exhausted
				for refused := 0; refused < 20; {
					err := store(fmt.Sprint("n", rng.IntN(c.namespaces)))
					if errors.As(err, &full) {
						refused++
					} else if err != nil {
						t.Fatal(err)
					}
				}
				for namespace, ids := range stored {
					rng.Shuffle(len(ids), func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
					gone := ids[:len(ids)*2/3]
					if _, err := db.Delete(t.Context(), &Delete{Namespace: namespace, IDs: gone}); err != nil {
						t.Fatal(err)
					}
					stored[namespace] = ids[len(gone):]
				}
				for i := range c.namespaces {
					eventually(t, "there is room again", func() bool {
						err := store(fmt.Sprint("n", i))
						if err != nil && !errors.As(err, &full) {
							t.Fatal(err)
						}
						return err == nil
					})
				}
			}
			for namespace := range stored {
				if _, err := db.DeleteNamespace(t.Context(), &DeleteNamespace{namespace}); err != nil {
					t.Fatal(err)
				}
			}
			for i := range 15 { // namespaces that were once large
				namespace := fmt.Sprint("once", i)
				var ids []string
				for k := range 20 {
					p := put(fmt.Sprint(k), 1, 2)
					p.Text = strings.Repeat("y", c.bytes)
					eventually(t, "there is room for what comes", func() bool {
						_, err := db.Store(t.Context(), &Store{Namespace: namespace, Records: []Put{p}})
						if full := new(Exhausted); err != nil && !errors.As(err, &full) {
							t.Fatal(err)
						}
						return err == nil
					})
					ids = append(ids, p.ID)
				}
				if _, err := db.Delete(t.Context(), &Delete{Namespace: namespace, IDs: ids[1:]}); err != nil {
					t.Fatal(err)
				}
			}
			for full := (*Exhausted)(nil); full == nil; {
				if err := store(fmt.Sprint("n", rng.IntN(c.namespaces))); err != nil && !errors.As(err, &full) {
					t.Fatal(err)
				}
			}
			want := dumpAll(db)

			replayed := newTestDB(t, small)
			if _, err := replayed.Replay(each1(g.appended)); err != nil {
				t.Fatalf("replay of %d mutations: %v", len(g.appended), err)
			}
			if dumpAll(replayed) != want {
				t.Error("replayed, it isn't the same")
			}
			restored := newTestDB(t, small)
			r := restored.Restore()
			db.Views(func(v *View) bool {
				n, err := r.Namespace(v.Config(), v.LSN(), v.Requests())
				if err != nil {
					t.Fatal(err)
				}
				v.Records(func(rec *Record) bool {
					if err := n.Add(rec); err != nil {
						t.Fatal(err)
					}
					return true
				})
				if err := n.Done(); err != nil {
					t.Fatal(err)
				}
				return true
			})
			if err := r.Done(0); err != nil {
				t.Fatal(err)
			}
			if dumpAll(restored) != want {
				t.Error("restored, it isn't the same")
			}
			for _, copied := range []*DB{replayed, restored} {
				t.Logf("%d mutations; %d KiB in use, %d in a copy", len(g.appended), db.pool.InUse()>>10, copied.pool.InUse()>>10)
				if used := copied.pool.InUse(); used > budget*5/4 {
					t.Errorf("it takes %d bytes of %d", used, budget)
				}
			}
		})
	}
}
