package server

import (
	"context"
	"errors"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"engram/memory"
	engramv1 "engram/proto/engram/v1"
)

// watchChunk is the size at which a part of a watch is sent.
const watchChunk = 1 << 20

// errSlow is the error of a watcher that takes nothing.
var errSlow = errors.New("the watcher took nothing for too long")

func (m *memoryService) Watch(req *engramv1.WatchRequest, stream grpc.ServerStreamingServer[engramv1.WatchResponse]) error {
	s := m.s
	var v violations
	s.namespaceName(&v, "namespace", req.Namespace)
	w := watch{s: s, x: stream.Context().Value(exchangeKey{}).(*exchange), include: included(&v, req.Include)}
	if err := v.err(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	defer context.AfterFunc(s.stopping, cancel)()
	var after *memory.LSN
	if req.AfterLsn != nil {
		lsn := memory.LSN(*req.AfterLsn)
		after = &lsn
	}
	err := s.db.Watch(ctx, req.Namespace, after, w.give)
	if errors.Is(err, memory.ErrNoJournal) {
		return precondition("server", "%v", err)
	}
	if errors.Is(err, context.Canceled) && s.stopping.Err() != nil {
		return memory.ErrClosed
	}
	return err
}

// A watch sends mutations to one client.
type watch struct {
	s       *Server
	x       *exchange
	include include
	part    engramv1.WatchResponse
	bytes   int
}

// give sends mutations in parts of about watchChunk.
func (w *watch) give(mutations []*memory.Mutation) error {
	for _, m := range mutations {
		if err := w.mutation(m); err != nil {
			return err
		}
	}
	return w.flush()
}

// mutation adds one to the part at hand.
func (w *watch) mutation(m *memory.Mutation) error {
	e := w.event(m)
	e.NamespaceDeleted, e.DeletedIds, e.Imported = m.Drop, m.Deletes, m.Import != ""
	if m.Create != nil {
		e.NamespaceCreated = optionsProto(*m.Create)
	}
	if m.MaxBytes != nil {
		n := uint64(*m.MaxBytes)
		e.MaxBytes = &n
	}
	if m.Durability != nil {
		e.Durability = durabilityProto[*m.Durability]
	}
	if m.KeyEncoding != nil {
		e.KeyEncoding = encodingProto[*m.KeyEncoding]
	}
	if m.ValueEncoding != nil {
		e.ValueEncoding = valueEncodingProto[*m.ValueEncoding]
	}
	e.Recall = m.Recall
	if m.Ranking != nil {
		e.Ranking = rankingProto(*m.Ranking)
	}
	if m.Retention != nil {
		e.Retention = retentionProto(*m.Retention)
	}
	e.RepeatSimilarity = m.Repeats
	if m.MaxRecords != nil {
		n := uint64(*m.MaxRecords)
		e.MaxRecords = &n
	}
	if m.Eviction != nil {
		e.Eviction = evictionProto[*m.Eviction]
	}
	e.Forget = m.Forget
	if m.Consolidation != nil {
		if e.Consolidation = consolidationProto(*m.Consolidation); e.Consolidation == nil {
			e.Consolidation = new(engramv1.Consolidation)
		}
	}
	for i := range m.Rehearsals {
		r := &m.Rehearsals[i]
		e.Rehearsals = append(e.Rehearsals, &engramv1.Rehearsal{Id: r.ID, Time: timestamp(r.Time), Count: r.Count})
	}
	w.bytes += proto.Size(e)
	for i := range m.Changes {
		c := w.change(&m.Changes[i], m)
		n := proto.Size(c) + 8
		if w.bytes > 0 && w.bytes+n > watchChunk {
			e.More = true
			if err := w.flush(); err != nil {
				return err
			}
			e = w.event(m)
		}
		e.Changes = append(e.Changes, c)
		w.bytes += n
	}
	if w.bytes > watchChunk {
		return w.flush()
	}
	return nil
}

// event begins one in the part at hand.
func (w *watch) event(m *memory.Mutation) *engramv1.MutationEvent {
	e := &engramv1.MutationEvent{Lsn: uint64(m.LSN), Time: timestamp(m.Time)}
	w.part.Mutations = append(w.part.Mutations, e)
	w.bytes += 32
	return e
}

// change says what became of one record.
func (w *watch) change(c *memory.Change, m *memory.Mutation) *engramv1.RecordChange {
	r := c.Record
	r.Version, r.UpdateTime = m.LSN, m.Time
	left := func(mask memory.Mask, include memory.Include) bool {
		return c.Mask&mask == 0 || w.include.Include&include != include
	}
	if left(memory.MaskText, memory.IncludeText) {
		r.Text = ""
	}
	if left(memory.MaskMetadata, memory.IncludeMetadata) {
		r.Metadata = nil
	}
	if left(memory.MaskKey, memory.IncludeKey) {
		r.Key = nil
	}
	if left(memory.MaskValue, memory.IncludeValue) {
		r.Value = nil
	}
	if left(memory.MaskAll, memory.IncludeSources) {
		r.Sources = nil
	}
	if left(memory.MaskSession, 0) {
		r.Session = ""
	}
	if left(memory.MaskSpeaker, 0) {
		r.Speaker = ""
	}
	if left(memory.MaskExpire, 0) {
		r.Expire = 0
	}
	if left(memory.MaskPinned, 0) {
		r.Pinned = false
	}
	if left(memory.MaskPosition, 0) {
		r.HasPosition = false
	}
	out := &engramv1.RecordChange{Record: new(recordMessage).set(&r, w.include)}
	if c.Mask&memory.MaskTime == 0 {
		out.Record.Time = nil
	}
	if c.Mask&memory.MaskImportance == 0 {
		out.Record.Importance = nil
	}
	if c.Mask != memory.MaskAll {
		out.ChangedFields = &fieldmaskpb.FieldMask{}
		for _, name := range maskNames {
			if c.Mask&maskFields[name] != 0 {
				out.ChangedFields.Paths = append(out.ChangedFields.Paths, name)
			}
		}
	}
	return out
}

// flush sends the part at hand.
func (w *watch) flush() error {
	if len(w.part.Mutations) == 0 {
		return nil
	}
	part := &engramv1.WatchResponse{Mutations: w.part.Mutations}
	w.part.Mutations, w.bytes = nil, 0
	return w.x.sendWithin(w.s.limits.StreamIdle, part)
}
