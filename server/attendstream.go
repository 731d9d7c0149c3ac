package server

import (
	"context"
	"errors"
	"io"

	"google.golang.org/grpc"

	"engram/memory"
	engramv1 "engram/proto/engram/v1"
)

func (m *memoryService) AttendStream(stream grpc.BidiStreamingServer[engramv1.AttendStreamRequest, engramv1.AttendStreamResponse]) error {
	d := decoding{s: m.s}
	for {
		req, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		reply, err := d.step(stream.Context(), req)
		if err != nil {
			return err
		}
		if err := stream.Send(reply); err != nil {
			return err
		}
	}
}

// A decoding is what an AttendStream carries from step to step.
type decoding struct {
	s         *Server
	begun     bool
	last      uint64 // the number of the step before
	namespace string
	attend    *engramv1.AttendRequest
	before    *int64
}

// step stores and attends.
func (d *decoding) step(ctx context.Context, req *engramv1.AttendStreamRequest) (*engramv1.AttendStreamResponse, error) {
	if err := d.take(req); err != nil {
		return nil, err
	}
	out := &engramv1.AttendStreamResponse{Step: d.last}
	if len(req.Records) > 0 {
		res, err := d.s.store(ctx, &engramv1.StoreRequest{Namespace: d.namespace, Records: req.Records, Mode: req.Mode, RequestId: req.RequestId})
		if err != nil {
			return nil, err
		}
		out.Results, out.Lsn, out.Durable = recordResults(res), uint64(res.LSN), d.durable()
	}
	if len(req.Queries) > 0 {
		var err error
		// The reply is charged when it is sent.
		out.Attended, err = d.s.attend(ctx, d.request(req.Queries), func(context.Context, int) error { return nil })
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// take checks what a step says about the stream, and remembers it.
func (d *decoding) take(req *engramv1.AttendStreamRequest) error {
	var v violations
	next := uint64(0)
	if d.begun {
		next = d.last + 1
	}
	if req.Step != nil {
		if d.begun && *req.Step != next {
			v.add("step", "is %d; the step before was %d", *req.Step, d.last)
		}
		next = *req.Step
	}
	if req.Namespace != "" {
		d.namespace = req.Namespace
	}
	if req.RequestId != "" && len(req.Records) == 0 {
		v.add("request_id", "is set without records, which it is for")
	}
	if req.Attend != nil {
		if len(req.Attend.Queries) > 0 {
			v.add("attend.queries", "has %d queries; a step's stand beside attend", len(req.Attend.Queries))
		}
		d.attend = req.Attend
	}
	if d.attend == nil && len(req.Queries) > 0 {
		v.add("attend", "is unset; the first step with queries needs it")
	}
	if b := req.BeforePosition; b != nil {
		if d.before != nil && *b < *d.before {
			v.add("before_position", "is %d, less than that of a step before, %d", *b, *d.before)
		}
		position(&v, "before_position", *b)
		d.before = b
	}
	d.last, d.begun = next, true
	return v.err()
}

// request is the Attend of a step.
func (d *decoding) request(queries []*engramv1.Query) *engramv1.AttendRequest {
	a := d.attend
	out := &engramv1.AttendRequest{
		Namespaces: a.Namespaces, Queries: queries, Scale: a.Scale, Filter: a.Filter, TopWeights: a.TopWeights,
		Include: a.Include, MaxReplyBytes: a.MaxReplyBytes, Embedder: a.Embedder, QueryHeads: a.QueryHeads,
		Window: a.Window, TopK: a.TopK, Search: a.Search, Bias: a.Bias, Combine: a.Combine, Gate: a.Gate, MaxError: a.MaxError,
	}
	if len(out.Namespaces) == 0 && d.namespace != "" {
		out.Namespaces = []string{d.namespace}
	}
	if d.before != nil {
		w := &engramv1.Window{BeforePosition: d.before}
		if a.Window != nil {
			w.Last, w.Sinks, w.BeforeTime, w.BeforeLsn = a.Window.Last, a.Window.Sinks, a.Window.BeforeTime, a.Window.BeforeLsn
		}
		out.Window = w
	}
	return out
}

// durable tells whether what was acknowledged as stored is on disk.
func (d *decoding) durable() bool {
	if _, ok := d.s.db.Journal(); !ok {
		return false
	}
	view, err := d.s.db.View(d.namespace)
	if err != nil { // deleted since
		return false
	}
	defer view.Release()
	return view.Config().Durability == memory.Sync
}
