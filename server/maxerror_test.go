package server

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	engramv1 "engram/proto/engram/v1"
)

// With max_error, values that can't matter aren't read: the answer is within the bound of the
// whole one, and both say so; Attend and AttendStream alike.
func TestMaxError(t *testing.T) {
	h := start(t)
	r := rand.New(rand.NewPCG(61, 62))
	const n, dv = 2000, 8
	must[*engramv1.NamespaceServiceCreateResponse](t)(h.namespaces.Create(ctx(t), &engramv1.NamespaceServiceCreateRequest{
		Namespace: &engramv1.Namespace{Name: "m", Metric: engramv1.Metric_METRIC_DOT, Dimension: 4, ValueDimension: dv}}))
	longest := 0.0
	for from := 0; from < n; from += 500 {
		var records []*engramv1.Record
		for i := from; i < from+500; i++ {
			value, norm := make([]float32, dv), 0.0
			for k := range value {
				value[k] = r.Float32()*2 - 1
				norm += float64(value[k]) * float64(value[k])
			}
			longest = max(longest, math.Sqrt(norm))
			key := []float32{0, r.Float32(), r.Float32(), 1}
			if i%200 == 0 {
				key[0] = 1
			}
			records = append(records, &engramv1.Record{Id: fmt.Sprint(i), Key: vec(key...), Value: vec(value...)})
		}
		h.store("m", records...)
	}
	query := []*engramv1.Query{{Vector: vec(1, 0.01, 0.02, 0)}}
	request := &engramv1.AttendRequest{Namespaces: []string{"m"}, Queries: query, Scale: ptr(float32(30))}
	whole := must[*engramv1.AttendResponse](t)(h.memory.Attend(ctx(t), request))
	if b := whole.Results[0].Heads[0].ErrorBound; b != 0 || !whole.Search.Exact {
		t.Errorf("without max_error the bound is %v: %v", b, whole.Search)
	}
	const maxError = 1e-3
	request.MaxError = ptr(maxError)
	check := func(a *engramv1.AttendResponse) {
		t.Helper()
		head, off := a.Results[0].Heads[0], 0.0
		for k, x := range a.Results[0].Context.Values {
			off += math.Pow(float64(x)-float64(whole.Results[0].Context.Values[k]), 2)
		}
		if off = math.Sqrt(off); !(head.ErrorBound > 0 && head.ErrorBound <= maxError && off <= (head.ErrorBound+1e-5)*longest) {
			t.Errorf("off by %g, with the bound %g·%g", off, head.ErrorBound, longest)
		}
		if a.Search.Exact || a.Search.Recall != 0 || a.Search.RowsScanned != n {
			t.Errorf("the search says %v", a.Search)
		}
	}
	check(must[*engramv1.AttendResponse](t)(h.memory.Attend(ctx(t), request)))
	stream := must[attendStream](t)(h.memory.AttendStream(ctx(t)))
	if err := stream.Send(&engramv1.AttendStreamRequest{Namespace: "m", Queries: query, Attend: &engramv1.AttendRequest{Scale: request.Scale, MaxError: request.MaxError}}); err != nil {
		t.Fatal(err)
	}
	check(must[*engramv1.AttendStreamResponse](t)(stream.Recv()).Attended)
}

// max_error is refused with its name, value and limit, by Attend and by AttendStream.
func TestMaxErrorIsRefused(t *testing.T) {
	h := start(t)
	h.store("a", rec("one", 1, 0))
	for _, c := range []struct {
		value float64
		topK  uint32
		want  string
	}{
		{0, 0, "max_error is 0; it must be above 0 and below 1"},
		{1, 0, "max_error is 1; it must be above 0 and below 1"},
		{-0.5, 0, "max_error is -0.5; it must be above 0 and below 1"},
		{math.NaN(), 0, "max_error is NaN; it must be above 0 and below 1"},
		{math.Inf(1), 0, "max_error is +Inf; it must be above 0 and below 1"},
		{0.1, 3, "max_error is set with top_k, 3; it is for attention to all records"},
	} {
		request := &engramv1.AttendRequest{MaxError: &c.value, TopK: c.topK}
		stream := must[attendStream](t)(h.memory.AttendStream(ctx(t)))
		queries := []*engramv1.Query{{Vector: vec(1, 0)}}
		if err := stream.Send(&engramv1.AttendStreamRequest{Namespace: "a", Queries: queries, Attend: request}); err != nil {
			t.Fatal(err)
		}
		_, streamed := stream.Recv()
		request = &engramv1.AttendRequest{Namespaces: []string{"a"}, Queries: queries, MaxError: &c.value, TopK: c.topK}
		_, called := h.memory.Attend(ctx(t), request)
		for _, err := range []error{called, streamed} {
			if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v with top_k %d: %v, want %q", c.value, c.topK, err, c.want)
			}
		}
	}
}
