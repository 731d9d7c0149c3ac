package memory

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"engram/index"
	"engram/internal/slab"
	"engram/memory/filter"
)

// naiveResemblance is Diversity's of two keys, from the distance D.
func naiveResemblance(metric index.Metric, a, b []float32, d float64) float64 {
	var dot, aa, bb, dd float64
	for i := range a {
		x, y := float64(a[i]), float64(b[i])
		dot, aa, bb, dd = dot+x*y, aa+x*x, bb+y*y, dd+(x-y)*(x-y)
	}
	switch {
	case metric == index.L2 && d == 0:
		return 1
	case metric == index.L2:
		return max(0, 1-dd/(d*d))
	case aa == 0 || bb == 0:
		return 0
	}
	return max(0, dot/math.Sqrt(aa*bb))
}

// naiveScores are the metric's of all records.
func naiveScores(metric index.Metric, q []float32, all []Record) map[string]float64 {
	out := map[string]float64{}
	for _, r := range all {
		var dot, qq, kk, dd float64
		for i := range q {
			x, y := float64(q[i]), float64(r.Key[i])
			dot, qq, kk, dd = dot+x*y, qq+x*x, kk+y*y, dd+(x-y)*(x-y)
		}
		switch metric {
		case index.Dot:
			out[r.ID] = dot
		case index.Cosine:
			out[r.ID] = dot / math.Sqrt(qq*kk)
		default:
			out[r.ID] = -dd / 2
		}
	}
	return out
}

// checkDiversity follows an answer step by step: at each, the pick's value must be the
// greatest that the definition gives, but for rounding.
func checkDiversity(t *rapid.T, metric index.Metric, d Diversity, candidates []Record, score map[string]float64, picks []Record, lost []float32) {
	const tolerance = 1e-4
	most, least := math.Inf(-1), math.Inf(1)
	for _, r := range candidates {
		most, least = max(most, score[r.ID]), min(least, score[r.ID])
	}
	relevance := func(r *Record) float64 {
		if most-least < 1e-9 {
			return 1
		}
		return (score[r.ID] - least) / (most - least)
	}
	if score[picks[0].ID] < most-1e-5 {
		t.Fatalf("the first is %q, not the best", picks[0].ID)
	}
	far := 0.0
	for _, r := range candidates {
		dd := 0.0
		for i := range r.Key {
			dd += math.Pow(float64(r.Key[i])-float64(picks[0].Key[i]), 2)
		}
		far = max(far, math.Sqrt(dd))
	}
	resemblance := func(r *Record, n int) (most float64) {
		for i := range picks[:n] {
			most = max(most, naiveResemblance(metric, r.Key, picks[i].Key, far))
		}
		return most
	}
	for n := 1; n < len(picks); n++ {
		best := math.Inf(-1)
		for i := range candidates {
			if r := &candidates[i]; !slices.ContainsFunc(picks[:n], func(p Record) bool { return p.ID == r.ID }) {
				best = max(best, (1-d.Weight)*relevance(r)-d.Weight*resemblance(r, n))
			}
		}
		took := d.Weight * resemblance(&picks[n], n)
		if got := (1-d.Weight)*relevance(&picks[n]) - took; math.Abs(got-best) > tolerance {
			t.Fatalf("hit %d, %q, has %v, the best of those left %v", n, picks[n].ID, got, best)
		}
		if math.Abs(took-float64(lost[n])) > tolerance {
			t.Fatalf("hit %d lost %v, want %v", n, lost[n], took)
		}
	}
}

// keyDrawn draws keys of a few whole numbers, with many equal ones; none is zero.
func keyDrawn(t *rapid.T) func() []float32 {
	return func() []float32 {
		k := []float32{float32(rapid.IntRange(1, 3).Draw(t, "x")), float32(rapid.IntRange(-2, 2).Draw(t, "y")), 0}
		k[2] = float32(rapid.IntRange(-1, 1).Draw(t, "z"))
		return k
	}
}

var drawMetric = rapid.SampledFrom([]index.Metric{index.Dot, index.Cosine, index.L2})

func TestDiversityAgainstDefinition(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		metric := drawMetric.Draw(t, "metric")
		db := drawTalk(t, Config{Metric: metric, Dimension: 3, ValueDimension: 3}, keyDrawn(t))
		defer func() { _ = db.Close() }()
		v, err := db.View("n")
		if err != nil {
			t.Fatal(err)
		}
		defer v.Release()
		f, keep := drawSpeaker(t)
		q := Query{Vector: keyDrawn(t)()}
		d := Diversity{rapid.SampledFrom([]float64{0, 0.3, 0.5, 1}).Draw(t, "weight"), rapid.IntRange(1, 40).Draw(t, "candidates")}
		opt := RetrieveOptions{K: rapid.IntRange(1, 15).Draw(t, "k"), Filter: f, MinScore: float32(math.Inf(-1)), Diversity: &d}
		plain := opt
		plain.Diversity, plain.K = nil, opt.candidates()
		views := []*View{v}
		best, _, err := db.Retrieve(context.Background(), views, []Query{q}, plain)
		if err != nil {
			t.Fatal(err)
		}
		got, _, err := db.Retrieve(context.Background(), views, []Query{q}, opt)
		if err != nil {
			t.Fatal(err)
		}
		if want := min(opt.K, len(best[0])); len(got[0]) != want {
			t.Fatalf("%d hits, want %d", len(got[0]), want)
		}
		if len(got[0]) == 0 {
			return
		}
		record := func(h Hit) Record { return v.At(h.Ref, IncludeKey) }
		var candidates, picks []Record
		var lost []float32
		for _, h := range best[0] {
			candidates = append(candidates, record(h))
		}
		for _, h := range got[0] {
			picks, lost = append(picks, record(h)), append(lost, h.Diversity)
			if r := record(h); !keep(&r) {
				t.Fatalf("%q doesn't match", r.ID)
			}
		}
		checkDiversity(t, metric, d, candidates, naiveScores(metric, q.Vector, candidates), picks, lost)
		if d.Weight == 0 {
			for i := range got[0] {
				if got[0][i].Ref != best[0][i].Ref {
					t.Fatalf("without weight, hit %d is another", i)
				}
			}
		}
	})
}

// Of equals the older comes first, whatever the order of segments and updates.
func TestDiversityTies(t *testing.T) {
	db := newTestDB(t)
	mustStore(t, db, "n", put("a", 1, 0), put("b", 0, 1), put("c", 0, 1), put("d", 0, 1))
	mustStore(t, db, "n", put("b", 0, 1)) // now behind the others
	v := view(t, db, "n")
	defer v.Release()
	opt := RetrieveOptions{K: 4, MinScore: -2, Diversity: &Diversity{0.5, 4}}
	hits, _, err := db.Retrieve(t.Context(), []*View{v}, []Query{{Vector: []float32{1, 0}}}, opt)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, h := range hits[0] {
		got = append(got, v.At(h.Ref, 0).ID)
	}
	if !slices.Equal(got, []string{"a", "b", "c", "d"}) {
		t.Errorf("the hits are %q", got)
	}
	if hits[0][0].Diversity != 0 || hits[0][1].Diversity != 0 || hits[0][3].Diversity != 0.5 {
		t.Errorf("%+v", hits[0])
	}
}

// Equal keys resemble each other wholly, where there is no distance to measure by.
func TestDiversityOfEqualKeys(t *testing.T) {
	for _, metric := range []index.Metric{index.Dot, index.Cosine, index.L2} {
		db := newTestDB(t)
		if _, err := db.CreateNamespace(t.Context(), &CreateNamespace{Config{Name: "n", Metric: metric, Dimension: 2, ValueDimension: 2}}); err != nil {
			t.Fatal(err)
		}
		mustStore(t, db, "n", put("a", 3, 4), put("b", 3, 4))
		v := view(t, db, "n")
		hits, _, err := db.Retrieve(t.Context(), []*View{v}, []Query{{Vector: []float32{1, 0}}}, RetrieveOptions{K: 2, MinScore: -99, Diversity: &Diversity{0.25, 2}})
		v.Release()
		if err != nil || len(hits[0]) != 2 || math.Abs(float64(hits[0][1].Diversity)-0.25) > 1e-6 || hits[0][0].Score != hits[0][1].Score {
			t.Errorf("metric %d: %+v, %v", metric, hits, err)
		}
	}
}

// The picks, and what diversity took, have the same bits on every processor and in any
// batch: those that a run on another one gave.
func TestDiversityBits(t *testing.T) {
	for metric, want := range map[index.Metric]uint64{index.Dot: 0x7281370baf408437, index.Cosine: 0x8d5e5974ca6bd7e3, index.L2: 0xf0cc2e5136628508} {
		db := newTestDB(t)
		const dim = 150
		if _, err := db.CreateNamespace(t.Context(), &CreateNamespace{Config{Name: "n", Metric: metric, Dimension: dim, ValueDimension: dim}}); err != nil {
			t.Fatal(err)
		}
		r := rand.New(rand.NewPCG(7, 7))
		vector := func() []float32 {
			v := make([]float32, dim)
			for i := range v {
				v[i] = float32(r.IntN(2001)-1000) / 100
			}
			return v
		}
		for range 4 {
			puts := make([]Put, 100)
			for i := range puts {
				puts[i].Key = vector()
			}
			mustStore(t, db, "n", puts...)
		}
		var queries []Query
		for range 20 {
			queries = append(queries, Query{Vector: vector()})
		}
		v := view(t, db, "n")
		opt := RetrieveOptions{K: 30, MinScore: float32(math.Inf(-1)), Diversity: &Diversity{0.7, 100}}
		all, _, err := db.Retrieve(t.Context(), []*View{v}, queries, opt)
		if err != nil {
			t.Fatal(err)
		}
		bits := fnv.New64a()
		for q := range queries {
			alone, _, err := db.Retrieve(t.Context(), []*View{v}, queries[q:q+1], opt)
			if err != nil || !slices.Equal(alone[0], all[q]) {
				t.Fatalf("metric %d: query %d by itself is answered otherwise, %v", metric, q, err)
			}
			for _, h := range all[q] {
				fmt.Fprintln(bits, h.Ref.row, math.Float32bits(h.Score), math.Float32bits(h.Diversity))
			}
		}
		v.Release()
		if got := bits.Sum64(); got != want {
			t.Errorf("metric %d: the hits have the sum %#x, want %#x", metric, got, want)
		}
	}
}

// naiveGroups gives the ids of the answer, ranked, as Grouping says.
func naiveGroups(ranked []Record, k, each int, same func(a, b *Record) bool) (groups [][]string) {
	var heads []*Record
	for i := range ranked {
		r := &ranked[i]
		at := slices.IndexFunc(heads, func(h *Record) bool { return same(h, r) })
		switch {
		case at < 0:
			heads, groups = append(heads, r), append(groups, []string{r.ID})
		case len(groups[at]) < each:
			groups[at] = append(groups[at], r.ID)
		}
	}
	return groups[:min(k, len(groups))]
}

func topicOf(r *Record) any {
	s, err := filter.DecodeMetadata(r.Metadata)
	if err != nil || s.Fields["about"] == nil {
		return nil
	}
	return s.Fields["about"].GetStructValue().Fields["topic"]
}

func TestGroupingAgainstDefinition(t *testing.T) {
	by := []struct {
		name string
		by   filter.Operand
		same func(a, b *Record) bool
	}{
		{"speaker", filter.Operand{Field: filter.FieldSpeaker}, func(a, b *Record) bool { return a.Speaker != "" && a.Speaker == b.Speaker }},
		{"session", filter.Operand{Field: filter.FieldSession}, func(a, b *Record) bool { return a.Session != "" && a.Session == b.Session }},
		{"topic", filter.Operand{Path: []string{"about", "topic"}}, func(a, b *Record) bool {
			return topicOf(a) != nil && topicOf(b) != nil && bytes.Equal(a.Metadata, b.Metadata)
		}},
	}
	rapid.Check(t, func(t *rapid.T) {
		metric := drawMetric.Draw(t, "metric")
		db := drawTalk(t, Config{Metric: metric, Dimension: 3, ValueDimension: 3}, keyDrawn(t))
		defer func() { _ = db.Close() }()
		v, err := db.View("n")
		if err != nil {
			t.Fatal(err)
		}
		defer v.Release()
		f, _ := drawSpeaker(t)
		how := by[rapid.IntRange(0, len(by)-1).Draw(t, "by")]
		opt := RetrieveOptions{K: rapid.IntRange(1, 30).Draw(t, "k"), Filter: f, MinScore: float32(math.Inf(-1))}
		if rapid.Bool().Draw(t, "floor") {
			opt.MinScore = 0.5
		}
		if rapid.Bool().Draw(t, "ranked") { // a ranking whose score is the similarity
			opt.Ranking = Ranking{Similarity: 1, Mention: 1e-30}
		}
		q := Query{Vector: keyDrawn(t)()}
		if rapid.Bool().Draw(t, "excluded") {
			q.Exclude = &Exclude{0, "0"}
		}
		whole := opt
		whole.K = 1000
		views := []*View{v}
		ranked, _, err := db.Retrieve(context.Background(), views, []Query{q}, whole)
		if err != nil {
			t.Fatal(err)
		}
		var all []Record
		for _, h := range ranked[0] {
			all = append(all, v.At(h.Ref, IncludeAll))
		}
		opt.Group = &Grouping{how.by, rapid.IntRange(1, 5).Draw(t, "hits of a group")}
		opt.Before = rapid.IntRange(0, 2).Draw(t, "before")
		want := naiveGroups(all, opt.K, opt.Group.Hits, how.same)
		hits, _, err := db.Retrieve(context.Background(), views, []Query{q, q}, opt)
		if err != nil {
			t.Fatal(err)
		}
		for _, hits := range hits {
			got := make([][]string, len(want))
			for _, h := range hits {
				if h.Group >= len(want) {
					t.Fatalf("by %s, there is a group %d of %d", how.name, h.Group, len(want))
				}
				got[h.Group] = append(got[h.Group], v.At(h.Ref, 0).ID)
				if (h.Neighbours != nil) != (opt.Before > 0) {
					t.Fatalf("%d neighbours asked for are %v", opt.Before, h.Neighbours)
				}
			}
			if !slices.EqualFunc(got, want, slices.Equal) {
				t.Fatalf("by %s, the groups are %q, want %q", how.name, got, want)
			}
		}
	})
}

// Groups go over namespaces, but sessions don't; and diversity picks among groups.
func TestGroupsOverNamespaces(t *testing.T) {
	db := newTestDB(t)
	said := func(id, session, speaker string, key ...float32) Put {
		p := put(id, key...)
		p.Session, p.Speaker = session, speaker
		return p
	}
	mustStore(t, db, "x", said("x1", "s", "Ann", 1, 0), said("x2", "s", "Ann", 0.9, 0.1), said("x3", "", "", 0.5, 0.5))
	mustStore(t, db, "y", said("y1", "s", "Ann", 0.95, 0.05), said("y2", "t", "Bob", 0.1, 0.9))
	views := []*View{view(t, db, "x"), view(t, db, "y")}
	defer views[0].Release()
	defer views[1].Release()
	for _, test := range []struct {
		opt  RetrieveOptions
		want []string
	}{
		{RetrieveOptions{K: 9, Group: &Grouping{filter.Operand{Field: filter.FieldSpeaker}, 1}}, []string{"x1", "x3", "y2"}},
		{RetrieveOptions{K: 1, Group: &Grouping{filter.Operand{Field: filter.FieldSpeaker}, 2}}, []string{"x1", "y1"}},
		{RetrieveOptions{K: 9, Group: &Grouping{filter.Operand{Field: filter.FieldSession}, 1}}, []string{"x1", "y1", "x3", "y2"}},
		{RetrieveOptions{K: 2, Group: &Grouping{filter.Operand{Field: filter.FieldSession}, 2}, Diversity: &Diversity{0.9, 9}}, []string{"x1", "x2", "y2"}},
	} {
		test.opt.MinScore = -2
		hits, _, err := db.Retrieve(t.Context(), views, []Query{{Vector: []float32{1, 0}}}, test.opt)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, h := range hits[0] {
			got = append(got, views[h.View].At(h.Ref, 0).ID)
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%+v: %q, want %q", test.opt, got, test.want)
		}
	}
}

// Where a namespace is searched by its index, groups that the search didn't reach are found
// nevertheless, and a record that is queried by id is in none.
func TestGroupsByIndex(t *testing.T) {
	db := newDB(Options{Pool: slab.NewPool(1 << 30)}, sizes{segmentRows: 2048, indexRows: 1 << 20, compactRows: 64, ivfRows: 1000})
	defer func() { _ = db.Close() }()
	c := Config{Name: "n", Metric: index.Cosine, Dimension: 8, ValueDimension: 8, Recall: 0.9}
	if _, err := db.CreateNamespace(t.Context(), &CreateNamespace{c}); err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(3, 4))
	centers := [][]float32{{1, 0, 0, 0, 0, 0, 0, 0}, {0, 1, 0, 0, 0, 0, 0, 0}, {0, 0, 1, 0, 0, 0, 0, 0}}
	for b := range 5 {
		puts := make([]Put, 1000)
		for i := range puts {
			puts[i].Record = Record{ID: fmt.Sprint(1000*b + i), Key: clustered(r, centers), Speaker: "Ann"}
		}
		mustStore(t, db, "n", puts...)
	}
	rare := func(id, speaker string) Put {
		return Put{Record: Record{ID: id, Key: []float32{-1, 0, 0, 0, 0, 0, 0, 0}, Speaker: speaker}}
	}
	mustStore(t, db, "n", rare("b", "Bob"), rare("c1", "Cy"), rare("c2", "Cy"), rare("c3", "Cy"))
	eventually(t, "there is an index", func() bool { return statsOf(t, db, "n").IVF.Lists > 0 })
	v := view(t, db, "n")
	defer v.Release()
	opt := RetrieveOptions{K: 3, MinScore: -2, Near: Nearness{Probes: 1}, Group: &Grouping{filter.Operand{Field: filter.FieldSpeaker}, 2}}
	hits, stats, err := db.Retrieve(t.Context(), []*View{v}, []Query{{Vector: centers[0]}, {Vector: centers[0], Exclude: &Exclude{0, "c1"}}}, opt)
	if err != nil || stats.ListsProbed == 0 {
		t.Fatal(stats, err)
	}
	for q, want := range [][]string{{"b", "c1", "c2"}, {"b", "c2", "c3"}} {
		var got []string
		for _, h := range hits[q][2:] {
			got = append(got, v.At(h.Ref, 0).ID)
		}
		if !slices.Equal(got, want) {
			t.Errorf("query %d: beside Ann's there are %q, want %q", q, got, want)
		}
	}
}

// What lasts too long is given up.
func TestChoiceIsCanceled(t *testing.T) {
	db := newTestDB(t)
	mustStore(t, db, "n", put("a", 1, 0), put("b", 0, 1), put("c", 1, 1))
	v := view(t, db, "n")
	defer v.Release()
	r := read([]*View{v}, nil)
	defer r.done()
	opt := RetrieveOptions{K: 3, MinScore: -2, Diversity: &Diversity{0.5, 3}}
	ctx, cancel := context.WithCancel(t.Context())
	_, _, err := r.chooser([]*View{v}, &opt).choose(ctx, func(int) ([]index.Hit, bool, error) {
		cancel()
		return []index.Hit{{Row: 0, Score: 1}, {Row: 1}, {Row: 2}}, true, nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
