package server

import (
	"context"
	"errors"
	"io"

	"google.golang.org/grpc"

	"engram/memory"
	engramv1 "engram/proto/engram/v1"
)

func (m *memoryService) Store(ctx context.Context, req *engramv1.StoreRequest) (*engramv1.StoreResponse, error) {
	res, err := m.s.store(ctx, req)
	if err != nil {
		return nil, err
	}
	return &engramv1.StoreResponse{Results: recordResults(res), Lsn: uint64(res.LSN)}, nil
}

func (m *memoryService) StoreStream(stream grpc.BidiStreamingServer[engramv1.StoreStreamRequest, engramv1.StoreStreamResponse]) error {
	namespace := ""
	for batch := uint64(0); ; batch++ {
		req, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if req.Namespace != "" {
			namespace = req.Namespace
		}
		res, err := m.s.store(stream.Context(), &engramv1.StoreRequest{
			Namespace: namespace, Records: req.Records, Mode: req.Mode, RequestId: req.RequestId, Embedder: req.Embedder,
		})
		if err != nil {
			return err
		}
		if err := stream.Send(&engramv1.StoreStreamResponse{Batch: batch, Results: recordResults(res), Lsn: uint64(res.LSN)}); err != nil {
			return err
		}
	}
}

var storeModes = map[engramv1.StoreMode]memory.Mode{
	engramv1.StoreMode_STORE_MODE_UNSPECIFIED: memory.Upsert,
	engramv1.StoreMode_STORE_MODE_UPSERT:      memory.Upsert,
	engramv1.StoreMode_STORE_MODE_INSERT:      memory.Insert,
	engramv1.StoreMode_STORE_MODE_UPDATE:      memory.ModeUpdate,
}

// store checks a batch, makes keys of text where there are none, and commits it.
func (s *Server) store(ctx context.Context, req *engramv1.StoreRequest) (*memory.StoreResult, error) {
	var v violations
	s.namespaceName(&v, "namespace", req.Namespace)
	s.requestID(&v, req.RequestId)
	mode, ok := storeModes[req.Mode]
	if !ok {
		v.add("mode", "is %d, which is no mode", req.Mode)
	}
	c := &memory.Store{Namespace: req.Namespace, Mode: mode, RequestID: req.RequestId, Digest: digest(req.RequestId, req)}
	c.Records = s.puts(&v, req.Records)
	var without []int // records whose key their text makes
	for i := range c.Records {
		if len(c.Records[i].Key) == 0 && req.Records[i].GetText() != "" && !v.has(at("records", i)+".key") {
			without = append(without, i)
		}
	}
	for _, i := range without {
		c.Records[i].KeyFromText = true
	}
	if len(without) > 0 && s.embedder != nil {
		id := s.embedderID()
		c.Embedder = &id
	}
	if err := v.with(s.db.CheckStore(c)); err != nil {
		return nil, err
	}
	if err := s.writtenBy(req.Namespace, req.Embedder, len(without) > 0); err != nil {
		return nil, err
	}
	if len(without) > 0 {
		texts := make([]string, len(without))
		for j, i := range without {
			texts[j] = c.Records[i].Text
		}
		vectors, err := s.embed(ctx, texts, false)
		if err != nil {
			return nil, err
		}
		for j, i := range without {
			c.Records[i].Key = vectors[j]
		}
	}
	return s.db.Store(ctx, c)
}

// puts converts the records of a write.
func (s *Server) puts(v *violations, records []*engramv1.Record) []memory.Put {
	if n := len(records); n == 0 || n > s.records.BatchRecords {
		v.add("records", "has %d records; give 1 to %d", n, s.records.BatchRecords)
		return nil
	}
	out := make([]memory.Put, len(records))
	for i, p := range records {
		out[i] = s.put(v, at("records", i), p)
	}
	return out
}

// writtenBy refuses a write whose keys another embedder makes, before any text is
// embedded. The commit checks again.
func (s *Server) writtenBy(namespace, stated string, text bool) error {
	subject := "namespaces/" + namespace
	if text && s.embedder == nil {
		return precondition(subject, "the server has no embedder: give each record a key")
	}
	view, err := s.db.View(namespace)
	var missing *memory.NotFound
	switch {
	case errors.As(err, &missing): // to be made by this write
		if stated != "" && (!text || stated != s.embedder.Name()) {
			return precondition(subject, "the request states embedder %q; namespace %q, which this write would make, would not have it", stated, namespace)
		}
		return nil
	case err != nil:
		return err
	}
	defer view.Release()
	vs := views{view}
	if err := vs.madeBy(stated); err != nil || !text {
		return err
	}
	return s.canEmbed(vs)
}

func recordResults(res *memory.StoreResult) []*engramv1.RecordResult {
	out := make([]*engramv1.RecordResult, len(res.Results))
	all := make([]engramv1.RecordResult, len(res.Results))
	for i, r := range res.Results {
		p := &all[i]
		p.Id, p.Version, p.Created, p.Repeated = r.ID, uint64(r.Version), r.Created, r.Repeated
		out[i] = p
	}
	return out
}
