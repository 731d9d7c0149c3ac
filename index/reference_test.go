package index

import (
	"cmp"
	"context"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"engram/internal/slab"
	"engram/kernel"
)

var never = float32(math.Inf(-1))

// A fixture is what a test searches: parts with their ages, and the slabs they
// lie in, freed when the test ends.
type fixture struct {
	shape Shape
	parts []Part
	ages  [][]uint64
}

// vectors makes components; it is asked for one vector of d at a time.
type vectors func(r *rand.Rand, v []float32)

// uniform is in [−1, 1), computed exactly and so alike on every processor.
func uniform(r *rand.Rand, v []float32) {
	for i := range v {
		v[i] = float32(int32(r.Uint32())>>8) / (1 << 23)
	}
}

// few gives vectors of so few kinds that most have twins.
func few(r *rand.Rand, v []float32) {
	kind := r.IntN(3)
	for i := range v {
		v[i] = float32((i*7+kind*5)%11) - 4.5
	}
}

// near gives vectors that differ in the last bits, whose scores panels can't tell
// apart.
func near(r *rand.Rand, v []float32) {
	for i := range v {
		v[i] = math.Float32frombits(math.Float32bits(float32(i%13)-6.3) + r.Uint32N(3))
	}
}

// scaled gives vectors of norms from 1e-17 to 1e17.
func scaled(r *rand.Rand, v []float32) {
	uniform(r, v)
	f := float32(math.Pow(10, float64(r.IntN(35)-17)))
	for i := range v {
		v[i] *= f
	}
	v[0] = f
}

// lopsided gives vectors of a component that is far greater than the rest, which
// codes can't tell from zero.
func lopsided(r *rand.Rand, v []float32) {
	uniform(r, v)
	v[r.IntN(min(len(v), 3))] = float32(r.IntN(3)-1) * 1e6
	v[0] += 1
}

// twins gives vectors an ulp apart at the ends of what may be stored: of norms near
// 1e18 and 1e-18.
func twins(r *rand.Rand, v []float32) {
	f := []float32{1e18, 1, 1e-18}[r.IntN(3)]
	for i := range v {
		v[i] = f * float32(0.9/math.Sqrt(float64(len(v))))
		if f < 1 {
			v[i] *= 1.3
		}
		v[i] = math.Float32frombits(math.Float32bits(v[i]) + r.Uint32N(2))
	}
}

// aside gives vectors far to one side of the origin, close to each other.
func aside(r *rand.Rand, v []float32) {
	uniform(r, v)
	for i := range v {
		v[i] += float32(100 * (i%3 + 1))
	}
}

var kinds = map[string]vectors{
	"uniform": uniform, "few": few, "near": near, "scaled": scaled, "lopsided": lopsided, "twins": twins, "aside": aside,
}

// newFixture makes parts of the given rows. masked: none without; else one eligible
// row in so many.
func newFixture(t testing.TB, r *rand.Rand, shape Shape, kind vectors, values bool, masked int, rows ...int) *fixture {
	pool := slab.NewPool(8 << 30)
	f := &fixture{shape: shape}
	key, value := make([]float32, shape.Dim), make([]float32, shape.ValueDim)
	for _, n := range rows {
		s, err := NewSegment(pool, shape, n+3, values)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Free)
		own := s.HasValues()
		for range n + 2 { // two rows are not published
			kind(r, key)
			var v []float32
			if own && (shape.Dim != shape.ValueDim || r.IntN(4) > 0) {
				uniform(r, value)
				v = value
			}
			if err := s.Append(key, v); err != nil {
				t.Fatal(err)
			}
		}
		p := Part{Segment: s, Rows: n}
		if masked > 0 {
			p.Mask = make([]uint64, (n+63)/64)
			for row := range n {
				if r.IntN(masked) == 0 {
					p.Mask[row/64] |= 1 << (row % 64)
				}
			}
			if n%64 != 0 {
				p.Mask[n/64] |= ^uint64(0) << (n % 64) // to be ignored
			}
		}
		f.parts = append(f.parts, p)
	}
	total := 0
	for _, n := range rows {
		total += n
	}
	order := r.Perm(total)
	for i, n := range rows {
		ages := make([]uint64, n)
		for row := range ages {
			ages[row], order = uint64(order[0]), order[1:]
		}
		// Three records share an LSN, as of one batch: their places decide.
		f.parts[i].Age = func(row uint32) (uint64, uint32) { return ages[row] / 3, uint32(ages[row] % 3) }
		f.ages = append(f.ages, ages)
	}
	return f
}

func (f *fixture) queries(r *rand.Rand, kind vectors, n int) [][]float32 {
	out := make([][]float32, n)
	for i := range out {
		out[i] = make([]float32, f.shape.Dim)
		kind(r, out[i])
	}
	return out
}

// score is the canonical score of one row, from the kernel's single rows.
func (f *fixture) score(p *Part, row int, query []float32) float32 {
	var s [1]float32
	key := p.Segment.KeyInto(nil, row)
	if f.shape.Metric == L2 {
		kernel.L2(s[:], query, key, len(key))
		return s[0]
	}
	kernel.Dot(s[:], query, key, len(key))
	if f.shape.Metric == Cosine {
		return float32(float32(s[0]*inverseNorm(key)) * inverseNorm(query))
	}
	return s[0]
}

// search is the reference for Search.
func (f *fixture) search(query []float32, k int, minScore float32) []Hit {
	all := []Hit{}
	for i := range f.parts {
		p := &f.parts[i]
		for row := range p.Rows {
			if !p.has(row) {
				continue
			}
			if s := f.score(p, row, query); s >= minScore {
				all = append(all, Hit{i, uint32(row), s})
			}
		}
	}
	slices.SortFunc(all, func(a, b Hit) int {
		return cmp.Or(cmp.Compare(b.Score, a.Score), cmp.Compare(f.ages[a.Part][a.Row], f.ages[b.Part][b.Row]))
	})
	return all[:min(k, len(all))]
}

// exact is the score in float64.
func (f *fixture) exact(p *Part, row int, query []float32) float64 {
	var dot, kk, qq, dist float64
	for i, k := range p.Segment.KeyInto(nil, row) {
		q := float64(query[i])
		dot += q * float64(k)
		kk += float64(k) * float64(k)
		qq += q * q
		dist += (q - float64(k)) * (q - float64(k))
	}
	switch f.shape.Metric {
	case Cosine:
		return dot / math.Sqrt(kk) / math.Sqrt(qq)
	case L2:
		return -dist / 2
	}
	return dot
}

// checkSearch compares Search to the reference, bit for bit.
func (f *fixture) checkSearch(t failer, queries [][]float32, opt SearchOptions) {
	t.Helper()
	got, stats, err := Search(context.Background(), f.shape, f.parts, queries, opt)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != len(queries) {
		t.Fatalf("%d answers to %d queries", len(got), len(queries))
	}
	eligible := 0
	for i := range f.parts {
		eligible += f.parts[i].eligible(0, f.parts[i].Rows)
	}
	if want := int64(eligible) * int64(len(queries)); stats.RowsScanned != want {
		t.Errorf("RowsScanned is %d, want %d", stats.RowsScanned, want)
	}
	for q := range queries {
		want := f.search(queries[q], opt.K, opt.MinScore)
		if !slices.Equal(got[q], want) {
			t.Fatalf("%+v: query %d of %d, %+v:\ngot  %v\nwant %v", f.shape, q, len(queries), opt, got[q], want)
		}
	}
}

// A failer is a testing.TB or a rapid.T.
type failer interface {
	Helper()
	Fatal(...any)
	Fatalf(string, ...any)
	Errorf(string, ...any)
}
