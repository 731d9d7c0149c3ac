//go:build heavy && linux

package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	pb "engram/proto/engram/v1"
)

var largeRows = flag.Int("large-rows", 300_000, "how many records TestLargeIndex stores")

// A namespace of keys of 128 components as codes of 8 bits, with an index, is filled in a
// control group of half a gibibyte and 375 bytes a record (4 GiB for ten million), trained,
// extended, asked, written to a snapshot and started again from that, all within it.
func TestLargeIndex(t *testing.T) {
	const dim, batch, recall = 128, 1000, 0.95
	rows := *largeRows
	limit := int64(512<<20) + int64(rows)*375
	c := newCgroup(t, limit)
	flags := []string{"--data=" + t.TempDir(), "--durability=none", "--snapshot-interval=0", fmt.Sprint("--memory=", limit/16*13)}
	p := c.begin(t, flags...)
	p.ready()
	ctx := t.Context()
	encoding := pb.KeyEncoding_KEY_ENCODING_INT8_ONLY
	if _, err := pb.NewNamespaceServiceClient(p.connect(p.api)).Create(ctx, &pb.NamespaceServiceCreateRequest{Namespace: &pb.Namespace{
		Name: "large", Metric: pb.Metric_METRIC_COSINE, Dimension: dim, KeyEncoding: encoding, Recall: recall}}); err != nil {
		t.Fatal(err)
	}
	centres := make([]float32, 1000*dim)
	seeded := rand.New(rand.NewPCG(1, 1))
	for i := range centres {
		centres[i] = float32(seeded.NormFloat64())
	}
	key := func(r *rand.Rand, v []float32) []float32 {
		at := r.IntN(1000) * dim
		for i := range dim {
			v = append(v, centres[at+i]+float32(r.NormFloat64())/2)
		}
		return v
	}

	began := time.Now()
	stream, err := pb.NewMemoryServiceClient(p.connect(p.api)).StoreStream(ctx)
	if err != nil {
		t.Fatal(err)
	}
	sent := make(chan error, 1)
	go func() {
		for from := 0; from < rows; from += batch {
			r := rand.New(rand.NewPCG(2, uint64(from)))
			req := &pb.StoreStreamRequest{Namespace: "large"}
			for i := range min(batch, rows-from) {
				req.Records = append(req.Records, &pb.Record{Id: strconv.Itoa(from + i), Key: &pb.Vector{Values: key(r, nil)}})
			}
			if err := stream.Send(req); err != nil {
				sent <- err
				return
			}
		}
		sent <- stream.CloseSend()
	}()
	for {
		if _, err := stream.Recv(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("%v\n%s", err, p.log)
		}
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	stored := time.Since(began)

	settled := func(p *process) *pb.IVFStats {
		t.Helper()
		admin := pb.NewAdminServiceClient(p.connect(p.admin))
		var last string
		for still := 0; still < 5; time.Sleep(time.Second) {
			s, err := admin.Stats(ctx, &pb.StatsRequest{Namespaces: []string{"large"}})
			if err != nil {
				t.Fatalf("%v\n%s", err, p.log)
			}
			x := s.Namespaces[0].Ivf
			if now := fmt.Sprint(x); x != nil && x.Rows+x.UncoveredRows >= uint64(rows) && x.UncoveredRows < uint64(rows)/4 && now == last {
				still++
			} else {
				last, still = now, 0
			}
			if time.Since(began) > 2*time.Hour {
				t.Fatalf("after two hours the index is %v\n%s", x, p.log)
			}
			if still == 4 {
				return x
			}
		}
		return nil
	}
	delivered := func(p *process) float64 {
		t.Helper()
		memory := pb.NewMemoryServiceClient(p.connect(p.api))
		r := rand.New(rand.NewPCG(3, 3))
		found, of, exact := 0, 0, true
		for range 30 {
			req := &pb.RetrieveRequest{Namespaces: []string{"large"}}
			for range 10 {
				req.Queries = append(req.Queries, &pb.Query{Vector: &pb.Vector{Values: key(r, nil)}})
			}
			ids := func() (out [][]string) {
				got, err := memory.Retrieve(ctx, req)
				if err != nil {
					t.Fatalf("%v\n%s", err, p.log)
				}
				if req.Search == nil && got.Search.ListsProbed == 0 {
					t.Errorf("the index wasn't used: %v", got.Search)
				}
				for _, q := range got.Results {
					var of []string
					for _, h := range q.Hits {
						of = append(of, h.Record.Id)
					}
					out = append(out, of)
				}
				return out
			}
			got := ids()
			req.Search = &pb.Search{Exact: &exact}
			for q, want := range ids() {
				of += len(want)
				for _, id := range want {
					if slices.Contains(got[q], id) {
						found++
					}
				}
			}
		}
		return float64(found) / float64(of)
	}
	x := settled(p)
	built := time.Since(began)
	got := delivered(p)
	p.ok("", "snapshot")
	peak := func() string { b, _ := os.ReadFile(c.peak); return strings.TrimSpace(string(b)) }
	t.Logf("%d records in %v, %d lists of %d rows and %d beside them after %v, recall %.3f; of a limit of %d MiB the process used up to %s, the group %s bytes with files",
		rows, stored.Round(time.Second), x.Lists, x.Rows, x.UncoveredRows, built.Round(time.Second), got, limit>>20, p.resident("VmHWM"), peak())
	if got < recall-0.01 {
		t.Errorf("recall %.3f", got)
	}
	p.stop()

	began = time.Now()
	p = c.begin(t, flags...)
	p.ready()
	started := time.Since(began)
	x = settled(p)
	t.Logf("started again in %v, with %d rows in lists after %v, recall %.3f; the process used up to %s",
		started.Round(time.Millisecond), x.Rows, time.Since(began).Round(time.Second), delivered(p), p.resident("VmHWM"))
	p.stop()
}
