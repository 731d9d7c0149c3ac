package index

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"testing"
	"time"
)

// rounds has so many clients make calls of so many reads each, one after the other.
func rounds(b *testing.B, clients, calls int, read func(client int) error) time.Duration {
	start := time.Now()
	var wg sync.WaitGroup
	for c := range clients {
		wg.Go(func() {
			for range calls {
				if err := read(c); err != nil {
					b.Error(err)
				}
			}
		})
	}
	wg.Wait()
	return time.Since(start)
}

// BenchmarkShared runs the same clients with and without a Sharing, by turns, and
// reports how many times as fast sharing is: times-alone.
func BenchmarkShared(b *testing.B) {
	for _, s := range benchShapes {
		for _, kind := range []string{"Search", "Attend"} {
			for _, clients := range []int{1, 2, 4, 8, 16, 64} {
				for _, batch := range []int{1, 8, 16, 32, 64} {
					if batch > 1 && clients != 4 {
						continue
					}
					b.Run(fmt.Sprintf("%s/%s/clients=%d/batch=%d", s.name, kind, clients, batch), func(b *testing.B) {
						f := benchParts(b, s.rows, Shape{Metric: Dot, Dim: s.dim, ValueDim: s.dim}, kind == "Attend")
						r := rand.New(rand.NewPCG(6, 6))
						queries := make([][][]float32, clients)
						for c := range queries {
							queries[c] = f.queries(r, uniform, batch)
						}
						read := func(sharing *Sharing) func(int) error {
							return func(c int) (err error) {
								if kind == "Search" {
									_, _, err = Search(context.Background(), f.shape, f.parts, queries[c], SearchOptions{K: 10, MinScore: never, Sharing: sharing})
								} else {
									_, _, err = Attend(context.Background(), f.shape, f.parts, queries[c], AttendOptions{Scale: 1 / math.Sqrt(float64(s.dim)), Sharing: sharing})
								}
								return err
							}
						}
						sharing := NewSharing(ShareOptions{})
						calls := 3
						if clients == 1 {
							calls = 10
						}
						best := [2]time.Duration{math.MaxInt64, math.MaxInt64}
						for b.Loop() {
							best[0] = min(best[0], rounds(b, clients, calls, read(sharing)))
							best[1] = min(best[1], rounds(b, clients, calls, read(nil)))
						}
						st := sharing.Stats()
						b.ReportMetric(float64(best[0].Microseconds())/1e3/float64(calls), "best-ms")
						b.ReportMetric(float64(best[1])/float64(best[0]), "times-alone")
						b.ReportMetric(float64(st.Reads)/max(st.Passes, 1), "company")
						b.ReportMetric(0, "ns/op")
					})
				}
			}
		}
	}
}

// BenchmarkSharedSize shows from what size on sharing pays, and what it costs who comes
// alone: leastShared rests on it.
func BenchmarkSharedSize(b *testing.B) {
	for _, kib := range []int{256, 512, 1 << 10, 2 << 10, 4 << 10, 8 << 10, 16 << 10, 32 << 10} {
		for _, clients := range []int{1, 4, 16, 64} {
			b.Run(fmt.Sprintf("%dKiB/clients=%d", kib, clients), func(b *testing.B) {
				f := benchParts(b, kib*2, Shape{Metric: Dot, Dim: 128, ValueDim: 128}, false)
				queries := f.queries(rand.New(rand.NewPCG(7, 7)), uniform, clients)
				read := func(sharing *Sharing) func(int) error {
					return func(c int) (err error) {
						_, _, err = Search(context.Background(), f.shape, f.parts, queries[c:c+1], SearchOptions{K: 10, MinScore: never, Sharing: sharing})
						return err
					}
				}
				sharing := NewSharing(ShareOptions{Least: 1})
				calls := max(3, (256<<10)/kib/clients)
				best := [2]time.Duration{math.MaxInt64, math.MaxInt64}
				for b.Loop() {
					best[0] = min(best[0], rounds(b, clients, calls, read(sharing)))
					best[1] = min(best[1], rounds(b, clients, calls, read(nil)))
				}
				st := sharing.Stats()
				b.ReportMetric(float64(best[0].Nanoseconds())/1e3/float64(calls), "best-µs")
				b.ReportMetric(float64(best[1])/float64(best[0]), "times-alone")
				b.ReportMetric(float64(st.Reads)/max(st.Passes, 1), "company")
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}

// BenchmarkSharedMixed has as many clients search as attend, in one pass and in two, by
// turns: times-apart is how many times as fast the one is.
func BenchmarkSharedMixed(b *testing.B) {
	f := benchParts(b, 1_000_000, Shape{Metric: Dot, Dim: 128, ValueDim: 128}, true)
	for _, clients := range []int{2, 4, 8, 32, 64} {
		b.Run(fmt.Sprintf("1M×128/clients=%d", clients), func(b *testing.B) {
			queries := f.queries(rand.New(rand.NewPCG(8, 8)), uniform, clients)
			read := func(group any) func(int) error {
				sharing := NewSharing(ShareOptions{})
				return func(c int) (err error) {
					if c%2 == 0 {
						_, _, err = Search(context.Background(), f.shape, f.parts, queries[c:c+1], SearchOptions{K: 10, MinScore: never, Sharing: sharing})
					} else {
						_, _, err = Attend(context.Background(), f.shape, f.parts, queries[c:c+1], AttendOptions{Scale: 1 / math.Sqrt(128), Sharing: sharing, Group: group})
					}
					return err
				}
			}
			best := [2]time.Duration{math.MaxInt64, math.MaxInt64}
			for b.Loop() {
				for i, attends := range []any{nil, "attends"} {
					best[i] = min(best[i], rounds(b, clients, 3, read(attends)))
				}
			}
			b.ReportMetric(float64(best[0].Microseconds())/3e3, "best-ms")
			b.ReportMetric(float64(best[1])/float64(best[0]), "times-apart")
			b.ReportMetric(0, "ns/op")
		})
	}
}
