package server

import (
	"fmt"
	"math"
	"testing"

	"google.golang.org/grpc"

	engramv1 "engram/proto/engram/v1"
)

type attendStream = grpc.BidiStreamingClient[engramv1.AttendStreamRequest, engramv1.AttendStreamResponse]

// Steps sent ahead are answered in order; each attends, causally, to the rows of those before
// it and to its own.
func TestAttendStream(t *testing.T) {
	h := start(t)
	stream := must[attendStream](t)(h.memory.AttendStream(ctx(t)))
	const steps = 40
	for i := range steps {
		r := &engramv1.AttendStreamRequest{
			Records: []*engramv1.Record{{Id: fmt.Sprint(i), Key: vec(1, 0), Value: vec(float32(i), 0), Position: ptr(int64(i))}},
			Queries: []*engramv1.Query{{Vector: vec(1, 0)}},
		}
		if i == 0 {
			r.Namespace, r.Step = "kv", ptr(uint64(100))
			r.Attend = &engramv1.AttendRequest{Scale: ptr(float32(0)), Window: &engramv1.Window{Last: 10}}
		}
		if i >= 20 { // only the rows before this one
			r.BeforePosition = ptr(int64(i))
		}
		if err := stream.Send(r); err != nil {
			t.Fatal(err)
		}
	}
	for i := range steps {
		got := must[*engramv1.AttendStreamResponse](t)(stream.Recv())
		last, n := i, min(i+1, 10)
		if i >= 20 {
			last = i - 1
		}
		a := got.Attended.Results[0]
		if want := float64(last) - float64(n-1)/2; got.Step != uint64(100+i) || got.Lsn == 0 || got.Durable || a.Heads[0].Attended != uint64(n) || math.Abs(float64(a.Context.Values[0])-want) > 1e-4 {
			t.Errorf("step %d: %v, want a mean of %v over %d", i, got, want, n)
		}
	}
	// Storing alone, attending alone.
	for _, r := range []*engramv1.AttendStreamRequest{{Records: []*engramv1.Record{rec("x", 1, 0)}}, {Queries: []*engramv1.Query{{Vector: vec(1, 0)}}}} {
		if err := stream.Send(r); err != nil {
			t.Fatal(err)
		}
		got := must[*engramv1.AttendStreamResponse](t)(stream.Recv())
		if len(got.Results) != len(r.Records) || len(got.Attended.GetResults()) != len(r.Queries) || (got.Lsn != 0) != (len(r.Records) > 0) {
			t.Errorf("%v answers %v", got, r)
		}
	}
}

// What is wrong with a step names its field and ends the stream.
func TestAttendStreamBadInput(t *testing.T) {
	h := start(t)
	h.store("a", rec("one", 1, 0, 0))
	ok := func() *engramv1.AttendStreamRequest {
		return &engramv1.AttendStreamRequest{Namespace: "a", Attend: &engramv1.AttendRequest{}, Queries: []*engramv1.Query{{Vector: vec(1, 0, 0)}}, BeforePosition: ptr(int64(5))}
	}
	for _, c := range []struct {
		name, field string
		step        *engramv1.AttendStreamRequest
	}{
		{"a step out of order", "step", &engramv1.AttendStreamRequest{Step: ptr(uint64(7))}},
		{"a position that goes back", "before_position", &engramv1.AttendStreamRequest{BeforePosition: ptr(int64(4))}},
		{"queries within attend", "attend.queries", &engramv1.AttendStreamRequest{Attend: &engramv1.AttendRequest{Queries: []*engramv1.Query{{Vector: vec(1, 0, 0)}}}}},
		{"a request_id for nothing", "request_id", &engramv1.AttendStreamRequest{RequestId: "r"}},
		{"a bad record", "records[0].key", &engramv1.AttendStreamRequest{Records: []*engramv1.Record{rec("x", 1)}}},
		{"a bad query", "queries[0].vector", &engramv1.AttendStreamRequest{Queries: []*engramv1.Query{{Vector: vec(1)}}}},
		{"a bad scale", "scale", &engramv1.AttendStreamRequest{Attend: &engramv1.AttendRequest{Scale: ptr(float32(-1))}, Queries: []*engramv1.Query{{Vector: vec(1, 0, 0)}}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			stream := must[attendStream](t)(h.memory.AttendStream(ctx(t)))
			for _, r := range []*engramv1.AttendStreamRequest{ok(), c.step} {
				if err := stream.Send(r); err != nil {
					t.Fatal(err)
				}
			}
			must[*engramv1.AttendStreamResponse](t)(stream.Recv())
			_, err := stream.Recv()
			if got := fields(err); len(got) != 1 || got[0] != c.field {
				t.Errorf("got %v, of fields %v", err, got)
			}
		})
	}
	stream := must[attendStream](t)(h.memory.AttendStream(ctx(t)))
	if err := stream.Send(&engramv1.AttendStreamRequest{Namespace: "a", Queries: []*engramv1.Query{{Vector: vec(1, 0, 0)}}}); err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); len(fields(err)) != 1 || fields(err)[0] != "attend" {
		t.Errorf("without attend: %v", err)
	}
}
