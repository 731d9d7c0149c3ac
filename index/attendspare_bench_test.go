package index

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"testing"
)

// sparedBench is a hundred clusters of as many rows, with values of their own, so that
// attention to one of them is attention to 1 % of the rows; kept from one benchmark to the
// next, with the index where there is one.
var sparedBench struct {
	sync.Mutex
	*fixture
	name    string
	indexes []*IVF
	queries [][]float32
}

func sparedData(b *testing.B, name string, encoding Encoding, indexed bool) {
	f := &sparedBench
	if f.name == name {
		return
	}
	if f.fixture != nil {
		for _, x := range f.indexes {
			x.Release()
		}
		for _, p := range f.parts {
			p.Segment.Free()
		}
		f.fixture, f.indexes = nil, nil
	}
	const dim, centres = 128, 100
	r := rand.New(rand.NewPCG(1, 1))
	f.fixture = &fixture{shape: Shape{Cosine, dim, dim, encoding, F32, 1}}
	rows := []int{}
	for left := 1_000_000; left > 0; left -= MaxRows {
		rows = append(rows, min(left, MaxRows))
	}
	f.fixture = sparedFixture(noCleanup{b}, r, f.shape, centres, 1, 0.1, 0, 0, rows...)
	if indexed {
		f.indexes = []*IVF{f.index(noCleanup{b}, 1, 0, f.parts...)}
	}
	f.queries = nil
	for range 10 {
		p := &f.parts[r.IntN(len(f.parts))]
		f.queries = append(f.queries, p.Segment.KeyInto(nil, r.IntN(p.Rows)))
	}
	f.name = name
}

// noCleanup leaves what a fixture makes to later benchmarks.
type noCleanup struct{ *testing.B }

func (noCleanup) Cleanup(func()) {}

// BenchmarkAttendMaxError reports how many times as fast Attend with MaxError is as without,
// one query a call, by turns, against the effective number of rows attended to.
func BenchmarkAttendMaxError(b *testing.B) {
	for _, by := range []struct {
		name     string
		encoding Encoding
		indexed  bool
	}{{"ivf", F32, true}, {"int8", Int8, false}, {"values", F32, false}} {
		for _, scale := range []float64{30, 20, 15, 8, 1} {
			b.Run(fmt.Sprintf("1M×128/%s/scale=%v", by.name, scale), func(b *testing.B) {
				sparedBench.Lock()
				defer sparedBench.Unlock()
				sparedData(b, by.name, by.encoding, by.indexed)
				f := &sparedBench
				var got []Attention
				var stats Stats
				attend := func(opt AttendOptions) {
					got, stats = got[:0], Stats{}
					opt.Scale = scale
					for _, q := range f.queries {
						a, st, err := Attend(context.Background(), f.shape, f.parts, [][]float32{q}, opt)
						if err != nil {
							b.Fatal(err)
						}
						got = append(got, a...)
						stats.Add(st)
					}
				}
				best := byTurns(b, func() { attend(AttendOptions{MaxError: 1e-3, Indexes: f.indexes}) }, func() { attend(AttendOptions{}) })
				b.ReportMetric(best[1].Seconds()/best[0].Seconds(), "×full")
				effective := 0.0
				for _, a := range got {
					effective += math.Exp(a.Entropy) / float64(len(got))
				}
				b.ReportMetric(effective, "effective")
				attend(AttendOptions{MaxError: 1e-3, Indexes: f.indexes})
				read, bound := 0.0, 0.0
				for _, a := range got {
					read, bound = read+float64(a.Attended)/float64(len(got)), max(bound, a.ErrorBound)
				}
				b.ReportMetric(read, "read")
				b.ReportMetric(bound, "bound")
			})
		}
	}
}
