package lexical

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"engram/internal/slab"
)

// A row of a test's segment.
type testRow struct {
	words            []string
	session, speaker string
	dead, masked     bool // masked: alive, but not scored
}

type testSource []testRow

func (s testSource) Words(r uint32) (Terms, string, string) {
	return Words.Append(nil, strings.Join(s[r].words, " ")), s[r].session, s[r].speaker
}

// testWords are some that begin alike; no text has the first.
var testWords = strings.Fields("dancewear a b c d dance danced dancer danc lake lakes écolier école 2020 20201")

func drawRows(t *rapid.T) []testRow {
	word := rapid.SampledFrom(testWords[1:])
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) testRow {
		return testRow{
			words:   rapid.SliceOfN(word, 0, 12).Draw(t, "words"),
			session: rapid.SampledFrom([]string{"", "s", "t", "u"}).Draw(t, "session"),
			speaker: rapid.SampledFrom([]string{"", "x", "y"}).Draw(t, "speaker"),
			dead:    rapid.IntRange(0, 4).Draw(t, "dead") == 0,
			masked:  rapid.IntRange(0, 4).Draw(t, "masked") == 0,
		}
	}), 1, 150).Draw(t, "rows")
}

// naive is BM25 by the formula, of the texts in scored, with the statistics of all.
func naive(query []string, scored, all [][]string) []float64 {
	n, total := 0, 0
	for _, d := range all {
		if len(d) > 0 {
			n, total = n+1, total+len(d)
		}
	}
	out := make([]float64, len(scored))
	for _, w := range query {
		df := 0
		for _, d := range all {
			if slices.Contains(d, w) {
				df++
			}
		}
		idf := math.Log(1 + (float64(n-df)+0.5)/(float64(df)+0.5))
		for i, d := range scored {
			tf := 0.0
			for _, x := range d {
				if x == w {
					tf++
				}
			}
			if tf > 0 {
				out[i] += idf * tf * (1.2 + 1) / (tf + 1.2*(1-0.75+0.75*float64(len(d))*float64(n)/float64(total)))
			}
		}
	}
	return out
}

// layout spreads rows over segments, with indexes of prefixes.
func layout(t *rapid.T, pool *slab.Pool, rows []testRow) (parts []Part, base []int, counts Counts, free func()) {
	var indexes []*Index
	for at := 0; at < len(rows); {
		n := rapid.IntRange(1, len(rows)-at).Draw(t, "segment")
		src := testSource(rows[at : at+n])
		live, mask := make([]uint64, (n+63)/64), make([]uint64, (n+63)/64)
		whole, open := true, true
		for r := range src {
			if terms, _, _ := src.Words(uint32(r)); !src[r].dead {
				live[r/64] |= 1 << (r % 64)
				counts.Add(terms.Of())
				if !src[r].masked {
					mask[r/64] |= 1 << (r % 64)
				}
			}
			whole, open = whole && !src[r].dead, open && !src[r].masked
		}
		p := Part{Source: src, Rows: n}
		if !whole {
			p.Live = live
		}
		if !whole || !open {
			p.Mask = mask
		}
		if indexed := rapid.IntRange(0, n).Draw(t, "indexed"); indexed > 0 {
			var x *Index
			for done := 0; done < indexed; {
				done = rapid.IntRange(done+1, indexed).Draw(t, "built")
				next, err := Build(pool, src, x, done, p.Live)
				if err != nil {
					t.Fatal(err)
				}
				if x != nil {
					x.Free()
				}
				x = next
			}
			indexes = append(indexes, x)
			p.Index = x
		}
		parts, base = append(parts, p), append(base, at)
		at += n
	}
	return parts, base, counts, func() {
		for _, x := range indexes {
			x.Free()
		}
	}
}

// Scores of rows and of sessions are BM25 by the formula, and the same bits however rows
// are spread over segments and however much of them is indexed.
func TestScores(t *testing.T) {
	pool := slab.NewPool(1 << 30)
	rapid.Check(t, func(t *rapid.T) {
		rows := drawRows(t)
		query := rapid.SliceOfNDistinct(rapid.SampledFrom(testWords), 0, 5, rapid.ID).Draw(t, "query")
		var all, scored [][]string
		at := []int{}
		for i, r := range rows {
			if !r.dead {
				all = append(all, r.words)
				if !r.masked {
					scored, at = append(scored, r.words), append(at, i)
				}
			}
		}
		want := make([]float64, len(rows))
		for i, x := range naive(query, scored, all) {
			want[at[i]] = x
		}
		texts := map[string][]string{}
		for _, i := range at {
			if s := rows[i].session; s != "" {
				texts[s] = append(texts[s], rows[i].words...)
			}
		}
		names := []string{}
		whole := [][]string{}
		for name, text := range texts {
			names, whole = append(names, name), append(whole, text)
		}
		wantSessions, wantSessionsKin := map[string]float64{}, map[string]float64{}
		for i, x := range naive(query, whole, whole) {
			wantSessions[names[i]] = x
		}
		for i, x := range naiveKin(query, whole, whole, true) {
			wantSessionsKin[names[i]] = x
		}
		wantKin := make([]float64, len(rows))
		for i, x := range naiveKin(query, scored, all, false) {
			wantKin[at[i]] = x
		}

		var first, firstKin []float32
		var s Scorer
		for range 3 {
			parts, base, counts, free := layout(t, pool, rows)
			s.Begin(Words.Query(strings.Join(query, " ")), parts, base, counts, true)
			got, kin := make([]float32, len(rows)), make([]float32, len(rows))
			s.Rows(got, 1)
			s.Kin(kin, 1)
			for i := range got {
				if math.Abs(float64(got[i])-want[i]) > 1e-5*(1+want[i]) {
					t.Fatalf("row %d scores %v, want %v", i, got[i], want[i])
				}
				if math.Abs(float64(kin[i])-wantKin[i]) > 1e-5*(1+wantKin[i]) {
					t.Fatalf("row %d has kin %v, want %v", i, kin[i], wantKin[i])
				}
				if s.Weight > 0 && float64(got[i]) >= s.Weight {
					t.Fatalf("row %d scores %v, over the weight of the query, %v", i, got[i], s.Weight)
				}
			}
			if first == nil {
				first, firstKin = got, kin
			}
			if !slices.Equal(first, got) || !slices.Equal(firstKin, kin) {
				t.Fatal("another segmentation gave other bits")
			}
			session := make([]uint32, len(rows))
			n := Sessions(session, parts, base, make([]int, len(parts)))
			scores, kinOf := s.Sessions(session, n)
			for i, r := range rows {
				switch in := int(session[i]); {
				case (r.session == "") != (in == n):
					t.Fatalf("row %d of session %q is in number %d of %d", i, r.session, in, n)
				case in < n && !r.dead && !r.masked && math.Abs(scores[in]-wantSessions[r.session]) > 1e-9:
					t.Fatalf("session %q scores %v, want %v", r.session, scores[in], wantSessions[r.session])
				case in < n && !r.dead && !r.masked && math.Abs(kinOf[in]-wantSessionsKin[r.session]) > 1e-9:
					t.Fatalf("session %q has kin %v, want %v", r.session, kinOf[in], wantSessionsKin[r.session])
				}
			}
			speaker := make([]uint32, len(rows))
			by := Speakers(speaker, parts, base)
			for i, r := range rows {
				if by[speaker[i]] != r.speaker {
					t.Fatalf("row %d is by %q, want %q", i, by[speaker[i]], r.speaker)
				}
			}
			s.End()
			free()
		}
	})
	if n := pool.InUse(); n != 0 {
		t.Errorf("%d bytes are left in the pool", n)
	}
}

// Sessions of one name in two groups are two.
func TestSessionsOfGroups(t *testing.T) {
	rows := testSource{{session: "s"}, {session: "s"}}
	parts := []Part{{Source: rows[:1], Rows: 1}, {Source: rows[1:], Rows: 1}}
	for want, group := range [][]int{1: {0, 0}, 2: {0, 1}} {
		if group == nil {
			continue
		}
		if n := Sessions(make([]uint32, 2), parts, []int{0, 1}, group); n != want {
			t.Errorf("groups %v: %d sessions, want %d", group, n, want)
		}
	}
}

func TestBuildBeyondBudget(t *testing.T) {
	if _, err := Build(slab.NewPool(16), testSource{{words: []string{"a"}}}, nil, 1, nil); err == nil {
		t.Error("an index was built where there is no room")
	}
}

// A full segment has as many distinct sessions and speakers as rows.
func TestFullSegment(t *testing.T) {
	rows := make(testSource, 1<<16)
	for i := range rows {
		rows[i] = testRow{words: []string{fmt.Sprint(i)}, session: fmt.Sprint("s", i), speaker: fmt.Sprint(i)}
	}
	pool := slab.NewPool(1 << 30)
	x, err := Build(pool, rows, nil, len(rows), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer x.Free()
	parts := []Part{{Source: rows, Rows: len(rows), Index: x}}
	labels := make([]uint32, len(rows))
	if n := Sessions(labels, parts, []int{0}, []int{0}); n != len(rows) {
		t.Errorf("%d sessions", n)
	}
	if names := Speakers(labels, parts, []int{0}); names[labels[1<<16-1]] != "65535" {
		t.Errorf("the last speaker is %q", names[labels[1<<16-1]])
	}
	var s Scorer
	s.Begin(Words.Query("65535"), parts, []int{0}, Counts{len(rows), int64(len(rows))}, false)
	scores := make([]float32, len(rows))
	s.Rows(scores, 1)
	if scores[1<<16-1] <= 0 || scores[0] != 0 {
		t.Errorf("the last row scores %v", scores[1<<16-1])
	}
}
