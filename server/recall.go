package server

import (
	"context"
	"math"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"engram/memory"
	"engram/memory/prompt"
	engramv1 "engram/proto/engram/v1"
)

// Limits and defaults of Recall.
const (
	maxTokens         = 1_000_000
	maxTemplateBytes  = 1024
	maxSeparatorBytes = 256
	defaultRecallTopK = 100
	defaultSeparator  = "\n"
	leftOutOverhead   = 64 // more than a LeftOut takes, its strings aside
	recalledOverhead  = 64 // and a Recalled, its record and strings aside
)

var reasons = [...]engramv1.RecallReason{
	prompt.Last:      engramv1.RecallReason_RECALL_REASON_LAST,
	prompt.Best:      engramv1.RecallReason_RECALL_REASON_HIT,
	prompt.Neighbour: engramv1.RecallReason_RECALL_REASON_NEIGHBOUR,
}

func (m *memoryService) Recall(ctx context.Context, req *engramv1.RecallRequest) (*engramv1.RecallResponse, error) {
	s := m.s
	var v violations
	vs, err := s.openViews(&v, req.Namespaces)
	defer vs.release()
	vs.sameShape(&v, false)
	opt := memory.RecallOptions{
		Last:   s.recordsOf(&v, "last", req.Last, s.limits.TopK),
		Before: s.recordsOf(&v, "neighbours_before", req.NeighboursBefore, memory.MostNeighbours),
		After:  s.recordsOf(&v, "neighbours_after", req.NeighboursAfter, memory.MostNeighbours),
	}
	opt.Hits = memory.RetrieveOptions{
		K:        s.topK(&v, "top_k", req.TopK, defaultRecallTopK, 0, 1),
		Filter:   s.filterOf(&v, req.Filter),
		MinScore: minScore(&v, req.MinScore),
		Near:     nearness(&v, req.Search),
	}
	query, queryErr := s.recallQuery(ctx, &v, vs, req, &opt.Hits)
	form := s.promptForm(&v, req)
	inc := included(&v, req.Include)
	limit := s.replyLimit(&v, req.MaxReplyBytes)
	if err := firstError(v.err(), err, queryErr, vs.madeBy(req.Embedder)); err != nil {
		return nil, err
	}

	if query != nil {
		scratch, err := s.takeScratch(ctx, vs, &opt.Hits)
		if err != nil {
			return nil, err
		}
		defer s.inflight.release(scratch)
	}
	found, stats, err := s.db.Recall(ctx, vs, query, opt)
	if err != nil {
		return nil, err
	}
	s.metrics.rowsRetrieved.Add(float64(stats.RowsScanned))
	form.Write = func(b []byte, turn int) []byte {
		at := &found.Records[turn]
		r := vs[at.View].At(at.Ref, memory.IncludeText)
		f := prompt.Fields{ID: r.ID, Session: r.Session, Speaker: r.Speaker, Text: r.Text, Namespace: req.Namespaces[at.View], Time: r.Time}
		if at.Hit != nil {
			f.Score = &at.Hit.Score
		}
		return form.template.Append(b, &f)
	}
	plan, err := prompt.NewPlan(ctx, &found.Turns, form.Options)
	if err != nil {
		return nil, err
	}
	out := recallReply{server: s, vs: vs, names: req.Namespaces, found: found, inc: inc, plain: opt.Hits.Ranking.Plain()}
	cost := out.cost(plan)
	if cost > limit {
		return nil, tooLarge(cost, limit, "lower max_tokens, top_k, last or neighbours, or ask for less by include")
	}
	if err := reserveReply(ctx, cost); err != nil {
		return nil, err
	}
	reply := out.build(plan)
	if req.Rehearse {
		s.db.Rehearse(vs, [][]memory.Hit{out.hits(plan)})
	}
	if query != nil {
		reply.Search = searchStats(stats)
	}
	return reply, nil
}

// recordsOf checks how many records are wanted.
func (s *Server) recordsOf(v *violations, field string, n uint32, most int) int {
	if int64(n) > int64(most) {
		v.add(field, "is %d; give 0 to %d", n, most)
	}
	return int(n)
}

// recallQuery resolves what is asked, and fills in what it is ranked by. Without hits there
// is none to resolve, but what is given must still be right in form.
func (s *Server) recallQuery(ctx context.Context, v *violations, vs views, req *engramv1.RecallRequest, opt *memory.RetrieveOptions) (*memory.Query, error) {
	if req.Query == nil {
		if opt.K > 0 {
			v.add("query", "is missing; say what is asked, or set top_k to 0 for the last turns alone")
		}
		return nil, nil
	}
	var of violations
	in := []*engramv1.Query{req.Query}
	opt.Ranking = rankingFor(&of, vs, &engramv1.RetrieveRequest{Queries: in, Ranking: req.Ranking})
	queries, err := s.queries(ctx, &of, vs, in, 0, needOf(opt.Ranking, req.MinScore != nil))
	for _, f := range of.found {
		v.add(strings.Replace(f.Field, "queries[0]", "query", 1), "%s", f.Description)
	}
	if err != nil || len(of.found) > 0 || len(queries) == 0 || opt.K == 0 {
		return nil, err
	}
	return &queries[0], nil
}

// A promptForm is how a prompt is written.
type promptForm struct {
	prompt.Options
	template prompt.Template
}

func (s *Server) promptForm(v *violations, req *engramv1.RecallRequest) *promptForm {
	f := &promptForm{template: prompt.Default}
	switch {
	case req.MaxTokens == nil:
		v.add("max_tokens", "is missing; give 1 to %d", maxTokens)
	case *req.MaxTokens < 1 || *req.MaxTokens > maxTokens:
		v.add("max_tokens", "is %d; give 1 to %d", *req.MaxTokens, maxTokens)
	default:
		f.MaxTokens = int(*req.MaxTokens)
	}
	name := req.Tokenizer
	if name == "" {
		name = prompt.Tokenizers[0]
	}
	if !slices.Contains(prompt.Tokenizers, name) {
		v.add("tokenizer", "is %q, which is none; there are %s", clip(name, 64), strings.Join(prompt.Tokenizers, ", "))
	} else {
		f.Count, _ = prompt.CounterOf(name)
	}
	switch req.Order {
	case engramv1.PromptOrder_PROMPT_ORDER_UNSPECIFIED, engramv1.PromptOrder_PROMPT_ORDER_TIME:
	case engramv1.PromptOrder_PROMPT_ORDER_RELEVANCE:
		f.Order = prompt.ByRelevance
	default:
		v.add("order", "is %d, which is no order", req.Order)
	}
	f.Separator = defaultSeparator
	if req.Separator != nil {
		if f.Separator = *req.Separator; len(f.Separator) > maxSeparatorBytes {
			v.add("separator", "is %d bytes; at most %d are allowed", len(f.Separator), maxSeparatorBytes)
		}
	}
	switch n := len(req.Template); {
	case n > maxTemplateBytes:
		v.add("template", "is %d bytes; at most %d are allowed", n, maxTemplateBytes)
	case n > 0:
		var err error
		if f.template, err = prompt.ParseTemplate(req.Template); err != nil {
			v.add("template", "%v", err)
		}
	}
	return f
}

// A recallReply writes what was recalled.
type recallReply struct {
	server *Server
	vs     views
	names  []string
	found  *memory.Recollection
	inc    include
	plain  bool
}

// cost is what the reply takes at most.
func (r *recallReply) cost(plan *prompt.Plan) int {
	n := 64 + plan.Bytes
	for _, name := range r.names {
		n += len(name) + 16
	}
	for _, c := range plan.In {
		at := &r.found.Records[c.Turn]
		n += recalledOverhead + recordOverhead + len(r.names[at.View]) + r.vs[at.View].Size(at.Ref, r.inc.Include)
	}
	for _, c := range plan.Out {
		at := &r.found.Records[c.Turn]
		n += leftOutOverhead + len(r.names[at.View]) + r.vs[at.View].Size(at.Ref, 0)
	}
	return n
}

// hits are those that are in the prompt.
func (r *recallReply) hits(plan *prompt.Plan) (in []memory.Hit) {
	for _, c := range plan.In {
		if h := r.found.Records[c.Turn].Hit; h != nil {
			in = append(in, *h)
		}
	}
	return in
}

func (r *recallReply) build(plan *prompt.Plan) *engramv1.RecallResponse {
	text, tokens, records := plan.Prompt()
	out := &engramv1.RecallResponse{
		Prompt: string(text), Tokens: uint32(tokens), Namespaces: r.vs.lsns(),
		Records: make([]*engramv1.Recalled, len(records)),
		LeftOut: make([]*engramv1.LeftOut, len(plan.Out)),
	}
	room := make([]recordMessage, len(records))
	for i, c := range records {
		at := &r.found.Records[c.Turn]
		record := r.vs[at.View].At(at.Ref, r.inc.Include)
		p := &engramv1.Recalled{
			Namespace: r.names[at.View], Record: room[i].set(&record, r.inc),
			Reason: reasons[c.Reason], Tokens: uint32(c.Tokens),
		}
		if h := at.Hit; h != nil {
			p.Score, p.Similarity = proto.Float32(h.Score), proto.Float32(h.Parts.Similarity)
			if !r.plain {
				p.Parts = new(engramv1.ScoreParts)
				setParts(p.Parts, &h.Parts)
			}
		}
		out.Records[i] = p
	}
	for i, c := range plan.Out {
		at := &r.found.Records[c.Turn]
		p := &engramv1.LeftOut{
			Namespace: r.names[at.View], Id: r.vs[at.View].At(at.Ref, 0).ID,
			Reason: engramv1.LeftOutReason_LEFT_OUT_REASON_OVER_BUDGET, Wanted: reasons[c.Reason], Tokens: uint32(c.Tokens),
		}
		if r.found.Turns.All[c.Turn].Empty {
			p.Reason = engramv1.LeftOutReason_LEFT_OUT_REASON_NO_TEXT
		}
		if at.Hit != nil {
			p.Score = proto.Float32(at.Hit.Score)
		}
		out.LeftOut[i] = p
	}
	return out
}

// minScore reads a bound on similarity; unset, it is none.
func minScore(v *violations, p *float32) float32 {
	if p == nil {
		return float32(math.Inf(-1))
	}
	if f := float64(*p); math.IsNaN(f) || math.IsInf(f, 0) {
		v.add("min_score", "is %v; it must be finite", f)
	}
	return *p
}

// needOf says what queries are for that are ranked so.
func needOf(r memory.Ranking, floor bool) needs {
	switch {
	case r.Plain():
		return asVectors
	case r.Similarity == 0 && !floor:
		return forWords
	case r.Mention > 0:
		return forNames
	}
	return forBoth
}
