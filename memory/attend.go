package memory

import (
	"context"
	"math"

	"engram/index"
	"engram/memory/filter"
)

// AttendOptions say how Attend weighs and what it names.
type AttendOptions struct {
	Scale      *float64       // of scores, before the softmax; nil: DefaultScale
	Filter     *filter.Filter // validated; nil: all records
	TopWeights int            // how many of the heaviest records to name
}

// A Weight is the attention that one record got.
type Weight struct {
	View   int
	Ref    Ref
	Score  float32 // before scaling
	Weight float64
}

// An Attention is the answer to one query.
type Attention struct {
	Context            []float32
	LogSumExp, Entropy float64
	Attended           uint64
	Top                []Weight // heaviest first
}

// DefaultScale is what makes scores of keys with components of unit variance about
// as wide as one: 1/√d, and √d under COSINE, whose scores are narrower by d.
func DefaultScale(m index.Metric, dimension int) float64 {
	if m == index.Cosine {
		return math.Sqrt(float64(dimension))
	}
	return 1 / math.Sqrt(float64(dimension))
}

// Attend gives for each query softmax(q·Kᵀ·scale)·V over the records of all the
// views. The views are of one metric, dimension and value dimension.
func (db *DB) Attend(ctx context.Context, views []*View, queries []Query, opt AttendOptions) ([]Attention, index.Stats, error) {
	if len(views) == 0 {
		return make([]Attention, len(queries)), index.Stats{}, ctx.Err()
	}
	r := read(views, opt.Filter)
	defer r.done()
	shape := views[0].settings.Value().shape()
	a := index.AttendOptions{TopWeights: opt.TopWeights, Workers: db.workers, Sharing: db.sharing, Group: largest(views)}
	if opt.Scale != nil {
		a.Scale = *opt.Scale
	} else {
		a.Scale = DefaultScale(shape.Metric, shape.Dim)
	}

	// Queries that leave a record out attend by themselves: the others share a pass.
	out := make([]Attention, len(queries))
	var stats index.Stats
	var shared []Query
	var places []int
	for q := range queries {
		part, row := r.excluded(views, queries[q].Exclude)
		if part < 0 {
			shared, places = append(shared, queries[q]), append(places, q)
			continue
		}
		p := &r.parts[part]
		whole := p.Mask
		p.Mask = r.without(whole, p.Rows, row)
		one, st, err := index.Attend(ctx, shape, r.parts, [][]float32{queries[q].Vector}, a)
		p.Mask = whole
		r.used--
		if err != nil {
			return nil, stats, err
		}
		out[q] = r.attention(&one[0])
		stats.RowsScanned += st.RowsScanned
	}
	if len(shared) == 0 {
		return out, stats, nil
	}
	all, st, err := index.Attend(ctx, shape, r.parts, vectorsOf(shared), a)
	if err != nil {
		return nil, stats, err
	}
	stats.RowsScanned += st.RowsScanned
	for i := range all {
		out[places[i]] = r.attention(&all[i])
	}
	return out, stats, nil
}

func (r *reading) attention(a *index.Attention) Attention {
	out := Attention{Context: a.Context, LogSumExp: a.LogSumExp, Entropy: a.Entropy, Attended: a.Attended}
	if len(a.Top) > 0 {
		out.Top = make([]Weight, len(a.Top))
	}
	for i, w := range a.Top {
		view, ref := r.ref(w.Part, w.Row)
		out.Top[i] = Weight{view, ref, w.Score, w.Weight}
	}
	return out
}
