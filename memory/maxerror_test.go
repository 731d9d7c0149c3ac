package memory

import (
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"engram/index"
	"engram/internal/slab"
	"engram/memory/filter"
)

// With MaxError, of two namespaces in tight clusters, each with an index and with records that
// came after it and that went, few records are read, and the answer is within the bound of
// what all of them give; with filters, windows, biases, several heads and a record left out.
func TestAttendMaxError(t *testing.T) {
	const dim, records, maxError = 64, 12_000, 1e-3
	db := newDB(Options{Pool: slab.NewPool(1 << 30)}, sizes{segmentRows: 2048, indexRows: 1 << 20, compactRows: 64, ivfRows: 4000})
	defer func() { _ = db.Close() }()
	r := rand.New(rand.NewPCG(51, 52))
	centers := make([][]float32, 60) // fewer than lists, so that hardly any has two
	for i := range centers {
		centers[i] = make([]float32, dim)
		for j := range centers[i] {
			centers[i][j] = float32(r.NormFloat64())
		}
	}
	near := func() []float32 {
		v := append([]float32(nil), centers[r.IntN(len(centers))]...)
		for i := range v {
			v[i] += float32(r.NormFloat64()) / 100
		}
		return v
	}
	value := func() []float32 {
		v := make([]float32, dim)
		for i := range v {
			v[i] = float32(r.NormFloat64())
		}
		return v
	}
	var views []*View
	for _, name := range []string{"n", "m"} {
		if _, err := db.CreateNamespace(t.Context(), &CreateNamespace{Config{
			Name: name, Metric: index.Cosine, Dimension: dim, ValueDimension: dim, Recall: 0.9}}); err != nil {
			t.Fatal(err)
		}
		store := func(from, to int) {
			for ; from < to; from += 500 {
				var puts []Put
				for i := range 500 {
					p := Put{Record: Record{ID: fmt.Sprint(from + i), Key: near(), Value: value(), Session: []string{"in", "out"}[i%2]}}
					p.Importance, p.HasImportance = float32(1+i%9)/10, true
					p.Position, p.HasPosition = int64(from+i), true
					puts = append(puts, p)
				}
				mustStore(t, db, name, puts...)
			}
		}
		store(0, records)
		eventually(t, "there is an index", func() bool {
			v := view(t, db, name)
			defer v.Release()
			return v.ivf != nil && v.ivfJob(db) == nil
		})
		store(records, records+500)
		if _, err := db.Delete(t.Context(), &Delete{Namespace: name, IDs: []string{"3", "77", "12001"}}); err != nil {
			t.Fatal(err)
		}
		v := view(t, db, name)
		defer v.Release()
		views = append(views, v)
	}
	in := &filter.Filter{Cond: &filter.Condition{Field: filter.FieldSession, Op: filter.OpEquals, Values: []filter.Scalar{filter.String("in")}}}
	if bad := in.Validate(filter.DefaultLimits()); len(bad) > 0 {
		t.Fatal(bad)
	}
	longest := 0.0
	for _, v := range views {
		for ref := range refsOf(v) {
			longest = max(longest, index.Norm(v.At(ref, IncludeAll).Value))
		}
	}
	before := int64(9000)
	scale := 100.0
	options := map[string]AttendOptions{
		"plain":                 {},
		"filter":                {Filter: in},
		"window":                {Window: Window{BeforePosition: &before}},
		"importance":            {ImportanceWeight: 1.5},
		"importance that rises": {ImportanceWeight: -1},
		"retention":             {RetentionWeight: 2},
		"retention that rises":  {ImportanceWeight: 1, RetentionWeight: -1},
		"slopes":                {Slopes: []float64{1e-3, 1e-5}, QueryHeads: 2},
		"heads":                 {QueryHeads: 3},
		"diffuse":               {Scale: new(float64)},
	}
	for _, name := range slices.Sorted(maps.Keys(options)) {
		opt := options[name]
		t.Run(name, func(t *testing.T) {
			opt.QueryHeads = max(1, opt.QueryHeads)
			if opt.Scale == nil {
				opt.Scale = &scale
			}
			var queries []Query
			for i := range 3 {
				q := Query{Position: 8000}
				for range opt.QueryHeads {
					q.Vector = append(q.Vector, near()...)
				}
				if i == 1 {
					q.Exclude = &Exclude{1, "5"}
				}
				queries = append(queries, q)
			}
			want, _, err := db.Attend(t.Context(), views, queries, opt)
			if err != nil {
				t.Fatal(err)
			}
			opt.MaxError = maxError
			got, stats, err := db.Attend(t.Context(), views, queries, opt)
			if err != nil {
				t.Fatal(err)
			}
			spared := 0
			for q := range queries {
				for h := range opt.QueryHeads {
					g, w := got[q].Heads[h], want[q].Heads[h]
					off := 0.0
					for k := h * dim; k < (h+1)*dim; k++ {
						off += math.Pow(float64(got[q].Context[k])-float64(want[q].Context[k]), 2)
					}
					if off = math.Sqrt(off); g.ErrorBound > maxError || off > (g.ErrorBound+1e-5)*longest {
						t.Errorf("query %d, head %d: off by %g, with the bound %g·%g", q, h, off, g.ErrorBound, longest)
					}
					if lost := w.LogSumExp - g.LogSumExp; lost < -1e-5 || lost > -math.Log(1-g.ErrorBound/2)+1e-5 {
						t.Errorf("query %d, head %d: the log-sum-exp lacks %g, with the bound %g", q, h, lost, g.ErrorBound)
					}
					if 4*g.Attended < w.Attended {
						spared++
					}
				}
			}
			all := len(queries) * opt.QueryHeads
			switch name {
			case "diffuse", "importance that rises", "retention that rises":
				if spared > 0 || stats.ListsProbed > 0 {
					t.Errorf("%d heads of %d were spared something: %+v", spared, all, stats)
				}
			default:
				// How tight a list is depends on the training, and where several heads share a
				// pass, that may be less work than their lists.
				if spared == 0 || stats.ListsProbed == 0 || stats.RowsScanned >= int64(len(queries))*2*records {
					t.Errorf("%d heads of %d were spared something: %+v", spared, all, stats)
				}
			}
		})
	}
}
