package server

import (
	"context"
	"maps"
	"slices"

	"engram/memory"
	engramv1 "engram/proto/engram/v1"
)

var maskFields = map[string]memory.Mask{
	"key": memory.MaskKey, "value": memory.MaskValue, "text": memory.MaskText, "metadata": memory.MaskMetadata,
	"session": memory.MaskSession, "speaker": memory.MaskSpeaker, "time": memory.MaskTime, "importance": memory.MaskImportance,
	"position": memory.MaskPosition, "expire_time": memory.MaskExpire, "ttl": memory.MaskExpire, "pinned": memory.MaskPinned,
}

// maskNames are the names of maskFields, in order, each field's once.
var maskNames = slices.DeleteFunc(slices.Sorted(maps.Keys(maskFields)), func(name string) bool { return name == "ttl" })

func (m *memoryService) Update(ctx context.Context, req *engramv1.UpdateRequest) (*engramv1.UpdateResponse, error) {
	s := m.s
	var v violations
	s.namespaceName(&v, "namespace", req.Namespace)
	s.requestID(&v, req.RequestId)
	c := &memory.Update{Namespace: req.Namespace, RequestID: req.RequestId, Digest: digest(req.RequestId, req)}
	if len(req.UpdateMask.GetPaths()) == 0 {
		v.add("update_mask", "is empty; name the fields that change")
	}
	for i, path := range req.UpdateMask.GetPaths() {
		bit, ok := maskFields[path]
		if !ok {
			v.add(at("update_mask.paths", i), "is %q; a mask may name key, value, text, metadata, session, speaker, time, importance, position, expire_time, ttl and pinned", path)
		}
		c.Mask |= bit
	}
	c.Records = s.puts(&v, req.Records)
	if err := v.with(s.db.CheckUpdate(c)); err != nil {
		return nil, err
	}
	if err := s.embedUpdate(ctx, req, c); err != nil {
		return nil, err
	}
	res, err := s.db.Update(ctx, c)
	if err != nil {
		return nil, err
	}
	return &engramv1.UpdateResponse{Results: recordResults(res), Lsn: uint64(res.LSN)}, nil
}

// embedUpdate makes new keys of new texts, for those records whose key was made of text.
// One that becomes so between this look and the commit is refused there.
func (s *Server) embedUpdate(ctx context.Context, req *engramv1.UpdateRequest, c *memory.Update) error {
	view, err := s.db.View(req.Namespace)
	if err != nil {
		return err
	}
	defer view.Release()
	vs := views{view}
	if err := vs.madeBy(req.Embedder); err != nil {
		return err
	}
	if c.Mask&memory.MaskText == 0 || c.Mask&memory.MaskKey != 0 {
		return nil
	}
	var texts []string
	var which []int
	var r memory.Record
	for i := range c.Records {
		if view.Get(c.Records[i].ID, &r, 0) && r.KeyFromText {
			if c.Records[i].Text == "" {
				return invalid(at("records", i)+".text", "is empty, but the record's key is made from it; give it a key as well")
			}
			texts, which = append(texts, c.Records[i].Text), append(which, i)
		}
	}
	if len(texts) == 0 {
		return nil
	}
	if err := s.canEmbed(vs); err != nil {
		return err
	}
	vectors, err := s.embed(ctx, texts, false)
	if err != nil {
		return err
	}
	for j, i := range which {
		c.Records[i].TextKey = vectors[j]
	}
	id := s.embedderID()
	c.Embedder = &id
	return nil
}
