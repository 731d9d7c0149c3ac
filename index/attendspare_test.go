package index

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"engram/internal/slab"
)

// sparedFixture makes parts of rows in clusters: spread is how far a row is from its centre,
// which is about size from the origin. One value in giants is far greater than the rest.
func sparedFixture(t testing.TB, r *rand.Rand, shape Shape, centres int, size, spread float32, giants, masked int, rows ...int) *fixture {
	pool := slab.NewPool(1 << 30)
	f := &fixture{shape: shape}
	centre := make([][]float32, centres)
	for i := range centre {
		centre[i] = make([]float32, shape.Dim)
		uniform(r, centre[i])
	}
	key, value := make([]float32, shape.Dim), make([]float32, shape.ValueDim)
	age := uint64(0)
	for _, n := range rows {
		s, err := NewSegment(pool, shape, n+1, true)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Free)
		p := Part{Segment: s, Rows: n}
		if masked > 0 {
			p.Mask = make([]uint64, (n+63)/64)
		}
		ages := make([]uint64, n)
		bias, positions := make([]float64, n), make([]float64, n)
		for row := range n {
			uniform(r, key)
			c := centre[r.IntN(centres)]
			for j := range key {
				key[j] = c[j]*size + key[j]*spread
			}
			uniform(r, value)
			if giants > 0 && r.IntN(giants) == 0 {
				for j := range value {
					value[j] *= 1e4
				}
			}
			if err := s.Append(key, value); err != nil {
				t.Fatal(err)
			}
			if masked > 0 && r.IntN(masked) == 0 {
				p.Mask[row/64] |= 1 << (row % 64)
			}
			age++
			ages[row], bias[row], positions[row] = age, -3*r.Float64(), float64(row)
			if r.IntN(4) == 0 {
				positions[row] = math.NaN()
			}
		}
		p.Age = func(row uint32) (uint64, uint32) { return ages[row], 0 }
		p.Bias = func(dst []float64, from int) { copy(dst, bias[from:]) }
		p.Position = func(dst []float64, from int) { copy(dst, positions[from:]) }
		f.parts, f.ages = append(f.parts, p), append(f.ages, ages)
	}
	return f
}

// A saving counts what Attend left unread.
type saving struct{ cases, bounded, rows, lists, byCodes int }

// checkSpared holds an answer under MaxError to the exact one of all eligible rows.
func (f *fixture) checkSpared(t failer, queries [][]float32, opt AttendOptions, seen *saving) {
	t.Helper()
	got, stats, err := Attend(context.Background(), f.shape, f.parts, queries, opt)
	if err != nil {
		t.Fatal(err)
	}
	if stats.ListsProbed > 0 {
		seen.lists++
		if len(got) == 1 && f.shape.Encoding == F32 && stats.RowsScanned > int64(got[0].Attended) {
			seen.byCodes++
		}
	}
	dv, group := f.shape.HeadValueDim(), opt.QueryHeads/f.shape.heads()
	d := f.shape.HeadDim()
	for q, query := range queries {
		for head := range opt.QueryHeads {
			a := got[q*opt.QueryHeads+head]
			all, e := f.attendHead(query, q, head, &opt)
			seen.cases++
			if a.Attended > e.attended || len(a.Context) != dv {
				t.Fatalf("attended %d rows of %d", a.Attended, e.attended)
			}
			if e.attended == 0 {
				if a.ErrorBound != 0 || !math.IsInf(a.LogSumExp, -1) {
					t.Fatalf("of nothing: %+v", a)
				}
				continue
			}
			if !(a.ErrorBound >= 0 && a.ErrorBound <= opt.MaxError) {
				t.Fatalf("the bound is %v, with MaxError %v", a.ErrorBound, opt.MaxError)
			}
			if a.ErrorBound > 0 {
				seen.bounded++
			}
			if a.Attended < e.attended {
				seen.rows++
			}
			delta := 0.0
			if len(queries)*group >= attendPanelQueries {
				delta = opt.Scale * gamma(2*d+40) * f.longest(query[head*d:(head+1)*d], head/group)
			}
			longest := 0.0
			for _, l := range all {
				value := f.parts[l.part].Segment.ValueInto(nil, l.row)[head/group*dv : (head/group+1)*dv]
				longest = max(longest, Norm(value))
			}
			off := 0.0
			for k, x := range a.Context {
				off += (float64(x) - e.context[k]) * (float64(x) - e.context[k])
			}
			// What was read has its own rounding, of at most the greatest norm.
			rounding := (4e-6+2*delta)*min(longest, e.norms/(1-a.ErrorBound/2)) + e.lost()
			if a.ErrorBound == 0 {
				rounding = (4e-6+2*delta)*e.norms + e.lost()
			}
			if off = math.Sqrt(off); !(off <= a.ErrorBound*longest+rounding) {
				t.Fatalf("%+v: the context is off by %g, of max‖v‖ = %g more than the bound %g (MaxError %g; attended %d of %d)",
					f.shape, off, longest, a.ErrorBound, opt.MaxError, a.Attended, e.attended)
			}
			if lost := e.lse - a.LogSumExp; !(lost >= -1e-6-delta && lost <= -math.Log(1-a.ErrorBound/2)+1e-6+delta) {
				t.Fatalf("the log-sum-exp %v lacks %g of %v, with the bound %g", a.LogSumExp, lost, e.lse, a.ErrorBound)
			}
			if a.Entropy < 0 || a.Entropy > math.Log(float64(a.Attended))+1e-5 {
				t.Fatalf("the entropy of %d rows is %v", a.Attended, a.Entropy)
			}
			for i, w := range a.Top {
				if i == 0 && len(all) > 0 && all[0].logit-e.lse > math.Log(opt.MaxError)+1e-3 && math.Abs(opt.Scale*float64(w.Score)-opt.Scale*float64(all[0].score)) > 1e-5*(1+math.Abs(opt.Scale*float64(w.Score)))+2*delta && opt.Bias == nil {
					t.Fatalf("the heaviest row is %+v, want %+v", w, all[0])
				}
			}
		}
	}
}

// index builds an index of the first rows of some parts.
func (f *fixture) index(t testing.TB, seed uint64, lists int, parts ...Part) *IVF {
	x, err := BuildIVF(context.Background(), slab.NewPool(1<<30), f.shape, parts, IVFOptions{Lists: lists, Seed: seed, Workers: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(x.Release)
	return x
}

// first is a part's first rows, all of them live.
func first(p Part, rows int) Part {
	p.Rows, p.Mask = min(rows, p.Rows), nil
	return p
}

// The bound holds, and is at most MaxError, in 10,000 random cases and more: of metrics,
// encodings, heads, masks, biases, clusters tight and loose, indexes of all rows, of some and
// of none.
func TestAttendMaxErrorHolds(t *testing.T) {
	want := 10_000
	if testing.Short() || raced {
		want = 1000
	}
	var seen saving
	sharing := NewSharing(ShareOptions{Workers: 2, Least: 1})
	names := []string{"dot", "cosine", "l2"}
	for seed := uint64(0); seen.cases < want; seed++ {
		r := rand.New(rand.NewPCG(seed, 31))
		pick := func(of ...float64) float64 { return of[r.IntN(len(of))] }
		heads := int(pick(1, 1, 1, 2))
		shape := Shape{metrics[names[r.IntN(3)]], heads * int(pick(1, 3, 16, 40)), heads * int(pick(2, 17)), Encoding(r.IntN(5)), valueEncodings[r.IntN(3)], heads}
		size, spread := float32(pick(1, 30)), float32(pick(0, 0.01, 0.1, 1))
		masked := int(pick(0, 0, 2, 20))
		f := sparedFixture(t, r, shape, int(pick(1, 5, 40)), size, size*spread, int(pick(0, 0, 100)), masked, 200+r.IntN(600), r.IntN(2)*300, 70)
		var indexes []*IVF
		switch r.IntN(3) {
		case 0:
			indexes = []*IVF{f.index(t, seed, 1+r.IntN(60), first(f.parts[0], 150), first(f.parts[2], 70))}
		case 1:
			indexes = []*IVF{f.index(t, seed, 0, first(f.parts[0], 800)), f.index(t, seed+1, 3, first(f.parts[2], 50))}
		}
		for range 6 {
			opt := AttendOptions{
				Scale: pick(0, 0.3, 1, 5, 30), MaxError: pick(1e-6, 1e-3, 0.1, 0.9, 0.999), TopWeights: int(pick(0, 3)), Workers: 1 + r.IntN(3),
				QueryHeads: heads * int(pick(1, 1, 3)), Indexes: indexes, always: r.IntN(4) > 0,
			}
			if r.IntN(4) == 0 {
				opt.Sharing = sharing
			}
			n := int(pick(1, 1, 2, 10))
			queries := make([][]float32, n)
			for i := range queries {
				for h := range opt.QueryHeads {
					d := shape.HeadDim()
					q := make([]float32, d)
					uniform(r, q)
					if r.IntN(3) > 0 { // near a key
						p := &f.parts[0]
						copy(q, p.Segment.KeyInto(nil, r.IntN(p.Rows))[h/(opt.QueryHeads/heads)*d:])
						q[0] += float32(pick(0, 0.01))
					}
					if Norm(q) == 0 {
						q[0] = 1
					}
					queries[i] = append(queries[i], q...)
				}
			}
			if b := r.IntN(4); b < 2 {
				opt.Bias = &Bias{Lowers: r.IntN(4) > 0}
				if b == 0 {
					for range opt.QueryHeads {
						opt.Bias.Slopes = append(opt.Bias.Slopes, pick(0, 0.01, 1))
					}
					for range n {
						opt.Bias.Positions = append(opt.Bias.Positions, float64(r.IntN(300)))
					}
				}
			}
			f.checkSpared(t, queries, opt, &seen)
		}
	}
	t.Logf("%+v", seen)
	if seen.bounded < seen.cases/5 || seen.rows < seen.cases/10 || seen.lists == 0 || seen.byCodes == 0 {
		t.Fatalf("hardly anything was spared: %+v", seen)
	}
}

// What would break a bound that isn't one: the only value of a great norm where nothing else
// is, rows that are all equal, scores of ±1e4, keys of norms from 1e-17 to 1e17.
func TestAttendMaxErrorAdversaries(t *testing.T) {
	const dim, rows = 8, 2000
	cases := map[string]func(r *rand.Rand, row int, key, value []float32){
		"a giant value far off": func(r *rand.Rand, row int, key, value []float32) {
			uniform(r, key)
			for i := range key {
				key[i] *= 0.01
			}
			key[0] += 1
			if row == 1500 {
				key[0] = -1
				for i := range value {
					value[i] = 1e9
				}
			}
		},
		"equal rows": func(_ *rand.Rand, _ int, key, value []float32) {
			for i := range key {
				key[i] = float32(i) - 3.5
			}
		},
		"scores of 1e4": func(r *rand.Rand, row int, key, value []float32) {
			clear(key)
			key[0] = 1e4 * float32(row%5-2) / 2
			key[1] = r.Float32()
		},
		"rising scores": func(r *rand.Rand, row int, key, value []float32) {
			clear(key)
			key[0] = float32(row)*5 - 5000
			key[1] = r.Float32()
		},
		"all norms": func(r *rand.Rand, _ int, key, _ []float32) { scaled(r, key) },
		"twins":     func(r *rand.Rand, _ int, key, _ []float32) { twins(r, key) },
		"lopsided":  func(r *rand.Rand, _ int, key, _ []float32) { lopsided(r, key) },
		"aside":     func(r *rand.Rand, _ int, key, _ []float32) { aside(r, key) },
	}
	for name, fill := range cases {
		for m, metric := range metrics {
			for _, encoding := range []Encoding{F32, Int8, Int8Only} {
				t.Run(fmt.Sprintf("%s/%s/%d", name, m, encoding), func(t *testing.T) {
					r := rand.New(rand.NewPCG(41, uint64(encoding)))
					f := &fixture{shape: Shape{metric, dim, 5, encoding, F32, 1}}
					s, err := NewSegment(slab.NewPool(1<<30), f.shape, rows, true)
					if err != nil {
						t.Fatal(err)
					}
					t.Cleanup(s.Free)
					key, value := make([]float32, dim), make([]float32, 5)
					ages := make([]uint64, rows)
					for row := range rows {
						uniform(r, value)
						fill(r, row, key, value)
						if Norm(key) == 0 {
							key[2] = 1
						}
						if err := s.Append(key, value); err != nil {
							t.Fatal(err)
						}
						ages[row] = uint64(row)
					}
					f.parts = []Part{{Segment: s, Rows: rows, Age: func(row uint32) (uint64, uint32) { return ages[row], 0 }}}
					f.ages = [][]uint64{ages}
					x := f.index(t, 1, 40, f.parts[0])
					var seen saving
					for range 4 {
						q := make([]float32, dim)
						uniform(r, q)
						q[0] = 1
						for _, e := range []float64{1e-4, 1e-2, 0.5} {
							for _, indexes := range [][]*IVF{nil, {x}} {
								f.checkSpared(t, [][]float32{q}, AttendOptions{Scale: 1, MaxError: e, QueryHeads: 1, Workers: 1 + r.IntN(2), Indexes: indexes, always: true}, &seen)
							}
						}
					}
				})
			}
		}
	}
}
