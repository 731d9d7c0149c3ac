package server

import (
	"context"

	"engram/memory"
	engramv1 "engram/proto/engram/v1"
)

func (m *memoryService) Delete(ctx context.Context, req *engramv1.DeleteRequest) (*engramv1.DeleteResponse, error) {
	s := m.s
	var v violations
	s.namespaceName(&v, "namespace", req.Namespace)
	s.requestID(&v, req.RequestId)
	switch {
	case len(req.Ids) > 0 && req.Filter != nil:
		v.add("filter", "is set beside ids; set one of them")
	case len(req.Ids) == 0 && req.Filter == nil:
		v.add("ids", "is empty, and so is filter; set one of them")
	case len(req.Ids) > 0:
		s.ids(&v, req.Ids)
	}
	c := &memory.Delete{
		Namespace: req.Namespace, IDs: req.Ids, Filter: s.filterOf(&v, req.Filter),
		RequestID: req.RequestId, Digest: digest(req.RequestId, req),
	}
	if err := v.err(); err != nil {
		return nil, err
	}
	res, err := s.db.Delete(ctx, c)
	if err != nil {
		return nil, err
	}
	return &engramv1.DeleteResponse{Deleted: uint64(res.Deleted), Lsn: uint64(res.LSN)}, nil
}

// ids checks a list of record ids.
func (s *Server) ids(v *violations, ids []string) {
	if n := len(ids); n == 0 || n > s.limits.IDs {
		v.add("ids", "has %d ids; give 1 to %d", n, s.limits.IDs)
		return
	}
	for i, id := range ids {
		if id == "" || len(id) > s.records.NameBytes {
			v.add(at("ids", i), "is %d bytes; give 1 to %d", len(id), s.records.NameBytes)
		}
	}
}
