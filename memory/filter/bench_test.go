package filter

import (
	"fmt"
	"testing"

	"engram/internal/slab"
)

// benchRows gives a column of each selectivity to a full segment.
func benchRows() records {
	rows := segment(MaxRows)
	for i := range rows {
		rows[i] = newRecord(rows[i].Fields, map[string]any{
			"id": fmt.Sprintf("call-%d", i), "percent": float64(i * 7919 % 100), "half": i*7919%2 == 0,
		})
	}
	return rows
}

func BenchmarkSelect(b *testing.B) {
	rows := benchRows()
	x, err := Build(slab.NewPool(poolBytes), rows, MaxRows, nil)
	if err != nil {
		b.Fatal(err)
	}
	defer x.Free()
	all := allRows(MaxRows)
	mask := make([]uint64, len(all))
	for _, shape := range []struct {
		name   string
		filter *Filter
	}{
		{"1", metadata(OpEquals, "id", String("call-40000"))},
		{"1%", metadata(OpEquals, "percent", Number(42))},
		{"50%", metadata(OpEquals, "half", Bool(true))},
		{"50%range", &Filter{Cond: &Condition{Path: []string{"percent"}, Op: OpRange, Range: Range{Lt: Number(50)}}}},
		{"50%time", &Filter{Cond: &Condition{Field: FieldTime, Op: OpRange, Range: Range{Lt: Time(MaxRows / 2 * 1e9)}}}},
	} {
		valid(b, shape.filter)
		for _, with := range []struct {
			name string
			idx  *Index
		}{{"index", x}, {"test", nil}} {
			b.Run(fmt.Sprintf("65536rows/%s/%s", shape.name, with.name), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					copy(mask, all)
					shape.filter.Select(mask, rows, MaxRows, with.idx)
				}
				b.ReportMetric(float64(count(mask)), "rows")
			})
		}
	}
}

func BenchmarkBuild(b *testing.B) {
	pool := slab.NewPool(poolBytes)
	for name, rows := range map[string]records{"ofFew": segment(MaxRows), "ofUnique": benchRows()} {
		b.Run("65536rows/3fields/"+name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				x, err := Build(pool, rows, MaxRows, nil)
				if err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(float64(x.Bytes())/MaxRows, "bytes/row")
				x.Free()
			}
		})
	}
}

func BenchmarkMatch(b *testing.B) {
	rows := segment(1)
	for _, f := range []struct {
		name   string
		filter *Filter
	}{
		{"metadata", metadata(OpEquals, "topic", String("x"))},
		{"speaker", field(FieldSpeaker, OpEquals, String("x"))},
	} {
		b.Run(f.name, func(b *testing.B) {
			for b.Loop() {
				f.filter.Match(&rows[0].Fields)
			}
		})
	}
}
