package server

import (
	"fmt"
	"math"
	"strconv"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/types/known/timestamppb"

	"engram/memory"
	"engram/memory/filter"
	engramv1 "engram/proto/engram/v1"
)

// at names an element of a repeated field.
func at(field string, i int) string { return field + "[" + strconv.Itoa(i) + "]" }

// nanoseconds gives the Unix time of t, false if that doesn't fit 64 bits.
func nanoseconds(t time.Time) (int64, bool) {
	first, last := time.Unix(0, math.MinInt64), time.Unix(0, math.MaxInt64)
	return t.UnixNano(), !t.Before(first) && !t.After(last)
}

// put converts a record to store, noting everything about its form that is wrong.
func (s *Server) put(v *violations, field string, p *engramv1.Record) memory.Put {
	if p == nil {
		v.add(field, "is empty")
		return memory.Put{}
	}
	out := memory.Put{Record: memory.Record{
		ID: p.Id, Text: p.Text, Session: p.GetSession(), Speaker: p.GetSpeaker(), Importance: p.GetImportance(),
	}, HasImportance: p.Importance != nil}
	if p.Key != nil {
		out.Key = components(v, field+".key", p.Key)
	}
	if p.Value != nil {
		if out.Value = components(v, field+".value", p.Value); len(out.Value) == 0 {
			out.Value = nil
		}
	}
	if p.Metadata != nil {
		if bad := filter.CheckMetadata(p.Metadata, s.records.MetadataBytes); len(bad) > 0 {
			b := bad[0]
			if len(bad) > 1 {
				b.Reason = fmt.Sprintf("%s (and %d more like it)", b.Reason, len(bad)-1)
			}
			v.add(field+"."+b.Path, "%s", b.Reason)
		} else if b, err := filter.EncodeMetadata(p.Metadata); err != nil {
			v.add(field+".metadata", "can't be encoded")
		} else {
			out.Metadata = b
		}
	}
	if p.Time != nil {
		if err := p.Time.CheckValid(); err != nil {
			v.add(field+".time", "is not a valid time: seconds %d, nanos %d", p.Time.Seconds, p.Time.Nanos)
		} else if ns, ok := nanoseconds(p.Time.AsTime()); !ok {
			v.add(field+".time", "is %s; times are from the years 1678 to 2261", p.Time.AsTime().Format(time.RFC3339))
		} else {
			out.Time, out.HasTime = ns, true
		}
	}
	if p.Position != nil {
		out.Position, out.HasPosition = *p.Position, true
	}
	expiry(v, field, p, &out)
	out.Pinned = p.Pinned
	if p.IfVersion != nil {
		lsn := memory.LSN(*p.IfVersion)
		out.IfVersion = &lsn
	}
	return out
}

// include is what a reply carries of each record.
type include struct {
	memory.Include
	form engramv1.VectorForm
}

// included reads a request's include.
func included(v *violations, p *engramv1.Include) include {
	out := include{form: p.GetVectorForm()}
	if p == nil || p.Text == nil || *p.Text {
		out.Include |= memory.IncludeText
	}
	if p == nil || p.Metadata == nil || *p.Metadata {
		out.Include |= memory.IncludeMetadata
	}
	if p == nil || p.Sources == nil || *p.Sources {
		out.Include |= memory.IncludeSources
	}
	if p.GetKey() {
		out.Include |= memory.IncludeKey
	}
	if p.GetValue() {
		out.Include |= memory.IncludeValue
	}
	if _, ok := engramv1.VectorForm_name[int32(out.form)]; !ok {
		v.add("include.vector_form", "is %d, which is no form of a vector", out.form)
	}
	return out
}

// recordMessage is a record's message with what it points to, so that a reply's records
// take one allocation and not ten each.
type recordMessage struct {
	record               engramv1.Record
	time, create, update timestamppb.Timestamp
	rehearse, expire     timestamppb.Timestamp
	importance           float32
	position             int64
	session, speaker     string
}

// set writes a record. It aliases r's strings and vectors, which must be copies.
func (m *recordMessage) set(r *memory.Record, inc include) *engramv1.Record {
	setTimestamp(&m.time, r.Time)
	setTimestamp(&m.create, r.CreateTime)
	setTimestamp(&m.update, r.UpdateTime)
	m.importance = r.Importance
	out := &m.record
	out.Id, out.Text, out.Version, out.Importance = r.ID, r.Text, uint64(r.Version), &m.importance
	out.Time, out.CreateTime, out.UpdateTime = &m.time, &m.create, &m.update
	out.Key, out.Value = vectorProto(r.Key, inc.form), vectorProto(r.Value, inc.form)
	if r.Rehearsed.Count > 0 {
		setTimestamp(&m.rehearse, r.Rehearsed.Last)
		out.Rehearsals, out.RehearseTime = r.Rehearsed.Count, &m.rehearse
	}
	if r.Expire != 0 {
		setTimestamp(&m.expire, r.Expire)
		out.ExpireTime = &m.expire
	}
	out.Pinned = r.Pinned
	out.Sources = sourcesProto(r.Sources)
	if r.HasPosition {
		m.position = r.Position
		out.Position = &m.position
	}
	if r.Session != "" {
		m.session = r.Session
		out.Session = &m.session
	}
	if r.Speaker != "" {
		m.speaker = r.Speaker
		out.Speaker = &m.speaker
	}
	if len(r.Metadata) > 0 {
		// It is kept as it goes on the wire: as bytes of a field that this message
		// happens not to know, it is neither decoded nor encoded.
		b := make([]byte, 0, len(r.Metadata)+6)
		b = protowire.AppendTag(b, metadataField, protowire.BytesType)
		out.ProtoReflect().SetUnknown(protowire.AppendBytes(b, r.Metadata))
	}
	return out
}

var metadataField = (*engramv1.Record)(nil).ProtoReflect().Descriptor().Fields().ByName("metadata").Number()

// recordOverhead is more than the fields of a record that every reply carries take, its
// id, session and speaker aside, with what frames it.
const recordOverhead = 184

// recordProtos writes the records that refs name.
func recordProtos(view *memory.View, refs []memory.Ref, inc include) []*engramv1.Record {
	room := make([]recordMessage, len(refs))
	out := make([]*engramv1.Record, len(refs))
	for i, ref := range refs {
		r := view.At(ref, inc.Include)
		out[i] = room[i].set(&r, inc)
	}
	return out
}

func timestamp(ns int64) *timestamppb.Timestamp {
	t := new(timestamppb.Timestamp)
	setTimestamp(t, ns)
	return t
}

func setTimestamp(t *timestamppb.Timestamp, ns int64) {
	const second = int64(time.Second)
	t.Seconds, t.Nanos = ns/second, int32(ns%second)
	if t.Nanos < 0 {
		t.Seconds, t.Nanos = t.Seconds-1, t.Nanos+int32(second)
	}
}
