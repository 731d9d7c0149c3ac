package server

import (
	"context"

	"google.golang.org/grpc/codes"

	"engram/memory"
	engramv1 "engram/proto/engram/v1"
)

// views are what one read sees: a view of each namespace, all of one shape.
type views []*memory.View

func (vs views) release() {
	for _, v := range vs {
		v.Release()
	}
}

// namespaceName checks the name of a namespace.
func (s *Server) namespaceName(v *violations, field, name string) {
	switch {
	case name == "":
		v.add(field, "is empty; name a namespace")
	case len(name) > s.records.NameBytes:
		v.add(field, "is %d bytes; at most %d are allowed", len(name), s.records.NameBytes)
	}
}

// openViews acquires the views of the namespaces of a read. On an error nothing is held.
func (s *Server) openViews(v *violations, names []string) (views, error) {
	if n := len(names); n == 0 || n > s.limits.Namespaces {
		v.add("namespaces", "has %d names; give 1 to %d", n, s.limits.Namespaces)
		return nil, nil
	}
	seen := make(map[string]bool, len(names))
	for i, name := range names {
		s.namespaceName(v, at("namespaces", i), name)
		if name != "" && seen[name] {
			v.add(at("namespaces", i), "is %q, which stands there before; name each once", name)
		}
		seen[name] = true
	}
	if len(v.found) > 0 {
		return nil, nil
	}
	out := make(views, 0, len(names))
	for _, name := range names {
		view, err := s.db.View(name)
		if err != nil {
			out.release()
			return nil, err
		}
		out = append(out, view)
	}
	return out, nil
}

// sameShape notes namespaces that can't be read together with the first. Values count
// for Attend alone.
func (vs views) sameShape(v *violations, values bool) {
	if len(vs) == 0 {
		return
	}
	first := vs[0].Config()
	for i, view := range vs[1:] {
		c := view.Config()
		field := at("namespaces", i+1)
		switch {
		case c.Metric != first.Metric:
			v.add(field, "has %v; namespaces[0] has %v, and one read needs one metric", metricProto[c.Metric], metricProto[first.Metric])
		case c.Dimension != first.Dimension:
			v.add(field, "has dimension %d; namespaces[0] has %d, and one read needs one dimension", c.Dimension, first.Dimension)
		case values && c.KVHeads != first.KVHeads:
			v.add(field, "has kv_heads %d; namespaces[0] has %d, and Attend needs one", c.KVHeads, first.KVHeads)
		case values && c.ValueDimension != first.ValueDimension:
			v.add(field, "has value_dimension %d; namespaces[0] has %d, and Attend needs one", c.ValueDimension, first.ValueDimension)
		}
	}
}

// madeBy refuses if a namespace's embedder isn't the one that the request states.
func (vs views) madeBy(embedder string) error {
	if embedder == "" {
		return nil
	}
	for _, view := range vs {
		if c := view.Config(); c.Embedder.Name != embedder {
			has := "has none"
			if c.Embedder.Name != "" {
				has = "is \"" + c.Embedder.Name + "\""
			}
			return precondition("namespaces/"+c.Name, "the request's vectors were made by embedder %q; that of namespace %q %s", embedder, c.Name, has)
		}
	}
	return nil
}

// takeScratch charges what a Retrieve of the views takes while it lasts to the bytes in flight,
// which get it back from the caller.
func (s *Server) takeScratch(ctx context.Context, vs views, opt *memory.RetrieveOptions) (int64, error) {
	n := opt.ChoiceBytes(vs)
	if !opt.Ranking.Plain() {
		for _, v := range vs {
			n += memory.RankBytes * int64(v.Rows())
		}
	}
	if n == 0 {
		return 0, nil
	}
	return n, s.inflight.acquire(ctx, n)
}

func (vs views) lsns() []*engramv1.NamespaceLSN {
	out := make([]*engramv1.NamespaceLSN, len(vs))
	for i, v := range vs {
		out[i] = lsnOf(v)
	}
	return out
}

func lsnOf(v *memory.View) *engramv1.NamespaceLSN {
	return &engramv1.NamespaceLSN{Namespace: v.Config().Name, Lsn: uint64(v.LSN())}
}

// replyLimit reads max_reply_bytes.
func (s *Server) replyLimit(v *violations, p *uint32) int {
	if p == nil {
		return s.limits.ReplyBytes
	}
	if n := *p; n == 0 || int64(n) > int64(s.limits.MessageBytes) {
		v.add("max_reply_bytes", "is %d; give 1 to %d", n, s.limits.MessageBytes)
	}
	return int(*p)
}

// tooLarge refuses a reply before it is built; the advice names the field to lower.
func tooLarge(bytes, limit int, advice string) error {
	return withDetails(codes.ResourceExhausted,
		sprintf("the reply would take %d bytes, over max_reply_bytes, %d: %s", bytes, limit, advice),
		quota("max_reply_bytes", sprintf("%s; or raise max_reply_bytes", advice)))
}
