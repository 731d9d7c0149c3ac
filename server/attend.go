package server

import (
	"context"
	"math"

	"engram/memory"
	engramv1 "engram/proto/engram/v1"
)

func (m *memoryService) Attend(ctx context.Context, req *engramv1.AttendRequest) (*engramv1.AttendResponse, error) {
	s := m.s
	var v violations
	vs, err := s.openViews(&v, req.Namespaces)
	defer vs.release()
	vs.sameShape(&v, true)
	queries, queryErr := s.queries(ctx, &v, vs, req.Queries)
	opt := memory.AttendOptions{
		Filter:     s.filterOf(&v, req.Filter),
		TopWeights: s.topK(&v, "top_weights", &req.TopWeights, 0, 0, len(req.Queries)),
	}
	if req.Scale != nil {
		scale := float64(*req.Scale)
		if math.IsNaN(scale) || math.IsInf(scale, 0) || scale < 0 {
			v.add("scale", "is %v; it must be finite and not negative", scale)
		}
		opt.Scale = &scale
	}
	inc := included(&v, req.Include)
	limit := s.replyLimit(&v, req.MaxReplyBytes)
	if err := firstError(v.err(), err, queryErr, vs.madeBy(req.Embedder)); err != nil {
		return nil, err
	}

	// The contexts' size is known before anything is read.
	cost := 64 + len(queries)*(4*vs[0].Config().ValueDimension+64)
	for _, name := range req.Namespaces {
		cost += len(name) + 16
	}
	if cost > limit {
		return nil, tooLarge(cost, limit, "send fewer queries")
	}
	results, stats, err := s.db.Attend(ctx, vs, queries, opt)
	if err != nil {
		return nil, err
	}
	s.metrics.rowsAttended.Add(float64(stats.RowsScanned))
	for _, a := range results {
		for _, w := range a.Top {
			cost += recordOverhead + len(req.Namespaces[w.View]) + vs[w.View].Size(w.Ref, inc.Include)
		}
	}
	if cost > limit {
		return nil, tooLarge(cost, limit, "lower top_weights, send fewer queries, or ask for less by include")
	}
	if err := reserveReply(ctx, cost); err != nil {
		return nil, err
	}
	out := &engramv1.AttendResponse{
		Results:    make([]*engramv1.Attention, len(results)),
		Namespaces: vs.lsns(),
		Search:     &engramv1.SearchStats{RowsScanned: uint64(stats.RowsScanned), Exact: true},
	}
	for i, a := range results {
		head := &engramv1.HeadResult{LogSumExp: a.LogSumExp, Entropy: a.Entropy, Attended: a.Attended}
		for _, w := range a.Top {
			r := vs[w.View].At(w.Ref, inc.Include)
			head.TopWeights = append(head.TopWeights, &engramv1.Weight{
				Namespace: req.Namespaces[w.View], Record: new(recordMessage).set(&r, inc),
				Weight: w.Weight, Score: w.Score,
			})
		}
		out.Results[i] = &engramv1.Attention{
			Context: vectorProto(a.Context, inc.form),
			Heads:   []*engramv1.HeadResult{head},
		}
	}
	return out, nil
}
