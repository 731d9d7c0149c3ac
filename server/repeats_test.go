package server

import (
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	engramv1 "engram/proto/engram/v1"
)

// A record that repeats another rehearses it, also in the eyes of who retries.
func TestRepeats(t *testing.T) {
	h, _, _ := clocked(t)
	must[*engramv1.NamespaceServiceCreateResponse](t)(h.namespaces.Create(ctx(t), &engramv1.NamespaceServiceCreateRequest{
		Namespace: &engramv1.Namespace{Name: "n", Dimension: 2, RepeatSimilarity: 0.99},
	}))
	h.store("n", rec("a", 1, 0), rec("b", 0, 1))
	in := &engramv1.StoreRequest{Namespace: "n", RequestId: "once", Records: []*engramv1.Record{rec("", 5, 0), rec("", 1, 1), rec("", 2, 2.01), rec("c", 1, 0)}}
	reply := must[*engramv1.StoreResponse](t)(h.memory.Store(ctx(t), in))
	r := reply.Results
	if r[0].Id != "a" || !r[0].Repeated || r[0].Created || r[0].Version != 0 ||
		!r[1].Created || r[1].Repeated || r[1].Version != reply.Lsn ||
		r[2].Id != r[1].Id || !r[2].Repeated || r[3].Id != "c" || !r[3].Created {
		t.Fatalf("stored: %v", reply)
	}
	if again := must[*engramv1.StoreResponse](t)(h.memory.Store(ctx(t), in)); !proto.Equal(again, reply) {
		t.Errorf("a retry is answered %v, want %v", again, reply)
	}
	for id, want := range map[string]uint32{"a": 1, "b": 0, "c": 0, r[1].Id: 1} {
		if got := h.record("n", id); got.Rehearsals != want || (got.RehearseTime != nil) != (want > 0) {
			t.Errorf("%q was rehearsed %d times, want %d", id, got.Rehearsals, want)
		}
	}
	if n := must[*engramv1.CountResponse](t)(h.memory.Count(ctx(t), &engramv1.CountRequest{Namespace: "n"})).Count; n != 4 {
		t.Errorf("%d records, want 4", n)
	}
	update := func(name string, similarity float64) error {
		_, err := h.namespaces.Update(ctx(t), &engramv1.NamespaceServiceUpdateRequest{
			Namespace: &engramv1.Namespace{Name: name, RepeatSimilarity: similarity}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"repeat_similarity"}},
		})
		return err
	}
	if err := update("n", 0); err != nil {
		t.Fatal(err)
	}
	if r := must[*engramv1.StoreResponse](t)(h.memory.Store(ctx(t), &engramv1.StoreRequest{Namespace: "n", Records: []*engramv1.Record{rec("", 1, 0)}})).Results[0]; !r.Created {
		t.Errorf("with none repeating another: %v", r)
	}
	must[*engramv1.NamespaceServiceCreateResponse](t)(h.namespaces.Create(ctx(t), &engramv1.NamespaceServiceCreateRequest{
		Namespace: &engramv1.Namespace{Name: "dot", Dimension: 2, Metric: engramv1.Metric_METRIC_DOT},
	}))
	wantCode(t, update("dot", 0.9), codes.FailedPrecondition)
	wantCode(t, update("n", 1.5), codes.InvalidArgument)
	wantCode(t, update("n", -0.5), codes.InvalidArgument)
	_, err := h.namespaces.Create(ctx(t), &engramv1.NamespaceServiceCreateRequest{
		Namespace: &engramv1.Namespace{Name: "l2", Dimension: 2, Metric: engramv1.Metric_METRIC_L2, RepeatSimilarity: 0.5},
	})
	wantCode(t, err, codes.InvalidArgument)
}
