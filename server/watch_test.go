package server

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"engram/memory"
	engramv1 "engram/proto/engram/v1"
	"engram/storage"
)

// journaled runs a server with a data directory.
func journaled(t *testing.T, changes ...func(*Config)) *harness {
	t.Helper()
	dir, err := storage.Open(t.TempDir(), storage.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := dir.Close(); err != nil {
			t.Error(err)
		}
	})
	return start(t, append(changes, func(c *Config) {
		if _, err := dir.Recover(t.Context(), c.DB); err != nil {
			t.Fatal(err)
		}
		c.Snapshots = dir.Snapshots(c.DB)
	})...)
}

func (h *harness) watch(ctx context.Context, req *engramv1.WatchRequest) grpc.ServerStreamingClient[engramv1.WatchResponse] {
	h.t.Helper()
	stream, err := h.memory.Watch(ctx, req)
	if err != nil {
		h.t.Fatal(err)
	}
	return stream
}

// next gives the next event, whatever message it comes in.
func nextEvent(t *testing.T, stream grpc.ServerStreamingClient[engramv1.WatchResponse], left *[]*engramv1.MutationEvent) *engramv1.MutationEvent {
	t.Helper()
	for len(*left) == 0 {
		r, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		*left = r.Mutations
	}
	e := (*left)[0]
	*left = (*left)[1:]
	return e
}

func TestWatch(t *testing.T) {
	h := journaled(t)
	ctx := t.Context()
	must := func(_ proto.Message, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	record := func(id, text string) *engramv1.Record {
		return &engramv1.Record{Id: id, Text: text, Speaker: proto.String("ann"), Key: &engramv1.Vector{Values: []float32{1, 2}}}
	}
	must(h.memory.Store(ctx, &engramv1.StoreRequest{Namespace: "n", Records: []*engramv1.Record{record("a", "first"), record("b", "second")}}))
	must(h.memory.Update(ctx, &engramv1.UpdateRequest{Namespace: "n", Records: []*engramv1.Record{{Id: "a", Text: "changed"}}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"text", "session"}}}))
	must(h.memory.Delete(ctx, &engramv1.DeleteRequest{Namespace: "n", Ids: []string{"b"}}))
	must(h.namespaces.Update(ctx, &engramv1.NamespaceServiceUpdateRequest{
		Namespace:  &engramv1.Namespace{Name: "n", MaxBytes: 1 << 20, Durability: engramv1.Durability_DURABILITY_NONE},
		UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"max_bytes", "durability"}},
	}))
	must(h.namespaces.Delete(ctx, &engramv1.NamespaceServiceDeleteRequest{Name: "n"}))

	var left []*engramv1.MutationEvent
	// The namespace is gone: its history is there after a given LSN.
	first, endFirst := context.WithCancel(ctx)
	stream := h.watch(first, &engramv1.WatchRequest{Namespace: "n", AfterLsn: proto.Uint64(uint64(memory.MakeLSN(1, 0)))})
	e := nextEvent(t, stream, &left)
	if e.NamespaceCreated.GetDimension() != 2 || e.NamespaceCreated.GetName() != "n" || len(e.Changes) != 2 || e.Changes[1].Record.Text != "second" ||
		e.Changes[0].ChangedFields != nil || e.Changes[0].Record.Key != nil || e.Changes[0].Record.GetSpeaker() != "ann" || e.Time == nil || e.Changes[0].Record.Version != e.Lsn {
		t.Errorf("the store came as %v", e)
	}
	e = nextEvent(t, stream, &left)
	if got := e.Changes[0]; strings.Join(got.ChangedFields.GetPaths(), " ") != "session text" || got.Record.Text != "changed" || got.Record.Importance != nil || got.Record.Time != nil || got.Record.Speaker != nil {
		t.Errorf("the update came as %v", e)
	}
	if e = nextEvent(t, stream, &left); strings.Join(e.DeletedIds, " ") != "b" {
		t.Errorf("the deletion came as %v", e)
	}
	if e = nextEvent(t, stream, &left); e.GetMaxBytes() != 1<<20 || e.Durability != engramv1.Durability_DURABILITY_NONE {
		t.Errorf("the change of options came as %v", e)
	}
	if e = nextEvent(t, stream, &left); !e.NamespaceDeleted {
		t.Errorf("the namespace's deletion came as %v", e)
	}
	endFirst()
	// Live, with vectors, and in parts where a mutation is too large for one message.
	withKeys := h.watch(ctx, &engramv1.WatchRequest{Namespace: "n", AfterLsn: &e.Lsn, Include: &engramv1.Include{Key: true, VectorForm: engramv1.VectorForm_VECTOR_FORM_F32}})
	big := &engramv1.StoreRequest{Namespace: "n"}
	for range 60 {
		big.Records = append(big.Records, record("", strings.Repeat("x", 60_000)))
	}
	must(h.memory.Store(ctx, big))
	events, records := 0, 0
	for more := true; more; events++ {
		e = nextEvent(t, withKeys, &left)
		more = e.More
		records += len(e.Changes)
		if len(e.Changes[0].Record.Key.GetF32()) != 8 {
			t.Fatalf("no key in %v", e.Changes[0].Record.Id)
		}
	}
	if events < 4 || records != 60 {
		t.Errorf("%d records came in %d events", records, events)
	}

	for name, c := range map[string]struct {
		req  *engramv1.WatchRequest
		code codes.Code
	}{
		"no namespace":         {&engramv1.WatchRequest{}, codes.InvalidArgument},
		"an unknown namespace": {&engramv1.WatchRequest{Namespace: "never"}, codes.NotFound},
		"the future":           {&engramv1.WatchRequest{Namespace: "n", AfterLsn: proto.Uint64(e.Lsn + 100)}, codes.InvalidArgument},
		"no vector form":       {&engramv1.WatchRequest{Namespace: "n", Include: &engramv1.Include{VectorForm: 9}}, codes.InvalidArgument},
	} {
		if _, err := h.watch(ctx, c.req).Recv(); status.Code(err) != c.code {
			t.Errorf("%s: %v", name, err)
		}
	}

	// A watch ends when the server does, and doesn't hold it up.
	if err := h.stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := withKeys.Recv(); status.Code(err) != codes.Unavailable {
		t.Errorf("at the end: %v", err)
	}
}

func TestWatchNeedsAJournal(t *testing.T) {
	h := start(t)
	if _, err := h.watch(t.Context(), &engramv1.WatchRequest{Namespace: "n"}).Recv(); status.Code(err) != codes.FailedPrecondition {
		t.Error(err)
	}
}

// A watcher that takes nothing is cut off, and the writes go on meanwhile.
func TestSlowWatcher(t *testing.T) {
	h := journaled(t, func(c *Config) { c.Limits.StreamIdle = 200 * time.Millisecond })
	ctx := t.Context()
	big := &engramv1.StoreRequest{Namespace: "n"}
	for range 100 {
		big.Records = append(big.Records, &engramv1.Record{Text: strings.Repeat("x", 60_000), Key: &engramv1.Vector{Values: []float32{1}}})
	}
	if _, err := h.memory.Store(ctx, big); err != nil {
		t.Fatal(err)
	}
	stream := h.watch(ctx, &engramv1.WatchRequest{Namespace: "n", AfterLsn: proto.Uint64(0)})
	time.Sleep(time.Second) // in which it takes nothing, and the writes go on
	if _, err := h.memory.Store(ctx, big); err != nil {
		t.Fatal(err)
	}
	var err error
	for err == nil {
		_, err = stream.Recv()
	}
	if status.Code(err) != codes.ResourceExhausted {
		t.Fatal(err)
	}
	quota := false
	for _, d := range status.Convert(err).Details() {
		_, is := d.(*errdetails.QuotaFailure)
		quota = quota || is
	}
	if !quota {
		t.Errorf("no QuotaFailure in %v", status.Convert(err).Details())
	}
}
