package server

import (
	"context"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"engram/memory"
	engramv1 "engram/proto/engram/v1"
)

func (m *memoryService) Consolidate(ctx context.Context, req *engramv1.ConsolidateRequest) (*engramv1.ConsolidateResponse, error) {
	s := m.s
	var v violations
	s.namespaceName(&v, "namespace", req.Namespace)
	s.requestID(&v, req.RequestId)
	c := &memory.Consolidate{
		Namespace: req.Namespace, Filter: s.filterOf(&v, req.Filter), DryRun: req.DryRun,
		RequestID: req.RequestId, Digest: digest(req.RequestId, req),
	}
	if req.Consolidation != nil {
		by := consolidation(&v, "consolidation", req.Consolidation)
		c.By = &by
	}
	inc := included(&v, req.Include)
	if err := v.err(); err != nil {
		return nil, err
	}
	scratch, err := s.consolidateBytes(req.Namespace)
	if err != nil {
		return nil, err
	}
	if err := s.inflight.acquire(ctx, scratch); err != nil {
		return nil, err
	}
	defer s.inflight.release(scratch)
	if err := reserveReply(ctx, memory.ConsolidatedBytes); err != nil { // while nothing is changed
		return nil, err
	}
	res, err := s.db.Consolidate(ctx, c)
	if err != nil {
		return nil, err
	}
	out := &engramv1.ConsolidateResponse{
		Records: make([]*engramv1.Record, len(res.Records)),
		Made:    uint64(res.Made), Merged: uint64(res.Merged), Cancelled: uint64(res.Cancelled), Lsn: uint64(res.LSN),
	}
	room := make([]recordMessage, len(res.Records))
	for i := range res.Records {
		r := &res.Records[i]
		inc.leave(r)
		out.Records[i] = room[i].set(r, inc)
	}
	return out, nil
}

// consolidateBytes is about what a Consolidate of a namespace takes.
func (s *Server) consolidateBytes(namespace string) (int64, error) {
	view, err := s.db.View(namespace)
	if err != nil {
		return 0, err
	}
	defer view.Release()
	return view.ConsolidateBytes(), nil
}

// leave takes from a record what the reply doesn't carry.
func (inc include) leave(r *memory.Record) {
	if inc.Include&memory.IncludeText == 0 {
		r.Text = ""
	}
	if inc.Include&memory.IncludeMetadata == 0 {
		r.Metadata = nil
	}
	if inc.Include&memory.IncludeKey == 0 {
		r.Key = nil
	}
	if inc.Include&memory.IncludeValue == 0 {
		r.Value = nil
	}
	if inc.Include&memory.IncludeSources == 0 {
		r.Sources = nil
	}
}

// consolidation converts one that is given; nil is none.
func consolidation(v *violations, field string, p *engramv1.Consolidation) memory.Consolidation {
	if p == nil {
		return memory.Consolidation{}
	}
	c := memory.Consolidation{Similarity: p.Similarity, MinAge: memory.DefaultMinAge}
	if p.Similarity == 0 {
		v.add(field+".similarity", "is 0; give a cosine above 0, to 1")
	}
	if p.MinAge != nil {
		c.MinAge = duration(v, field+".min_age", p.MinAge, time.Nanosecond)
	}
	if name, reason := c.Check(); name != "" && p.Similarity != 0 {
		v.add(field+"."+name, "%s", reason)
	}
	return c
}

// consolidationProto is nil for none.
func consolidationProto(c memory.Consolidation) *engramv1.Consolidation {
	if c == (memory.Consolidation{}) {
		return nil
	}
	return &engramv1.Consolidation{Similarity: c.Similarity, MinAge: durationpb.New(c.MinAge)}
}

// sourcesProto aliases the ids.
func sourcesProto(list []memory.Source) []*engramv1.Source {
	if len(list) == 0 {
		return nil
	}
	out := make([]*engramv1.Source, len(list))
	for i := range list {
		out[i] = &engramv1.Source{Id: list[i].ID, Time: timestamp(list[i].Time)}
	}
	return out
}
