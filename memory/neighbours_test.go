package memory

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"google.golang.org/protobuf/types/known/structpb"
	"pgregory.net/rapid"

	"engram/index"
	"engram/internal/slab"
	"engram/memory/filter"
)

// naiveNeighbours gives the ids around one record among those of its session that keep
// lets through.
func naiveNeighbours(records []Record, id string, before, after int, keep func(*Record) bool) (ids [2][]string) {
	records = slices.Clone(records)
	slices.SortFunc(records, func(a, b Record) int { return TimeAsc.compare(PositionOf(&a), PositionOf(&b)) })
	here := slices.IndexFunc(records, func(r Record) bool { return r.ID == id })
	for i, r := range records {
		if i == here || r.Session != records[here].Session || !keep(&r) {
			continue
		}
		side := 0
		if i > here {
			side = 1
		}
		ids[side] = append(ids[side], r.ID)
	}
	ids[0] = ids[0][max(0, len(ids[0])-before):]
	ids[1] = ids[1][:min(len(ids[1]), after)]
	return ids
}

func idsOf(v *View, refs []Ref) (ids []string) {
	for _, ref := range refs {
		ids = append(ids, v.At(ref, 0).ID)
	}
	return ids
}

// drawTalk makes a namespace "n" of a metric and dimension, with sessions that lie together
// or are mixed, in the order of time or not, with updates and deletes, in small segments,
// with and without indexes.
func drawTalk(t *rapid.T, cfg Config, key func() []float32) *DB {
	rows := rapid.SampledFrom([]uint32{64, 128, 1024}).Draw(t, "rows of a segment")
	db := newDB(Options{Pool: slab.NewPool(1 << 30), Clock: new(ticking)}, sizes{segmentRows: rows, indexRows: 16, compactRows: 64, ivfRows: 1 << 30})
	ctx := context.Background()
	cfg.Name = "n"
	if _, err := db.CreateNamespace(ctx, &CreateNamespace{cfg}); err != nil {
		t.Fatal(err)
	}
	sessions := rapid.IntRange(0, 6).Draw(t, "sessions")
	each := rapid.IntRange(1, 100).Draw(t, "run")
	scattered := rapid.Bool().Draw(t, "scattered")
	number := 0
	put := func(id int) Put {
		p := Put{Record: Record{ID: fmt.Sprint(id), Key: key()}}
		if s := number / each % (sessions + 1); s > 0 {
			p.Session = fmt.Sprint("s", s)
		}
		p.Speaker = rapid.SampledFrom([]string{"", "Ann", "Bob", "Cy"}).Draw(t, "speaker")
		topic := rapid.SampledFrom([]any{nil, 0, 1.0, "1", true, []any{1.0}, map[string]any{"a": 1.0}}).Draw(t, "topic")
		if topic != 0 {
			fields, err := structpb.NewStruct(map[string]any{"about": map[string]any{"topic": topic}})
			if err != nil {
				t.Fatal(err)
			}
			if p.Metadata, err = filter.EncodeMetadata(fields); err != nil {
				t.Fatal(err)
			}
		}
		if scattered {
			p.Time, p.HasTime = int64(rapid.IntRange(0, 20).Draw(t, "time")), true
		}
		number++
		return p
	}
	store := func(ids ...int) {
		puts := make([]Put, len(ids))
		for i, id := range ids {
			puts[i] = put(id)
		}
		if _, err := db.Store(ctx, &Store{Namespace: "n", Records: puts}); err != nil {
			t.Fatal(err)
		}
	}
	n := rapid.IntRange(1, 300).Draw(t, "records")
	for number < n {
		var batch []int
		for range min(n-number, rapid.IntRange(1, 50).Draw(t, "batch")) {
			batch = append(batch, number+len(batch))
		}
		store(batch...)
	}
	for range rapid.IntRange(0, 5).Draw(t, "updates") {
		store(rapid.IntRange(0, n-1).Draw(t, "id"))
	}
	for range rapid.IntRange(0, 5).Draw(t, "deletes") {
		if _, err := db.Delete(ctx, &Delete{Namespace: "n", IDs: []string{fmt.Sprint(rapid.IntRange(0, n-1).Draw(t, "id"))}}); err != nil {
			t.Fatal(err)
		}
	}
	if rapid.Bool().Draw(t, "settled") {
		settle(t, db)
	}
	return db
}

// drawSpeaker is a filter by one speaker, or none, and what it says of a record.
func drawSpeaker(t *rapid.T) (*filter.Filter, func(*Record) bool) {
	if rapid.Bool().Draw(t, "all") {
		return nil, func(*Record) bool { return true }
	}
	f := &filter.Filter{Cond: &filter.Condition{Field: filter.FieldSpeaker, Op: filter.OpEquals, Values: []filter.Scalar{filter.String("Ann")}}}
	return f, func(r *Record) bool { return r.Speaker == "Ann" }
}

// Neighbours are those of the naive order.
func TestNeighbours(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		db := drawTalk(t, Config{Metric: index.Dot, Dimension: 1, ValueDimension: 1}, func() []float32 { return []float32{1} })
		defer func() { _ = db.Close() }()
		v, err := db.View("n")
		if err != nil {
			t.Fatal(err)
		}
		defer v.Release()
		f, keep := drawSpeaker(t)
		all, _, _ := v.List(ListOptions{N: 1000})
		if len(all) == 0 {
			return
		}
		var refs []Ref
		var asked []string
		for range rapid.IntRange(1, 20).Draw(t, "hits") {
			id := rapid.SampledFrom(all).Draw(t, "hit").ID
			ref, _ := v.Find(id)
			refs, asked = append(refs, ref), append(asked, id)
		}
		before, after := rapid.IntRange(0, 4).Draw(t, "before"), rapid.IntRange(0, 4).Draw(t, "after")
		for i, got := range v.Neighbours(refs, before, after, f) {
			want := naiveNeighbours(all, asked[i], before, after, keep)
			if b, a := idsOf(v, got.Before), idsOf(v, got.After); !slices.Equal(b, want[0]) || !slices.Equal(a, want[1]) {
				t.Fatalf("around %s of session %q are %q and %q, want %q and %q", asked[i], v.session(refs[i]), b, a, want[0], want[1])
			}
		}
	})
}
