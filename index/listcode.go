package index

import (
	"math"

	"engram/kernel"
)

// A rowQuery is a query, as certain bounds of single rows by the codes of lists take it.
//
// A list's row x has the residual r = x − c to the centroid, and codes ō of r, with a factor
// mul and the term add (see coder). With e = r − mul·ō, a residual's residual, and o the origin,
//
//	score(q, x) = score(q, c) + base + ⟨q−c, r⟩
//	            = score(q, c) + add + mul·⟨q−o, ō⟩ + ⟨q−c, e⟩
//	            ≤ score(q, c) + add + mul·⟨q−o, ō⟩ + ‖q−c‖·‖e‖             (Cauchy–Schwarz)
//
// where Gao & Long's bound, of a random rotation, holds with a stated probability. mul is such
// that e is at right angles to r, so ‖e‖ = mul·√(‖ō‖² − ⟨ō,r⟩²/‖r‖²), which is at most
// mul·spread·√(d−1): the bound has the form of kernel.FastSelect with a greater shift.
//
// What rounding may take comes on top. With u = 2⁻²⁴, |components of ō| ≤ outer and so
// ‖ō‖ ≤ outer·√d =: n, and q and c given exactly:
//
//   - The sum of a table is off by at most 0.52 of its unit a group: ½ for rounding, two
//     fractions cut off at 256ths, and the products' own rounding.
//   - A computed rotation of a differs by at most 72u‖a‖ from one that is exact but for
//     factors within 4u of 1: each of at most four turns multiplies once and adds in at most
//     16 steps, none of which loses more than u of the norm. So ⟨q−o, ō⟩ and ⟨c−o, ō⟩ are off
//     by at most 72u·n·(‖q−o‖ + ‖c−o‖), ⟨q−c, r⟩ by 81u‖q−c‖‖r‖.
//   - The total of which the shift is made is off by d·u of it, mul, spread and the shift by u,
//     and what FastSelect adds up by 8u·n·‖q−o‖; √(‖ō‖² − …), where that cancels, by
//     3e-8·√d·n. With ‖c−o‖ ≤ ‖q−c‖ + ‖q−o‖ all of these that mul multiplies are less than
//     4u(d+100)·n·(‖q−o‖ + ‖q−c‖) altogether.
//   - base is off by 2u‖c‖‖r‖, under L2 by 100u‖r‖², and add by u of itself, of which the part
//     in base is at most ‖c‖‖r‖ or ½‖r‖². With the rotation's they are less than
//     100u(‖q−c‖ + ‖c‖ + ‖r‖)·‖r‖.
//   - Scores, the canonical one and the centroid's, are off by what listQuery says: under L2
//     by γ½‖q−c‖² and γ½(‖q−c‖ + ‖r‖)².
//   - What underflows is less than 64(d+100) of the smallest float32, times norms that are at
//     least taken as 1; mul is at most ‖r‖/inner.
type rowQuery struct {
	*listQuery
	coder *coder
	code  lookup
	apart float64 // at least ‖q−o‖

	origin float64 // ‖o‖
}

// farRows is a norm beyond which codes aren't asked: rounding is reckoned with, overflow isn't.
const farRows = 1e15

// newRowQuery is nil where numbers are too large for codes.
func newRowQuery(q *listQuery, c *coder) *rowQuery {
	r := &rowQuery{listQuery: q, coder: c, origin: Norm(c.origin)}
	if !(q.norm < farRows) || !c.query(&r.code, q.unit) {
		return nil
	}
	r.apart = Norm(r.code.rotated) * (1 + 200*unit)
	if !(r.apart < farRows) {
		return nil
	}
	return r
}

// A chunkBounds is what the codes of a list's chunk say of its rows' canonical scores.
type chunkBounds struct {
	sums         []uint16 // of the query's table, of each row
	mul, add     []float32
	scale, shift float32
	score, slack float64 // of the centroid, and what comes on top
}

// bounds reads a chunk's codes; the list has the centroid's score given. It is false where codes
// can't tell. sums has room for the chunk's rows.
func (q *rowQuery) bounds(sums []uint16, t *trained, k *chunk, list uint32, score float32) (chunkBounds, bool) {
	s, r, c := float64(score), float64(k.radius), math.Sqrt(t.norms[list])
	if !(r < farRows && c < farRows && math.Abs(s) < farRows*farRows) {
		return chunkBounds{}, false
	}
	var apart, slack float64 // ‖q−c‖ at least, and what isn't multiplied
	switch q.shape.Metric {
	case L2:
		apart = math.Sqrt(max(0, -2*s*(1+2*q.gamma)) + 4*q.tiny)
		slack = q.gamma*(apart+r)*(apart+r) + 2*q.tiny
	case Dot:
		apart = math.Sqrt(max(0, q.norm*q.norm+c*c-2*s) + 4*q.gamma*q.norm*c + 4*q.tiny)
		slack = q.norm*q.gamma*(2*c+r) + 2*q.tiny
	default:
		apart = math.Sqrt(max(0, q.norm*q.norm+c*c-2*s) + 4*(q.off+q.gamma)*q.norm*c)
		slack = q.norm*q.off + 2*q.off
	}
	apart *= 1 + 1e-9
	d := float64(q.coder.d)
	all := q.apart + apart + q.origin + c + r
	slack += 200*unit*all*r + 64*(d+100)*tiny*(1+all)*(1+r)
	by, mul, add := apart*float64(k.spread)*math.Sqrt(d-1), k.mul, k.add
	if other := q.apart * float64(k.strain); other < by {
		by, mul, add = other, k.fit, k.base
	}
	more := by + 0.52*float64(q.coder.groups)*float64(q.code.scale) +
		4*unit*(d+100)*outer*math.Sqrt(d)*(q.apart+apart)
	kernel.FastScan(sums, k.bits, q.code.table, q.coder.groups, len(mul)/kernel.FastScanRows)
	shift := up(float64(q.code.shift) + more*(1+8*unit))
	return chunkBounds{sums: sums, mul: mul, add: add, scale: q.code.scale, shift: shift, score: s, slack: slack}, true
}

// above writes to hits which rows may have a score above limit; hits has room for all.
func (b *chunkBounds) above(hits []uint32, limit float64) []uint32 {
	least := limit - b.score - b.slack - 4*unit*(math.Abs(limit)+math.Abs(b.score)+b.slack)
	return hits[:kernel.FastSelect(hits, b.sums, b.mul, b.add, b.scale, b.shift, down(least), len(b.mul))]
}

// most is a score that a row doesn't have more than.
func (b *chunkBounds) most(row uint32) float64 {
	most := float64(b.mul[row])*(float64(b.sums[row])*float64(b.scale)+float64(b.shift)) + float64(b.add[row])
	return most + b.score + b.slack + 8*unit*(math.Abs(most)+math.Abs(b.score)+b.slack)
}
