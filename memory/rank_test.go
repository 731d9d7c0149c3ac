package memory

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"engram/index"
	"engram/internal/slab"
	"engram/memory/filter"
	"engram/memory/lexical"
)

// terms takes a test's text apart: its words are letters, with spaces between.
func terms(text string) []string { return strings.Fields(strings.TrimSuffix(text, "?")) }

// bm25 scores texts by the formula, with the statistics of all; query has no word twice.
func bm25(query []string, scored, all [][]string) (scores []float64, weight float64) {
	n, total := 0.0, 0.0
	for _, d := range all {
		if len(d) > 0 {
			n, total = n+1, total+float64(len(d))
		}
	}
	scores = make([]float64, len(scored))
	for _, w := range query {
		df := 0.0
		for _, d := range all {
			if slices.Contains(d, w) {
				df++
			}
		}
		if df == 0 {
			continue
		}
		gain := math.Log(1+(n-df+0.5)/(df+0.5)) * 2.2
		weight += gain
		for i, d := range scored {
			tf := 0.0
			for _, x := range d {
				if x == w {
					tf++
				}
			}
			if tf > 0 {
				scores[i] += gain * tf / (tf + 1.2*(0.25+0.75*float64(len(d))*n/total))
			}
		}
	}
	return scores, weight
}

// naiveParts ranks the records of one namespace that keep lets through as the API says;
// all are the records that count for the statistics, and now is when it is asked of a namespace
// of the default retention.
func naiveParts(records []Record, keep func(*Record) bool, all []Record, q *Query, w Ranking, now int64) map[string]Parts {
	records = slices.DeleteFunc(slices.Clone(records), func(r Record) bool { return !keep(&r) })
	slices.SortFunc(records, func(a, b Record) int { return TimeAsc.compare(PositionOf(&a), PositionOf(&b)) })
	query := terms(q.Text)
	slices.Sort(query)
	query = slices.Compact(query)
	texts := func(of []Record) (out [][]string) {
		for _, r := range of {
			out = append(out, terms(r.Text))
		}
		return out
	}
	lex, weight := bm25(query, texts(records), texts(all))
	kin, kinWeight := naiveKin(query, texts(records), texts(all), false)
	if weight == 0 && w.Kin > 0 {
		weight = kinWeight
	}
	n := len(records)
	parts := make([]Parts, n)
	own := make([]float64, n)
	session := map[string][]string{}
	for i, r := range records {
		dot := 0.0
		for j := range r.Key {
			dot += float64(r.Key[j]) * float64(q.Vector[j])
		}
		if weight > 0 && w.Lexical > 0 {
			parts[i].Lexical = float32(lex[i] / weight)
		}
		if weight > 0 && w.Kin > 0 {
			parts[i].Kin = float32(kin[i] / weight)
		}
		parts[i].Similarity = float32(dot)
		if w.Similarity > 0 {
			own[i] = w.Similarity * max(0, dot)
		}
		own[i] += w.Lexical*float64(parts[i].Lexical) + w.Kin*float64(parts[i].Kin)
		if r.Session != "" {
			session[r.Session] = append(session[r.Session], terms(r.Text)...)
		}
	}
	var names []string
	var whole [][]string
	for name, text := range session {
		names, whole = append(names, name), append(whole, text)
	}
	ofSession, _ := bm25(query, whole, whole)
	kinOfSession, _ := naiveKin(query, whole, whole, true)
	at := func(i int) float64 {
		if i < 0 || i >= n {
			return 0
		}
		return own[i]
	}
	asks := func(i int) bool {
		return i >= 0 && strings.HasSuffix(records[i].Text, "?") && len(terms(records[i].Text)) > 0
	}
	unit := weight
	said := func(word string) (df float64) {
		for _, r := range records {
			if slices.Contains(terms(r.Speaker), word) {
				df++
			}
		}
		return df
	}
	gain := func(df float64) float64 { return math.Log(1+(float64(n)-df+0.5)/(df+0.5)) * 2.2 }
	if unit == 0 {
		for _, word := range query {
			if df := said(word); df > 0 {
				unit += gain(df)
			}
		}
	}
	out := map[string]Parts{}
	for i, r := range records {
		if w.Association > 0 {
			a := 0.4*at(i-1) + 0.3*at(i+1) + 0.2*(at(i-2)+at(i+2))
			if asks(i - 1) {
				a += 0.5 * at(i-1)
			}
			if asks(i) {
				a -= 0.4 * at(i)
			}
			if weight > 0 {
				for k, name := range names {
					if name == r.Session {
						a += (w.Lexical*ofSession[k] + w.Kin*kinOfSession[k]) / weight
					}
				}
			}
			parts[i].Association = float32(a)
		}
		if w.Mention > 0 {
			for _, word := range query {
				if slices.Contains(terms(r.Speaker), word) {
					parts[i].Mention += float32(gain(said(word)) / unit)
				}
			}
		}
		if w.Retention > 0 {
			parts[i].Retention = float32(naiveRetention(RetentionOf(DefaultHalfLife), r.CreateTime, r.Rehearsed, now))
		}
		if w.Importance > 0 {
			parts[i].Importance = r.Importance
		}
		out[r.ID] = parts[i]
	}
	return out
}

func near(a, b float32) bool { return math.Abs(float64(a-b)) < 1e-4*(1+math.Abs(float64(b))) }

// checkRanked compares an answer with the naive one: parts, scores, order, and that nothing
// better was left out.
func checkRanked(t *rapid.T, v *View, hits []Hit, want map[string]Parts, w Ranking, k int) {
	found := func(p Parts) float64 {
		return w.Similarity*float64(p.Similarity) + w.Lexical*float64(p.Lexical) + w.Association*float64(p.Association) + w.Mention*float64(p.Mention) + w.Kin*float64(p.Kin)
	}
	score := func(p Parts) float64 {
		return found(p) + w.Retention*float64(p.Retention) + w.Importance*float64(p.Importance)
	}
	var scores []float64
	for _, p := range want {
		if w.Similarity > 0 || !w.Words() || found(p) > 1e-6 {
			scores = append(scores, score(p))
		}
	}
	slices.SortFunc(scores, func(a, b float64) int { return cmp.Compare(b, a) })
	if most := min(k, len(scores)); len(hits) != most {
		t.Fatalf("%d hits, want %d", len(hits), most)
	}
	for i, h := range hits {
		r := v.At(h.Ref, 0)
		p, ok := want[r.ID]
		if !ok {
			t.Fatalf("%q is a hit", r.ID)
		}
		if g := h.Parts; !near(g.Similarity, p.Similarity) || !near(g.Lexical, p.Lexical) || !near(g.Kin, p.Kin) || !near(g.Association, p.Association) || !near(g.Mention, p.Mention) || !near(g.Retention, p.Retention) || g.Importance != p.Importance {
			t.Fatalf("%q has parts %+v, want %+v", r.ID, g, p)
		}
		if !near(h.Score, float32(score(p))) || !near(h.Score, float32(scores[i])) {
			t.Fatalf("hit %d, %q, scores %v, want %v, and %v in its place", i, r.ID, h.Score, score(p), scores[i])
		}
		if i > 0 && h.Score > hits[i-1].Score {
			t.Fatalf("hit %d scores more than that before it", i)
		}
	}
}

// Whatever was stored, updated and deleted, and however far maintenance got: a ranked answer
// is the one that the definition gives.
func TestRankedAgainstDefinition(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pool := slab.NewPool(1 << 30)
		clock := new(hand)
		db := newDB(Options{Pool: pool, Clock: clock, RehearseAfter: time.Hour}, sizes{segmentRows: 64, indexRows: 8, compactRows: 8, ivfRows: 1 << 30})
		defer func() { _ = db.Close() }()
		ctx := context.Background()
		cfg := Config{Name: "n", Metric: index.Dot, Dimension: 2, ValueDimension: 2, Lexical: lexical.Words}
		if _, err := db.CreateNamespace(ctx, &CreateNamespace{cfg}); err != nil {
			t.Fatal(err)
		}
		text := rapid.Custom(func(t *rapid.T) string {
			s := strings.Join(rapid.SliceOfN(rapid.SampledFrom(strings.Fields("a b c d dance dancer danced lake lakes")), 0, 8).Draw(t, "words"), " ")
			if rapid.Bool().Draw(t, "asks") {
				s += "?"
			}
			return s
		})
		steps := rapid.IntRange(1, 12).Draw(t, "steps")
		for range steps {
			clock.move(time.Duration(rapid.IntRange(0, 5).Draw(t, "days")) * day)
			switch rapid.IntRange(0, 6).Draw(t, "step") {
			case 6:
				v, err := db.View("n")
				if err != nil {
					t.Fatal(err)
				}
				if ref, ok := v.Find(fmt.Sprint(rapid.IntRange(0, 60).Draw(t, "id"))); ok {
					db.Rehearse([]*View{v}, [][]Hit{{{Ref: ref}}})
				}
				v.Release()
				if err := db.CommitRehearsals(ctx); err != nil {
					t.Fatal(err)
				}
			case 0:
				if _, err := db.Delete(ctx, &Delete{Namespace: "n", IDs: []string{fmt.Sprint(rapid.IntRange(0, 60).Draw(t, "id"))}}); err != nil {
					t.Fatal(err)
				}
			case 1:
				id := fmt.Sprint(rapid.IntRange(0, 60).Draw(t, "id"))
				u := &Update{Namespace: "n", Mask: MaskText, Records: []Put{{Record: Record{ID: id, Text: text.Draw(t, "text")}}}}
				if _, err := db.Update(ctx, u); err != nil && !isNotFound(err) {
					t.Fatal(err)
				}
			default:
				ids := rapid.SliceOfNDistinct(rapid.IntRange(0, 60), 1, 20, rapid.ID).Draw(t, "ids")
				puts := make([]Put, len(ids))
				for i, id := range ids {
					puts[i].Record = Record{
						ID: fmt.Sprint(id), Key: []float32{float32(id % 7), float32(id%3) - 1}, Text: text.Draw(t, "text"),
						Session: rapid.SampledFrom([]string{"", "s", "t"}).Draw(t, "session"),
						Speaker: rapid.SampledFrom([]string{"", "a", "b x", "y"}).Draw(t, "speaker"),
						Time:    int64(rapid.IntRange(0, 5).Draw(t, "time")), Importance: rapid.SampledFrom([]float32{0.25, 0.5, 1}).Draw(t, "importance"),
					}
					puts[i].HasImportance = true
					puts[i].HasTime = rapid.Bool().Draw(t, "has time")
				}
				if _, err := db.Store(ctx, &Store{Namespace: "n", Records: puts}); err != nil {
					t.Fatal(err)
				}
			}
		}
		if rapid.Bool().Draw(t, "settled") {
			settle(t, db)
		}
		weights := rapid.SampledFrom([]float64{0, 0, 0.5, 1})
		w := Ranking{
			weights.Draw(t, "similarity"), weights.Draw(t, "lexical"), weights.Draw(t, "association"), weights.Draw(t, "mention"),
			weights.Draw(t, "retention"), weights.Draw(t, "importance"), weights.Draw(t, "kin"), Weighted,
		}
		if w.Plain() {
			w.Lexical = 1
		}
		q := Query{Vector: []float32{1, 0.5}, Text: text.Draw(t, "query")}
		opt := RetrieveOptions{K: rapid.IntRange(1, 70).Draw(t, "k"), MinScore: float32(math.Inf(-1)), Ranking: w}
		keep := func(*Record) bool { return true }
		if rapid.Bool().Draw(t, "filtered") {
			opt.Filter = &filter.Filter{Cond: &filter.Condition{Field: filter.FieldSpeaker, Op: filter.OpEquals, Values: []filter.Scalar{{Kind: filter.KindString, S: "a"}}}}
			if bad := opt.Filter.Validate(filter.DefaultLimits()); len(bad) > 0 {
				t.Fatal(bad)
			}
			keep = func(r *Record) bool { return r.Speaker == "a" }
		}
		v, err := db.View("n")
		if err != nil {
			t.Fatal(err)
		}
		defer v.Release()
		var all []Record
		v.Records(func(r *Record) bool {
			c := *r
			c.ID, c.Text, c.Session, c.Speaker, c.Key = strings.Clone(r.ID), strings.Clone(r.Text), strings.Clone(r.Session), strings.Clone(r.Speaker), slices.Clone(r.Key)
			all = append(all, c)
			return true
		})
		got, _, err := db.Retrieve(ctx, []*View{v}, []Query{q}, opt)
		if err != nil {
			t.Fatal(err)
		}
		checkRanked(t, v, got[0], naiveParts(all, keep, all, &q, w, clock.Now().UnixNano()), w, opt.K)
	})
}

// settle waits until maintenance has nothing left to do.
func settle(t interface{ Fatal(...any) }, db *DB) {
	deadline := time.Now().Add(10 * time.Second)
	for {
		busy := false
		db.Views(func(v *View) bool {
			busy = v.job(db) != nil
			return !busy
		})
		if !busy {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("maintenance didn't end")
		}
		time.Sleep(time.Millisecond)
	}
}

func talk(db *DB, t testing.TB, n int) {
	t.Helper()
	words := strings.Fields("lake paint song river camp dog house music book road")
	for i := 0; i < n; i += 500 {
		puts := make([]Put, min(500, n-i))
		for j := range puts {
			k := i + j
			puts[j].Record = Record{
				ID: fmt.Sprint(k), Key: []float32{1, float32(k % 5)}, Speaker: []string{"Ann", "Bob"}[k%2], Session: fmt.Sprint(k / 20),
				Text: words[k%10] + " " + words[k*7%9] + " " + fmt.Sprint("number", k),
			}
		}
		mustStore(t, db, "n", puts...)
	}
}

func createWords(t testing.TB, db *DB, name string) {
	t.Helper()
	cfg := Config{Name: name, Metric: index.Dot, Dimension: 2, ValueDimension: 2, Lexical: lexical.English, Ranking: Ranking{Lexical: 1}}
	if _, err := db.CreateNamespace(t.Context(), &CreateNamespace{cfg}); err != nil {
		t.Fatal(err)
	}
}

func TestLexicalIndexIsBuiltAndFreed(t *testing.T) {
	db := newTestDB(t)
	createWords(t, db, "n")
	talk(db, t, 3000)
	settle(t, db)
	v := view(t, db, "n")
	st := v.Stats()
	if st.LexicalBytes == 0 {
		t.Error("there is no lexical index of 3,000 texts")
	}
	if v.words.Texts != 3000 || v.words.Words != 9000 {
		t.Errorf("%+v counted", v.words)
	}
	hits, _, err := db.Retrieve(t.Context(), []*View{v}, []Query{{Text: "number2718"}}, RetrieveOptions{K: 3, MinScore: float32(math.Inf(-1)), Ranking: Ranking{Lexical: 1}})
	if err != nil || len(hits[0]) != 1 || v.At(hits[0][0].Ref, 0).ID != "2718" {
		t.Errorf("%v, %v", hits, err)
	}
	v.Release()
}

// A restored namespace answers as it did.
func TestRankedAfterRestore(t *testing.T) {
	db := newTestDB(t)
	createWords(t, db, "n")
	talk(db, t, 700)
	again := newTestDB(t)
	v := view(t, db, "n")
	defer v.Release()
	restorer := again.Restore()
	n, err := restorer.Namespace(v.Config(), v.LSN(), nil)
	if err != nil {
		t.Fatal(err)
	}
	v.Records(func(r *Record) bool {
		if err := n.Add(r); err != nil {
			t.Fatal(err)
		}
		return true
	})
	if err := n.Done(); err != nil {
		t.Fatal(err)
	}
	if err := restorer.Done(v.LSN()); err != nil {
		t.Fatal(err)
	}
	w := view(t, again, "n")
	defer w.Release()
	if v.words != w.words {
		t.Fatalf("%+v counted before, %+v after", v.words, w.words)
	}
	q := []Query{{Text: "what did Ann paint by the river", Vector: []float32{0.1, 1}}}
	opt := RetrieveOptions{K: 50, MinScore: float32(math.Inf(-1)), Ranking: Ranking{Similarity: 0.2, Lexical: 1, Association: 1, Mention: 1, Kin: 0.6}}
	a, _, errA := db.Retrieve(t.Context(), []*View{v}, q, opt)
	b, _, errB := again.Retrieve(t.Context(), []*View{w}, q, opt)
	if errA != nil || errB != nil || len(a[0]) != 50 || len(b[0]) != 50 {
		t.Fatal(errA, errB, len(a[0]))
	}
	for i := range a[0] {
		x, y := &a[0][i], &b[0][i]
		if x.Score != y.Score || x.Parts != y.Parts || v.At(x.Ref, 0).ID != w.At(y.Ref, 0).ID {
			t.Fatalf("hit %d was %+v, is %+v", i, *x, *y)
		}
	}
}

// Over several namespaces the statistics are of all, the conversation is each one's own.
func TestRankedOverNamespaces(t *testing.T) {
	db := newTestDB(t)
	for _, name := range []string{"a", "b"} {
		createWords(t, db, name)
		mustStore(t, db, name,
			Put{Record: Record{ID: "1", Key: []float32{1, 0}, Session: "s", Text: "nothing here"}},
			Put{Record: Record{ID: "2", Key: []float32{1, 0}, Session: "s", Text: "the lake in " + name}},
		)
	}
	mustStore(t, db, "b", Put{Record: Record{ID: "3", Key: []float32{1, 0}, Session: "s", Text: "again a lake"}})
	a, b := view(t, db, "a"), view(t, db, "b")
	defer a.Release()
	defer b.Release()
	opt := RetrieveOptions{K: 9, MinScore: float32(math.Inf(-1)), Ranking: Ranking{Lexical: 1, Association: 1}}
	hits, _, err := db.Retrieve(t.Context(), []*View{a, b}, []Query{{Text: "lake"}}, opt)
	if err != nil || len(hits[0]) != 5 {
		t.Fatal(hits, err)
	}
	if best := hits[0][0]; best.View != 1 {
		t.Errorf("the best is of namespace %d: b has two records of a lake side by side", best.View)
	}
	if last := hits[0][4]; last.View != 0 || last.Parts.Lexical != 0 {
		t.Errorf("the last is %+v: in a, the record that lacks the word", last)
	}
}

func TestRankingsThatDontFit(t *testing.T) {
	db := newTestDB(t)
	mustStore(t, db, "plain", put("a", 1, 0))
	createWords(t, db, "words")
	cfg := Config{Name: "other", Metric: index.Dot, Dimension: 2, ValueDimension: 2, Lexical: lexical.Words}
	if _, err := db.CreateNamespace(t.Context(), &CreateNamespace{cfg}); err != nil {
		t.Fatal(err)
	}
	for _, r := range []Ranking{{Lexical: 1}, {Kin: 1}} {
		cfg = Config{Name: "bad", Metric: index.Dot, Dimension: 2, ValueDimension: 2, Ranking: r}
		if _, err := db.CreateNamespace(t.Context(), &CreateNamespace{cfg}); !isInvalid(err) {
			t.Errorf("%+v without lexical search: %v", r, err)
		}
		if err := db.UpdateNamespace(t.Context(), &UpdateNamespace{Name: "plain", Ranking: &r}); !isPrecond(err) {
			t.Errorf("%+v by an update: %v", r, err)
		}
	}
	for _, r := range []Ranking{{Lexical: -1}, {Similarity: math.NaN()}, {Mention: math.Inf(1)}, {Fusion: 2}} {
		if err := db.UpdateNamespace(t.Context(), &UpdateNamespace{Name: "words", Ranking: &r}); !isInvalid(err) {
			t.Errorf("%+v: %v", r, err)
		}
	}
	plain, words, other := view(t, db, "plain"), view(t, db, "words"), view(t, db, "other")
	defer plain.Release()
	defer words.Release()
	defer other.Release()
	for _, views := range [][]*View{{plain}, {words, plain}, {words, other}} {
		_, _, err := db.Retrieve(t.Context(), views, []Query{{Text: "x"}}, RetrieveOptions{K: 1, Ranking: Ranking{Lexical: 1}})
		if !isPrecond(err) {
			t.Errorf("%v", err)
		}
	}
}

func TestReciprocalRank(t *testing.T) {
	db := newTestDB(t)
	createWords(t, db, "n")
	mustStore(t, db, "n",
		Put{Record: Record{ID: "words", Key: []float32{0.1, 0}, Text: "lake lake"}},
		Put{Record: Record{ID: "both", Key: []float32{0.9, 0}, Text: "lake and dog"}},
		Put{Record: Record{ID: "vector", Key: []float32{1, 0}, Text: "dog"}},
	)
	v := view(t, db, "n")
	defer v.Release()
	opt := RetrieveOptions{K: 3, MinScore: float32(math.Inf(-1)), Ranking: Ranking{Similarity: 1, Lexical: 1, Fusion: ReciprocalRank}}
	hits, _, err := db.Retrieve(t.Context(), []*View{v}, []Query{{Text: "lake", Vector: []float32{1, 0}}}, opt)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]float64{"words": 1.0/63 + 1.0/61, "both": 1.0/62 + 1.0/62, "vector": 1.0 / 61}
	for _, h := range hits[0] {
		if id := v.At(h.Ref, 0).ID; !near(h.Score, float32(want[id])) {
			t.Errorf("%s scores %v, want %v", id, h.Score, want[id])
		}
	}
}

// What orders alone finds nothing: retention and importance are given to what the words found,
// and their places are among those.
func TestRetentionFindsNothing(t *testing.T) {
	clock := new(hand)
	clock.ns.Store(1e18)
	db := newTestDB(t, func(o *Options) { o.Clock = clock })
	createWords(t, db, "n")
	for _, r := range []Record{
		{ID: "old", Key: []float32{0.1, 0}, Text: "lake", Importance: 1},
		{ID: "other", Key: []float32{1, 0}, Text: "dog", Importance: 1},
		{ID: "new", Key: []float32{0.9, 0}, Text: "lake", Importance: 0.5},
	} {
		mustStore(t, db, "n", Put{Record: r, HasImportance: true})
		clock.move(7 * day)
	}
	v := view(t, db, "n")
	defer v.Release()
	for _, c := range []struct {
		by   Ranking
		want string
	}{
		{Ranking{Lexical: 1, Retention: 1}, "new old"},
		{Ranking{Lexical: 1, Retention: 0.1, Importance: 1}, "old new"},
		{Ranking{Lexical: 1, Retention: 1, Fusion: ReciprocalRank}, "new old"},
		{Ranking{Lexical: 1, Retention: 1, Importance: 2, Fusion: ReciprocalRank}, "old new"},
		{Ranking{Retention: 1}, "new other old"},
		{Ranking{Similarity: 1, Retention: 4}, "new other old"},
		{Ranking{Similarity: 8, Retention: 1}, "other new old"},
	} {
		hits, _, err := db.Retrieve(t.Context(), []*View{v}, []Query{{Text: "lake", Vector: []float32{1, 0}}}, RetrieveOptions{K: 9, MinScore: float32(math.Inf(-1)), Ranking: c.by})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, h := range hits[0] {
			got = append(got, v.At(h.Ref, 0).ID)
		}
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("by %+v: %s, want %s", c.by, s, c.want)
		}
	}
	hits, _, err := db.Retrieve(t.Context(), []*View{v}, []Query{{Text: "lake"}}, RetrieveOptions{K: 9, MinScore: float32(math.Inf(-1)), Ranking: Ranking{Lexical: 1, Retention: 1, Fusion: ReciprocalRank}})
	if err != nil || !near(hits[0][0].Score, 1.0/61+1.0/61) || !near(hits[0][1].Score, 1.0/61+1.0/62) {
		t.Errorf("%+v, %v", hits, err)
	}
}

// However many records are equal, they have one place.
func TestPlacesOfEquals(t *testing.T) {
	db := newTestDB(t)
	createWords(t, db, "n")
	talk(db, t, 3*fusionPlaces)
	v := view(t, db, "n")
	defer v.Release()
	hits, _, err := db.Retrieve(t.Context(), []*View{v}, []Query{{Vector: []float32{1, 1}}}, RetrieveOptions{
		K: 3 * fusionPlaces, MinScore: float32(math.Inf(-1)), Ranking: Ranking{Similarity: 1, Importance: 1, Fusion: ReciprocalRank},
	})
	if err != nil || len(hits[0]) != 3*fusionPlaces {
		t.Fatal(len(hits[0]), err)
	}
	var dots [5]int // a fifth of the keys has each
	for _, h := range hits[0] {
		dot := int(h.Parts.Similarity) - 1
		dots[dot]++
		want := 1.0 / 61
		if place := (4-dot)*len(hits[0])/5 + 1; place <= fusionPlaces {
			want += 1.0 / float64(60+place)
		}
		if !near(h.Score, float32(want)) {
			t.Fatalf("a hit of similarity %d scores %v, want %v", dot+1, h.Score, want)
		}
	}
	if dots != [5]int{600, 600, 600, 600, 600} {
		t.Errorf("%v", dots)
	}
}

func TestDates(t *testing.T) {
	for text, want := range map[string]string{
		"What happened on 7 May 2023?":      "2023 5 7",
		"on May 7th, 2023":                  "2023 5 7",
		"in March":                          " 3 ",
		"they march, and may go":            "  ",
		"the 1202 alarm of Sept. 1969":      "1202,1969 9 ",
		"31 cats in december, and 7 dogs":   " 12 ",
		"December 40":                       " 12 ",
		"numbers 12345 and 20 alone":        "  ",
		"between June 3rd and 21st of July": " 6,7 3",
	} {
		d := datesIn(text)
		join := func(n []int) string { return strings.Trim(strings.ReplaceAll(fmt.Sprint(n), " ", ","), "[]") }
		var months, days []int
		for i, is := range d.months {
			if is {
				months = append(months, i)
			}
		}
		for i, is := range d.days {
			if is {
				days = append(days, i)
			}
		}
		if got := join(d.years) + " " + join(months) + " " + join(days); got != want {
			t.Errorf("%q names %q, want %q", text, got, want)
		}
	}
}

// A record of a time that the query names gets more than others.
func TestMentionOfATime(t *testing.T) {
	db := newTestDB(t)
	createWords(t, db, "n")
	at := func(id string, year, month, day int) Put {
		when := time.Date(year, time.Month(month), day, 12, 0, 0, 0, time.UTC)
		return Put{Record: Record{ID: id, Key: []float32{1, 0}, Text: "x", Time: when.UnixNano()}, HasTime: true}
	}
	mustStore(t, db, "n", at("all", 2023, 5, 7), at("month", 2023, 5, 8), at("year", 2023, 6, 8), at("none", 2022, 6, 8))
	v := view(t, db, "n")
	defer v.Release()
	hits, _, err := db.Retrieve(t.Context(), []*View{v}, []Query{{Text: "7 May 2023"}}, RetrieveOptions{K: 4, MinScore: float32(math.Inf(-1)), Ranking: Ranking{Mention: 1}})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, h := range hits[0] {
		got = append(got, v.At(h.Ref, 0).ID)
	}
	if !slices.Equal(got, []string{"all", "month", "year"}) {
		t.Errorf("%v", got)
	}
}
