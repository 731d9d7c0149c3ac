//go:build heavy

package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	pb "engram/proto/engram/v1"
)

// connect is a connection to a port of the process, until the test ends.
func (p *process) connect(addr string) *grpc.ClientConn {
	p.t.Helper()
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDisableRetry(),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(64<<20)))
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// A full is a server that is filled, and what it has acknowledged: texts by namespace
// and id.
type full struct {
	*process
	memory pb.MemoryServiceClient
	admin  pb.AdminServiceClient
	texts  map[string]map[string]string
	n      int
}

func (f *full) start(flags ...string) {
	f.process = serve(f.t, flags...)
	f.memory = pb.NewMemoryServiceClient(f.connect(f.api))
	f.admin = pb.NewAdminServiceClient(f.connect(f.process.admin))
}

// store stores records of one size, which it makes up.
func (f *full) store(ctx context.Context, namespace string, records, bytes int) error {
	req := &pb.StoreRequest{Namespace: namespace}
	texts := map[string]string{}
	for range records {
		f.n++
		id, text := fmt.Sprint(f.n), strings.Repeat(string(rune('a'+f.n%26)), bytes)
		texts[id] = text
		req.Records = append(req.Records, &pb.Record{Id: id, Text: text, Key: &pb.Vector{Values: []float32{1, float32(f.n), 2, 3}}})
	}
	if _, err := f.memory.Store(ctx, req); err != nil {
		return err
	}
	if f.texts[namespace] == nil {
		f.texts[namespace] = map[string]string{}
	}
	for id, text := range texts {
		f.texts[namespace][id] = text
	}
	return nil
}

// fill stores in ever smaller batches until the smallest is refused.
func (f *full) fill(ctx context.Context) {
	f.t.Helper()
	for _, size := range [][2]int{{100, 10_000}, {10, 5000}, {10, 100}, {1, 100}, {1, 0}} {
		for {
			namespace := fmt.Sprint("n", rand.IntN(20))
			err := f.store(ctx, namespace, size[0], size[1])
			if err == nil {
				continue
			}
			if status.Code(err) != codes.ResourceExhausted {
				f.t.Fatal(err)
			}
			if q := quotaOf(err); q == nil || q.Subject != "the server" {
				f.t.Fatalf("the details are %v: %v", q, err)
			}
			break
		}
	}
}

func quotaOf(err error) *errdetails.QuotaFailure_Violation {
	for _, d := range status.Convert(err).Details() {
		if q, ok := d.(*errdetails.QuotaFailure); ok && len(q.Violations) == 1 {
			return q.Violations[0]
		}
	}
	return nil
}

// check compares all records with what was acknowledged.
func (f *full) check(ctx context.Context) {
	f.t.Helper()
	for namespace, texts := range f.texts {
		got := 0
		for token := ""; ; {
			maxBytes := uint32(16 << 20)
			page := uint32(500)
			r, err := f.memory.List(ctx, &pb.ListRequest{Namespace: namespace, PageToken: token, PageSize: &page, MaxReplyBytes: &maxBytes})
			if err != nil {
				f.t.Fatal(err)
			}
			for _, rec := range r.Records {
				got++
				if want, ok := texts[rec.Id]; !ok || rec.Text != want {
					f.t.Fatalf("record %q of %s is there with %.20q; acknowledged: %v, %.20q", rec.Id, namespace, rec.Text, ok, want)
				}
			}
			if token = r.NextPageToken; token == "" {
				break
			}
		}
		if got != len(texts) {
			f.t.Fatalf("%s has %d records of %d", namespace, got, len(texts))
		}
	}
}

// reads does what must work at a full budget.
func (f *full) reads(ctx context.Context) {
	f.t.Helper()
	query := []*pb.Query{{Vector: &pb.Vector{Values: []float32{1, 1, 1, 1}}}}
	for namespace := range f.texts {
		if _, err := f.memory.Retrieve(ctx, &pb.RetrieveRequest{Namespaces: []string{namespace}, Queries: query}); err != nil {
			f.t.Error(err)
		}
		if _, err := f.memory.Attend(ctx, &pb.AttendRequest{Namespaces: []string{namespace}, Queries: query}); err != nil {
			f.t.Error(err)
		}
		where := &pb.Filter{Node: &pb.Filter_Condition{Condition: &pb.Condition{Operand: &pb.Condition_Field{Field: pb.Field_FIELD_TEXT}, Test: &pb.Condition_Prefix{Prefix: "a"}}}}
		if _, err := f.memory.Count(ctx, &pb.CountRequest{Namespace: namespace, Filter: where}); err != nil {
			f.t.Error(err)
		}
	}
	// Aborted: one is under way, as they are all the time.
	if _, err := f.admin.Snapshot(ctx, &pb.SnapshotRequest{}); err != nil && status.Code(err) != codes.Aborted {
		f.t.Error(err)
	}
	s, err := f.admin.Stats(ctx, &pb.StatsRequest{})
	if err != nil {
		f.t.Error(err)
	} else if used, limit := s.Server.SlabBytes, s.Server.SlabLimitBytes; used > limit+limit/2 || used < limit/4*3 { // copies that free room may take more, and then less
		f.t.Errorf("%d bytes are in use, of %d", used, limit)
	}
}

// free deletes some records of each namespace, and one namespace whole.
func (f *full) free(ctx context.Context) {
	f.t.Helper()
	dropped := false
	for namespace, texts := range f.texts {
		if !dropped {
			dropped = true
			if _, err := pb.NewNamespaceServiceClient(f.connect(f.api)).Delete(ctx, &pb.NamespaceServiceDeleteRequest{Name: namespace}); err != nil {
				f.t.Fatal(err)
			}
			delete(f.texts, namespace)
			continue
		}
		var ids []string
		for id := range texts {
			if len(ids) < 500 && rand.IntN(2) == 0 {
				ids = append(ids, id)
				delete(texts, id)
			}
		}
		if len(ids) == 0 {
			continue
		}
		if r, err := f.memory.Delete(ctx, &pb.DeleteRequest{Namespace: namespace, Ids: ids}); err != nil || int(r.Deleted) != len(ids) {
			f.t.Fatalf("%d deleted of %d: %v", r.GetDeleted(), len(ids), err)
		}
	}
}

// With its budget full a server refuses what would take more, and does everything else;
// a start has room for all that was acknowledged, from a snapshot as from the journal
// alone, however full it was.
func TestMemoryBudget(t *testing.T) {
	ctx := t.Context()
	for _, how := range []string{"killed, without a snapshot", "killed, after snapshots", "stopped"} {
		t.Run(how, func(t *testing.T) {
			flags := []string{"--data=" + t.TempDir(), "--memory=48MiB", "--snapshot-interval=0", "--durability=none"}
			if how == "killed, after snapshots" {
				flags[2] = "--snapshot-interval=100ms"
			}
			f := &full{process: &process{t: t}, texts: map[string]map[string]string{}}
			f.start(flags...)
			for range 4 {
				f.fill(ctx)
				f.check(ctx)
				if how != "killed, without a snapshot" {
					f.reads(ctx)
				}
				if how == "stopped" {
					f.stop()
				} else {
					f.kill()
				}
				f.start(flags...)
				f.check(ctx)
				f.free(ctx)
				err := f.store(ctx, "again", 1, 10_000)
				for range 1000 { // what was deleted is given back behind the writes
					if status.Code(err) != codes.ResourceExhausted {
						break
					}
					time.Sleep(10 * time.Millisecond)
					err = f.store(ctx, "again", 1, 10_000)
				}
				if err != nil {
					t.Fatalf("with room again: %v", err)
				}
				f.check(ctx)
			}
			f.stop()
		})
	}
}
