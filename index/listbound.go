package index

import (
	"math"

	"engram/kernel"
)

// An extent is how many rows a list names, the dead among them, and at least how far the
// farthest of them is from the centroid; under Cosine of rows' directions.
type extent struct {
	n      int
	log    float64 // of n
	radius float64
}

// measure gives the extents of the lists.
func (x *IVF) measure() []extent {
	x.measured.Do(func() {
		x.extents = make([]extent, len(x.lists))
		for i, chunks := range x.lists {
			e := &x.extents[i]
			for _, c := range chunks {
				e.n += c.n
				e.radius = max(e.radius, float64(c.radius))
			}
			e.log = math.Log(float64(e.n))
		}
	})
	return x.extents
}

// scoreCentroids sets dst to the inner products with the centroids, or to −½ of the squared
// distances from them.
func (x *IVF) scoreCentroids(dst, unit []float32) {
	if x.shape.Metric == L2 {
		kernel.L2(dst, unit, x.centroids.data, pad(x.centroids.dim))
		return
	}
	kernel.Dot(dst, unit, x.centroids.data, pad(x.centroids.dim))
}

// A listQuery is a query, as bounds of lists take it.
//
// Let c be a list's centroid, r at least ‖x−c‖ of its rows x, and q the query. Then
//
//	Dot:    q·x = q·c + q·(x−c) ≤ q·c + ‖q‖r                        (Cauchy–Schwarz)
//	L2:     ‖q−x‖ ≥ ‖q−c‖ − r, so −½‖q−x‖² ≤ −½·max(0, ‖q−c‖−r)²    (triangle inequality)
//	Cosine: with q, c and x on the sphere, θ the angle of q and c and ρ that whose chord is r,
//	        the angle of q and x is at least θ−ρ, so q·x ≤ cos(θ−ρ), and 1 where θ ≤ ρ
//
// The canonical score of x differs from that by what kernel.Dot and kernel.L2 state, and so
// does the computed one of c; under Cosine the rounding of unit vectors comes on top, all of
// which is below off.
type listQuery struct {
	shape       Shape
	unit        []float32 // under Cosine of norm 1
	norm        float64   // of unit, a little high
	gamma, tiny float64
	off         float64 // under Cosine
}

func newListQuery(shape Shape, query []float32) listQuery {
	d := shape.Dim
	q := listQuery{shape: shape, unit: query, norm: Norm(query) * (1 + 1e-12), gamma: gamma(d/64 + 12), tiny: underflow(d)}
	if shape.Metric == Cosine {
		q.unit = make([]float32, d)
		for i, x := range query {
			q.unit[i] = float32(float64(x) / q.norm)
		}
		q.off = 4*gamma(d/64+20) + underCosine(q.tiny, q.norm)
		q.norm = 1 + q.off
	}
	return q
}

// most is at least the canonical score of each row of a list, whose centroid has the score
// given; NaN where numbers are too large to tell. mean is about what the mean of the rows
// scores, rather less.
func (q *listQuery) most(t *trained, list int, score float32, r float64) (most, mean float64) {
	s := float64(score)
	switch q.shape.Metric {
	case Dot:
		c := math.Sqrt(t.norms[list])
		return s + q.norm*(r+q.gamma*(2*c+r))*(1+1e-12) + 2*q.tiny, s
	case L2:
		apart := max(0, math.Sqrt(max(0, -2*s*(1-q.gamma)-2*q.tiny))-r)
		return -0.5*apart*apart*(1-q.gamma)*(1-1e-12) + q.tiny, s - r*r/2
	}
	mean = s * max(0, 1-r*r/2)
	if math.Abs(t.norms[list]-1) > 1e-5 { // it isn't on the sphere
		return s + q.norm*(r+q.off) + 2*q.off, mean
	}
	r += q.off
	cos, sin := 1-r*r/2, r*math.Sqrt(max(0, 1-r*r/4))
	if s = max(-1, s+q.off); r >= 2 || s >= cos {
		return 1 + q.off, mean
	}
	return s*cos + math.Sqrt(max(0, 1-s*s))*sin + q.off, mean
}
