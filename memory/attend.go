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
	Window     Window
	TopWeights int // how many of the heaviest records to name

	QueryHeads int      // a multiple of the namespaces' heads; 0: as many
	TopK       int      // attend to so many best records alone; 0: all
	Near       Nearness // how near to the best, with TopK, one head of keys and no bias

	// ImportanceWeight times ln(importance) is added to each record's scaled scores, and
	// RetentionWeight times ln(retention) as of now; and less, for each query head, its slope
	// times the distance from the query's position to the record's, if that has one.
	ImportanceWeight, RetentionWeight float64
	Slopes                            []float64

	// MaxError, below 1, bounds by how much of the greatest norm of a value a context may be
	// off, so that what can't matter isn't read; 0: nothing is left out. It is not for TopK.
	MaxError float64
}

// A Weight is the attention that one record got.
type Weight struct {
	View   int
	Ref    Ref
	Score  float32 // before scaling
	Weight float64
}

// A HeadAttention is the answer of one head of one query.
type HeadAttention struct {
	LogSumExp, Entropy float64
	Attended           uint64
	Top                []Weight // heaviest first
	ErrorBound         float64  // at most MaxError: see index.Attention
}

// An Attention is the answer to one query.
type Attention struct {
	Context []float32 // of all heads, one after the other
	Heads   []HeadAttention
}

// DefaultScale is what makes scores of keys with components of unit variance about
// as wide as one: 1/√d, and √d under COSINE, whose scores are narrower by d. The
// dimension is a head's.
func DefaultScale(m index.Metric, dimension int) float64 {
	if m == index.Cosine {
		return math.Sqrt(float64(dimension))
	}
	return 1 / math.Sqrt(float64(dimension))
}

// Attend gives for each query and head softmax(q·Kᵀ·scale + bias)·V over the records of
// all the views that the filter and the window leave. The views are of one metric,
// dimension, value dimension and number of heads.
func (db *DB) Attend(ctx context.Context, views []*View, queries []Query, opt AttendOptions) ([]Attention, index.Stats, error) {
	if len(views) == 0 {
		return make([]Attention, len(queries)), index.Stats{}, ctx.Err()
	}
	r := read(views, opt.Filter)
	defer r.done()
	r.window(&opt.Window)
	shape := views[0].settings.Value().shape()
	a := attending{r: r, views: views, shape: shape, near: opt.Near, opt: index.AttendOptions{
		TopWeights: opt.TopWeights, Workers: db.workers, Sharing: db.sharing, Group: largest(views),
		QueryHeads: opt.QueryHeads, TopK: opt.TopK, MaxError: opt.MaxError,
	}}
	if opt.MaxError > 0 {
		a.opt.Indexes = indexesOf(views)
	}
	if a.opt.QueryHeads == 0 {
		a.opt.QueryHeads = shape.Heads
	}
	if opt.Scale != nil {
		a.opt.Scale = *opt.Scale
	} else {
		a.opt.Scale = DefaultScale(shape.Metric, shape.HeadDim())
	}
	if opt.ImportanceWeight != 0 || opt.RetentionWeight != 0 || opt.Slopes != nil {
		// Logarithms of an importance and of a retention are at most 0.
		a.opt.Bias = &index.Bias{Slopes: opt.Slopes, Lowers: opt.ImportanceWeight >= 0 && opt.RetentionWeight >= 0}
		r.bias(views, opt.ImportanceWeight, opt.RetentionWeight, db.clock.Now().UnixNano())
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
		one, st, err := a.attend(ctx, queries[q:q+1])
		p.Mask = whole
		r.used--
		if err != nil {
			return nil, stats, err
		}
		out[q] = one[0]
		stats.Add(st)
	}
	if len(shared) == 0 {
		return out, stats, nil
	}
	all, st, err := a.attend(ctx, shared)
	if err != nil {
		return nil, stats, err
	}
	stats.Add(st)
	for i := range all {
		out[places[i]] = all[i]
	}
	return out, stats, nil
}

// An attending is one call of Attend.
type attending struct {
	r     *reading
	views []*View
	shape index.Shape
	near  Nearness
	opt   index.AttendOptions
}

// attend attends for queries to the rows that are eligible now.
func (a *attending) attend(ctx context.Context, queries []Query) ([]Attention, index.Stats, error) {
	vectors := vectorsOf(queries)
	var heads []index.Attention
	var stats index.Stats
	var err error
	if a.opt.TopK > 0 && a.shape.Heads == 1 && a.opt.Bias == nil {
		heads, stats, err = a.attendNearest(ctx, vectors)
	} else {
		if a.opt.Bias != nil && a.opt.Bias.Slopes != nil {
			a.opt.Bias.Positions = a.opt.Bias.Positions[:0]
			for i := range queries {
				a.opt.Bias.Positions = append(a.opt.Bias.Positions, float64(queries[i].Position))
			}
		}
		heads, stats, err = index.Attend(ctx, a.shape, a.r.parts, vectors, a.opt)
	}
	if err != nil {
		return nil, stats, err
	}
	out := make([]Attention, len(queries))
	n := a.opt.QueryHeads
	for q := range out {
		out[q] = a.r.attention(heads[q*n : (q+1)*n])
	}
	return out, stats, nil
}

// attendNearest attends, for each head of each query by itself, to the records that Retrieve
// would give.
func (a *attending) attendNearest(ctx context.Context, queries [][]float32) ([]index.Attention, index.Stats, error) {
	lanes := queries
	if a.opt.QueryHeads > 1 {
		lanes = nil
		for _, q := range queries {
			for h := range a.opt.QueryHeads {
				lanes = append(lanes, q[h*a.shape.Dim:(h+1)*a.shape.Dim])
			}
		}
	}
	search := index.SearchOptions{
		K: a.opt.TopK, MinScore: float32(math.Inf(-1)), Workers: a.opt.Workers, Sharing: a.opt.Sharing, Group: a.opt.Group,
	}
	hits, stats, err := a.r.nearest(ctx, a.views, lanes, search, a.near)
	if err != nil {
		return nil, stats, err
	}
	return index.AttendTo(a.shape, a.r.parts, lanes, hits, a.opt), stats, nil
}

// bias has the parts tell what their records' importance and retention at a time add to
// scaled scores, and where they stand.
func (r *reading) bias(views []*View, importance, retention float64, now int64) {
	for i := range r.parts {
		s := r.at[i].segment
		keep := views[r.at[i].view].settings.Value().retention
		if importance != 0 || retention != 0 {
			r.parts[i].Bias = func(dst []float64, from int) {
				if retention == 0 {
					clear(dst)
				} else {
					s.logRetention(dst, from, &keep, now)
				}
				for j := range dst {
					dst[j] *= retention * math.Ln2
					if importance != 0 {
						dst[j] += importance * math.Log(float64(s.rows[from+j].importance))
					}
				}
			}
		}
		r.parts[i].Position = func(dst []float64, from int) {
			for j := range dst {
				if at, ok := s.sequence(uint32(from + j)); ok {
					dst[j] = float64(at)
				} else {
					dst[j] = math.NaN()
				}
			}
		}
	}
}

func (r *reading) attention(heads []index.Attention) Attention {
	out := Attention{Heads: make([]HeadAttention, len(heads))}
	if len(heads) == 1 {
		out.Context = heads[0].Context
	}
	for h := range heads {
		a := &heads[h]
		if len(heads) > 1 {
			out.Context = append(out.Context, a.Context...)
		}
		head := HeadAttention{LogSumExp: a.LogSumExp, Entropy: a.Entropy, Attended: a.Attended, ErrorBound: a.ErrorBound}
		if len(a.Top) > 0 {
			head.Top = make([]Weight, len(a.Top))
		}
		for i, w := range a.Top {
			view, ref := r.ref(w.Part, w.Row)
			head.Top[i] = Weight{view, ref, w.Score, w.Weight}
		}
		out.Heads[h] = head
	}
	return out
}
