package index

import (
	"context"
	"math"
	"math/big"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"engram/internal/slab"
)

// Codes may name a row too many but never one too few, wherever the limit lies: each
// row's own score is one, and the numbers next to it.
func TestCandidates(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		metric := Metric(rapid.IntRange(0, 2).Draw(rt, "metric"))
		names := []string{"uniform", "few", "near", "scaled", "lopsided", "twins", "aside"}
		kind := kinds[rapid.SampledFrom(names).Draw(rt, "kind")]
		asked := kinds[rapid.SampledFrom(names).Draw(rt, "kind of query")]
		encoding := rapid.SampledFrom([]Encoding{Int8, Int8Only}).Draw(rt, "encoding")
		d := rapid.SampledFrom([]int{1, 2, 31, 32, 33, 100, 300, 768}).Draw(rt, "dim")
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 0))
		f := newFixture(t, r, Shape{metric, d, d, encoding, F32, 1}, kind, false, 0, rapid.IntRange(1, 200).Draw(rt, "rows"))
		p := &f.parts[0]
		queries := f.queries(r, asked, 2)
		// A query that is a row, too: its distance is 0.
		queries = append(queries, p.Segment.KeyInto(nil, 0))
		s := newSearch(f.shape, f.parts, queries, SearchOptions{K: 1, MinScore: never}, 1)
		defer s.release()
		s.codes = s.codeQueries() // however few rows
		for q, query := range queries {
			for range 20 {
				limit := f.score(p, r.IntN(p.Rows), query)
				at := s.candidates(s.scan(0), q, limit, block{0, 0, p.Rows})
				for row := range p.Rows {
					if score := f.score(p, row, query); score >= limit && !slices.Contains(at, uint32(row)) {
						rt.Fatalf("row %d scores %g, and isn't among the candidates for %g", row, score, limit)
					}
				}
			}
		}
	})
}

// Codes are of use: of ordinary rows they leave few to score. Where all keys lie on
// one side of the origin ‖q‖ is large beside what tells them apart; distances are
// spared that.
func TestCandidatesAreFew(t *testing.T) {
	r := rand.New(rand.NewPCG(41, 42))
	leaning := func(r *rand.Rand, v []float32) {
		uniform(r, v)
		for i := range v {
			v[i] += 3
		}
	}
	for _, c := range []struct {
		metric Metric
		kind   vectors
		most   int
	}{{Dot, uniform, 20}, {Cosine, uniform, 20}, {L2, uniform, 20}, {L2, leaning, 60}} {
		for _, e := range []Encoding{Int8, Int8Only} {
			f := newFixture(t, r, Shape{c.metric, 128, 128, e, F32, 1}, c.kind, false, 0, codeRows)
			queries := f.queries(r, c.kind, 1)
			s := newSearch(f.shape, f.parts, queries, SearchOptions{K: 10, MinScore: never}, 1)
			limit := f.search(queries[0], 10, never)[9].Score
			if n := len(s.candidates(s.scan(0), 0, limit, block{0, 0, codeRows})); n > c.most {
				t.Errorf("metric %d, encoding %d: %d candidates for the best 10 of %d", c.metric, e, n, codeRows)
			}
			s.release()
		}
	}
}

// The stored key of Int8Only is the decoded one, near the one that was given: within
// what Lost says, and a score of it within ScoreError of the exact one.
func TestScoreError(t *testing.T) {
	r := rand.New(rand.NewPCG(43, 44))
	pool := slab.NewPool(1 << 30)
	for name, metric := range metrics {
		for kindName, kind := range kinds {
			const d, n = 70, 60
			shape := Shape{metric, d, d, Int8Only, F32, 1}
			s, err := NewSegment(pool, shape, n, false)
			if err != nil {
				t.Fatal(err)
			}
			again, err := NewSegment(pool, shape, n, false)
			if err != nil {
				t.Fatal(err)
			}
			var keys [][]float32
			for range n {
				key := make([]float32, d)
				kind(r, key)
				keys = append(keys, key)
				if err := s.Append(key, nil); err != nil {
					t.Fatal(err)
				}
			}
			for row, key := range keys {
				stored := s.KeyInto(nil, row)
				sum := 0.0
				for i := range key {
					e := float64(key[i]) - float64(stored[i])
					sum += e * e
				}
				if lost := float64(s.Lost(row)); lost < math.Sqrt(sum)*(1-1e-14) || lost > math.Sqrt(sum)*(1+1e-6) {
					t.Fatalf("%s/%s: row %d lost %g, and says %g", name, kindName, row, math.Sqrt(sum), lost)
				}
				// Appended again it loses nothing more, and remembers what it lost.
				if err := again.AppendLossy(stored, nil, s.Lost(row)); err != nil {
					t.Fatal(err)
				}
				if !slices.Equal(again.KeyInto(nil, row), stored) || again.Lost(row) != s.Lost(row) {
					t.Fatalf("%s/%s: row %d changed as it was copied: lost %g, now %g", name, kindName, row, s.Lost(row), again.Lost(row))
				}
			}
			parts := []Part{{Segment: s, Rows: n, Age: func(row uint32) (uint64, uint32) { return uint64(row), 0 }}}
			for range 5 {
				query := make([]float32, d)
				kind(r, query)
				hits, _, err := Search(context.Background(), shape, parts, [][]float32{query}, SearchOptions{K: n, MinScore: never})
				if err != nil {
					t.Fatal(err)
				}
				for _, h := range hits[0] {
					exact := exactScore(metric, query, keys[h.Row])
					bound := s.ScoreError(int(h.Row), h.Score, Norm(query))
					if off := math.Abs(float64(h.Score) - exact); off > float64(bound) {
						t.Fatalf("%s/%s: row %d scores %g, exactly %g: off by %g, over the bound %g", name, kindName, h.Row, h.Score, exact, off, bound)
					}
					if kindName == "uniform" && float64(bound) > 0.02*Norm(query)*Norm(keys[h.Row]) && metric != Cosine {
						t.Fatalf("%s: the bound is %g, for a score of %g", name, bound, h.Score)
					}
				}
			}
			s.Free()
			again.Free()
		}
	}
}

// exactScore is a score in as many bits as it needs.
func exactScore(metric Metric, q, k []float32) float64 {
	sum := func(term func(i int) *big.Float) *big.Float {
		s := new(big.Float).SetPrec(600)
		for i := range q {
			s.Add(s, term(i))
		}
		return s
	}
	wide := func(x float32) *big.Float { return new(big.Float).SetPrec(600).SetFloat64(float64(x)) }
	times := func(a, b *big.Float) *big.Float { return new(big.Float).SetPrec(600).Mul(a, b) }
	dot := func(a, b []float32) *big.Float {
		return sum(func(i int) *big.Float { return times(wide(a[i]), wide(b[i])) })
	}
	var x *big.Float
	switch metric {
	case L2:
		x = sum(func(i int) *big.Float {
			e := wide(q[i])
			e.Sub(e, wide(k[i]))
			return times(e, e)
		})
		x.Mul(x, big.NewFloat(-0.5))
	case Cosine:
		norms := times(dot(q, q), dot(k, k))
		x = dot(q, k)
		x.Quo(x, norms.Sqrt(norms))
	default:
		x = dot(q, k)
	}
	f, _ := x.Float64()
	return f
}

// Where codes can't tell rows apart, they aren't asked for most of them.
func TestCodesGiveUp(t *testing.T) {
	r := rand.New(rand.NewPCG(45, 46))
	f := newFixture(t, r, Shape{Cosine, 64, 64, Int8, F32, 1}, near, false, 0, 20000)
	queries := f.queries(r, near, 1)
	s := newSearch(f.shape, f.parts, queries, SearchOptions{K: 5, MinScore: never}, 1)
	defer s.release()
	s.codeBlock(s.scan(0), 0, block{0, 0, 20000})
	if j := s.scan(0).judges[0]; j.blind == 0 || j.seen != 20000 {
		t.Errorf("after %d rows that all are candidates, %d more would not be judged", j.seen, j.blind)
	}
	f.checkSearch(t, queries, SearchOptions{K: 5, MinScore: never})
}

// Segments of different encodings, as those of a namespace whose encoding changes, are
// searched together as if all were of one.
func TestMixedEncodings(t *testing.T) {
	r := rand.New(rand.NewPCG(45, 46))
	for name, metric := range metrics {
		f := newFixture(t, r, Shape{metric, 70, 70, F32, F32, 1}, uniform, false, 0, 900, 500, 700, 64, 300)
		for i := range f.parts { // what Int8Only keeps of keys, so that all can hold it
			p := &f.parts[i]
			for _, e := range []Encoding{Int8Only, Encoding(i % 5)} {
				s, err := NewSegment(slab.NewPool(1<<30), Shape{metric, 70, 70, e, F32, 1}, p.Rows, false)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(s.Free)
				for row := range p.Rows {
					if err := s.Append(p.Segment.KeyInto(nil, row), nil); err != nil {
						t.Fatal(err)
					}
				}
				p.Segment = s
			}
		}
		same := *f
		same.parts = slices.Clone(f.parts)
		for i := range same.parts {
			p := &same.parts[i]
			s, err := NewSegment(slab.NewPool(1<<30), Shape{metric, 70, 70, F32, F32, 1}, p.Rows, false)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(s.Free)
			for row := range p.Rows {
				if err := s.Append(p.Segment.KeyInto(nil, row), nil); err != nil {
					t.Fatal(err)
				}
			}
			p.Segment = s
		}
		for _, n := range []int{1, 7, 40} {
			queries := f.queries(r, uniform, n)
			for _, opt := range []SearchOptions{
				{K: 10, MinScore: never, Workers: 1}, {K: 300, MinScore: never, Workers: 2},
				{K: 10, MinScore: never, Sharing: NewSharing(ShareOptions{Least: 1})},
			} {
				got, _, err := Search(t.Context(), f.shape, f.parts, queries, opt)
				if err != nil {
					t.Fatal(err)
				}
				opt.Sharing = nil
				want, _, err := Search(t.Context(), same.shape, same.parts, queries, opt)
				if err != nil {
					t.Fatal(err)
				}
				for q := range want {
					if !slices.Equal(got[q], want[q]) {
						t.Fatalf("%s: query %d of %d, %+v: mixed\n%v\nalike\n%v", name, q, n, opt, got[q], want[q])
					}
				}
			}
		}
	}
}

// Rows and queries for which the bound has nothing to spare but roundings: the query
// has no error of its own, and points along the row's.
func TestCandidatesTight(t *testing.T) {
	r := rand.New(rand.NewPCG(47, 48))
	for name, metric := range metrics {
		for range 50 {
			// Decoded, the row is most·(127, 0)/127.
			most, e := float32(math.Ldexp(1, r.IntN(40)-20)), (r.Float32()-0.5)*0.98
			side := float32(math.Copysign(1, float64(e)))
			query := []float32{0, side}
			if metric == L2 { // beyond the row, on the grid of a query's codes
				most = 8191
				query = []float32{most, side * float32(33+r.IntN(4000))}
			}
			f := newFixture(t, r, Shape{metric, 2, 2, Int8, F32, 1}, func(_ *rand.Rand, v []float32) {
				v[0], v[1] = most, e*most/127
			}, false, 0, 1)
			s := newSearch(f.shape, f.parts, [][]float32{query}, SearchOptions{K: 1, MinScore: never}, 1)
			s.codes = s.codeQueries()
			score := f.score(&f.parts[0], 0, query)
			for limit, want := range map[float32]int{score: 1, score + 0.01*float32(math.Abs(float64(score))): 0} {
				if want == 0 && (metric == L2 || math.Abs(float64(e)) < 0.1) {
					continue // the score, or norms beside it, are no more than roundings
				}
				if at := s.candidates(s.scan(0), 0, limit, block{0, 0, 1}); len(at) != want {
					t.Fatalf("%s: of the row that scores %g there are %d candidates for %g, want %d (e = %g)", name, score, len(at), limit, want, e)
				}
			}
			s.release()
		}
	}
}
