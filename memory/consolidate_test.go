package memory

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/structpb"
	"pgregory.net/rapid"

	"engram/index"
	"engram/internal/slab"
	"engram/memory/filter"
	"engram/memory/lexical"
)

// remembering is a DB with a clock that stands still, at a day, and a namespace "n" of COSINE.
func remembering(t interface {
	Helper()
	Fatal(...any)
}, c Config, z sizes) (*DB, *hand) {
	t.Helper()
	clock := new(hand)
	clock.ns.Store(int64(day))
	db := newDB(Options{Pool: slab.NewPool(1 << 30), Clock: clock, RehearseAfter: time.Hour, Limits: DefaultLimits()}, z)
	c.Name, c.Metric, c.ValueDimension = "n", index.Cosine, cmp.Or(c.ValueDimension, c.Dimension)
	if _, err := db.CreateNamespace(context.Background(), &CreateNamespace{c}); err != nil {
		t.Fatal(err)
	}
	return db, clock
}

var testSizes = sizes{segmentRows: 64, indexRows: 8, compactRows: 8, ivfRows: 1 << 30}

// all gives the records of "n", by creation, and what is kept of them copied.
func all(db *DB) (list []Record) {
	v, err := db.View("n")
	if err != nil {
		panic(err)
	}
	defer v.Release()
	v.Records(func(r *Record) bool {
		ref, _ := v.Find(r.ID)
		list = append(list, v.At(ref, IncludeAll))
		return true
	})
	return list
}

// defined gives what the definition makes of records, each merged one with the ids that it is
// made of, in order. It compares all with all.
func defined(list []Record, by Consolidation, now int64, limit int) (out []Record, of [][]string) {
	var old []Record
	for _, r := range list {
		if !r.Pinned && r.Expire == 0 && r.Time <= now-int64(by.MinAge) && r.CreateTime <= now-int64(by.MinAge) {
			old = append(old, r)
		}
	}
	position := func(a, b Record) int {
		return cmp.Or(cmp.Compare(a.Time, b.Time), cmp.Compare(a.Created, b.Created), cmp.Compare(a.Place, b.Place))
	}
	slices.SortFunc(old, func(a, b Record) int {
		return cmp.Or(cmp.Compare(a.Session, b.Session), cmp.Compare(a.Speaker, b.Speaker), position(a, b))
	})
	mean := func(members []Record, of func(*Record) []float32) []float32 {
		sum, weight := make([]float64, len(of(&members[0]))), 0.0
		for i := range members {
			w := float64(members[i].Importance)
			for j, x := range of(&members[i]) {
				sum[j] += w * float64(x)
			}
			weight += w
		}
		key := make([]float32, len(sum))
		for j := range key {
			key[j] = float32(sum[j] / weight)
		}
		return key
	}
	keyOf := func(r *Record) []float32 { return r.Key }
	taken := make(map[string]bool)
	for i := range old {
		lead := old[i]
		if taken[lead.ID] {
			continue
		}
		var near []Record
		for _, r := range old[i+1:] {
			if r.Session == lead.Session && r.Speaker == lead.Speaker && !taken[r.ID] && cosineOf(lead.Key, r.Key) >= by.Similarity {
				near = append(near, r)
			}
		}
		slices.SortStableFunc(near, func(a, b Record) int { return cmp.Compare(cosineOf(lead.Key, b.Key), cosineOf(lead.Key, a.Key)) })
		members := []Record{lead}
		for _, r := range near[:min(len(near), 255)] {
			with := append(slices.Clip(members), r)
			key, sources, texts := mean(with, keyOf), 0, map[string]bool{}
			bytes, ok := -1, true
			for j := range with {
				m := &with[j]
				sources += max(1, len(m.Sources))
				if m.Text != "" && !texts[m.Text] {
					texts[m.Text] = true
					bytes += 1 + len(m.Text)
				}
				if c := cosineOf(key, m.Key); m.Spread == 0 {
					ok = ok && c >= by.Similarity
				} else {
					ok = ok && math.Acos(max(-1, min(1, c)))+m.Spread <= math.Acos(by.Similarity)
				}
			}
			if ok && sources <= 256 && bytes <= limit {
				members = with
			}
		}
		if len(members) == 1 {
			continue
		}
		m := Record{Key: mean(members, keyOf), Session: lead.Session, Speaker: lead.Speaker}
		if slices.ContainsFunc(members, func(r Record) bool { return r.Value != nil }) {
			m.Value = mean(members, func(r *Record) []float32 {
				if r.Value != nil {
					return r.Value
				}
				return r.Key
			})
		}
		slices.SortFunc(members, position)
		var ids, texts []string
		since := int64(math.MinInt64)
		m.CreateTime = since
		for _, r := range members {
			taken[r.ID] = true
			ids = append(ids, r.ID)
			if r.Text != "" && !slices.Contains(texts, r.Text) {
				texts = append(texts, r.Text)
			}
			m.Importance = max(m.Importance, r.Importance)
			m.Spread = max(m.Spread, math.Acos(max(-1, min(1, cosineOf(m.Key, r.Key))))+r.Spread)
			if r.Sources == nil {
				m.Sources = append(m.Sources, Source{r.ID, r.Time})
			}
			m.Sources = append(m.Sources, r.Sources...)
			m.CreateTime = max(m.CreateTime, r.CreateTime)
			if r.Rehearsed.Count > 0 {
				since = max(since, r.Rehearsed.Last)
			} else {
				since = max(since, r.CreateTime)
			}
			m.Rehearsed.Count += r.Rehearsed.Count
			if r.Rehearsed.Growths > m.Rehearsed.Growths || r.Rehearsed.Growths == m.Rehearsed.Growths && r.Rehearsed.Grown > m.Rehearsed.Grown {
				m.Rehearsed.Growths, m.Rehearsed.Grown = r.Rehearsed.Growths, r.Rehearsed.Grown
			}
			m.Time, m.Created, m.Place, m.Position, m.HasPosition = r.Time, r.Created, r.Place, r.Position, r.HasPosition
		}
		if m.Rehearsed.Count > 0 {
			m.Rehearsed.Last = since
		}
		slices.SortStableFunc(m.Sources, func(a, b Source) int { return cmp.Compare(a.Time, b.Time) })
		m.Text = strings.Join(texts, "\n")
		out, of = append(out, m), append(of, ids)
	}
	return out, of
}

// rehearsable gives the id of a record by its number, "" if there are fewer.
func rehearsable(db *DB, i int) string {
	if list := all(db); i < len(list) {
		return list[i].ID
	}
	return ""
}

// plainRecord leaves out what a dry run doesn't know.
func plainRecord(r Record) string {
	r.ID, r.Version, r.UpdateTime = "", 0, 0
	if len(r.Metadata) == 0 {
		r.Metadata = nil
	}
	if len(r.Value) == 0 {
		r.Value = nil
	}
	return fmt.Sprintf("%+v", r)
}

// Whatever was stored, a run merges what the definition says, a dry run says the same, and
// run after run every text of what was stored is kept and no key goes farther from those that
// it was made of than it may.
func TestConsolidateAgainstDefinition(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		db, clock := remembering(t, Config{Dimension: 3}, testSizes)
		defer func() { _ = db.Close() }()
		other := newDB(Options{Pool: slab.NewPool(1 << 30), Clock: clock, Workers: 3}, sizes{segmentRows: 7, indexRows: 1 << 30, compactRows: 1, ivfRows: 1 << 30})
		defer func() { _ = other.Close() }()
		by := Consolidation{rapid.SampledFrom([]float64{0.3, 0.8, 0.9123, 0.99, 1}).Draw(t, "similarity"), time.Duration(rapid.IntRange(0, 20).Draw(t, "min age"))}
		stored := make(map[string]Record)
		key := rapid.SliceOfN(rapid.IntRange(-2, 3), 3, 3)
		for round := range rapid.IntRange(1, 4).Draw(t, "rounds") {
			for range rapid.IntRange(0, 3).Draw(t, "stores") {
				clock.move(rapid.SampledFrom([]time.Duration{1, 5, 50}).Draw(t, "passes"))
				puts := make([]Put, rapid.IntRange(1, 20).Draw(t, "records"))
				for i := range puts {
					p := &puts[i]
					k := key.Draw(t, "key")
					p.ID = fmt.Sprintf("%d-%d", len(stored), i)
					p.Key = []float32{float32(k[0]), float32(k[1]), float32(k[2])}
					if k[0] == 0 && k[1] == 0 && k[2] == 0 {
						p.Key[0] = 1
					}
					p.Speaker = rapid.SampledFrom([]string{"", "Ann"}).Draw(t, "speaker")
					p.Session = rapid.SampledFrom([]string{"", "", "s"}).Draw(t, "session")
					p.Text = rapid.SampledFrom([]string{"", "same", "t" + p.ID}).Draw(t, "text")
					p.Importance, p.HasImportance = rapid.SampledFrom([]float32{0.25, 0.5, 1}).Draw(t, "importance"), true
					p.Time, p.HasTime = clock.ns.Load()+rapid.SampledFrom([]int64{0, -3, -100, 2}).Draw(t, "time"), true
					p.Pinned = rapid.IntRange(0, 9).Draw(t, "pinned") == 0
					if rapid.IntRange(0, 9).Draw(t, "expires") == 0 {
						p.TTL = time.Hour
					}
					if rapid.IntRange(0, 3).Draw(t, "value") == 0 {
						p.Value = []float32{float32(i), 1, 2}
					}
				}
				if _, err := db.Store(context.Background(), &Store{Namespace: "n", Records: puts}); err != nil {
					t.Fatal(err)
				}
				for i := range puts {
					stored[puts[i].ID] = puts[i].Record
				}
			}
			if v := rehearsable(db, rapid.IntRange(0, 40).Draw(t, "rehearsed")); v != "" {
				if err := db.commit(context.Background(), func(c *committer) error {
					m := c.begin("n")
					m.Rehearsals = []Rehearsal{{v, m.Time + int64(rapid.SampledFrom([]time.Duration{0, 2 * day}).Draw(t, "when")), 3}}
					return c.commit(m, c.draft("n"))
				}); err != nil {
					t.Fatal(err)
				}
			}
			clock.move(rapid.SampledFrom([]time.Duration{0, 1, 20}).Draw(t, "later"))
			if rapid.Bool().Draw(t, "settled") {
				settle(t, db)
			}
			before := all(db)
			want, of := defined(before, by, clock.ns.Load(), db.limits.TextBytes)
			var texts []string
			merged := 0
			for i := range want {
				texts, merged = append(texts, plainRecord(want[i])), merged+len(of[i])
			}
			dry := ask(t, db, &Consolidate{By: &by, DryRun: true})
			if got := plainRecords(dry.Records); !slices.Equal(got, texts) || dry.Made != len(want) || dry.Merged != merged || dry.Cancelled != 0 {
				t.Fatalf("round %d of %+v: of\n%+v\na dry run makes\n%s\nwant\n%s", round, by, before, strings.Join(got, "\n"), strings.Join(texts, "\n"))
			}
			// The same records in other segments, read by more workers.
			copyTo(t, db, other, fmt.Sprint(round))
			if again := ask(t, other, &Consolidate{Namespace: fmt.Sprint(round), By: &by, DryRun: true}); !slices.Equal(plainRecords(again.Records), texts) {
				t.Fatalf("in other segments a dry run makes\n%s", strings.Join(plainRecords(again.Records), "\n"))
			}
			if got := all(db); fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", before) {
				t.Fatal("a dry run changed something")
			}
			done := ask(t, db, &Consolidate{By: &by})
			if got := plainRecords(done.Records); !slices.Equal(got, texts) || done.Made != dry.Made || done.Merged != dry.Merged {
				t.Fatalf("a run makes\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(texts, "\n"))
			}
			after := all(db)
			rest := slices.DeleteFunc(slices.Clone(before), func(r Record) bool {
				return slices.ContainsFunc(of, func(ids []string) bool { return slices.Contains(ids, r.ID) })
			})
			for i, ids := range of { // no part of it is forgotten earlier
				keep := RetentionOf(DefaultHalfLife)
				for _, r := range before {
					for _, later := range []time.Duration{0, time.Hour, 30 * day, 300 * day} {
						now := clock.ns.Load() + int64(later)
						if m := &want[i]; slices.Contains(ids, r.ID) && keep.Of(r.CreateTime, r.Rehearsed, now) > keep.Of(m.CreateTime, m.Rehearsed, now) {
							t.Fatalf("%+v is retained better than %+v", r, m)
						}
					}
				}
			}
			kept := make(map[string]bool)
			for _, r := range after {
				if !slices.ContainsFunc(done.Records, func(m Record) bool { return m.ID == r.ID }) {
					if len(rest) == 0 || !slices.ContainsFunc(rest, func(o Record) bool { return fmt.Sprintf("%+v", o) == fmt.Sprintf("%+v", r) }) {
						t.Fatalf("%+v was changed", r)
					}
				} else if r.Version != done.LSN {
					t.Fatalf("version %v of %+v", r.Version, r)
				}
				sources := r.Sources
				if sources == nil {
					sources = []Source{{r.ID, r.Time}}
				}
				lines := strings.Split(r.Text, "\n")
				for _, s := range sources {
					from := stored[s.ID]
					if kept[s.ID] || from.ID == "" || s.Time != from.Time || from.Text != "" && !slices.Contains(lines, from.Text) {
						t.Fatalf("source %+v of %+v", s, r)
					}
					kept[s.ID] = true
					if len(r.Sources) == 0 {
						continue
					}
					if c := cosineOf(r.Key, from.Key); c < by.Similarity-1e-9 || from.Pinned || from.Speaker != r.Speaker || from.Session != r.Session {
						t.Fatalf("source %+v is %v from %+v", from, c, r)
					}
				}
			}
			if len(kept) != len(stored) || len(after) != len(rest)+len(want) {
				t.Fatalf("%d records, of %d of %d that were stored", len(after), len(kept), len(stored))
			}
		}
	})
}

func plainRecords(list []Record) (out []string) {
	for _, r := range list {
		out = append(out, plainRecord(r))
	}
	return out
}

func ask(t interface {
	Helper()
	Fatal(...any)
}, db *DB, req *Consolidate) *Consolidated {
	t.Helper()
	req.Namespace = cmp.Or(req.Namespace, "n")
	out, err := db.Consolidate(context.Background(), req)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// copyTo imports "n" into another DB.
func copyTo(t *rapid.T, from, to *DB, name string) {
	v, err := from.View("n")
	if err != nil {
		t.Fatal(err)
	}
	defer v.Release()
	c := v.Config()
	c.Name = name
	err = to.Import(context.Background(), c, v.LSN(), func(yield func(*Record, error) bool) {
		v.Records(func(r *Record) bool { return yield(r, nil) })
	})
	if err != nil {
		t.Fatal(err)
	}
}

// old is a record of a time long ago.
func old(id string, at int64, key ...float32) Put {
	return Put{Record: Record{ID: id, Key: key, Text: "text of " + id, Time: at}, HasTime: true}
}

var close99 = &Consolidation{Similarity: 0.99}

// Near to what is near isn't near.
func TestConsolidateDoesNotChain(t *testing.T) {
	db, _ := remembering(t, Config{Dimension: 2}, testSizes)
	defer func() { _ = db.Close() }()
	var puts []Put
	for i := range 60 { // 6 degrees each
		a := float64(i) * math.Pi / 30
		puts = append(puts, old(fmt.Sprint(i), int64(i), float32(math.Cos(a)), float32(math.Sin(a))))
	}
	mustStore(t, db, "n", puts...)
	for range 10 {
		ask(t, db, close99.request()) // 8.1 degrees
	}
	for _, r := range all(db) {
		for _, s := range r.Sources {
			var i int
			if _, err := fmt.Sscan(s.ID, &i); err != nil {
				t.Fatal(err)
			}
			if c := cosineOf(r.Key, puts[i].Key); c < 0.99-1e-9 {
				t.Errorf("source %s of %v is %v", s.ID, r.Sources, c)
			}
		}
	}
	if n := len(all(db)); n < 30 || n > 30 {
		t.Errorf("%d records are left", n)
	}
}

// No more than 256 sources and the limit of a text go into one record; the rest into others.
func TestConsolidateBounds(t *testing.T) {
	store := func(db *DB, n int, text func(i int) string) {
		for i := 0; i < n; i += 100 {
			var puts []Put
			for j := i; j < min(n, i+100); j++ {
				p := old(fmt.Sprint(j), int64(j), 1, 2)
				p.Text = text(j)
				puts = append(puts, p)
			}
			mustStore(t, db, "n", puts...)
		}
	}
	for _, c := range []struct {
		name  string
		n     int
		text  func(int) string
		sizes []int
	}{
		{"sources", 600, func(i int) string { return fmt.Sprint(i) }, []int{256, 256, 88}},
		{"the same text", 600, func(int) string { return strings.Repeat("x", 60000) }, []int{256, 256, 88}},
		{"text", 10, func(i int) string { return strings.Repeat(fmt.Sprint(i), 20000) }, []int{3, 3, 3, 1}},
		{"text to the byte", 4, func(i int) string { return strings.Repeat(fmt.Sprint(i), 32768-i%2) }, []int{2, 2}},
	} {
		t.Run(c.name, func(t *testing.T) {
			db, _ := remembering(t, Config{Dimension: 2}, testSizes)
			defer func() { _ = db.Close() }()
			store(db, c.n, c.text)
			for range 3 { // what is full stays as it is
				ask(t, db, close99.request())
			}
			var sizes []int
			sum := 0
			for _, r := range all(db) {
				sizes = append(sizes, max(1, len(r.Sources)))
				sum += max(1, len(r.Sources))
				for _, s := range r.Sources {
					var i int
					_, _ = fmt.Sscan(s.ID, &i)
					if !strings.Contains(r.Text, c.text(i)) {
						t.Errorf("the text of %s isn't in that of %.20s", s.ID, r.Text)
					}
				}
			}
			slices.SortFunc(sizes, func(a, b int) int { return b - a })
			if !slices.Equal(sizes, c.sizes) || sum != c.n {
				t.Errorf("records of %v sources, want %v", sizes, c.sizes)
			}
		})
	}
}

// close99 as a request.
func (by *Consolidation) request() *Consolidate { return &Consolidate{By: by} }

// What a merged record has beside its vectors, texts and sources.
func TestConsolidateRecord(t *testing.T) {
	db, clock := remembering(t, Config{Dimension: 2, Lexical: lexical.Words}, testSizes)
	defer func() { _ = db.Close() }()
	metadata := func(m map[string]any) []byte {
		s, err := structpb.NewStruct(m)
		if err != nil {
			t.Fatal(err)
		}
		b, err := filter.EncodeMetadata(s)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	a, b := old("a", 30, 1, 0), old("b", 10, 1, 0)
	a.Metadata, b.Metadata = metadata(map[string]any{"x": 1, "y": []any{"u"}, "z": true}), metadata(map[string]any{"x": 1, "y": []any{"v"}})
	a.Importance, a.HasImportance, b.Importance, b.HasImportance = 0.25, true, 0.75, true
	a.Position, a.HasPosition, b.Position, b.HasPosition = 7, true, 8, true
	a.Value = []float32{4, 8}
	a.KeyFromText = true
	mustStore(t, db, "n", b)
	clock.move(time.Minute)
	mustStore(t, db, "n", a)
	clock.move(2 * day)
	v := view(t, db, "n")
	ref, _ := v.Find("b")
	db.Rehearse([]*View{v}, [][]Hit{{{Ref: ref}}})
	v.Release()
	if err := db.CommitRehearsals(t.Context()); err != nil {
		t.Fatal(err)
	}
	clock.move(time.Hour)
	was := all(db)
	done := ask(t, db, close99.request())
	if done.Made != 1 || done.Merged != 2 || len(done.Records) != 1 {
		t.Fatalf("%+v", done)
	}
	r := all(db)[0]
	if r.ID == "" || r.ID == "a" || r.Text != "text of b\ntext of a" || !slices.Equal(r.Key, []float32{1, 0}) || !slices.Equal(r.Value, []float32{1.75, 2}) ||
		r.Importance != 0.75 || r.Position != 7 || !r.HasPosition || r.Time != 30 || string(r.Metadata) != string(metadata(map[string]any{"x": 1})) ||
		r.KeyFromText || r.Version != done.LSN || r.UpdateTime != clock.ns.Load() || r.Spread != 0 ||
		r.CreateTime != was[1].CreateTime || r.Rehearsed != was[0].Rehearsed || r.Rehearsed.Count != 1 ||
		!slices.Equal(r.Sources, []Source{{"b", 10}, {"a", 30}}) {
		t.Errorf("%+v of %+v", r, was)
	}
	if st := view(t, db, "n"); st.Stats().Merged != 2 || db.Removed()[mergedAt] != 2 {
		t.Errorf("%+v", st.Stats())
	} else {
		st.Release()
	}
	// It is found by its words, keeps its sources when it changes, and loses them when it is
	// stored anew.
	if ids := found(t, db, "b"); !slices.Equal(ids, []string{r.ID}) {
		t.Errorf("found %v, want %v", ids, r.ID)
	}
	if _, err := db.Update(t.Context(), &Update{Namespace: "n", Mask: MaskText, Records: []Put{{Record: Record{ID: r.ID, Text: "new"}}}}); err != nil {
		t.Fatal(err)
	}
	if got := all(db)[0]; got.Text != "new" || !slices.Equal(got.Sources, r.Sources) || got.Rehearsed != r.Rehearsed || got.Created != r.Created {
		t.Errorf("changed, it is %+v", got)
	}
	p := put(r.ID, 1, 1)
	p.Sources = []Source{{"forged", 1}}
	mustStore(t, db, "n", p)
	if got := all(db)[0]; got.Sources != nil || got.Spread != 0 {
		t.Errorf("stored anew, it is %+v", got)
	}
}

// found gives the ids of the records that have words of a text.
func found(t *testing.T, db *DB, text string) (ids []string) {
	t.Helper()
	v := view(t, db, "n")
	defer v.Release()
	hits, _, err := db.Retrieve(t.Context(), []*View{v}, []Query{{Text: text}}, RetrieveOptions{K: 10, MinScore: float32(math.Inf(-1)), Ranking: Ranking{Lexical: 1}})
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range hits[0] {
		ids = append(ids, v.At(h.Ref, 0).ID)
	}
	return ids
}

// What changes between the search and the commit cancels its cluster, and no other.
func TestConsolidateCancels(t *testing.T) {
	for name, between := range map[string]func(db *DB) error{
		"updated": func(db *DB) error {
			_, err := db.Update(context.Background(), &Update{Namespace: "n", Mask: MaskText, Records: []Put{{Record: Record{ID: "b", Text: "other"}}}})
			return err
		},
		"deleted": func(db *DB) error {
			_, err := db.Delete(context.Background(), &Delete{Namespace: "n", IDs: []string{"b"}})
			return err
		},
		"stored anew": func(db *DB) error {
			_, err := db.Store(context.Background(), &Store{Namespace: "n", Records: []Put{old("b", 1, 1, 0)}})
			return err
		},
		"pinned": func(db *DB) error {
			_, err := db.Update(context.Background(), &Update{Namespace: "n", Mask: MaskPinned, Records: []Put{{Record: Record{ID: "b", Pinned: true}}}})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			db, clock := remembering(t, Config{Dimension: 2}, testSizes)
			defer func() { _ = db.Close() }()
			mustStore(t, db, "n", old("a", 0, 1, 0), old("b", 1, 1, 0), old("c", 2, 0, 1), old("d", 3, 0, 1))
			v := view(t, db, "n")
			defer v.Release()
			w := merging{db: db, v: v, req: &Consolidate{}, out: new(Consolidated)}
			k := clustering{v: v, by: *close99, now: clock.ns.Load(), limits: &db.limits}
			if _, err := k.run(t.Context(), func(x *cluster) error { return w.take(t.Context(), x) }); err != nil {
				t.Fatal(err)
			}
			if err := between(db); err != nil {
				t.Fatal(err)
			}
			was := all(db)
			if err := w.flush(t.Context(), true); err != nil {
				t.Fatal(err)
			}
			if w.out.Made != 1 || w.out.Merged != 2 || w.out.Cancelled != 1 || !slices.Equal(w.out.Records[0].Sources, []Source{{"c", 2}, {"d", 3}}) {
				t.Fatalf("%+v", w.out)
			}
			for _, r := range was {
				if r.ID != "c" && r.ID != "d" && !slices.ContainsFunc(all(db), func(o Record) bool { return fmt.Sprintf("%+v", o) == fmt.Sprintf("%+v", r) }) {
					t.Errorf("%+v was changed", r)
				}
			}
		})
	}
	// A rehearsal cancels nothing, and counts.
	db, clock := remembering(t, Config{Dimension: 2}, testSizes)
	defer func() { _ = db.Close() }()
	mustStore(t, db, "n", old("a", 0, 1, 0), old("b", 1, 1, 0))
	clock.move(day)
	v := view(t, db, "n")
	defer v.Release()
	w := merging{db: db, v: v, req: &Consolidate{}, out: new(Consolidated)}
	k := clustering{v: v, by: *close99, now: clock.ns.Load(), limits: &db.limits}
	if _, err := k.run(t.Context(), func(x *cluster) error { return w.take(t.Context(), x) }); err != nil {
		t.Fatal(err)
	}
	ref, _ := v.Find("a")
	db.Rehearse([]*View{v}, [][]Hit{{{Ref: ref}}})
	if err := errors.Join(db.CommitRehearsals(t.Context()), w.flush(t.Context(), true)); err != nil {
		t.Fatal(err)
	}
	if r := all(db); len(r) != 1 || r[0].Rehearsed.Count != 1 || r[0].Rehearsed.Last != clock.ns.Load() {
		t.Errorf("%+v", r)
	}
}

// A run that stops and goes on finds what one does that doesn't stop.
func TestClusteringGoesOn(t *testing.T) {
	db, clock := remembering(t, Config{Dimension: 2}, testSizes)
	defer func() { _ = db.Close() }()
	for i := range 200 { // in pairs, so that what a part merged leads nothing in the next
		a := float64(i) * math.Pi / 300
		for j := range 2 {
			p := old(fmt.Sprint(i, "-", j), int64(i+300*j), float32(math.Cos(a)), float32(math.Sin(a)))
			p.Session = fmt.Sprint(i % 3)
			mustStore(t, db, "n", p)
		}
	}
	v := view(t, db, "n")
	defer v.Release()
	run := func(most int64) (out []string, stops int) {
		k := clustering{v: v, by: Consolidation{Similarity: 0.999999}, now: clock.ns.Load(), limits: &db.limits, most: most}
		for {
			after, err := k.run(t.Context(), func(x *cluster) error {
				out = append(out, fmt.Sprint(x.merged.Sources))
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			if after == nil {
				return out, stops
			}
			stops++
			k.after, k.done = after, 0
		}
	}
	whole, none := run(0)
	if len(whole) != 200 || none != 0 {
		t.Fatalf("%d clusters, %d stops", len(whole), none)
	}
	if parts, stops := run(1); stops < 20 || !slices.Equal(parts, whole) {
		t.Errorf("%d clusters in %d parts", len(parts), stops+1)
	}
	stop := errors.New("enough")
	k := clustering{v: v, by: *close99, now: clock.ns.Load(), limits: &db.limits}
	if _, err := k.run(t.Context(), func(*cluster) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("it ends with %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := k.run(ctx, func(*cluster) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled, it ends with %v", err)
	}
}

// In the background a namespace's own consolidation is done when it is time, in passes of
// which each goes on behind the one before, and none looks at what it has seen.
func TestConsolidateInTheBackground(t *testing.T) {
	db, clock := remembering(t, Config{Dimension: 2, Consolidation: Consolidation{0.99, 64 * time.Minute}}, testSizes)
	defer func() { _ = db.Close() }()
	mustStore(t, db, "n", put("a", 1, 0), put("b", 1, 0), put("c", 0, 1))
	due := func(after time.Duration, want ...int) {
		t.Helper()
		clock.move(after)
		if err := db.ConsolidateDue(t.Context()); err != nil {
			t.Fatal(err)
		}
		var got []int
		for _, r := range all(db) {
			got = append(got, len(r.Sources))
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("records have sources %v, want %v", got, want)
		}
	}
	due(63*time.Minute, 0, 0, 0)
	due(time.Minute-1, 0, 0, 0)
	due(1, 0, 2) // a minute after the last pass, and old enough
	ns := db.lookup("n")
	due(time.Minute, 0, 2)
	if p := ns.passed; p == nil || p.after != nil || p.lsn != ns.view.Load().lsn || p.ripens != 0 {
		t.Errorf("a pass that found nothing left %+v", p)
	}
	mustStore(t, db, "n", put("d", 0, 1))
	due(time.Minute, 0, 0, 2)
	if p := ns.passed; p.ripens != clock.ns.Load()-int64(time.Minute)+int64(64*time.Minute) {
		t.Errorf("d is old at %+v", p)
	}
	due(64*time.Minute, 2, 2)
	if st := view(t, db, "n"); st.Stats().Merged != 4 {
		t.Errorf("%+v", st.Stats())
	} else {
		st.Release()
	}
	// It can be changed, and taken away.
	if err := db.UpdateNamespace(t.Context(), &UpdateNamespace{Name: "n", Consolidation: new(Consolidation)}); err != nil {
		t.Fatal(err)
	}
	mustStore(t, db, "n", put("e", 0, 1), put("f", 0, 1))
	due(day, 0, 0, 2, 2)
	due(day, 0, 0, 2, 2)
	if err := db.UpdateNamespace(t.Context(), &UpdateNamespace{Name: "n", Consolidation: &Consolidation{0.99, 0}}); err != nil {
		t.Fatal(err)
	}
	due(time.Second-1, 0, 0, 2, 2)
	due(1, 2, 4)
}

// What takes more than a pass goes on ten seconds later, and ends.
func TestConsolidateInRounds(t *testing.T) {
	z := testSizes
	z.passWork = 1
	db, clock := remembering(t, Config{Dimension: 2, Consolidation: Consolidation{0.999, time.Hour}}, z)
	defer func() { _ = db.Close() }()
	for i := range 40 {
		a := float64(i) * math.Pi / 45
		for _, id := range []string{"a", "b"} {
			p := put(fmt.Sprint(id, i), float32(math.Cos(a)), float32(math.Sin(a)))
			p.Session = fmt.Sprint(i % 2)
			mustStore(t, db, "n", p)
		}
	}
	ns := db.lookup("n")
	pass := func(after time.Duration) {
		t.Helper()
		clock.move(after)
		if err := db.ConsolidateDue(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	pass(time.Hour)
	passes := 1
	for ; ns.passed.after != nil; passes++ {
		n := len(all(db))
		pass(passRest - 1)
		if len(all(db)) != n {
			t.Fatal("it didn't rest")
		}
		pass(1)
	}
	if n := len(all(db)); n != 40 || passes < 5 {
		t.Errorf("%d records after %d passes", n, passes)
	}
	for range 2 * passes { // a round in which nothing is found, and then none
		pass(time.Minute)
	}
	if p := ns.passed; p.after != nil || p.lsn != ns.view.Load().lsn || len(all(db)) != 40 {
		t.Errorf("%d records after %+v", len(all(db)), p)
	}
}

func TestConsolidateRequests(t *testing.T) {
	db, _ := remembering(t, Config{Dimension: 2}, testSizes)
	defer func() { _ = db.Close() }()
	mustStore(t, db, "n", old("a", 0, 1, 0), old("b", 1, 1, 0), old("c", 2, 0, 1))
	if _, err := db.Consolidate(t.Context(), &Consolidate{Namespace: "n"}); !isPrecond(err) {
		t.Errorf("without a consolidation: %v", err)
	}
	if _, err := db.Consolidate(t.Context(), &Consolidate{Namespace: "m", By: close99}); !isNotFound(err) {
		t.Errorf("of no namespace: %v", err)
	}
	for _, by := range []Consolidation{{}, {1.1, 0}, {-1, 0}, {math.NaN(), 0}, {0, 1}, {0.5, -1}, {0.5, maxMinAge + 1}} {
		if _, err := db.Consolidate(t.Context(), &Consolidate{Namespace: "n", By: &by}); !isInvalid(err) {
			t.Errorf("%+v: %v", by, err)
		}
		if err := db.UpdateNamespace(t.Context(), &UpdateNamespace{Name: "n", Consolidation: &by}); (by == Consolidation{}) != (err == nil) {
			t.Errorf("a namespace of %+v: %v", by, err)
		}
	}
	if _, err := db.CreateNamespace(t.Context(), &CreateNamespace{Config{Name: "dot", Metric: index.Dot, Dimension: 2, ValueDimension: 2, Consolidation: *close99}}); !isInvalid(err) {
		t.Errorf("a namespace of another metric: %v", err)
	}
	if _, err := db.CreateNamespace(t.Context(), &CreateNamespace{Config{Name: "dot", Metric: index.Dot, Dimension: 2, ValueDimension: 2}}); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Consolidate(t.Context(), &Consolidate{Namespace: "dot", By: close99}); !isPrecond(err) {
		t.Errorf("another metric: %v", err)
	}
	if err := db.UpdateNamespace(t.Context(), &UpdateNamespace{Name: "dot", Consolidation: close99}); !isPrecond(err) {
		t.Errorf("another metric: %v", err)
	}
	req := &Consolidate{By: close99, RequestID: "once"}
	first := ask(t, db, req)
	if again := ask(t, db, req); fmt.Sprintf("%+v", again) != fmt.Sprintf("%+v", first) || first.Made != 1 {
		t.Errorf("a retry is answered %+v, want %+v", again, first)
	}
	if _, err := db.Consolidate(t.Context(), &Consolidate{Namespace: "n", By: close99, RequestID: "once", Digest: [32]byte{1}}); !isInvalid(err) {
		t.Errorf("the id of another request: %v", err)
	}
	mustStore(t, db, "n", old("d", 3, 0, 1))
	if again := ask(t, db, req); again.Made != 1 || len(all(db)) != 3 {
		t.Errorf("a retry made %+v", again)
	}
	v := view(t, db, "n")
	lsn := v.LSN()
	v.Release()
	matching := &filter.Filter{Cond: &filter.Condition{Field: filter.FieldID, Op: filter.OpEquals, Values: []filter.Scalar{filter.String("d")}}}
	if none := ask(t, db, &Consolidate{By: close99, Filter: matching}); none.Made != 0 || none.LSN != lsn {
		t.Errorf("of one record %+v", none)
	}
	none := ask(t, db, &Consolidate{By: close99, Filter: matching, RequestID: "none"})
	if again := ask(t, db, &Consolidate{By: close99, Filter: matching, RequestID: "none"}); none.LSN != lsn+1 || again.LSN != none.LSN || again.Made != 0 {
		t.Errorf("nothing, remembered, is %+v and then %+v", none, again)
	}
	if two := ask(t, db, close99.request()); two.Made != 1 || two.Merged != 2 {
		t.Errorf("%+v", two)
	}
}

// Whatever else is written meanwhile, each view shows every record once: itself, or as a source.
func TestConsolidateBesideWriters(t *testing.T) {
	db := newTestDB(t)
	mustStore(t, db, "n", old("first", 1, 1, 0))
	const writers, batches = 3, 60
	var stored [writers]atomic.Int64
	var work sync.WaitGroup
	for w := range writers {
		work.Go(func() {
			for b := range batches {
				var puts []Put
				for i := range 5 {
					puts = append(puts, old(fmt.Sprintf("%d-%d", w, 5*b+i), int64(b), float32(1+b%4), float32(i)))
				}
				mustStore(t, db, "n", puts...)
				stored[w].Store(int64(5 * (b + 1)))
				// It may be gone by now: then nothing is changed.
				_, err := db.Update(t.Context(), &Update{Namespace: "n", Mask: MaskImportance, Records: []Put{{Record: Record{ID: puts[0].ID, Importance: 0.75}, HasImportance: true}}})
				if err != nil && !isNotFound(err) {
					t.Error(err)
				}
			}
		})
	}
	ended := make(chan struct{})
	go func() {
		work.Wait()
		close(ended)
	}()
	made := 0
	for more := true; more; {
		select {
		case <-ended:
			more = false
		default:
		}
		made += ask(t, db, close99.request()).Made
		var least [writers]int64
		for w := range least {
			least[w] = stored[w].Load()
		}
		v := view(t, db, "n")
		seen := make(map[string]int)
		v.Records(func(r *Record) bool {
			if r.Sources == nil {
				seen[string([]byte(r.ID))]++
			}
			for _, s := range r.Sources {
				seen[string([]byte(s.ID))]++
			}
			return true
		})
		v.Release()
		for w, n := range least {
			for i := range n {
				if id := fmt.Sprintf("%d-%d", w, i); seen[id] != 1 {
					t.Fatalf("%s is seen %d times", id, seen[id])
				}
			}
		}
	}
	if made == 0 {
		t.Error("nothing was merged")
	}
}

// Many are merged by several mutations, and shown in part.
func TestConsolidateMany(t *testing.T) {
	db, _ := remembering(t, Config{Dimension: 2}, sizes{segmentRows: 1024, indexRows: 1 << 30, compactRows: 64, ivfRows: 1 << 30})
	defer func() { _ = db.Close() }()
	const n = 12000
	for i := 0; i < n; i += 1000 {
		puts := make([]Put, 1000)
		for j := range puts {
			puts[j] = old(fmt.Sprint(i+j), int64(i+j), 1, 0)
			puts[j].Speaker = fmt.Sprint((i + j) / 2)
		}
		mustStore(t, db, "n", puts...)
	}
	v := view(t, db, "n")
	before := v.LSN()
	v.Release()
	req := &Consolidate{By: close99, RequestID: "many"}
	done := ask(t, db, req)
	if done.Made != n/2 || done.Merged != n || len(done.Records) != shownRecords || done.LSN < before+3 || len(all(db)) != n/2 {
		t.Errorf("made %d of %d, shows %d, by %d mutations; %d are left", done.Made, done.Merged, len(done.Records), done.LSN-before, len(all(db)))
	}
	if again := ask(t, db, req); again.Made != done.Made || again.Merged != done.Merged || len(again.Records) != shownRecords || again.LSN != done.LSN {
		t.Errorf("a retry: %d of %d", again.Made, again.Merged)
	}
}

// A namespace that is at its max_bytes has room for what its records are merged into, since
// they go by the same mutation; at most a few others do.
func TestConsolidateAtCapacity(t *testing.T) {
	db, clock := remembering(t, Config{Dimension: 2, MaxBytes: 4 << 20, Eviction: EvictOldest}, testSizes)
	defer func() { _ = db.Close() }()
	// Pairs, apart from each other, until the first were evicted.
	const pairs = 3000
	for i := range pairs {
		a := float64(i) * math.Pi / pairs
		p, q := old(fmt.Sprint(2*i), int64(i), float32(math.Cos(a)), float32(math.Sin(a))), old(fmt.Sprint(2*i+1), int64(i), float32(math.Cos(a)), float32(math.Sin(a)))
		p.Text, q.Text = strings.Repeat("p", 1000), strings.Repeat("q", 1000)
		mustStore(t, db, "n", p, q)
	}
	clock.move(day)
	before := all(db)
	if len(before) >= 2*pairs {
		t.Fatal("nothing was evicted")
	}
	got := ask(t, db, (&Consolidation{Similarity: 1 - 1e-8}).request())
	after := all(db)
	evicted := len(before) - got.Merged + got.Made - len(after)
	if got.Made < len(before)/3 || evicted < 0 || evicted > len(before)/16 {
		t.Errorf("of %d records %d were merged into %d, and %d evicted", len(before), got.Merged, got.Made, evicted)
	}
}
