package index

import "engram/kernel"

// score gives the canonical scores of rows [from, from+len(dst)) for one query;
// inverse is of the query's norm, under Cosine.
func (s *Segment) score(dst, query []float32, inverse float32, from int) {
	to := from + len(dst)
	rows, stride := s.keyBlock(from, to), pad(s.shape.Dim)
	if s.shape.Metric == L2 {
		kernel.L2(dst, query, rows, stride)
		return
	}
	kernel.Dot(dst, query, rows, stride)
	if s.shape.Metric == Cosine {
		for i, inv := range s.inverseNorms(from, to) {
			dst[i] = cosine(dst[i], inv, inverse)
		}
	}
}

// scoreAt is score for the rows at, counted from b's first.
func (s *Segment) scoreAt(dst, query []float32, inverse float32, b block, at []uint32) {
	rows, stride := s.keyBlock(b.from, b.to), pad(s.shape.Dim)
	if s.shape.Metric == L2 {
		kernel.L2At(dst, query, rows, stride, at)
		return
	}
	kernel.DotAt(dst, query, rows, stride, at)
	if s.shape.Metric == Cosine {
		norms := s.inverseNorms(b.from, b.to)
		for i, row := range at {
			dst[i] = cosine(dst[i], norms[row], inverse)
		}
	}
}

// cosine turns an inner product into a cosine, rounding after each product.
func cosine(dot, key, query float32) float32 { return float32(float32(dot*key) * query) }
