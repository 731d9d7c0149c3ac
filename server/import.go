package server

import (
	"context"
	"errors"
	"hash/crc32"
	"io"
	"math"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"engram/memory"
	engramv1 "engram/proto/engram/v1"
)

// remembered is how long, and rememberedImports how many, imports are remembered by
// their request_id.
const (
	remembered        = 10 * time.Minute
	rememberedImports = 1024
)

type importDone struct {
	at    time.Time
	sum   uint32
	reply *engramv1.ImportResponse
}

// look finds an import that succeeded, and forgets old ones.
func (i *imports) look(id string, now time.Time) (importDone, bool) {
	i.Lock()
	defer i.Unlock()
	for id, d := range i.done {
		if now.Sub(d.at) > remembered {
			delete(i.done, id)
		}
	}
	d, ok := i.done[id]
	return d, ok
}

func (i *imports) remember(id string, d importDone) {
	i.Lock()
	defer i.Unlock()
	if i.done == nil {
		i.done = map[string]importDone{}
	}
	if len(i.done) < rememberedImports {
		i.done[id] = d
	}
}

func (a *adminService) Import(stream grpc.ClientStreamingServer[engramv1.ImportRequest, engramv1.ImportResponse]) error {
	s := a.s
	im := importer{s: s, stream: stream}
	if err := im.open(); err != nil {
		return err
	}
	var before importDone
	repeated := false
	if im.requestID != "" {
		before, repeated = a.imports.look(im.requestID, s.clock.Now())
	}
	im.dry = repeated
	if err := im.run(stream.Context()); err != nil {
		return err
	}
	if repeated {
		if before.sum != im.sum {
			return invalid("request_id", "is that of an import of other items")
		}
		return stream.SendAndClose(before.reply)
	}
	reply := &engramv1.ImportResponse{Namespaces: im.namespaces, Records: im.records, Lsn: uint64(s.db.LSN())}
	if im.requestID != "" {
		a.imports.remember(im.requestID, importDone{s.clock.Now(), im.sum, reply})
	}
	return stream.SendAndClose(reply)
}

// importer reads the items of an import in order.
type importer struct {
	s         *Server
	stream    grpc.ClientStreamingServer[engramv1.ImportRequest, engramv1.ImportResponse]
	requestID string
	dry       bool // read and check, change nothing

	items               []*engramv1.ExportItem // of the message at hand
	read                int                    // items before those
	peeked              *engramv1.ExportItem
	sum, sumBefore      uint32 // with and without the item read last
	namespaces, records uint64
	buf                 []byte
}

// open reads the first message and the header.
func (im *importer) open() error {
	req, err := im.stream.Recv()
	if errors.Is(err, io.EOF) {
		return invalid("items", "is empty; an import begins with a header")
	}
	if err != nil {
		return err
	}
	var v violations
	im.s.requestID(&v, req.RequestId)
	if err := v.err(); err != nil {
		return err
	}
	im.requestID, im.items = req.RequestId, req.Items
	item, err := im.next()
	if err != nil {
		return err
	}
	h := item.GetHeader()
	switch {
	case h == nil:
		return im.invalid("is not a header, with which an import begins")
	case h.Format == 0:
		return im.invalid("has format 0, which doesn't exist")
	case h.Format > exportFormat:
		return precondition("server", "the export has format %d; this server reads up to %d: use a newer server", h.Format, exportFormat)
	}
	return nil
}

// next gives the next item; at the end of the stream, DataLoss, as a trailer comes before.
func (im *importer) next() (*engramv1.ExportItem, error) {
	if item := im.peeked; item != nil {
		im.peeked = nil
		return item, nil
	}
	for len(im.items) == 0 {
		req, err := im.stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil, status.Errorf(codes.DataLoss, "the import ends after %d items without a trailer: it was cut short", im.read)
		}
		if err != nil {
			return nil, err
		}
		im.items = req.Items
	}
	item := im.items[0]
	im.items = im.items[1:]
	im.read++
	var err error
	if im.buf, err = deterministic.MarshalAppend(im.buf[:0], item); err != nil {
		return nil, im.invalid("can't be encoded")
	}
	im.sumBefore, im.sum = im.sum, crc32.Update(im.sum, castagnoli, im.buf)
	return item, nil
}

func (im *importer) invalid(format string, args ...any) error {
	return invalid(at("items", im.read-1), format, args...)
}

// run imports namespace after namespace, and checks the trailer.
func (im *importer) run(ctx context.Context) error {
	for {
		item, err := im.next()
		if err != nil {
			return err
		}
		switch {
		case item.GetNamespace() != nil:
			if err := im.namespace(ctx, item.GetNamespace()); err != nil {
				return err
			}
		case item.GetTrailer() != nil:
			t := item.GetTrailer()
			if t.Namespaces != im.namespaces || t.Records != im.records {
				return status.Errorf(codes.DataLoss, "the trailer counts %d namespaces and %d records; %d and %d came", t.Namespaces, t.Records, im.namespaces, im.records)
			}
			if t.Crc32C != im.sumBefore {
				return status.Errorf(codes.DataLoss, "the trailer's checksum is %08x; that of the items is %08x", t.Crc32C, im.sumBefore)
			}
			if _, err := im.stream.Recv(); !errors.Is(err, io.EOF) || len(im.items) > 0 {
				return im.invalid("is a trailer, after which nothing may come")
			}
			return nil
		default:
			return im.invalid("is not a namespace or the trailer")
		}
	}
}

// namespace imports one namespace with the records that follow, whole or not at all.
func (im *importer) namespace(ctx context.Context, p *engramv1.ExportItem_NamespaceState) error {
	s := im.s
	var v violations
	field := at("items", im.read-1) + ".namespace.namespace"
	c := s.namespaceConfig(&v, field, p.Namespace)
	if c.Dimension == 0 || c.ValueDimension == 0 {
		v.add(field, "has dimension %d and value_dimension %d; both must be set", c.Dimension, c.ValueDimension)
	}
	if err := p.GetNamespace().GetCreateTime().CheckValid(); err != nil {
		v.add(field+".create_time", "is not a valid time")
	}
	if err := v.err(); err != nil {
		return err
	}
	if e := p.Namespace.Embedder; e != nil {
		c.Embedder = memory.EmbedderID{Name: e.Name, Version: e.Version, Dimension: int(e.Dimension)}
	}
	c.CreateTime, c.Created = p.Namespace.CreateTime.AsTime().UnixNano(), memory.LSN(p.Created)
	im.namespaces++
	var failed error
	records := func(yield func(*memory.Record) bool) {
		for {
			item, err := im.next()
			if err != nil {
				failed = err
				return
			}
			if item.GetRecord() == nil {
				im.peeked = item
				return
			}
			r, err := im.record(item.GetRecord())
			if err != nil {
				failed = err
				return
			}
			im.records++
			if !yield(r) {
				return
			}
		}
	}
	if im.dry {
		records(func(*memory.Record) bool { return true })
		return failed
	}
	err := s.db.Import(ctx, c, memory.LSN(p.Namespace.Lsn), func(yield func(*memory.Record, error) bool) {
		records(func(r *memory.Record) bool { return yield(r, nil) })
		if failed != nil {
			yield(nil, failed)
		}
	})
	return firstError(failed, err)
}

// record converts one record with everything that a client can't set.
func (im *importer) record(p *engramv1.ExportItem_RecordState) (*memory.Record, error) {
	field := at("items", im.read-1) + ".record.record"
	var v violations
	put := im.s.put(&v, field, p.Record)
	r := put.Record
	set := func(name string, t interface {
		CheckValid() error
		AsTime() time.Time
	}) int64 {
		if t.CheckValid() != nil {
			v.add(field+"."+name, "is unset or not a valid time")
			return 0
		}
		ns, ok := nanoseconds(t.AsTime())
		if !ok {
			v.add(field+"."+name, "is not from the years 1678 to 2261")
		}
		return ns
	}
	r.CreateTime = set("create_time", p.GetRecord().GetCreateTime())
	r.UpdateTime = set("update_time", p.GetRecord().GetUpdateTime())
	switch {
	case r.ID == "":
		v.add(field+".id", "is empty")
	case !put.HasTime:
		v.add(field+".time", "is unset")
	case !put.HasImportance:
		v.add(field+".importance", "is unset")
	}
	r.Pinned = p.GetRecord().GetPinned()
	if t := p.GetRecord().GetExpireTime(); t != nil {
		r.Expire = set("expire_time", t)
	}
	if n := p.GetRecord().GetRehearsals(); n > 0 {
		r.Rehearsed = memory.Rehearsed{Count: n, Last: set("rehearse_time", p.GetRecord().GetRehearseTime())}
	}
	if p.Growths > math.MaxUint16 {
		v.add(field+".growths", "is %d; at most %d are counted", p.Growths, math.MaxUint16)
	} else if p.Growths > 0 {
		r.Rehearsed.Growths, r.Rehearsed.Grown = uint16(p.Growths), set("grow_time", p.GrowTime)
	}
	for i, x := range p.GetRecord().GetSources() {
		r.Sources = append(r.Sources, memory.Source{ID: x.GetId(), Time: set(at("sources", i)+".time", x.GetTime())})
	}
	r.Spread = p.Spread
	r.Version, r.Created = memory.LSN(p.GetRecord().GetVersion()), memory.LSN(p.Created)
	r.Place, r.KeyFromText, r.KeyLost = p.Place, p.KeyFromText, p.KeyError
	return &r, v.err()
}
