package storage

import (
	"fmt"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/record"
	"github.com/cockroachdb/pebble/v2/vfs"

	"engram/internal/slab"
	"engram/memory"
)

// BenchmarkJournal compares our frames with Pebble's log, writing the same mutations, of
// a record of 1 KiB each, to files of zeros on the same disk; every writer waits for the
// sync of its mutation, and whatever waits is synced together (docs/decisions/0006).
//
//	go test -run ^$ -bench Journal -benchtime 20000x -count 10 ./storage
func BenchmarkJournal(b *testing.B) {
	for _, writers := range []int{1, 64} {
		for _, log := range []struct {
			name string
			open func(*testing.B) func(*memory.Mutation)
		}{{"engram", engramLog}, {"pebble", pebbleLog}} {
			b.Run(fmt.Sprintf("1KiB/writers=%d/%s", writers, log.name), func(b *testing.B) {
				write := log.open(b)
				turns := make(chan struct{}, b.N)
				for range b.N {
					turns <- struct{}{}
				}
				close(turns)
				b.ResetTimer()
				var wg sync.WaitGroup
				for range writers {
					m := logMutation()
					wg.Go(func() {
						for range turns {
							write(m)
						}
					})
				}
				wg.Wait()
				b.StopTimer()
			})
		}
	}
}

func logMutation() *memory.Mutation {
	return &memory.Mutation{Namespace: "client", Time: 1, Changes: []memory.Change{{
		Mask: memory.MaskAll, Record: memory.Record{ID: "000000000000000000000001", Key: make([]float32, 192), Text: string(make([]byte, 232))},
	}}}
}

// engramLog writes to a journal as memory's committer does: one goroutine appends, and
// one syncs for all that wait.
func engramLog(b *testing.B) func(*memory.Mutation) {
	d, err := Open(b.TempDir(), Options{SegmentSize: int64(b.N+1000) * 2048, FS: vfs.Default})
	if err != nil {
		b.Fatal(err)
	}
	db := memory.New(memory.Options{Pool: slab.NewPool(1 << 30)})
	if _, err := d.Recover(b.Context(), db); err != nil {
		b.Fatal(err)
	}
	j := d.journal
	if err := j.spare.reserve(0); err != nil { // it is made before the clock runs
		b.Fatal(err)
	}
	type call struct {
		m    *memory.Mutation
		done chan struct{}
	}
	calls, appended := make(chan *call, 1024), make(chan *call, 1024)
	ended := make(chan struct{})
	go func() {
		defer close(appended)
		for c := range calls {
			c.m.LSN = j.last + 1
			if err := j.Append(c.m); err != nil {
				b.Error(err)
			}
			appended <- c
		}
	}()
	go func() {
		defer close(ended)
		for c := range appended {
			waiting := []*call{c}
			for n := len(appended); n > 0; n-- {
				waiting = append(waiting, <-appended)
			}
			if err := j.Sync(); err != nil {
				b.Error(err)
			}
			for _, c := range waiting {
				c.done <- struct{}{}
			}
		}
	}()
	b.Cleanup(func() {
		close(calls)
		<-ended
		if err := db.Close(); err != nil {
			b.Error(err)
		}
		if err := d.Close(); err != nil {
			b.Error(err)
		}
	})
	return func(m *memory.Mutation) {
		c := &call{m, make(chan struct{}, 1)}
		calls <- c
		<-c.done
	}
}

// dataSynced is a file of which Pebble syncs the data, as we do.
type dataSynced struct {
	vfs.File
	at int64
}

func (f *dataSynced) Write(p []byte) (int, error) {
	n, err := f.WriteAt(p, f.at)
	f.at += int64(n)
	return n, err
}

func (f *dataSynced) Sync() error { return f.SyncData() }

// pebbleLog writes to Pebble's log, with sync offsets, and a lock outside.
func pebbleLog(b *testing.B) func(*memory.Mutation) {
	d := &Dir{path: b.TempDir(), fs: vfs.Default}
	f, err := d.makeSpare(int64(b.N+1000) * 2048)
	if err != nil {
		b.Fatal(err)
	}
	queue := make(chan struct{}, record.SyncConcurrency-1)
	w := record.NewLogWriter(&dataSynced{File: f}, 1, record.LogWriterConfig{
		QueueSemChan:        queue,
		WriteWALSyncOffsets: func() bool { return true },
	})
	b.Cleanup(func() {
		if err := w.Close(); err != nil {
			b.Error(err)
		}
	})
	var mu sync.Mutex
	return func(m *memory.Mutation) {
		data := appendMutation(make([]byte, 0, 2048), m)
		var wg sync.WaitGroup
		var failed error
		wg.Add(1)
		queue <- struct{}{}
		mu.Lock()
		_, err := w.SyncRecord(data, &wg, &failed)
		mu.Unlock()
		wg.Wait()
		if err != nil || failed != nil {
			b.Error(err, failed)
		}
	}
}
