package client

import (
	"encoding/binary"
	"fmt"
	"math"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "engram/proto/engram/v1"
)

// A Record is one remembered thing. Zero fields are unset: see the comments of
// engram.v1.Record for what each means, its limits and its default.
type Record struct {
	ID         string
	Key        []float32 // default: made from Text by the server's embedder
	Value      []float32 // default: the key
	Text       string
	Metadata   map[string]any // what encoding/json makes: nil, bool, float64, string, []any, map[string]any; ints too
	Session    string
	Speaker    string
	Time       time.Time // when it happened; default: when it was stored
	Importance float32   // in (0, 1]; default 0.5
	Position   *int64    // in a sequence, for Attend; default: none

	// ExpireTime is when the record is gone; TTL, on a write and instead of it, how long
	// after the write. Default: never.
	ExpireTime time.Time
	TTL        time.Duration
	Pinned     bool // never evicted nor forgotten

	// IfVersion is a condition on a write: the version that the stored record must
	// have; 0, that there is none. nil: no condition.
	IfVersion *uint64

	// Set by the server.
	CreateTime, UpdateTime time.Time
	Version                uint64
	Rehearsals             int
	RehearseTime           time.Time // zero: never
	Sources                []Source  // that were merged into it
}

// proto gives the record as it is sent.
func (r *Record) proto() (*pb.Record, error) {
	p := &pb.Record{
		Id: r.ID, Key: vector(r.Key), Value: vector(r.Value), Text: r.Text, IfVersion: r.IfVersion, Position: r.Position, Pinned: r.Pinned,
	}
	if r.Metadata != nil {
		m, err := structpb.NewStruct(r.Metadata)
		if err != nil {
			return nil, fmt.Errorf("metadata of record %q: %w", r.ID, err)
		}
		p.Metadata = m
	}
	if r.Session != "" {
		p.Session = &r.Session
	}
	if r.Speaker != "" {
		p.Speaker = &r.Speaker
	}
	if r.Importance != 0 {
		p.Importance = &r.Importance
	}
	if !r.Time.IsZero() {
		p.Time = timestamppb.New(r.Time)
	}
	if !r.ExpireTime.IsZero() {
		p.ExpireTime = timestamppb.New(r.ExpireTime)
	}
	if r.TTL != 0 {
		p.Ttl = durationpb.New(r.TTL)
	}
	return p, nil
}

func protos(records []Record) ([]*pb.Record, error) {
	out := make([]*pb.Record, len(records))
	for i := range records {
		p, err := records[i].proto()
		if err != nil {
			return nil, fmt.Errorf("records[%d]: %w", i, err)
		}
		out[i] = p
	}
	return out, nil
}

func record(p *pb.Record) Record {
	r := Record{
		ID: p.GetId(), Key: floats(p.GetKey()), Value: floats(p.GetValue()), Text: p.GetText(),
		Session: p.GetSession(), Speaker: p.GetSpeaker(),
		Time: p.GetTime().AsTime(), Importance: p.GetImportance(),
		CreateTime: p.GetCreateTime().AsTime(), UpdateTime: p.GetUpdateTime().AsTime(), Version: p.GetVersion(), Position: p.Position, Pinned: p.GetPinned(),
	}
	if p.ExpireTime != nil {
		r.ExpireTime = p.GetExpireTime().AsTime()
	}
	if p.RehearseTime != nil {
		r.Rehearsals, r.RehearseTime = int(p.GetRehearsals()), p.GetRehearseTime().AsTime()
	}
	r.Sources = sourcesOf(p.GetSources())
	if m := p.GetMetadata(); m != nil {
		r.Metadata = m.AsMap()
	}
	return r
}

// vector gives v in the form that is fastest to send; nil if it is empty.
func vector(v []float32) *pb.Vector {
	if len(v) == 0 {
		return nil
	}
	b := make([]byte, 0, 4*len(v))
	for _, x := range v {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(x))
	}
	return &pb.Vector{F32: b}
}

// floats reads a vector in either form.
func floats(v *pb.Vector) []float32 {
	if b := v.GetF32(); len(b) > 0 {
		out := make([]float32, len(b)/4)
		for i := range out {
			out[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
		}
		return out
	}
	return v.GetValues()
}
