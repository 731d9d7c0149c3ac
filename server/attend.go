package server

import (
	"context"
	"math"
	"slices"

	"engram/memory"
	engramv1 "engram/proto/engram/v1"
)

// maxQueryHeads bounds the heads of a query.
const maxQueryHeads = 256

func (m *memoryService) Attend(ctx context.Context, req *engramv1.AttendRequest) (*engramv1.AttendResponse, error) {
	return m.s.attend(ctx, req, reserveReply)
}

// attend answers a request; reserve is asked for the bytes of the reply before it is built.
func (s *Server) attend(ctx context.Context, req *engramv1.AttendRequest, reserve func(context.Context, int) error) (*engramv1.AttendResponse, error) {
	var v violations
	vs, err := s.openViews(&v, req.Namespaces)
	defer vs.release()
	vs.sameShape(&v, true)
	heads := queryHeads(&v, vs, req.QueryHeads)
	queries, queryErr := s.queries(ctx, &v, vs, req.Queries, heads, asVectors)
	opt := memory.AttendOptions{
		Filter:     s.filterOf(&v, req.Filter),
		Window:     windowOf(&v, req.Window),
		TopWeights: s.topK(&v, "top_weights", &req.TopWeights, 0, 0, len(req.Queries)*heads),
		TopK:       s.topK(&v, "top_k", &req.TopK, 0, 0, len(req.Queries)*heads),
		QueryHeads: heads,
		Near:       nearness(&v, req.Search),
	}
	if req.Search != nil && req.TopK == 0 {
		v.add("search", "is set without top_k, which it is for")
	}
	if req.Scale != nil {
		scale := float64(*req.Scale)
		if math.IsNaN(scale) || math.IsInf(scale, 0) || scale < 0 {
			v.add("scale", "is %v; it must be finite and not negative", scale)
		}
		opt.Scale = &scale
	}
	opt.MaxError = maxError(&v, req)
	s.bias(&v, req, queries, heads, &opt)
	join := combineOf(&v, vs, req, heads)
	inc := included(&v, req.Include)
	limit := s.replyLimit(&v, req.MaxReplyBytes)
	if err := firstError(v.err(), err, queryErr, vs.madeBy(req.Embedder)); err != nil {
		return nil, err
	}

	// The contexts' size is known before anything is read.
	width := heads * vs[0].Config().ValueDimension / vs[0].Config().KVHeads
	cost := 64 + len(queries)*(4*width+4*join.length(len(queries[0].Vector), width)+64*heads)
	for _, name := range req.Namespaces {
		cost += len(name) + 16
	}
	if cost > limit {
		return nil, tooLarge(cost, limit, "send fewer queries")
	}
	results, stats, err := s.db.Attend(ctx, vs, queries, opt)
	if err != nil {
		return nil, err
	}
	s.metrics.rowsAttended.Add(float64(stats.RowsScanned))
	for _, a := range results {
		for _, head := range a.Heads {
			for _, w := range head.Top {
				cost += recordOverhead + len(req.Namespaces[w.View]) + vs[w.View].Size(w.Ref, inc.Include)
			}
		}
	}
	if cost > limit {
		return nil, tooLarge(cost, limit, "lower top_weights, send fewer queries, or ask for less by include")
	}
	if err := reserve(ctx, cost); err != nil {
		return nil, err
	}
	out := &engramv1.AttendResponse{
		Results:    make([]*engramv1.Attention, len(results)),
		Namespaces: vs.lsns(),
		Search:     searchStats(stats),
	}
	if req.MaxError != nil {
		out.Search.Exact, out.Search.Recall = true, 1
	}
	for i := range results {
		a := attentionProto(vs, req.Namespaces, &results[i], inc)
		a.Output = vectorProto(join.output(queries[i].Vector, results[i].Context), inc.form)
		out.Results[i] = a
		for _, head := range results[i].Heads {
			if head.ErrorBound > 0 {
				out.Search.Exact, out.Search.Recall = false, 0
			}
		}
	}
	return out, nil
}

// maxError reads max_error; 0: there is none.
func maxError(v *violations, req *engramv1.AttendRequest) float64 {
	if req.MaxError == nil {
		return 0
	}
	e := *req.MaxError
	switch {
	case !(e > 0 && e < 1):
		v.add("max_error", "is %v; it must be above 0 and below 1", e)
	case req.TopK > 0:
		v.add("max_error", "is set with top_k, %d; it is for attention to all records", req.TopK)
	default:
		return e
	}
	return 0
}

// attentionProto writes the answer to one query, but for the output.
func attentionProto(vs views, names []string, a *memory.Attention, inc include) *engramv1.Attention {
	out := &engramv1.Attention{Context: vectorProto(a.Context, inc.form), Heads: make([]*engramv1.HeadResult, len(a.Heads))}
	for h, head := range a.Heads {
		p := &engramv1.HeadResult{LogSumExp: head.LogSumExp, Entropy: head.Entropy, Attended: head.Attended, ErrorBound: head.ErrorBound}
		for _, w := range head.Top {
			r := vs[w.View].At(w.Ref, inc.Include)
			p.TopWeights = append(p.TopWeights, &engramv1.Weight{
				Namespace: names[w.View], Record: new(recordMessage).set(&r, inc), Weight: w.Weight, Score: w.Score,
			})
		}
		out.Heads[h] = p
	}
	return out
}

// queryHeads reads query_heads, at least 1.
func queryHeads(v *violations, vs views, given uint32) int {
	kv := 1
	if len(vs) > 0 {
		kv = vs[0].Config().KVHeads
	}
	switch n := int(given); {
	case n == 0:
		return kv
	case n > maxQueryHeads && n > kv:
		v.add("query_heads", "is %d; at most %d are allowed", given, max(maxQueryHeads, kv))
	case n%kv != 0:
		v.add("query_heads", "is %d; it must be a multiple of kv_heads, %d", given, kv)
	default:
		return n
	}
	return kv
}

// maxWindow bounds the records that a window counts out: they are sorted, in some 40 bytes
// each.
const maxWindow = 1 << 16

// windowOf reads which records may be attended to by where they stand.
func windowOf(v *violations, p *engramv1.Window) (w memory.Window) {
	if p == nil {
		return w
	}
	count := func(field string, n uint64) int {
		if n > maxWindow {
			v.add(field, "is %d; at most %d is allowed", n, maxWindow)
			return 0
		}
		return int(n)
	}
	w.Last, w.Sinks = count("window.last", p.Last), count("window.sinks", p.Sinks)
	if p.Sinks > 0 && p.Last == 0 {
		v.add("window.sinks", "is %d without last, which it is for", p.Sinks)
	}
	if p.BeforeTime != nil {
		if at, ok := nanoseconds(p.BeforeTime.AsTime()); p.BeforeTime.CheckValid() != nil || !ok {
			v.add("window.before_time", "is not a valid time from the years 1678 to 2261")
		} else {
			w.BeforeTime = &at
		}
	}
	if p.BeforeLsn != nil {
		if w.BeforeLSN = memory.LSN(*p.BeforeLsn); w.BeforeLSN == 0 {
			v.add("window.before_lsn", "is 0; give an LSN, or leave it out")
		}
	}
	if p.BeforePosition != nil {
		position(v, "window.before_position", *p.BeforePosition)
		w.BeforePosition = p.BeforePosition
	}
	return w
}

// position checks a place in a sequence.
func position(v *violations, field string, at int64) {
	if at < -memory.MaxPosition || at > memory.MaxPosition {
		v.add(field, "is %d; positions are from −2⁵³ to 2⁵³", at)
	}
}

// bias reads what is added to scaled scores, and sets the queries' positions.
func (s *Server) bias(v *violations, req *engramv1.AttendRequest, queries []memory.Query, heads int, opt *memory.AttendOptions) {
	for i, q := range req.Queries {
		if q.GetPosition() != 0 {
			position(v, at("queries", i)+".position", *q.Position)
		}
		if len(req.GetBias().GetSlopes()) > 0 && q != nil && q.Position == nil {
			v.add(at("queries", i)+".position", "is unset; slopes need each query's")
		}
		if i < len(queries) {
			queries[i].Position = q.GetPosition()
		}
	}
	b := req.GetBias()
	for _, w := range []struct {
		field string
		of    float64
	}{{"bias.importance", b.GetImportance()}, {"bias.retention", b.GetRetention()}} {
		if math.IsNaN(w.of) || math.IsInf(w.of, 0) {
			v.add(w.field, "is %v; it must be finite", w.of)
		}
	}
	slopes := b.GetSlopes()
	if n := len(slopes); n != 0 && n != heads {
		v.add("bias.slopes", "has %d slopes; give one for each query head, %d", n, heads)
	}
	if i := slices.IndexFunc(slopes, func(x float64) bool { return !(x >= 0 && x <= math.MaxFloat64) }); i >= 0 {
		v.add(at("bias.slopes", i), "is %v; it must be finite and not negative", slopes[i])
	}
	opt.ImportanceWeight, opt.RetentionWeight, opt.Slopes = b.GetImportance(), b.GetRetention(), slopes
}
