package server

import (
	"context"
	"hash/crc32"
	"slices"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"engram/memory"
	"engram/memory/filter"
	engramv1 "engram/proto/engram/v1"
)

// exportFormat is the version of what Export writes.
const exportFormat = 1

// exportChunk is the size at which a part of an export is sent.
const exportChunk = 1 << 20

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func (a *adminService) Export(req *engramv1.ExportRequest, stream grpc.ServerStreamingServer[engramv1.ExportResponse]) error {
	s := a.s
	var v violations
	for i, name := range req.Namespaces {
		s.namespaceName(&v, at("namespaces", i), name)
	}
	if err := v.err(); err != nil {
		return err
	}
	names := slices.Compact(slices.Sorted(slices.Values(req.Namespaces)))
	for _, name := range names { // all are there, before the first byte
		if _, err := s.db.Namespace(name); err != nil {
			return err
		}
	}
	e := exporter{ctx: stream.Context(), stream: stream}
	e.item(&engramv1.ExportItem{Item: &engramv1.ExportItem_Header_{
		Header: &engramv1.ExportItem_Header{Format: exportFormat, Lsn: uint64(s.db.LSN())},
	}})
	if len(names) == 0 {
		s.db.Views(func(view *memory.View) bool {
			living := s.db.Living(view)
			defer living.Release()
			return e.namespace(living)
		})
	}
	for _, name := range names {
		view, err := s.db.View(name)
		if err != nil { // deleted since
			return err
		}
		more := e.namespace(view)
		view.Release()
		if !more {
			break
		}
	}
	e.item(&engramv1.ExportItem{Item: &engramv1.ExportItem_Trailer_{
		Trailer: &engramv1.ExportItem_Trailer{Namespaces: e.namespaces, Records: e.records, Crc32C: e.sum},
	}})
	e.flush()
	return e.err
}

// exporter gathers encoded items into parts. Each item is encoded once, at once, for the
// checksum and for the wire: a record is read from slabs, and must be copied.
type exporter struct {
	ctx                 context.Context
	stream              grpc.ServerStreamingServer[engramv1.ExportResponse]
	chunk, buf          []byte
	sum                 uint32
	namespaces, records uint64
	err                 error
}

// namespace exports one namespace, and tells whether to go on.
func (e *exporter) namespace(view *memory.View) bool {
	e.item(&engramv1.ExportItem{Item: &engramv1.ExportItem_Namespace{
		Namespace: &engramv1.ExportItem_NamespaceState{Namespace: namespaceProto(view), Created: uint64(view.Config().Created)},
	}})
	e.namespaces++
	view.Records(func(r *memory.Record) bool {
		metadata := r.Metadata
		r.Metadata = nil
		p := new(recordMessage).set(r, include{form: engramv1.VectorForm_VECTOR_FORM_F32})
		if len(metadata) > 0 {
			if p.Metadata, e.err = filter.DecodeMetadata(metadata); e.err != nil {
				return false
			}
		}
		state := &engramv1.ExportItem_RecordState{
			Record: p, Created: uint64(r.Created), Place: r.Place, KeyFromText: r.KeyFromText, KeyError: r.KeyLost,
		}
		if g := r.Rehearsed.Growths; g > 0 {
			state.Growths, state.GrowTime = uint32(g), timestamp(r.Rehearsed.Grown)
		}
		state.Spread = r.Spread
		e.item(&engramv1.ExportItem{Item: &engramv1.ExportItem_Record{Record: state}})
		e.records++
		return e.err == nil && e.ctx.Err() == nil
	})
	if e.err == nil {
		e.err = e.ctx.Err()
	}
	return e.err == nil
}

// deterministic is the encoding that the trailer's checksum is over.
var deterministic = proto.MarshalOptions{Deterministic: true}

var itemsField = (*engramv1.ExportResponse)(nil).ProtoReflect().Descriptor().Fields().ByName("items").Number()

func (e *exporter) item(i *engramv1.ExportItem) {
	if e.err != nil {
		return
	}
	if e.buf, e.err = deterministic.MarshalAppend(e.buf[:0], i); e.err != nil {
		return
	}
	e.sum = crc32.Update(e.sum, castagnoli, e.buf)
	if len(e.chunk) > 0 && len(e.chunk)+len(e.buf) > exportChunk {
		e.flush()
	}
	e.chunk = protowire.AppendTag(e.chunk, itemsField, protowire.BytesType)
	e.chunk = protowire.AppendBytes(e.chunk, e.buf)
}

// flush sends the items as they are encoded: as a field that the message doesn't know.
func (e *exporter) flush() {
	if e.err != nil || len(e.chunk) == 0 {
		return
	}
	part := new(engramv1.ExportResponse)
	part.ProtoReflect().SetUnknown(e.chunk)
	e.err = e.stream.Send(part)
	e.chunk = e.chunk[:0]
}
