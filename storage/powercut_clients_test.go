package storage

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"engram/memory"
)

// Many clients store at once, so that one sync serves several and the next group is
// decided meanwhile, and the power is cut at every operation. What is there is a prefix
// of all mutations, without a hole, and all that SYNC acknowledged.
func TestPowerCutUnderClients(t *testing.T) {
	stores := 20
	if *long {
		stores = 150
	}
	clients := []struct {
		memory.Durability
		asked, answered atomic.Int64
	}{{}, {}, {}, {}, {}, {Durability: memory.Interval}, {Durability: memory.None}}
	name := func(i int) string { return fmt.Sprint("of client ", i) }
	rng := random(3)
	points, starts := 0, 0
	var failures []error

	verify := func(mem *vfs.MemFS, killed bool) (err error) {
		w := newWorld(mem)
		var low, high [10]int64
		for i := range clients {
			low[i] = clients[i].answered.Load()
			if !killed && clients[i].Durability != memory.Sync {
				low[i] = 0
			}
			high[i] = clients[i].asked.Load()
		}
		for range 2 {
			if _, err := w.start(); err != nil {
				return err
			}
			starts++
			var numbers []uint64
			for i := range clients {
				n := int64(0)
				if v, err := w.db.View(name(i)); err == nil {
					v.Records(func(r *memory.Record) bool {
						if r.ID != fmt.Sprint(n) {
							err = fmt.Errorf("%s: record %q where %d comes", name(i), r.ID, n)
						}
						numbers = append(numbers, r.Version.Number())
						n++
						return true
					})
					v.Release()
					if err != nil {
						return errors.Join(err, w.stop())
					}
				}
				if n < low[i] || n > high[i] {
					return errors.Join(fmt.Errorf("%s has %d records; %d were acknowledged, and %d asked for", name(i), n, low[i], high[i]), w.stop())
				}
				low[i], high[i] = n, n
			}
			slices.Sort(numbers)
			for i, n := range numbers {
				// The namespaces were made first.
				if n != uint64(len(clients)+i+1) {
					return errors.Join(fmt.Errorf("mutation %d is missing, and %d is there", len(clients)+i+1, n), w.stop())
				}
			}
			if err := w.stop(); err != nil {
				return err
			}
		}
		return nil
	}

	fsys := newFaultFS(vfs.NewCrashableMem(), nil)
	w := newWorld(fsys)
	if _, err := w.start(); err != nil {
		t.Fatal(err)
	}
	for i := range clients {
		if err := creating(name(i), clients[i].Durability).do(w); err != nil {
			t.Fatal(err)
		}
	}
	fsys.watch(func(c *call) error {
		if c.op == "read" || c.op == "stat" || c.op == "open" || c.op == "close" || len(failures) > 0 {
			return nil // nothing changed since the call before
		}
		if points++; raced && !*long && points%10 != 0 {
			return nil
		}
		for _, percent := range []int{0, 10 + rng.IntN(80), 100} {
			if err := verify(fsys.powerCut(percent, rng), percent == 100); err != nil {
				failures = append(failures, fmt.Errorf("%s, %d%% left: %w", c.kind(), percent, err))
			}
		}
		return nil
	})
	var wg, snapshots sync.WaitGroup
	end := make(chan struct{})
	snapshots.Go(func() {
		for {
			select {
			case <-end:
				return
			default:
				if err := taking.do(w); err != nil {
					t.Error(err)
				}
			}
		}
	})
	for i := range clients {
		wg.Go(func() {
			for n := range stores {
				clients[i].asked.Add(1)
				_, err := w.db.Store(context.Background(), &memory.Store{Namespace: name(i), Records: []memory.Put{scripted(fmt.Sprint(n), 50+n*7%400, 1, 2)}})
				if err != nil {
					t.Error(err)
					return
				}
				clients[i].answered.Add(1)
			}
		})
	}
	wg.Wait()
	close(end)
	snapshots.Wait()
	fsys.watch(nil)
	if err := w.stop(); err != nil {
		t.Error(err)
	}
	for _, err := range failures {
		t.Error(err)
	}
	t.Logf("%d points, %d recoveries compared", points, starts)
}
