package server

import (
	"context"

	"engram/index"
	"engram/memory"
	engramv1 "engram/proto/engram/v1"
)

// defaultTopK is top_k where a request leaves it out.
const defaultTopK = 10

func (m *memoryService) Retrieve(ctx context.Context, req *engramv1.RetrieveRequest) (*engramv1.RetrieveResponse, error) {
	s := m.s
	var v violations
	vs, err := s.openViews(&v, req.Namespaces)
	defer vs.release()
	vs.sameShape(&v, false)
	rank := rankingFor(&v, vs, req)
	queries, queryErr := s.queries(ctx, &v, vs, req.Queries, 0, needOf(rank, req.MinScore != nil))
	opt := memory.RetrieveOptions{
		K:        s.topK(&v, "top_k", req.TopK, defaultTopK, 1, len(req.Queries)),
		Filter:   s.filterOf(&v, req.Filter),
		MinScore: minScore(&v, req.MinScore),
		Ranking:  rank,
	}
	s.choice(&v, req, &opt)
	opt.Near = nearness(&v, req.Search)
	inc := included(&v, req.Include)
	limit := s.replyLimit(&v, req.MaxReplyBytes)
	if err := firstError(v.err(), err, queryErr, vs.madeBy(req.Embedder)); err != nil {
		return nil, err
	}

	scratch, err := s.takeScratch(ctx, vs, &opt)
	if err != nil {
		return nil, err
	}
	defer s.inflight.release(scratch)
	hits, stats, err := s.db.Retrieve(ctx, vs, queries, opt)
	if err != nil {
		return nil, err
	}
	s.metrics.rowsRetrieved.Add(float64(stats.RowsScanned))
	cost := 64
	for _, name := range req.Namespaces {
		cost += len(name) + 16
	}
	for _, of := range hits {
		cost += 8
		for _, h := range of {
			cost += recordOverhead + len(req.Namespaces[h.View]) + vs[h.View].Size(h.Ref, inc.Include) + aroundBytes(vs[h.View], h.Neighbours, inc)
		}
	}
	if cost > limit {
		return nil, tooLarge(cost, limit, "lower top_k or neighbours, send fewer queries, or ask for less by include")
	}
	if err := reserveReply(ctx, cost); err != nil {
		return nil, err
	}
	out := &engramv1.RetrieveResponse{
		Results:    make([]*engramv1.QueryResult, len(hits)),
		Namespaces: vs.lsns(),
		Search:     searchStats(stats),
	}
	count := 0
	for _, of := range hits {
		count += len(of)
	}
	room := make([]struct {
		hit    engramv1.Hit
		parts  engramv1.ScoreParts
		record recordMessage
	}, count)
	results := make([]engramv1.QueryResult, len(hits))
	for i, of := range hits {
		results[i].Hits = make([]*engramv1.Hit, len(of))
		for j, h := range of {
			m := &room[0]
			room = room[1:]
			r := vs[h.View].At(h.Ref, inc.Include)
			m.hit.Namespace, m.hit.Similarity, m.hit.Score, m.hit.ScoreError = req.Namespaces[h.View], h.Parts.Similarity, h.Score, h.Error
			if !rank.Plain() {
				setParts(&m.parts, &h.Parts)
				m.hit.Parts = &m.parts
			}
			m.hit.Record = m.record.set(&r, inc)
			setChoice(&m.hit, vs[h.View], &of[j], &opt, inc)
			results[i].Hits[j] = &m.hit
		}
		out.Results[i] = &results[i]
	}
	if req.Rehearse {
		s.db.Rehearse(vs, hits)
	}
	return out, nil
}

// nearness checks how near to the exact answer one must be.
func nearness(v *violations, p *engramv1.Search) (n memory.Nearness) {
	if p == nil {
		return n
	}
	set := 0
	if p.Exact != nil {
		set++
		if n.Exact = *p.Exact; !n.Exact {
			v.add("search.exact", "is false; leave it out, or give probes or recall")
		}
	}
	if p.Probes != nil {
		set++
		if n.Probes = int(*p.Probes); n.Probes < 1 || n.Probes > index.MaxLists {
			v.add("search.probes", "is %d; give 1 to %d", n.Probes, index.MaxLists)
		}
	}
	if p.Recall != nil {
		set++
		if n.Recall = *p.Recall; !(n.Recall > 0 && n.Recall < 1) {
			v.add("search.recall", "is %v; give a number above 0 and below 1", n.Recall)
		}
	}
	if set > 1 {
		v.add("search", "has %d fields set; give one of exact, probes and recall", set)
	}
	return n
}

func searchStats(st index.Stats) *engramv1.SearchStats {
	p := &engramv1.SearchStats{
		RowsScanned: uint64(st.RowsScanned), ListsProbed: uint64(st.ListsProbed), RowsRescored: uint64(st.Rescored),
		Exact: st.ListsProbed == 0, Recall: st.Recall,
	}
	if p.Exact {
		p.Recall = 1
	}
	return p
}

// topK checks how many records are wanted for each query.
func (s *Server) topK(v *violations, field string, given *uint32, otherwise, least, queries int) int {
	k := otherwise
	if given != nil {
		k = int(*given)
	}
	switch {
	case k < least || k > s.limits.TopK:
		v.add(field, "is %d; give %d to %d", k, least, s.limits.TopK)
	case k*queries > s.limits.QueriesTimesK:
		v.add(field, "is %d, which times %d queries is %d; at most %d are allowed", k, queries, k*queries, s.limits.QueriesTimesK)
	}
	return k
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
