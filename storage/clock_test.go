package storage

import (
	"fmt"
	"testing"
	"time"

	"engram/memory"
)

// The clock goes an hour back and ten years on, while a memory runs and between two
// starts. Nothing of it is refused, lost or forgotten too early: a start gives the same
// state, from the journal and from a snapshot, and a request repeated soon after is
// answered, not done again.
func TestClock(t *testing.T) {
	const year = 365 * 24 * time.Hour
	for _, first := range []time.Duration{0, -time.Hour, 10 * year, -30 * year} {
		for _, second := range []time.Duration{0, -time.Hour, 10 * year, -20 * year} {
			for _, snapshot := range []bool{false, true} {
				t.Run(fmt.Sprintf("%v/%v/snapshot=%v", first, second, snapshot), func(t *testing.T) {
					w := newWorld(withFiles(t, nil))
					n := 0
					write := func() {
						t.Helper()
						n++
						id := fmt.Sprint("r", n)
						s := storing("s", true, id, scripted(fmt.Sprint(n), 100, 1, 2), memory.Put{Record: memory.Record{Key: []float32{1, 1}}})
						if err := s.do(w); err != nil {
							t.Fatal(err)
						}
						before := dump(w.db)
						w.clock.move(time.Minute)
						if err := s.do(w); err != nil { // the same request
							t.Fatal(err)
						}
						if d := differ(dump(w.db), before); d != "" {
							t.Fatalf("request %s was done twice: %s", id, d)
						}
					}
					restart := func(move time.Duration) {
						t.Helper()
						want := dump(w.db)
						if snapshot {
							if err := taking.do(w); err != nil {
								t.Fatal(err)
							}
						}
						if err := w.stop(); err != nil {
							t.Fatal(err)
						}
						w.clock.move(move)
						if r, err := w.start(); err != nil || (r.Snapshot.File != "") != snapshot {
							t.Fatal(r, err)
						}
						if d := differ(dump(w.db), want); d != "" {
							t.Fatal(d)
						}
					}
					if _, err := w.start(); err != nil {
						t.Fatal(err)
					}
					write()
					restart(first)
					write()
					w.clock.move(second)
					write()
					restart(-first)
					write()
					restart(0)
					if err := w.stop(); err != nil {
						t.Fatal(err)
					}
				})
			}
		}
	}
}
