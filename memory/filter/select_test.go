package filter

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"engram/internal/slab"

	"pgregory.net/rapid"
)

const poolBytes = 1 << 30

func build(t testing.TB, src Source, n int, live []uint64) *Index {
	t.Helper()
	x, err := Build(slab.NewPool(poolBytes), src, n, live)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(x.Free)
	return x
}

// allRows has the bits of n rows set.
func allRows(n int) []uint64 {
	mask := make([]uint64, (n+63)/64)
	for i := range mask {
		mask[i] = ^uint64(0)
	}
	clipTo(mask, n)
	return mask
}

func has(mask []uint64, row int) bool { return mask[row/64]>>(row%64)&1 != 0 }

// Whatever the records, the filter, the rows that are eligible and how many of them an
// index covers: Select with it, Select without, Match and the naive evaluation agree.
func TestSelectAgreesWithMatch(t *testing.T) {
	pool := slab.NewPool(poolBytes)
	rapid.Check(t, func(t *rapid.T) {
		// Few distinct records in many rows make columns dense and indexes worth using.
		kinds := rapid.SliceOfN(rapid.Custom(drawRecord), 1, 12).Draw(t, "records")
		n := rapid.IntRange(1, 3000).Draw(t, "rows")
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		runs := rapid.SampledFrom([]int{1, 1, 50, 500}).Draw(t, "runs")
		rows := make(records, n)
		for i := 0; i < n; {
			r := kinds[rng.IntN(len(kinds))]
			for range 1 + rng.IntN(runs) {
				if i < n {
					rows[i] = r
					i++
				}
			}
		}
		live := allRows(n)
		for range rapid.IntRange(0, n).Draw(t, "dead") {
			row := rng.IntN(n)
			live[row/64] &^= 1 << (row % 64)
		}
		x, err := Build(pool, rows, rapid.IntRange(1, n).Draw(t, "indexed"), live)
		if err != nil {
			t.Fatal(err)
		}
		defer x.Free()

		for range 8 {
			f := valid(t, drawFilter(t, 3))
			without := append([]uint64(nil), live...)
			f.Select(without, rows, n, nil)
			with := append([]uint64(nil), live...)
			f.Select(with, rows, n, x)
			forced := append([]uint64(nil), live...)
			byIndex(f, forced, rows, x)
			for row := range n {
				alive := has(live, row)
				want := alive && naive(f, &rows[row])
				switch r := &rows[row]; {
				case alive && f.Match(&r.Fields) != want:
					t.Fatalf("row %d: Match is %v; record %v, %v", row, !want, r.Fields, r.metadata)
				case has(without, row) != want:
					t.Fatalf("row %d: Select without an index is %v; record %v, %v", row, !want, r.Fields, r.metadata)
				case has(with, row) != want:
					t.Fatalf("row %d: Select with an index is %v; record %v, %v", row, !want, r.Fields, r.metadata)
				case row < x.Rows() && has(forced, row) != want:
					t.Fatalf("row %d: the index alone is %v; record %v, %v", row, !want, r.Fields, r.metadata)
				}
			}
		}
	})
}

// byIndex selects from the index's rows, asking it all that it knows.
func byIndex(f *Filter, mask []uint64, src Source, x *Index) {
	p := x.plan(f, math.MaxInt32)
	var free func(p *plan)
	free = func(p *plan) {
		p.cost = -1
		for i := range p.kids {
			free(&p.kids[i])
		}
	}
	free(&p)
	mask = mask[:(x.rows+63)/64]
	clipTo(mask, x.rows)
	p.fit(mask, src, x)
}

func TestSelectNilFilter(t *testing.T) {
	mask := []uint64{^uint64(0), ^uint64(0), ^uint64(0)}
	(*Filter)(nil).Select(mask, records(nil), 70, nil)
	if mask[0] != ^uint64(0) || mask[1] != 1<<6-1 || mask[2] != 0 {
		t.Fatalf("mask is %x; want the first 70 rows", mask)
	}
}

// segment is 65,536 records of a long conversation with three metadata fields.
func segment(n int) records {
	rng := rand.New(rand.NewPCG(1, 2))
	rows := make(records, n)
	for i := range rows {
		rows[i] = newRecord(Fields{
			ID:         fmt.Sprintf("record-%d", i),
			Text:       "a sentence somebody said in the course of a conversation",
			Session:    fmt.Sprintf("session-%d", i/100),
			Speaker:    fmt.Sprintf("speaker-%d", rng.IntN(5)),
			Time:       int64(i)*1e9 + rng.Int64N(1e9),
			CreateTime: int64(i/64) * 1e9,
			UpdateTime: int64(i/64) * 1e9,
			Importance: 0.5,
		}, map[string]any{
			"topic":  fmt.Sprintf("topic-%d", rng.IntN(100)),
			"rating": float64(rng.IntN(1000)),
			"even":   i%2 == 0,
		})
	}
	return rows
}

func metadata(op Op, path string, values ...Scalar) *Filter {
	return &Filter{Cond: &Condition{Path: []string{path}, Op: op, Values: values}}
}

func field(f Field, op Op, values ...Scalar) *Filter {
	return &Filter{Cond: &Condition{Field: f, Op: op, Values: values}}
}

// Conditions that the index answers read no rows; others are tested on what those leave.
func TestSelectReadsFewRows(t *testing.T) {
	const n = 20_000
	rows := segment(n)
	x := build(t, rows, n, nil)
	topic := metadata(OpEquals, "topic", String("topic-7"))
	text := field(FieldText, OpContains, String("somebody"))
	ratings := &Filter{Cond: &Condition{Path: []string{"rating"}, Op: OpRange, Range: Range{Lt: Number(900)}}}
	eq := count(selected(rows, topic, n, nil))
	for _, test := range []struct {
		name   string
		filter *Filter
		most   int
	}{
		{"equals", topic, 0},
		{"in", metadata(OpIn, "topic", String("topic-1"), String("topic-2"), Number(4)), 0},
		{"unselective range", ratings, 0},
		{"range of times", &Filter{Cond: &Condition{Field: FieldTime, Op: OpRange, Range: Range{Gte: Time(5e9), Lt: Time(9e12)}}}, 0},
		{"prefix", metadata(OpPrefix, "topic", String("topic-1")), 0},
		{"substring of few distinct strings", metadata(OpContains, "topic", String("c-9")), 0},
		{"session", field(FieldSession, OpEquals, String("session-3")), 0},
		{"exists", &Filter{Cond: &Condition{Path: []string{"topic"}, Op: OpExists, Exists: true}}, 0},
		{"exists not", &Filter{Cond: &Condition{Path: []string{"topic"}, Op: OpExists}}, 0},
		{"a path that no record has", metadata(OpEquals, "nowhere", Number(1)), 0},
		{"a value of another type", metadata(OpEquals, "topic", Number(7)), 0},
		{"not", &Filter{Not: topic}, 0},
		{"any of indexed ones", &Filter{Any: []*Filter{topic, ratings}}, 0},
		{"text", text, n},
		{"a selective condition before a test", &Filter{All: []*Filter{text, topic}}, eq},
		{"nothing left to test", &Filter{All: []*Filter{text, metadata(OpEquals, "topic", Bool(true))}}, 0},
		{"tests are made together", &Filter{All: []*Filter{text, field(FieldID, OpPrefix, String("record")), topic}}, eq},
		{"any tests what the index leaves", &Filter{Any: []*Filter{text, &Filter{Not: topic}}}, eq},
		{"few rows are tested", &Filter{All: []*Filter{ratings, field(FieldSession, OpEquals, String("session-3"))}}, 100},
	} {
		t.Run(test.name, func(t *testing.T) {
			valid(t, test.filter)
			mask := allRows(n)
			if tested := test.filter.selectRows(mask, rows, n, x); tested > test.most {
				t.Errorf("%d rows are read; want at most %d", tested, test.most)
			}
			want := selected(rows, test.filter, n, nil)
			for i := range want {
				if mask[i] != want[i] {
					t.Fatalf("word %d is %x; by test it is %x", i, mask[i], want[i])
				}
			}
		})
	}
}

func selected(src Source, f *Filter, n int, x *Index) []uint64 {
	mask := allRows(n)
	f.Select(mask, src, n, x)
	return mask
}

// An index is never worse than a test of every eligible row.
func TestSelectReadsNoRowTwice(t *testing.T) {
	rows := segment(3000)
	x := build(t, rows, 2000, nil)
	rapid.Check(t, func(t *rapid.T) {
		f := valid(t, drawFilter(t, 3))
		mask := allRows(3000)
		for range rapid.IntRange(0, 40).Draw(t, "words") {
			mask[rapid.IntRange(0, len(mask)-1).Draw(t, "word")] = 0
		}
		eligible := count(mask)
		if tested := f.selectRows(mask, rows, 3000, x); tested > eligible {
			t.Fatalf("%d rows are read of %d eligible ones", tested, eligible)
		}
	})
}

func TestSelectFewEligibleRows(t *testing.T) {
	rows := segment(3000)
	x := build(t, rows, 3000, nil)
	mask := make([]uint64, 3000/64+1)
	mask[20] = 0b111
	f := valid(t, metadata(OpPrefix, "topic", String("topic-")))
	if tested := f.selectRows(mask, rows, 3000, x); tested != 3 || mask[20] != 0b111 {
		t.Fatalf("%d rows are read, %b left; want the 3 eligible ones tested and kept", tested, mask[20])
	}
}

func TestBuildRefuses(t *testing.T) {
	rows := segment(2000)
	if _, err := Build(slab.NewPool(1024), rows, 2000, nil); !errors.Is(err, slab.ErrBudget) {
		t.Errorf("over the budget: %v; want ErrBudget", err)
	}
	for _, n := range []int{0, MaxRows + 1} {
		if _, err := Build(slab.NewPool(poolBytes), rows, n, nil); err == nil || !strings.Contains(err.Error(), fmt.Sprint(n)) {
			t.Errorf("%d rows: %v; want an error that says so", n, err)
		}
	}
}

func TestFreeGivesBackAll(t *testing.T) {
	pool := slab.NewPool(poolBytes)
	x, err := Build(pool, segment(2000), 2000, nil)
	if err != nil {
		t.Fatal(err)
	}
	if x.Bytes() != pool.InUse() || x.Rows() != 2000 {
		t.Errorf("%d bytes over %d rows; the pool has %d in use for 2000", x.Bytes(), x.Rows(), pool.InUse())
	}
	if x.Free(); pool.InUse() != 0 {
		t.Errorf("%d bytes in use after Free", pool.InUse())
	}
}

// What a row takes in the index, stated in the documents, doesn't creep up.
func TestBytesARow(t *testing.T) {
	x := build(t, segment(MaxRows), MaxRows, nil)
	if got := float64(x.Bytes()) / MaxRows; got > 22 {
		t.Errorf("%.1f bytes a row for five fields and three metadata paths; want at most 22", got)
	} else {
		t.Logf("%.1f bytes a row", got)
	}
}

// More paths than are indexed, and more values than fit: the rest is tested.
func TestBuildBounds(t *testing.T) {
	const n = 300
	many, wide, deep := make(records, n), make(records, n), make(records, n)
	for i := range n {
		object := map[string]any{"common": float64(i % 3)}
		for j := range 100 {
			if (i+j)%3 > 0 {
				object[fmt.Sprintf("k%d", (i*7+j)%2000)] = float64(j)
			}
		}
		many[i] = newRecord(Fields{}, object)

		list := make([]any, 100)
		for j := range list {
			list[j] = float64(i + j)
		}
		wide[i] = newRecord(Fields{}, map[string]any{"list": list, "k5": "v", "common": float64(i % 3)})

		nested := map[string]any{"k": "leaf"}
		for range maxIndexedKeys + 2 {
			nested = map[string]any{"k": nested}
		}
		nested["common"] = float64(i % 3)
		deep[i] = newRecord(Fields{}, nested)
	}
	path := make([]string, maxIndexedKeys+3)
	for i := range path {
		path[i] = "k"
	}
	for name, rows := range map[string]records{"many paths": many, "long arrays": wide, "deep nesting": deep} {
		t.Run(name, func(t *testing.T) {
			x := build(t, rows, n, nil)
			if x.complete {
				t.Error("the index takes itself for complete")
			}
			if _, ok := x.find(metadata(OpEquals, "common", Number(1)).Cond); !ok {
				t.Error("the most frequent path isn't indexed")
			}
			for _, f := range []*Filter{
				metadata(OpEquals, "common", Number(1)),
				metadata(OpEquals, "list", Number(150)),
				metadata(OpContains, "list", Number(150)),
				metadata(OpEquals, "k1999", Number(3)),
				metadata(OpEquals, "k5", Number(3)),
				{Cond: &Condition{Path: path, Op: OpEquals, Values: []Scalar{String("leaf")}}},
				{Cond: &Condition{Path: path[1:], Op: OpExists, Exists: true}},
			} {
				got := selected(rows, f, n, x)
				for row := range n {
					if want := naive(f, &rows[row]); has(got, row) != want {
						t.Fatalf("%v: row %d is %v; want %v", f.Cond, row, !want, want)
					}
				}
			}
		})
	}
}
