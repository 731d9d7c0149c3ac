package storage

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"engram/index"
	"engram/memory"
)

// The index of a namespace with a recall is in its snapshot,
// in pieces, and is there again after a start without being learned anew.
func TestSnapshotIndex(t *testing.T) {
	const records, dim = 50_000, 24
	ctx := context.Background()
	db := newDB(t)
	if _, err := db.CreateNamespace(ctx, &memory.CreateNamespace{Config: memory.Config{
		Name: "n", Metric: index.L2, Dimension: dim, ValueDimension: dim, Recall: 0.8}}); err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(1, 2))
	for n := 0; n < records; n += 1000 {
		s := &memory.Store{Namespace: "n"}
		for i := range 1000 {
			key := make([]float32, dim)
			for j := range key {
				key[j] = float32(r.NormFloat64()) + float32(i%7*j)
			}
			s.Records = append(s.Records, memory.Put{Record: memory.Record{ID: fmt.Sprint(n + i), Key: key}})
		}
		if _, err := db.Store(ctx, s); err != nil {
			t.Fatal(err)
		}
	}
	indexed := func(db *memory.DB) []byte {
		t.Helper()
		for end := time.Now().Add(2 * time.Minute); ; time.Sleep(10 * time.Millisecond) {
			for v := range db.Views {
				if b := v.AppendIndex(nil); len(b) > 0 {
					return b
				}
			}
			if time.Now().After(end) {
				t.Fatal("there is no index after two minutes")
			}
		}
	}
	want := indexed(db)
	if len(want) <= indexPiece {
		t.Fatalf("%d bytes are one piece", len(want))
	}
	dir := t.TempDir()
	d := openDir(t, dir)
	info, err := d.Snapshots(db).Snapshot(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}

	again := newDB(t)
	d = openDir(t, dir)
	defer func() { _ = d.Close() }()
	s, err := d.openSnapshot(info.File)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	re := again.Restore()
	if _, err := d.restoreFile(ctx, re, s); err != nil {
		t.Fatal(err)
	}
	if err := re.Done(0); err != nil {
		t.Fatal(err)
	}
	if got := indexed(again); !bytes.Equal(got, want) { // its calibration has times in it: no other has these
		t.Errorf("an index of %d bytes, not that of %d", len(got), len(want))
	}
}
