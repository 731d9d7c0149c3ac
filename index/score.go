package index

import "engram/kernel"

// score gives the canonical scores of rows [from, from+len(dst)), whose keys are
// given, for one query; inverse is of the query's norm, under Cosine.
func (s *Segment) score(dst, query []float32, inverse float32, keys []float32, from int) {
	stride := pad(s.shape.Dim)
	if s.shape.Metric == L2 {
		kernel.L2(dst, query, keys, stride)
		return
	}
	kernel.Dot(dst, query, keys, stride)
	if s.shape.Metric == Cosine {
		for i, inv := range s.inverseNorms(from, from+len(dst)) {
			dst[i] = cosine(dst[i], inv, inverse)
		}
	}
}

// scoreAt is score for the rows at, counted from b's first; scratch is for keys that
// must be decoded.
func (s *Segment) scoreAt(dst, query []float32, inverse float32, b block, at []uint32, scratch *[]float32) {
	stride := pad(s.shape.Dim)
	switch {
	case !s.shape.Encoding.plain():
		*scratch = sized(*scratch, len(at)*stride)
		for i, row := range at {
			s.decodeKey((*scratch)[i*stride:][:s.shape.Dim], b.from+int(row))
		}
		if s.shape.Metric == L2 {
			kernel.L2(dst, query, *scratch, stride)
		} else {
			kernel.Dot(dst, query, *scratch, stride)
		}
	case s.shape.Metric == L2:
		kernel.L2At(dst, query, s.keyRows(b.from, b.to), stride, at)
	default:
		kernel.DotAt(dst, query, s.keyRows(b.from, b.to), stride, at)
	}
	if s.shape.Metric == Cosine {
		norms := s.inverseNorms(b.from, b.to)
		for i, row := range at {
			dst[i] = cosine(dst[i], norms[row], inverse)
		}
	}
}

// panelScores gives the scores of n rows from one on, whose keys are given, for a panel
// of queries; inverse is of their norms, under Cosine.
func (s *Segment) panelScores(dst, panel, inverse, keys []float32, from, n int) {
	stride := pad(s.shape.Dim)
	if s.shape.Metric == L2 {
		kernel.PanelL2(dst, panel, keys, stride, n, s.shape.Dim)
	} else {
		kernel.PanelDot(dst, panel, keys, stride, n, s.shape.Dim)
	}
	if s.shape.Metric == Cosine {
		kernel.PanelScale(dst, s.inverseNorms(from, from+n), inverse, n)
	}
}

// cosine turns an inner product into a cosine, rounding after each product.
func cosine(dot, key, query float32) float32 { return float32(float32(dot*key) * query) }
