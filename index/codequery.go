package index

import (
	"math"

	"engram/kernel"
)

// A codeQuery is a query for codes, and what turns the integer sum N of a row into
// an upper bound of its canonical score.
//
// Let q be the query, p its codes of scale t and q̃ = t·p; k the row's key, c its
// codes of scale s, k̂ = s·c the decoded key and ‖k − k̂‖ ≤ E (0 of Int8Only, whose
// key is k̂). N = Σ p·c is exact, and so
//
//	q·k = q̃·k̂ + (q−q̃)·k̂ + q·(k−k̂) ≤ s·t·N + ‖q−q̃‖·‖k̂‖ + ‖q‖·E.
//
// A row has at most d codes of at most 127, so ‖k̂‖ ≤ s·r with r = 127·√d, and
// ‖k‖ ≤ s·r + E. That is loose by the row's greatest component over its mean one,
// but it multiplies small numbers only and saves a column.
//
// Dot: the canonical score κ differs from q·k by at most g·‖q‖‖k‖ + η, where
// g = γ_{⌈d/64⌉+6} (kernel.Dot) and η is what underflows, so
//
//	κ ≤ s·(t·N + r·(‖q−q̃‖ + g‖q‖)) + ‖q‖(1+g)·E + η.
//
// Cosine: κ is that score, at most (1+g)‖q‖(s·r + E) + η in magnitude, times the
// float32s ik and iq (the inverse norms), each product rounded: a relative change by
// at most γ₂. With the columns s·ik and E·ik, and all of the query times iq,
//
//	κ ≤ s·ik·(t·iq·N + iq·r·(‖q−q̃‖ + (g + γ₃(1+g))·‖q‖)) + iq·‖q‖(1+g)(1+γ₃)·E·ik + η·ik·iq(1+γ₃).
//
// L2: κ ≥ limit means ½‖q−k‖² ≤ h, where h = (−limit + η)/(1−γ_{⌈d/64⌉+8}), and so
// ‖q−k̂‖ ≤ R + E with R = √2h. Squared and with ½‖q−k̂‖² = ½‖q‖² − q·k̂ + ½‖k̂‖²,
//
//	s·(t·N + r·‖q−q̃‖) + R·E + (½E² − ½‖k̂‖²) ≥ ½‖q‖² − ½R²
//
// for every such row. So the E of near rows weighs R, the distance of the k-th best
// so far, and not ‖q‖, which is greater where all keys lie on one side of the origin.
//
// Each has the form of kernel.CodeBound. What that loses in float32 is at most
// γ₆·s·t·|N|, where t·|N| ≤ ‖q̃‖·r, and γ₄ and γ₃ of the other products; the column
// s·ik and the unit t·iq are rounded, too. All are covered by γ₁₂ of ‖q̃‖·r and of
// Base in Base, γ₄ of Slope in Slope, levelOf, and two smallest float32s. Sums in
// float64 are off by far less than the 1e-6 of them that is added.
type codeQuery struct {
	codes []int16
	norm  float64 // ‖q‖
	under float64 // η, under Cosine times the inverse norms
	bound kernel.CodeBound
}

// codeNorm is at least the norm of a row of codes.
func codeNorm(dim int) float64 { return kernel.MaxCode * math.Sqrt(float64(dim)) * (1 + 1e-12) }

// underflow bounds what the steps of a canonical score lose to the end of float32's
// range.
func underflow(dim int) float64 { return float64(2*dim+80) * tiny }

func newCodeQuery(shape Shape, query []float32, norm float64, inverse float32) codeQuery {
	d := shape.Dim
	q := codeQuery{codes: make([]int16, kernel.QueryCodes(d)), norm: norm, under: underflow(d)}
	scale, err := kernel.QuantiseQuery(q.codes, query)
	r, g := codeNorm(d), gamma(d/64+8)
	whole := (norm + err) * r // ≥ ‖q̃‖·r
	base, slope, unit := r*err, 0.0, float64(scale)
	switch shape.Metric {
	case Dot:
		base += r * g * norm
		slope = norm * (1 + g)
	case Cosine:
		i := float64(inverse)
		base = i * r * (err + (g+gamma(3)*(1+g))*norm)
		slope = i * norm * (1 + g) * (1 + gamma(3))
		unit *= i
		whole *= i
		q.under = underCosine(q.under, norm)
	}
	q.bound = kernel.CodeBound{
		Unit:  float32(unit),
		Base:  up((base+gamma(12)*(whole+base))*(1+1e-6) + 2*tiny),
		Slope: up(slope * (1 + gamma(4)) * (1 + 1e-6)),
	}
	return q
}

// at is the bound with the limit that no row is below whose canonical score reaches
// limit.
func (q *codeQuery) at(shape Shape, limit float32) kernel.CodeBound {
	b, l := q.bound, float64(limit)
	if shape.Metric != L2 {
		b.Limit = down(l - q.under - 4*tiny)
		return b
	}
	half := (max(-l, 0) + q.under) / (1 - gamma(shape.Dim/64+12))
	b.Slope = up(math.Sqrt(2*half) * (1 + gamma(4)) * (1 + 1e-6))
	square := q.norm * q.norm / 2
	b.Limit = down(square - half - (square+half)*1e-12 - 4*tiny)
	return b
}
