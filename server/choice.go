package server

import (
	"math"

	"engram/memory"
	"engram/memory/filter"
	engramv1 "engram/proto/engram/v1"
)

const (
	// defaultDiversity and defaultCandidates are what a Diversity stands for that leaves
	// them out.
	defaultDiversity  = 0.5
	defaultCandidates = 100

	// mostResemblances bounds queries × top_k × candidates: how many keys are compared.
	mostResemblances = 1 << 22
)

// choice reads what picks hits from a ranking, and puts others around them, into opt, whose
// K has been read.
func (s *Server) choice(v *violations, req *engramv1.RetrieveRequest, opt *memory.RetrieveOptions) {
	opt.Group = s.grouping(v, req.GroupBy)
	opt.Diversity = s.diversity(v, req.Diversity, opt.K, len(req.Queries))
	side := func(field string, n uint32) int {
		if n > memory.MostNeighbours {
			v.add(field, "is %d; at most %d are allowed", n, memory.MostNeighbours)
			return 0
		}
		return int(n)
	}
	opt.Before = side("neighbours.before", req.Neighbours.GetBefore())
	opt.After = side("neighbours.after", req.Neighbours.GetAfter())
	if v.has("top_k") || v.has("group_by.hits") {
		return
	}
	hits := 1
	if opt.Group != nil {
		hits = opt.Group.Hits
	}
	groups, around := len(req.Queries)*opt.K, 1+opt.Before+opt.After
	most := s.limits.QueriesTimesK
	switch {
	case groups*hits > most:
		v.add("group_by.hits", "is %d, which times %d queries and top_k of %d is %d; at most %d are allowed", hits, len(req.Queries), opt.K, groups*hits, most)
	case groups*hits*around > most:
		v.add("neighbours", "are %d and the hit, which times %d queries, top_k of %d and %d hits of a group is %d; at most %d are allowed",
			around-1, len(req.Queries), opt.K, hits, groups*hits*around, most)
	}
}

func (s *Server) diversity(v *violations, p *engramv1.Diversity, k, queries int) *memory.Diversity {
	if p == nil {
		return nil
	}
	d := &memory.Diversity{Weight: defaultDiversity, Candidates: max(k, min(defaultCandidates, s.limits.TopK))}
	if p.Weight != nil {
		if d.Weight = *p.Weight; math.IsNaN(d.Weight) || d.Weight < 0 || d.Weight > 1 {
			v.add("diversity.weight", "is %v; give 0 to 1", d.Weight)
		}
	}
	if v.has("top_k") {
		return d
	}
	if p.Candidates != nil {
		d.Candidates = int(*p.Candidates)
	}
	switch n := queries * k * d.Candidates; {
	case d.Candidates < k || d.Candidates > s.limits.TopK:
		v.add("diversity.candidates", "is %d; give from top_k, %d, to %d", d.Candidates, k, s.limits.TopK)
	case n > mostResemblances:
		v.add("diversity.candidates", "is %d, which times %d queries and top_k of %d is %d; at most %d are allowed", d.Candidates, queries, k, n, mostResemblances)
	}
	return d
}

func (s *Server) grouping(v *violations, p *engramv1.GroupBy) *memory.Grouping {
	if p == nil {
		return nil
	}
	g := &memory.Grouping{Hits: 1}
	if p.Hits != nil {
		if g.Hits = int(*p.Hits); g.Hits < 1 || g.Hits > s.limits.TopK {
			v.add("group_by.hits", "is %d; give 1 to %d", g.Hits, s.limits.TopK)
		}
	}
	switch o := p.Operand.(type) {
	case *engramv1.GroupBy_Metadata:
		g.By.Path = o.Metadata.GetKeys()
		for _, bad := range g.By.Validate(filter.DefaultLimits(), "group_by") {
			v.add(bad.Path, "%s", bad.Reason)
		}
	case *engramv1.GroupBy_Field:
		switch o.Field {
		case engramv1.Field_FIELD_SESSION:
			g.By.Field = filter.FieldSession
		case engramv1.Field_FIELD_SPEAKER:
			g.By.Field = filter.FieldSpeaker
		default:
			v.add("group_by.field", "is %v; records are grouped by FIELD_SESSION, FIELD_SPEAKER or metadata", o.Field)
		}
	default:
		v.add("group_by", "has no operand; set one of metadata and field")
	}
	return g
}

// aroundBytes is more than what the neighbours of a hit take in a reply.
func aroundBytes(view *memory.View, n *memory.Neighbours, inc include) (bytes int) {
	if n == nil {
		return 0
	}
	bytes = 16
	for _, refs := range [][]memory.Ref{n.Before, n.After} {
		for _, ref := range refs {
			bytes += recordOverhead + view.Size(ref, inc.Include)
		}
	}
	return bytes
}

// setChoice writes what a choice made of a hit.
func setChoice(p *engramv1.Hit, view *memory.View, h *memory.Hit, opt *memory.RetrieveOptions, inc include) {
	if h.Neighbours != nil {
		p.Neighbours = &engramv1.Neighbours{
			Before: recordProtos(view, h.Neighbours.Before, inc),
			After:  recordProtos(view, h.Neighbours.After, inc),
		}
	}
	if opt.Diversity != nil {
		p.Diversity = &h.Diversity
	}
	if opt.Group != nil {
		group := uint32(h.Group)
		p.Group = &group
	}
}
