//go:build heavy && linux

package main

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "engram/proto/engram/v1"
)

var loadTime = flag.Duration("load-time", 15*time.Second, "how long TestCgroup loads a server")

// A cgroup is a control group with a limit of memory, of either version, below the
// test's own.
type cgroup struct {
	dir, peak string // the file of the highest use so far
}

func newCgroup(t *testing.T, limit int64) *cgroup {
	t.Helper()
	for _, file := range cgroupLimits() {
		dir := filepath.Join(filepath.Dir(file), fmt.Sprint("engram-test-", os.Getpid()))
		if os.Mkdir(dir, 0o755) != nil {
			continue
		}
		t.Cleanup(func() {
			if err := os.Remove(dir); err != nil {
				t.Error(err)
			}
		})
		c := &cgroup{dir, filepath.Join(dir, "memory.peak")}
		if filepath.Base(file) != "memory.max" {
			c.peak = filepath.Join(dir, "memory.max_usage_in_bytes")
		}
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(file)), []byte(strconv.FormatInt(limit, 10)), 0o644); err == nil {
			return c
		}
	}
	t.Fatalf("no control group with a limit of memory can be made (it takes root) below any of %v", cgroupLimits())
	return nil
}

// begin starts a server in the group.
func (c *cgroup) begin(t *testing.T, flags ...string) *process {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	enter := []string{"-c", `echo $$ >"$0/cgroup.procs" && exec "$@"`, c.dir, self, "serve", "--addr=127.0.0.1:0", "--admin=127.0.0.1:0"}
	return beginAs(t, exec.Command("sh", append(enter, flags...)...))
}

func (p *process) resident(field string) string {
	p.t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		p.t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, field+":"); ok {
			return strings.TrimSpace(v)
		}
	}
	return "unknown"
}

// A server with the default budgets in a control group of a gigabyte is filled
// with records and given requests that are as large as they may be, or larger, all the
// time. It refuses what it must, isn't killed, and works when the load is over.
func TestCgroup(t *testing.T) {
	const limit = 1 << 30
	c := newCgroup(t, limit)
	p := c.begin(t, "--data="+t.TempDir(), "--snapshot-interval=2s", "--durability=interval")
	p.ready()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var counts [17]atomic.Int64
	var full atomic.Int64
	answered := func(err error) {
		code := status.Code(err)
		counts[code].Add(1)
		switch code {
		case codes.OK, codes.InvalidArgument, codes.Canceled, codes.NotFound:
		case codes.ResourceExhausted:
			if q := quotaOf(err); q != nil && q.Subject == "the server" {
				full.Add(1)
			}
			time.Sleep(rand.N(100 * time.Millisecond)) // as a client does that is told to
		default:
			t.Error(err)
			cancel()
		}
	}
	large := strings.Repeat("x", 15<<20)
	larger := strings.Repeat("x", 40<<20)
	text := strings.Repeat("some words to remember ", 2500)
	batch := func(client int) *pb.StoreRequest {
		r := &pb.StoreRequest{Namespace: fmt.Sprint("n", client)}
		for _, id := range rand.Perm(4000)[:100] { // 6 MB
			r.Records = append(r.Records, &pb.Record{Id: fmt.Sprint(id), Text: text, Key: &pb.Vector{Values: []float32{1, rand.Float32()}}})
		}
		return r
	}
	for n := 0; full.Load() == 0; n++ {
		_, err := pb.NewMemoryServiceClient(p.connect(p.api)).Store(ctx, batch(6*(n%4)))
		if answered(err); ctx.Err() != nil {
			t.Fatalf("it isn't filled: %v", err)
		}
	}
	admin := pb.NewAdminServiceClient(p.connect(p.admin))
	var slabs, heap uint64 // the most
	var wg sync.WaitGroup
	wg.Go(func() {
		for ctx.Err() == nil {
			time.Sleep(50 * time.Millisecond)
			if s, err := admin.Stats(ctx, &pb.StatsRequest{}); err == nil {
				slabs, heap = max(slabs, s.Server.SlabBytes), max(heap, s.Server.HeapBytes)
			}
		}
	})
	for client := range 24 {
		memory := pb.NewMemoryServiceClient(p.connect(p.api))
		wg.Go(func() {
			for ctx.Err() == nil {
				var err error
				switch client % 6 {
				case 0: // it fills the budget, and frees a part
					if _, err = memory.Store(ctx, batch(client)); status.Code(err) == codes.ResourceExhausted && rand.IntN(4) == 0 {
						_, err = pb.NewNamespaceServiceClient(p.connect(p.api)).Delete(ctx, &pb.NamespaceServiceDeleteRequest{Name: fmt.Sprint("n", client)})
					}
				case 1: // too long a text
					_, err = memory.Store(ctx, &pb.StoreRequest{Namespace: "n", Records: []*pb.Record{{Text: large}}})
				case 2: // too large a message
					_, err = memory.Store(ctx, &pb.StoreRequest{Namespace: "n", Records: []*pb.Record{{Text: larger}}})
				case 3: // a stream of large batches
					var stream pb.MemoryService_StoreStreamClient
					if stream, err = memory.StoreStream(ctx); err == nil {
						for err == nil {
							b := batch(client)
							_ = stream.Send(&pb.StoreStreamRequest{Namespace: b.Namespace, Records: b.Records})
							_, err = stream.Recv()
						}
					}
				case 4: // as large a reply as there may be
					maxBytes := uint32(16 << 20)
					page := uint32(1000)
					_, err = memory.List(ctx, &pb.ListRequest{Namespace: fmt.Sprint("n", client-4), PageSize: &page, MaxReplyBytes: &maxBytes})
				case 5: // as many queries
					r := &pb.AttendRequest{Namespaces: []string{fmt.Sprint("n", client-5)}}
					for range 256 {
						r.Queries = append(r.Queries, &pb.Query{Vector: &pb.Vector{Values: []float32{1, 1}}})
					}
					_, err = memory.Attend(ctx, r)
				}
				answered(err)
			}
		})
	}
	select {
	case <-ctx.Done():
	case <-p.done:
		t.Errorf("the server ended:\n%s", p.log)
	case <-time.After(*loadTime):
	}
	cancel()
	wg.Wait()
	select {
	case <-p.done:
		t.Fatalf("the server ended: %v\n%s", p.cmd.ProcessState, p.log)
	default:
	}
	peak, _ := os.ReadFile(c.peak)
	t.Logf("of a limit of %d MiB the group used up to %s bytes, files with it, and the process %s (%d MiB of records, %d MiB of heap); answers: %d OK, %d refused for want of room (%d in the budget of records), %d for what they were",
		limit>>20, strings.TrimSpace(string(peak)), p.resident("VmHWM"), slabs>>20, heap>>20,
		counts[codes.OK].Load(), counts[codes.ResourceExhausted].Load(), full.Load(), counts[codes.InvalidArgument].Load())
	if counts[codes.OK].Load() == 0 || counts[codes.ResourceExhausted].Load() == 0 {
		t.Error("it was no load")
	}
	p.ok("", "stats")
	_, _, _ = p.run("", "namespaces", "delete", "n0") // which a client may have done
	p.ok("", "store", "after", "still here")
	p.stop()
}
