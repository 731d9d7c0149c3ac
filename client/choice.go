package client

import pb "engram/proto/engram/v1"

// A choice is what picks hits from a ranking.
type choice struct {
	diversity  *pb.Diversity
	neighbours *pb.NeighbourCount
	groupBy    *pb.GroupBy
}

// Diverse has hits give way that resemble those before them: maximal marginal relevance, by
// a weight from 0, the order of the ranking, to 1, the least resemblance whatever the
// relevance, among so many best candidates; 0 candidates: as many as the server takes by
// default.
func Diverse(weight float64, candidates int) ReadOption {
	d := &pb.Diversity{Weight: &weight}
	if n := uint32(candidates); n != 0 {
		d.Candidates = &n
	}
	return func(r *reading) { r.choice.diversity = d }
}

// Neighbours returns with each hit the records, at most 16 a side, that stand before and
// after it in its session, in the order of the conversation, and match the filter.
func Neighbours(before, after int) ReadOption {
	return func(r *reading) {
		r.choice.neighbours = &pb.NeighbourCount{Before: uint32(before), After: uint32(after)}
	}
}

// GroupBy puts records together for which o, which is Session, Speaker or in Metadata, is the
// same. TopK then counts groups, of each of which at most so many hits are returned,
// one after the other. A record without it is a group of its own.
func GroupBy(o Operand, hits int) ReadOption {
	n := uint32(hits)
	g := &pb.GroupBy{Hits: &n}
	if o.path != nil {
		g.Operand = &pb.GroupBy_Metadata{Metadata: &pb.MetadataPath{Keys: o.path}}
	} else {
		g.Operand = &pb.GroupBy_Field{Field: o.field}
	}
	return func(r *reading) { r.choice.groupBy = g }
}

func neighbourRecords(of []*pb.Record) (out []Record) {
	for _, p := range of {
		out = append(out, record(p))
	}
	return out
}
