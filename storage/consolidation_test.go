package storage

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"google.golang.org/protobuf/encoding/protowire"
	"pgregory.net/rapid"

	"engram/index"
	"engram/memory"
)

// consolidating merges what is near in a namespace.
func consolidating(namespace string, durable bool, request string) step {
	return step{"consolidate " + namespace, func(w *world) error {
		_, err := w.db.Consolidate(context.Background(), &memory.Consolidate{
			Namespace: namespace, By: &memory.Consolidation{Similarity: 0.99}, RequestID: request, Digest: sha256.Sum256([]byte(request)),
		})
		return err
	}, durable}
}

// What a configuration, a mutation and a record say of consolidation comes back, and that a
// mutation takes it away.
func TestConsolidationComesBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		by := memory.Consolidation{
			Similarity: rapid.Float64Range(0.001, 1).Draw(t, "similarity"),
			MinAge:     time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(t, "min age")),
		}
		if rapid.IntRange(0, 4).Draw(t, "none") == 0 {
			by = memory.Consolidation{}
		}
		want := memory.Config{Name: "n", Dimension: 2, ValueDimension: 2, Consolidation: by}
		c := cursor{b: appendConfig(nil, &want), version: version}
		if got := c.config("n"); c.err != nil || got != want || c.off != len(c.b) {
			t.Fatalf("%+v comes back as %+v: %v", want, got, c.err)
		}
		m, err := mutationOf(&journalFrame{data: appendMutation(nil, &memory.Mutation{Namespace: "n", Consolidation: &by})})
		if err != nil || *m.Consolidation != by {
			t.Fatalf("%+v comes back as %+v: %v", by, m, err)
		}
		rec := memory.Record{ID: "a", Key: []float32{1}}
		for range rapid.IntRange(0, memory.MaxSources).Draw(t, "sources") {
			rec.Sources = append(rec.Sources, memory.Source{ID: rapid.StringN(1, 9, -1).Draw(t, "id"), Time: rapid.Int64().Draw(t, "time")})
		}
		if rec.Sources != nil {
			rec.Spread = rapid.Float64Range(0, 3).Draw(t, "spread")
		}
		c = cursor{b: appendRecord(nil, &rec), version: version}
		var got memory.Record
		if c.record(&got, nil, nil, &memory.Config{Dimension: 1}); c.err != nil || !slices.Equal(got.Sources, rec.Sources) || got.Spread != rec.Spread || c.off != len(c.b) {
			t.Fatalf("%+v comes back as %+v: %v", rec, got, c.err)
		}
	})
}

// The bytes of what files have said since consolidation is; and what no one writes.
func TestConsolidationBytes(t *testing.T) {
	rec := memory.Record{ID: "a", Sources: []memory.Source{{ID: "b", Time: 1}, {ID: "cd", Time: -1}}, Spread: 0.5}
	want := []byte{36, 0xfa, 1, 22, 2, 1, 'b', 1, 0, 0, 0, 0, 0, 0, 0, 2, 'c', 'd', 255, 255, 255, 255, 255, 255, 255, 255, 0x81, 2, 0, 0, 0, 0, 0, 0, 0xe0, 0x3f}
	want[0] = byte(len(want) - 1)
	if b := appendMoreRecord(nil, &rec); !bytes.Equal(b, want) {
		t.Errorf("a record: %x, want %x", b, want)
	}
	cfg := memory.Config{Consolidation: memory.Consolidation{Similarity: 0.5, MinAge: 300}}
	if b := appendMoreConfig(nil, &cfg); !bytes.Equal(b, []byte{15, 0xf2, 1, 12, 9, 0, 0, 0, 0, 0, 0, 0xe0, 0x3f, 16, 0xac, 2}) {
		t.Errorf("a configuration: %x", b)
	}
	for name, b := range map[string][]byte{
		"a similarity":         {11, 0xf2, 1, 9, 9, 0, 0, 0, 0, 0, 0, 0xf8, 0x3f},
		"an age by itself":     {5, 0xf2, 1, 2, 16, 1},
		"a field":              {5, 0xf2, 1, 2, 24, 1},
		"one of another type":  {3, 0xf0, 1, 1},
		"an age of 584 years ": {23, 0xf2, 1, 20, 9, 0, 0, 0, 0, 0, 0, 0xe0, 0x3f, 16, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1},
	} {
		c := cursor{b: b, version: version}
		if c.moreConfig(new(memory.Config)); c.err == nil {
			t.Errorf("%s that there isn't is read", name)
		}
	}
	sources := func(inner ...byte) []byte {
		return appendBlock(nil, func(b []byte) []byte {
			return append(protowire.AppendTag(b, moreSources, protowire.BytesType), inner...)
		})
	}
	for name, b := range map[string][]byte{
		"none":              sources(1, 0),
		"too many":          sources(append([]byte{0x83, 0x12, 0x81, 2}, make([]byte, 2305)...)...),
		"fewer than said":   sources(10, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0),
		"more than said":    sources(11, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0),
		"a length too long": sources(200, 1),
		"a huge count":      sources(5, 255, 255, 255, 255, 15),
		"another type":      {3, 0xf8, 1, 1},
	} {
		c := cursor{b: b, version: version}
		if c.moreRecord(new(memory.Record)); c.err == nil {
			t.Errorf("sources: %s: they are read", name)
		}
	}
}

// consolidated is a history in which records are merged, one of them again, and changed after
// it.
func consolidated() []step {
	return []step{
		starting,
		{"create", func(w *world) error {
			_, err := w.db.CreateNamespace(context.Background(), &memory.CreateNamespace{Config: memory.Config{
				Name: "n", Metric: index.Cosine, Dimension: 2, ValueDimension: 2, Consolidation: memory.Consolidation{Similarity: 0.75, MinAge: time.Hour},
			}})
			return err
		}, true},
		storing("n", true, "", scripted("a", 10, 1, 2), scripted("b", 10, 2, 4), scripted("c", 10, -2, 1), scripted("d", 10, -2, 1.125)),
		rehearsing("n", true, "b"),
		consolidating("n", true, "r1"),
		storing("n", true, "", scripted("e", 10, 1, 2)),
		taking,
		consolidating("n", true, "r2"),
		updating("n", true, memory.MaskImportance, scripted("made-3", 0, 0, 0)),
		{"settings", func(w *world) error {
			return w.db.UpdateNamespace(context.Background(), &memory.UpdateNamespace{Name: "n", Consolidation: &memory.Consolidation{Similarity: 0.5}})
		}, true},
		stopping,
	}
}

// The files that were written with the first version that consolidates are read, by this
// server and all later ones, and its journal is what is written today.
func TestGoldenConsolidation(t *testing.T) {
	mem := vfs.NewMem()
	w := newWorld(mem)
	s := playIn(t, consolidated(), w)
	state := s.states[len(s.states)-1]
	if n := strings.Count(state, "Sources:[{ID:a "); n != 1 || !strings.Contains(state, "{ID:e ") {
		t.Fatalf("the history is\n%s", state)
	}
	written := contents(t, mem)
	dir := filepath.Join("testdata", "consolidated")
	if *update {
		err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o777), os.WriteFile(dir+".txt", []byte(state), 0o666))
		for name, b := range written {
			err = errors.Join(err, os.WriteFile(filepath.Join(dir, name), []byte(b), 0o666))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	files := make(map[string]string)
	names, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		b, err := os.ReadFile(filepath.Join(dir, n.Name()))
		if err != nil {
			t.Fatal(err)
		}
		files[n.Name()] = string(b)
		if strings.HasPrefix(n.Name(), segmentPrefix) && string(b) != written[n.Name()] {
			t.Errorf("%s is not what is written today", n.Name())
		}
	}
	if !slices.Equal(slices.Sorted(maps.Keys(files)), slices.Sorted(maps.Keys(written))) {
		t.Errorf("the golden files are %v, and those written %v", slices.Sorted(maps.Keys(files)), slices.Sorted(maps.Keys(written)))
	}
	want, err := os.ReadFile(dir + ".txt")
	if err != nil {
		t.Fatal(err)
	}
	w = newWorld(withFiles(t, files))
	if _, err := w.start(); err != nil {
		t.Fatal(err)
	}
	if d := differ(dump(w.db), string(want)); d != "" {
		t.Error(d)
	}
	if err := w.stop(); err != nil {
		t.Fatal(err)
	}
}

// What is merged, by request and in the background, gives the same state when it is replayed,
// behind a snapshot or without, and what waits to be merged is merged after it as before.
func TestConsolidationReplay(t *testing.T) {
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
			Name: "n", Metric: index.Cosine, Dimension: 2, ValueDimension: 2, Consolidation: memory.Consolidation{Similarity: 0.95, MinAge: time.Minute},
			KeyEncoding: rapid.SampledFrom([]index.Encoding{index.F32, index.Int8Only, index.BF16}).Draw(t, "encoding"),
		}}); err != nil {
			t.Fatal(err)
		}
		for round := range rapid.IntRange(1, 6).Draw(t, "rounds") {
			puts := make([]memory.Put, rapid.IntRange(1, 12).Draw(t, "records"))
			for i := range puts {
				puts[i] = scripted(fmt.Sprintf("%d-%d", round, i), 20, float32(rapid.IntRange(1, 9).Draw(t, "x")), float32(rapid.IntRange(-9, 9).Draw(t, "y")))
			}
			do(storing("n", true, "", puts...), rehearsing("n", true, fmt.Sprint(round, "-0")))
			w.clock.move(rapid.SampledFrom([]time.Duration{time.Second, time.Minute}).Draw(t, "passes"))
			switch rapid.IntRange(0, 2).Draw(t, "merge") {
			case 0:
				do(consolidating("n", true, fmt.Sprint("r", round)))
			case 1:
				if err := w.db.ConsolidateDue(ctx); err != nil {
					t.Fatal(err)
				}
			}
			if rapid.IntRange(0, 3).Draw(t, "snapshot") == 0 {
				do(taking)
			}
			// A pass may be made in the background at any time, but not between two dumps
			// that are equal.
			before, crashed := "", vfs.FS(nil)
			for before == "" || before != dump(w.db) {
				before, crashed = dump(w.db), w.fs.(*vfs.MemFS).CrashClone(vfs.CrashCloneCfg{})
			}
			do(stopping)
			w.fs = crashed
			do(starting)
			if after := dump(w.db); after != before {
				t.Fatalf("it was\n%s\nand is\n%s", before, after)
			}
		}
		do(stopping)
	})
}

// Watch tells in one mutation what was merged, and into what.
func TestWatchOfConsolidation(t *testing.T) {
	w := newWorld(vfs.NewCrashableMem())
	for _, s := range []step{starting, storing("n", true, "", scripted("a", 10, 1, 2), scripted("b", 10, 1, 2), scripted("c", 10, 0, 1)), consolidating("n", true, "")} {
		w.clock.move(time.Second)
		if err := s.do(w); err != nil {
			t.Fatal(err)
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	after := memory.LSN(0)
	seen := 0
	err := w.db.Watch(ctx, "n", &after, func(ms []*memory.Mutation) error {
		for _, m := range ms {
			if len(m.Deletes) == 0 {
				continue
			}
			seen++
			if !slices.Equal(m.Deletes, []string{"a", "b"}) || len(m.Changes) != 1 || m.Changes[0].Mask != memory.MaskAll || len(m.Changes[0].Sources) != 2 || m.Changes[0].Text != "a a a a a \nb b b b b " {
				t.Errorf("it tells %+v", m)
			}
			stop()
		}
		return nil
	})
	if seen != 1 {
		t.Errorf("%d mutations: %v", seen, err)
	}
	if err := w.stop(); err != nil {
		t.Fatal(err)
	}
}
