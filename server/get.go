package server

import (
	"context"

	"engram/memory"
	engramv1 "engram/proto/engram/v1"
)

func (m *memoryService) Get(ctx context.Context, req *engramv1.GetRequest) (*engramv1.GetResponse, error) {
	s := m.s
	var v violations
	s.namespaceName(&v, "namespace", req.Namespace)
	s.ids(&v, req.Ids)
	inc := included(&v, req.Include)
	limit := s.replyLimit(&v, req.MaxReplyBytes)
	if err := v.err(); err != nil {
		return nil, err
	}
	view, err := s.db.View(req.Namespace)
	if err != nil {
		return nil, err
	}
	defer view.Release()
	cost := 64 + len(req.Namespace)
	refs := make([]memory.Ref, 0, len(req.Ids))
	out := &engramv1.GetResponse{Namespace: lsnOf(view)}
	for _, id := range req.Ids {
		ref, ok := view.Find(id)
		if !ok {
			out.Missing = append(out.Missing, id)
			cost += len(id) + 4
			continue
		}
		refs = append(refs, ref)
		cost += recordOverhead + view.Size(ref, inc.Include)
	}
	if cost > limit {
		return nil, tooLarge(cost, limit, "send fewer ids, or ask for less by include")
	}
	if err := reserveReply(ctx, cost); err != nil {
		return nil, err
	}
	out.Records = recordProtos(view, refs, inc)
	return out, nil
}

func (m *memoryService) Count(ctx context.Context, req *engramv1.CountRequest) (*engramv1.CountResponse, error) {
	s := m.s
	var v violations
	s.namespaceName(&v, "namespace", req.Namespace)
	f := s.filterOf(&v, req.Filter)
	if err := v.err(); err != nil {
		return nil, err
	}
	view, err := s.db.View(req.Namespace)
	if err != nil {
		return nil, err
	}
	defer view.Release()
	n := view.Count()
	if f != nil {
		n = view.CountWhere(f)
	}
	return &engramv1.CountResponse{Count: uint64(n), Namespace: lsnOf(view)}, nil
}
