package storage

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"pgregory.net/rapid"

	"engram/index"
	"engram/memory"
)

// What a configuration, a mutation and a record say of bounds comes back, zeros that a
// mutation sets too.
func TestBoundsComeBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := memory.Config{
			Name: "n", Dimension: 2, ValueDimension: 2, MaxRecords: rapid.Int64Range(0, memory.MaxRecords).Draw(t, "most"),
			Eviction: memory.Eviction(rapid.IntRange(0, 3).Draw(t, "eviction")), Forget: rapid.Float64Range(0, 0.99).Draw(t, "forget"),
		}
		c := cursor{b: appendConfig(nil, &want), version: version}
		if got := c.config("n"); c.err != nil || got != want || c.off != len(c.b) {
			t.Fatalf("%+v comes back as %+v: %v", want, got, c.err)
		}
		m, err := mutationOf(&journalFrame{data: appendMutation(nil, &memory.Mutation{Namespace: "n", MaxRecords: &want.MaxRecords, Eviction: &want.Eviction, Forget: &want.Forget})})
		if err != nil || *m.MaxRecords != want.MaxRecords || *m.Eviction != want.Eviction || *m.Forget != want.Forget {
			t.Fatalf("%+v comes back as %+v: %v", want, m, err)
		}
		rec := memory.Record{ID: "a", Key: []float32{1}, Expire: rapid.Int64Min(0).Draw(t, "expire"), Pinned: rapid.Bool().Draw(t, "pinned")}
		c = cursor{b: appendRecord(nil, &rec), version: version}
		var got memory.Record
		if c.record(&got, nil, nil, &memory.Config{Dimension: 1}); c.err != nil || got.Expire != rec.Expire || got.Pinned != rec.Pinned {
			t.Fatalf("%+v comes back as %+v: %v", rec, got, c.err)
		}
		mask := memory.Mask(rapid.IntRange(0, int(memory.MaskAll)).Draw(t, "mask"))
		if got := maskOf(fileMask(mask)); got != mask {
			t.Fatalf("mask %x comes back as %x", mask, got)
		}
	})
}

// The bytes of what files have said since bounds are.
func TestBoundsGolden(t *testing.T) {
	rec := memory.Record{ID: "a", Expire: 300, Pinned: true}
	if b := appendMoreRecord(nil, &rec); !bytes.Equal(b, []byte{7, 0xb8, 1, 0xac, 2, 0xc0, 1, 1}) {
		t.Errorf("a record: %x", b)
	}
	cfg := memory.Config{MaxRecords: 5, Eviction: memory.EvictOldest, Forget: 0.5}
	if b := appendMoreConfig(nil, &cfg); !bytes.Equal(b, []byte{16, 0xa0, 1, 5, 0xa8, 1, 2, 0xb1, 1, 0, 0, 0, 0, 0, 0, 0xe0, 0x3f}) {
		t.Errorf("a configuration: %x", b)
	}
	for old, now := range map[memory.Mask]memory.Mask{0xff: memory.MaskAll, 0x1ff: 0xff, 0x100: memory.MaskPosition, 5: 5} {
		if got := maskOf(old); got != now {
			t.Errorf("an older file's mask %x is %x, want %x", old, got, now)
		}
	}
	for name, b := range map[string][]byte{
		"an eviction": {3, 0xa8, 1, 4}, "a threshold": {10, 0xb1, 1, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f},
	} {
		c := cursor{b: b, version: version}
		if c.moreConfig(new(memory.Config)); c.err == nil {
			t.Errorf("%s that there isn't is read", name)
		}
	}
}

// Mutations that remove what expired, was evicted or forgotten give the same state when they
// are replayed, behind a snapshot or without, whatever the time is then.
func TestBoundsReplay(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(vfs.NewCrashableMem())
		do := func(steps ...step) {
			for _, s := range steps {
				if err := s.do(w); err != nil {
					t.Fatalf("%s: %v", s.name, err)
				}
			}
		}
		do(starting)
		ctx := context.Background()
		if _, err := w.db.CreateNamespace(ctx, &memory.CreateNamespace{Config: memory.Config{
			Name: "n", Metric: index.Dot, Dimension: 2, ValueDimension: 2, MaxRecords: 30,
			Eviction: memory.Eviction(rapid.IntRange(1, 3).Draw(t, "eviction")), Forget: 0.1, Retention: memory.RetentionOf(time.Minute),
		}}); err != nil {
			t.Fatal(err)
		}
		for range rapid.IntRange(1, 12).Draw(t, "rounds") {
			for range rapid.IntRange(1, 5).Draw(t, "stores") {
				var puts []memory.Put
				for _, id := range rapid.SliceOfNDistinct(rapid.IntRange(0, 99), 1, 12, rapid.ID).Draw(t, "ids") {
					puts = append(puts, memory.Put{
						Record: memory.Record{ID: fmt.Sprint(id), Key: []float32{1, 2}, Pinned: id < 5},
						TTL:    rapid.SampledFrom([]time.Duration{0, time.Second, time.Minute}).Draw(t, "ttl"),
					})
				}
				if _, err := w.db.Store(ctx, &memory.Store{Namespace: "n", Records: puts}); err != nil {
					t.Fatal(err)
				}
				w.clock.move(rapid.SampledFrom([]time.Duration{time.Millisecond, time.Second, time.Minute}).Draw(t, "passes"))
			}
			if rapid.Bool().Draw(t, "tidy") {
				if err := w.db.Tidy(ctx); err != nil {
					t.Fatal(err)
				}
			}
			if rapid.IntRange(0, 3).Draw(t, "snapshot") == 0 {
				do(taking)
			}
			before := dump(w.db)
			w.fs = w.fs.(*vfs.MemFS).CrashClone(vfs.CrashCloneCfg{})
			do(starting)
			if after := dump(w.db); after != before {
				t.Fatalf("it was\n%s\nand is\n%s", before, after)
			}
			v, err := w.db.View("n")
			if err != nil {
				t.Fatal(err)
			}
			now := w.clock.Now().UnixNano()
			v.Records(func(r *memory.Record) bool {
				if r.Expire != 0 && r.Expire <= now {
					t.Fatalf("%+v is seen at %d", *r, now)
				}
				return true
			})
			if n := v.Count(); n > 30 {
				t.Fatalf("%d records", n)
			}
			v.Release()
		}
		do(stopping)
	})
}

// Watch tells of every record that goes by itself, before what its place is taken by.
func TestWatchOfBounds(t *testing.T) {
	w := newWorld(vfs.NewCrashableMem())
	do := func(steps ...step) {
		t.Helper()
		for _, s := range steps {
			if err := s.do(w); err != nil {
				t.Fatalf("%s: %v", s.name, err)
			}
		}
	}
	do(starting)
	ctx, stop := context.WithCancel(t.Context())
	if _, err := w.db.CreateNamespace(ctx, &memory.CreateNamespace{Config: memory.Config{
		Name: "n", Metric: index.Dot, Dimension: 2, ValueDimension: 2, MaxRecords: 2, Eviction: memory.EvictOldest,
	}}); err != nil {
		t.Fatal(err)
	}
	for i, ttl := range []time.Duration{time.Second, 0, 0, 0} {
		p := memory.Put{Record: memory.Record{ID: fmt.Sprint(i), Key: []float32{1, 2}}, TTL: ttl}
		if _, err := w.db.Store(ctx, &memory.Store{Namespace: "n", Records: []memory.Put{p}}); err != nil {
			t.Fatal(err)
		}
		w.clock.move(time.Second)
	}
	var deleted []string
	after := memory.LSN(0)
	err := w.db.Watch(ctx, "n", &after, func(ms []*memory.Mutation) error {
		for _, m := range ms {
			deleted = append(deleted, m.Deletes...)
			if len(m.Changes) > 0 && m.Changes[0].ID == "3" {
				stop()
			}
		}
		return nil
	})
	if ctx.Err() == nil || !slices.Equal(deleted, []string{"0", "1"}) {
		t.Errorf("%v were deleted; %v", deleted, err)
	}
	do(stopping)
}
