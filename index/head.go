package index

import "engram/kernel"

// A key of several heads is theirs one after the other, and so are values. Attend gives
// each head a softmax of its own, over scores of that part of the keys; Search knows only
// whole keys.

// heads is how many heads there are.
func (s Shape) heads() int { return max(1, s.Heads) }

// HeadDim is how many components a head has of a key, HeadValueDim of a value.
func (s Shape) HeadDim() int { return s.Dim / s.heads() }

// HeadValueDim is how many components a head has of a value.
func (s Shape) HeadValueDim() int { return s.ValueDim / s.heads() }

// keyHead is a head's part of a key.
func (s Shape) keyHead(key []float32, head int) []float32 {
	d := s.HeadDim()
	return key[head*d : (head+1)*d]
}

// headNorms are the inverse norms of a head of rows' keys, under Cosine.
func (s *Segment) headNorms(head, from, to int) []float32 {
	if s.shape.Heads <= 1 {
		return s.inverseNorms(from, to)
	}
	at := len(s.keys)/4 - (s.shape.Heads-head)*s.capacity
	return floats(s.keys, at+from, at+to)
}

// inverseHeadNorm is inverseNorm of a head; 0 of one that was rounded to zero, whose cosines
// are 0 then.
func inverseHeadNorm(head []float32) float32 {
	if norm := Norm(head); norm == 0 {
		return 0
	}
	return inverseNorm(head)
}

// fromHead is what is left of rows, of a dimension, where a head begins: with the rows'
// stride, they are rows of that head.
func (s Shape) fromHead(rows []float32, dim, head int) []float32 {
	if len(rows) == 0 {
		return rows
	}
	return rows[head*(dim/s.heads()):]
}

// scoreHead gives the canonical scores of a head of rows [from, from+len(dst)), whose keys
// are given, for one query of that head; inverse is of the query's norm, under Cosine.
func (s *Segment) scoreHead(dst, query []float32, inverse float32, keys []float32, from, head int) {
	keys, stride := s.shape.fromHead(keys, s.shape.Dim, head), pad(s.shape.Dim)
	if s.shape.Metric == L2 {
		kernel.L2(dst, query, keys, stride)
		return
	}
	kernel.Dot(dst, query, keys, stride)
	if s.shape.Metric == Cosine {
		for i, inv := range s.headNorms(head, from, from+len(dst)) {
			dst[i] = cosine(dst[i], inv, inverse)
		}
	}
}

// scoreHeadAt is scoreHead for the rows at, counted from b's first; scratch is for keys
// that must be decoded.
func (s *Segment) scoreHeadAt(dst, query []float32, inverse float32, b block, at []uint32, head int, scratch *[]float32) {
	if s.shape.Heads <= 1 {
		s.scoreAt(dst, query, inverse, b, at, scratch)
		return
	}
	stride := pad(s.shape.Dim)
	if !s.shape.Encoding.plain() {
		*scratch = sized(*scratch, len(at)*stride)
		for i, row := range at {
			s.decodeKey((*scratch)[i*stride:][:s.shape.Dim], b.from+int(row))
		}
		if keys := s.shape.fromHead(*scratch, s.shape.Dim, head); s.shape.Metric == L2 {
			kernel.L2(dst, query, keys, stride)
		} else {
			kernel.Dot(dst, query, keys, stride)
		}
	} else if keys := s.shape.fromHead(s.keyRows(b.from, b.to), s.shape.Dim, head); s.shape.Metric == L2 {
		kernel.L2At(dst, query, keys, stride, at)
	} else {
		kernel.DotAt(dst, query, keys, stride, at)
	}
	if s.shape.Metric == Cosine {
		norms := s.headNorms(head, b.from, b.to)
		for i, row := range at {
			dst[i] = cosine(dst[i], norms[row], inverse)
		}
	}
}

// panelHeadScores gives the scores of a head of n rows from one on, whose keys are given,
// for a panel of queries of that head; inverse is of their norms, under Cosine.
func (s *Segment) panelHeadScores(dst, panel, inverse, keys []float32, from, n, head int) {
	keys, stride, d := s.shape.fromHead(keys, s.shape.Dim, head), pad(s.shape.Dim), s.shape.HeadDim()
	if s.shape.Metric == L2 {
		kernel.PanelL2(dst, panel, keys, stride, n, d)
	} else {
		kernel.PanelDot(dst, panel, keys, stride, n, d)
	}
	if s.shape.Metric == Cosine {
		kernel.PanelScale(dst, s.headNorms(head, from, from+n), inverse, n)
	}
}
