package bert

import (
	"math"

	"engram/kernel"
)

// attending is what one head's attention over one text needs, kept for the next.
type attending struct {
	keys   [][]float32 // of one panel
	panel  []float32   // of keys, then of values
	scores []float32   // a panel's, then a panel's sums
	shares []float32   // of each token in each
	scale  []float32   // one over the sum of a row of shares, before they were divided
}

// attend does softmax(Q·Kᵀ/√d)·V for one head of one text. qkv holds n tokens' queries,
// keys and values, all heads' queries before all keys before all values, and up to
// rowUnit−1 rows more; the head's part of hidden/heads components of each row of out is
// set.
func (a *attending) attend(out, qkv []float32, n, hidden, heads, head int) {
	width, d, stride := kernel.PanelWidth(), hidden/heads, 3*hidden
	rows := (n + rowUnit - 1) &^ (rowUnit - 1)
	queries, keys, values := qkv[head*d:], qkv[hidden+head*d:], qkv[2*hidden+head*d:]

	a.panel = grown(a.panel, width*max(d, n))
	a.scores = grown(a.scores, width*rows)
	a.shares = grown(a.shares, rows*n)
	a.scale = grown(a.scale, rows)
	for j := 0; j < n; j += width {
		a.keys = a.keys[:0]
		for t := j; t < min(n, j+width); t++ {
			a.keys = append(a.keys, keys[t*stride:t*stride+d])
		}
		kernel.Pack(a.panel, a.keys, d)
		kernel.PanelDot(a.scores, a.panel, queries, stride, rows, d)
		for i := range n {
			copy(a.shares[i*n+j:i*n+min(n, j+width)], a.scores[i*width:])
		}
	}
	scale := 1 / math.Sqrt(float64(d))
	for i := range n {
		row := a.shares[i*n : (i+1)*n]
		total, _ := kernel.Exp(row, row, scale, scale*float64(kernel.Max(row)))
		a.scale[i] = float32(1 / total)
	}
	for c := 0; c < d; c += width {
		columns := min(width, d-c)
		for t := range n {
			lanes := a.panel[t*width : (t+1)*width]
			clear(lanes[copy(lanes, values[t*stride+c:t*stride+c+columns]):])
		}
		kernel.PanelDot(a.scores, a.panel, a.shares, n, rows, n)
		for i := range n {
			sums, to := a.scores[i*width:][:columns], out[i*hidden+head*d+c:][:columns]
			for k, s := range sums {
				to[k] = s * a.scale[i]
			}
		}
	}
}

// grown is a slice of n elements of any value, s's own if it has room.
func grown(s []float32, n int) []float32 {
	if cap(s) < n {
		return make([]float32, n)
	}
	return s[:n]
}
