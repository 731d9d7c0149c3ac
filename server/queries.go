package server

import (
	"context"

	"engram/memory"
	engramv1 "engram/proto/engram/v1"
)

// needs is what queries are for.
type needs int

const (
	asVectors needs = iota // each needs one, and text stands for one
	forBoth                // likewise, and text may stand beside one
	forNames               // likewise, and who is named counts by itself, not in the vector
	forWords               // text needs none
)

func (n needs) choice() string {
	if n == asVectors {
		return "vector, text and record"
	}
	return "vector, record and text by itself"
}

// queries resolves what a read looks for into vectors of so many heads, each of the
// dimension of a head of the views; 0: of the views' dimension. Everything
// wrong with the queries' form is noted; v is for the caller to look at before the error.
func (s *Server) queries(ctx context.Context, v *violations, vs views, in []*engramv1.Query, heads int, need needs) ([]memory.Query, error) {
	if n := len(in); n == 0 || n > s.limits.Queries {
		v.add("queries", "has %d queries; give 1 to %d", n, s.limits.Queries)
		return nil, nil
	}
	out := make([]memory.Query, len(in))
	var texts []string
	var textAt []int
	for i, q := range in {
		field := at("queries", i)
		set := 0
		if q.GetVector() != nil {
			set++
			out[i].Vector = components(v, field+".vector", q.Vector)
			if vs != nil && len(v.found) == 0 || out[i].Vector != nil {
				s.checkQuery(v, vs, field+".vector", out[i].Vector, heads)
			}
		}
		if text := q.GetText(); text != "" && (need == asVectors || set == 0 && q.GetRecord() == nil) {
			set++
			if need != forWords {
				if need == forNames && vs != nil {
					text = memory.Unnamed(vs, text)
				}
				texts, textAt = append(texts, text), append(textAt, i)
			}
		}
		if q.GetText() != "" {
			out[i].Text = q.Text
			if len(q.Text) > s.records.TextBytes {
				v.add(field+".text", "is %d bytes; at most %d are allowed", len(q.Text), s.records.TextBytes)
			}
		}
		if q.GetRecord() != nil {
			set++
			if q.Record.Id == "" || len(q.Record.Id) > s.records.NameBytes {
				v.add(field+".record.id", "is %d bytes; give 1 to %d", len(q.Record.Id), s.records.NameBytes)
			}
			if q.Record.Namespace != "" {
				s.namespaceName(v, field+".record.namespace", q.Record.Namespace)
			}
		}
		if q.GetVector() == nil && heads > 0 && vs != nil && heads != vs[0].Config().KVHeads {
			v.add(field, "is no vector; only one has more heads (%d) than the keys", heads)
		}
		if set != 1 {
			v.add(field, "has %d of %s; set exactly one", set, need.choice())
		}
	}
	if len(v.found) > 0 || vs == nil {
		return nil, nil
	}
	for i, q := range in {
		if q.Record == nil {
			continue
		}
		if err := s.storedQuery(v, vs, at("queries", i), q.Record, &out[i]); err != nil {
			return nil, err
		}
	}
	if len(texts) > 0 {
		if err := s.canEmbed(vs); err != nil {
			return nil, err
		}
		vectors, err := s.embed(ctx, texts, true)
		if err != nil {
			return nil, err
		}
		for j, i := range textAt {
			out[i].Vector = vectors[j]
			s.checkQuery(v, vs, at("queries", i)+".text", vectors[j], heads)
		}
	}
	return out, nil
}

// checkQuery notes what is wrong with a query's vector.
func (s *Server) checkQuery(v *violations, vs views, field string, q []float32, heads int) {
	if vs == nil {
		return
	}
	c := vs[0].Config()
	dimension := c.Dimension
	if heads > 0 {
		dimension = c.Dimension / c.KVHeads * heads
	}
	if reason := memory.CheckVector(q, c.Metric, dimension, max(1, heads)); reason != "" {
		v.add(field, "%s", reason)
	}
}

// storedQuery takes the key of a stored record as the query, and leaves that record out
// of its own hits.
func (s *Server) storedQuery(v *violations, vs views, field string, name *engramv1.RecordName, q *memory.Query) error {
	view, place := vs[0], 0
	if name.Namespace != "" {
		view = nil
		for i, candidate := range vs {
			if candidate.Config().Name == name.Namespace {
				view, place = candidate, i
			}
		}
	}
	if view == nil { // a namespace that isn't searched can still ask
		other, err := s.db.View(name.Namespace)
		if err != nil {
			return err
		}
		defer other.Release()
		view, place = other, -1
		if want, has := vs[0].Config().Dimension, other.Config().Dimension; want != has {
			v.add(field+".record", "has a key of %d components; the namespaces have dimension %d", has, want)
			return nil
		}
	}
	var r memory.Record
	if !view.Get(name.Id, &r, memory.IncludeKey) {
		return &memory.NotFound{Kind: "record", Namespace: view.Config().Name, Name: name.Id}
	}
	q.Vector = r.Key
	if place >= 0 {
		q.Exclude = &memory.Exclude{View: place, ID: name.Id}
	}
	return nil
}

// canEmbed refuses text where the namespaces' keys weren't made by the server's embedder.
func (s *Server) canEmbed(vs views) error {
	for _, view := range vs {
		c := view.Config()
		subject := "namespaces/" + c.Name
		switch {
		case c.Embedder.Name == "":
			return precondition(subject, "namespace %q has no embedder: give a vector instead of text", c.Name)
		case s.embedder == nil:
			return precondition(subject, "namespace %q uses embedder %q, and the server has none: give a vector instead of text", c.Name, c.Embedder.Name)
		case c.Embedder != s.embedderID():
			return precondition(subject, "namespace %q uses embedder %q version %q, and the server has %q version %q: give a vector instead of text",
				c.Name, c.Embedder.Name, c.Embedder.Version, s.embedder.Name(), s.embedder.Version())
		}
	}
	return nil
}
