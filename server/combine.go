package server

import (
	engramv1 "engram/proto/engram/v1"
)

// A combine makes an output of a query and its context.
type combine struct {
	how  engramv1.Combine
	gate []float32
}

// combineOf reads combine and gate.
func combineOf(v *violations, vs views, req *engramv1.AttendRequest, heads int) combine {
	c := combine{req.Combine, req.Gate}
	if _, ok := engramv1.Combine_name[int32(c.how)]; !ok {
		v.add("combine", "is %d, which is no way to combine", c.how)
		return c
	}
	gated := c.how == engramv1.Combine_COMBINE_GATE
	if !gated && len(c.gate) > 0 {
		v.add("gate", "is set; it is for COMBINE_GATE alone")
	}
	if len(vs) == 0 || !gated && c.how != engramv1.Combine_COMBINE_ADD {
		return c
	}
	cfg := vs[0].Config()
	width := heads * cfg.ValueDimension / cfg.KVHeads
	if cfg.Dimension != cfg.ValueDimension {
		v.add("combine", "is %v, which needs a context as long as the query; they have %d and %d components", c.how, width, heads*cfg.Dimension/cfg.KVHeads)
	}
	if !gated {
		return c
	}
	if n := len(c.gate); n != 1 && n != heads && n != width {
		v.add("gate", "has %d numbers; give 1, one for each head (%d), or one for each component (%d)", n, heads, width)
	}
	for i, g := range c.gate {
		if !(g >= 0 && g <= 1) {
			v.add(at("gate", i), "is %v; it must be from 0 to 1", g)
			break
		}
	}
	return c
}

// length is how many components an output has.
func (c combine) length(query, context int) int {
	switch c.how {
	case engramv1.Combine_COMBINE_ADD, engramv1.Combine_COMBINE_GATE:
		return context
	case engramv1.Combine_COMBINE_CONCAT:
		return query + context
	}
	return 0
}

// output combines in float32, rounding after each operation; nil where there is no output.
func (c combine) output(query, context []float32) []float32 {
	n := c.length(len(query), len(context))
	if n == 0 {
		return nil
	}
	out := make([]float32, n)
	switch c.how {
	case engramv1.Combine_COMBINE_ADD:
		for i := range out {
			out[i] = query[i] + context[i]
		}
	case engramv1.Combine_COMBINE_CONCAT:
		copy(out[copy(out, query):], context)
	case engramv1.Combine_COMBINE_GATE:
		each := len(out) / len(c.gate)
		for i := range out {
			g := c.gate[i/each]
			out[i] = float32(g*query[i]) + float32(float32(1-g)*context[i])
		}
	}
	return out
}
