package memory

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"

	"pgregory.net/rapid"

	"engram/index"
	"engram/internal/slab"
	"engram/memory/filter"
)

// attendNaively is the reference for Attend, in float64: of each query the contexts of its
// heads one after the other, log-sum-exps, and how many records were attended.
func attendNaively(views []*View, q Query, opt AttendOptions, now int64) (context, lse []float64, attended int) {
	cfg := views[0].Config()
	heads := cfg.KVHeads
	d, dv, group := cfg.Dimension/heads, cfg.ValueDimension/heads, opt.QueryHeads/heads
	var all []Record
	for i, v := range views {
		for ref := range refsOf(v) {
			r := v.At(ref, IncludeAll)
			if opt.Filter != nil && r.Session != "in" {
				continue
			}
			w := &opt.Window
			if w.BeforeTime != nil && r.Time >= *w.BeforeTime || w.BeforeLSN != 0 && r.Created >= w.BeforeLSN {
				continue
			}
			if w.BeforePosition != nil && (!r.HasPosition || r.Position >= *w.BeforePosition) {
				continue
			}
			r.Text = fmt.Sprint(i) // its view
			all = append(all, r)
		}
	}
	slices.SortFunc(all, func(a, b Record) int {
		c := cmp.Or(cmp.Compare(a.Created, b.Created), cmp.Compare(a.Place, b.Place))
		if opt.Window.BeforePosition != nil {
			return cmp.Or(cmp.Compare(a.Position, b.Position), c)
		}
		return cmp.Or(cmp.Compare(a.Time, b.Time), c)
	})
	if last := opt.Window.Last; last > 0 {
		from := max(0, len(all)-last)
		all = append(all[:min(from, opt.Window.Sinks):min(from, opt.Window.Sinks)], all[from:]...)
	}
	if q.Exclude != nil {
		all = slices.DeleteFunc(all, func(r Record) bool { return r.ID == q.Exclude.ID && r.Text == fmt.Sprint(q.Exclude.View) })
	}
	for h := range opt.QueryHeads {
		scale := DefaultScale(cfg.Metric, d)
		if opt.Scale != nil {
			scale = *opt.Scale
		}
		type weighed struct {
			score, logit float64
			r            Record
		}
		var rows []weighed
		for _, r := range all {
			var dot, kk, qq, dist float64
			for i := range d {
				x, y := float64(q.Vector[h*d+i]), float64(r.Key[h/group*d+i])
				dot, kk, qq, dist = dot+x*y, kk+y*y, qq+x*x, dist+(x-y)*(x-y)
			}
			score := dot
			switch cfg.Metric {
			case index.Cosine:
				score = dot / math.Sqrt(kk*qq)
			case index.L2:
				score = -dist / 2
			}
			logit := scale*score + opt.ImportanceWeight*math.Log(float64(r.Importance))
			view, _ := strconv.Atoi(r.Text)
			logit += opt.RetentionWeight * math.Log(naiveRetention(views[view].Config().Retention, r.CreateTime, r.Rehearsed, now))
			if opt.Slopes != nil && r.HasPosition {
				logit -= opt.Slopes[h] * math.Abs(float64(q.Position-r.Position))
			}
			rows = append(rows, weighed{score, logit, r})
		}
		slices.SortStableFunc(rows, func(a, b weighed) int { return cmp.Compare(b.logit, a.logit) })
		if opt.TopK > 0 {
			rows = rows[:min(opt.TopK, len(rows))]
		}
		attended = len(rows)
		sum, most, out := 0.0, math.Inf(-1), make([]float64, dv)
		for _, w := range rows {
			most = max(most, w.logit)
		}
		for _, w := range rows {
			sum += math.Exp(w.logit - most)
		}
		for _, w := range rows {
			value := w.r.Value
			if value == nil {
				value = w.r.Key
			}
			for i := range out {
				out[i] += math.Exp(w.logit-most) / sum * float64(value[h/group*dv+i])
			}
		}
		context, lse = append(context, out...), append(lse, most+math.Log(sum))
	}
	return context, lse, attended
}

// refsOf goes through a view's live records.
func refsOf(v *View) func(func(Ref) bool) {
	return func(yield func(Ref) bool) {
		for i := range v.segments {
			for r := range v.segments[i].n {
				if !v.segments[i].isDead(r) && !yield(Ref{uint32(i), r}) {
					return
				}
			}
		}
	}
}

// Heads, masks, windows, sinks, bias and the best alone, together, over several namespaces,
// equal the reference.
func TestAttendProperties(t *testing.T) {
	in := &filter.Filter{Cond: &filter.Condition{Field: filter.FieldSession, Op: filter.OpEquals, Values: []filter.Scalar{filter.String("in")}}}
	if bad := in.Validate(filter.DefaultLimits()); len(bad) > 0 {
		t.Fatal(bad)
	}
	rapid.Check(t, func(rt *rapid.T) {
		clock := new(ticking)
		clock.ns.Store(1e18)
		db := New(Options{Pool: slab.NewPool(1 << 30), Clock: clock, RehearseAfter: time.Hour})
		defer func() { _ = db.Close() }()
		rnd := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 0))
		heads := rapid.SampledFrom([]int{1, 2, 3}).Draw(rt, "heads")
		group := rapid.SampledFrom([]int{1, 2}).Draw(rt, "group")
		metric := rapid.SampledFrom([]index.Metric{index.Dot, index.Cosine, index.L2}).Draw(rt, "metric")
		dv := rapid.SampledFrom([]int{3, 4}).Draw(rt, "value dim")
		vector := func(n int) []float32 {
			v := make([]float32, n)
			for i := range v {
				v[i] = rnd.Float32()*2 - 1
			}
			return v
		}
		var views []*View
		var lsns []LSN
		for v := range rapid.IntRange(1, 2).Draw(rt, "namespaces") {
			name := fmt.Sprint("n", v)
			cfg := Config{Name: name, Metric: metric, Dimension: 4 * heads, ValueDimension: dv * heads, KVHeads: heads, Retention: RetentionOf(time.Duration(1+v) * time.Second)}
			if _, err := db.CreateNamespace(t.Context(), &CreateNamespace{cfg}); err != nil {
				rt.Fatal(err)
			}
			for batch := range rapid.IntRange(0, 6).Draw(rt, "batches") {
				puts := make([]Put, 1+rnd.IntN(20))
				for i := range puts {
					r := Record{ID: fmt.Sprint(rnd.IntN(60), "-", i%20+batch%2*20), Key: vector(4 * heads), Session: []string{"in", "out"}[rnd.IntN(2)]}
					if dv != 4 || rnd.IntN(2) == 0 {
						r.Value = vector(dv * heads)
					}
					puts[i] = Put{Record: r}
					if rnd.IntN(2) == 0 {
						puts[i].Importance, puts[i].HasImportance = float32(1+rnd.IntN(9))/10, true
					}
					if rnd.IntN(3) > 0 {
						puts[i].Position, puts[i].HasPosition = int64(rnd.IntN(30)-10), true
					}
					if rnd.IntN(2) == 0 {
						puts[i].Time, puts[i].HasTime = 1e18+int64(rnd.IntN(20))*1e6, true
					}
				}
				lsns = append(lsns, mustStore(t, db, name, puts...).LSN)
			}
			clock.ns.Add(rnd.Int64N(3e9))
			before := view(t, db, name)
			var hits []Hit
			for ref := range refsOf(before) {
				if rnd.IntN(2) == 0 {
					hits = append(hits, Hit{Ref: ref})
				}
			}
			db.Rehearse([]*View{before}, [][]Hit{hits})
			before.Release()
			if err := db.CommitRehearsals(t.Context()); err != nil {
				rt.Fatal(err)
			}
			clock.ns.Add(rnd.Int64N(3e9))
			view := view(t, db, name)
			defer view.Release()
			views = append(views, view)
		}
		opt := AttendOptions{QueryHeads: heads * group, TopK: rapid.SampledFrom([]int{0, 0, 1, 5}).Draw(rt, "top k")}
		opt.Window.Last = rapid.SampledFrom([]int{0, 1, 7, 50, 1000}).Draw(rt, "last")
		opt.Window.Sinks = rapid.SampledFrom([]int{0, 1, 4}).Draw(rt, "sinks")
		if rapid.Bool().Draw(rt, "filtered") {
			opt.Filter = in
		}
		switch rapid.IntRange(0, 4).Draw(rt, "before") {
		case 1:
			at := int64(1e18 + 10e6)
			opt.Window.BeforeTime = &at
		case 2:
			if len(lsns) > 0 {
				opt.Window.BeforeLSN = lsns[rnd.IntN(len(lsns))]
			}
		case 3:
			at := int64(rnd.IntN(30) - 10)
			opt.Window.BeforePosition = &at
		}
		if rapid.Bool().Draw(rt, "by importance") {
			opt.ImportanceWeight = rapid.Float64Range(-2, 5).Draw(rt, "weight")
		}
		if rapid.Bool().Draw(rt, "by retention") {
			opt.RetentionWeight = rapid.Float64Range(-2, 5).Draw(rt, "weight of retention")
		}
		if rapid.Bool().Draw(rt, "by distance") {
			for range opt.QueryHeads {
				opt.Slopes = append(opt.Slopes, rnd.Float64()/4)
			}
		}
		queries := make([]Query, rapid.SampledFrom([]int{1, 2, 9}).Draw(rt, "queries"))
		for i := range queries {
			queries[i] = Query{Vector: vector(4 * heads * group), Position: int64(rnd.IntN(40))}
			if v := rnd.IntN(len(views)); rnd.IntN(3) == 0 {
				for ref := range refsOf(views[v]) {
					queries[i].Exclude = &Exclude{v, views[v].At(ref, 0).ID}
					break
				}
			}
		}
		got, _, err := db.Attend(t.Context(), views, queries, opt)
		if err != nil {
			rt.Fatal(err)
		}
		now := clock.ns.Load() // as Attend read it last
		for i, q := range queries {
			context, lse, attended := attendNaively(views, q, opt, now)
			for h, a := range got[i].Heads {
				if int(a.Attended) != attended || attended > 0 && math.Abs(a.LogSumExp-lse[h]) > 1e-5 || attended == 0 && !math.IsInf(a.LogSumExp, -1) {
					rt.Fatalf("query %d, head %d: %d records and %v, want %d and %v", i, h, a.Attended, a.LogSumExp, attended, lse[h])
				}
			}
			for k, want := range context {
				if x := float64(got[i].Context[k]); !(math.Abs(x-want) < 1e-5) && attended > 0 || attended == 0 && x != 0 {
					rt.Fatalf("query %d: component %d is %v, want %v", i, k, x, want)
				}
			}
		}
	})
}

// A key of which Int8Only rounded a head to zero is restored as it is, under COSINE too.
func TestHeadRoundedToZeroIsRestored(t *testing.T) {
	db := newTestDB(t)
	cfg := Config{Name: "n", Metric: index.Cosine, Dimension: 4, ValueDimension: 4, KVHeads: 2, KeyEncoding: index.Int8Only}
	if _, err := db.CreateNamespace(t.Context(), &CreateNamespace{cfg}); err != nil {
		t.Fatal(err)
	}
	mustStore(t, db, "n", put("a", 100, 3, 0.001, 0.002))
	v := view(t, db, "n")
	defer v.Release()
	restored := newTestDB(t)
	err := restored.Import(t.Context(), v.Config(), v.LSN(), func(yield func(*Record, error) bool) {
		v.Records(func(r *Record) bool { return yield(r, nil) })
	})
	if err != nil {
		t.Fatal(err)
	}
	w := view(t, restored, "n")
	defer w.Release()
	var was, is Record
	if !v.Get("a", &was, IncludeAll) || !w.Get("a", &is, IncludeAll) || !slices.Equal(was.Key, is.Key) || was.Key[2] != 0 || is.KeyLost == 0 {
		t.Errorf("got %+v, want %+v", is, was)
	}
	a, _, err := restored.Attend(t.Context(), []*View{w}, []Query{{Vector: []float32{1, 0, 1, 0}}}, AttendOptions{})
	if err != nil || a[0].Heads[1].LogSumExp != 0 {
		t.Errorf("got %+v, %v", a, err)
	}
}
