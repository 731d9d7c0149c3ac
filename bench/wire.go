package main

import (
	"bytes"
	"context"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protowire"
)

// raw is a message whose fields are written and read one by one, so that Engram needs
// none of its peers' modules.
type raw struct{ b []byte }

func (r raw) bytes(field protowire.Number, v []byte) raw {
	return raw{protowire.AppendBytes(protowire.AppendTag(r.b, field, protowire.BytesType), v)}
}

func (r raw) string(field protowire.Number, v string) raw { return r.bytes(field, []byte(v)) }

func (r raw) number(field protowire.Number, v uint64) raw {
	return raw{protowire.AppendVarint(protowire.AppendTag(r.b, field, protowire.VarintType), v)}
}

// each calls do with the fields of a number, of those that are bytes.
func (r raw) each(field protowire.Number, do func(v raw) error) error {
	for b := r.b; len(b) > 0; {
		number, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return protowire.ParseError(n)
		}
		b = b[n:]
		m := protowire.ConsumeFieldValue(number, kind, b)
		if m < 0 {
			return protowire.ParseError(m)
		}
		if number == field && kind == protowire.BytesType {
			v, _ := protowire.ConsumeBytes(b)
			if err := do(raw{v}); err != nil {
				return err
			}
		}
		b = b[m:]
	}
	return nil
}

// in is the message that stands within others, under these fields in turn.
func (r raw) in(fields ...protowire.Number) (found raw, err error) {
	for _, f := range fields {
		found = raw{}
		if err := r.each(f, func(v raw) error {
			found = v
			return nil
		}); err != nil {
			return raw{}, err
		}
		r = found
	}
	return r, nil
}

// rawCodec passes raw messages as they are.
type rawCodec struct{}

func (rawCodec) Name() string                  { return "proto" }
func (rawCodec) Marshal(v any) ([]byte, error) { return v.(raw).b, nil }
func (rawCodec) Unmarshal(b []byte, v any) error {
	v.(*raw).b = bytes.Clone(b)
	return nil
}

func call(ctx context.Context, conn *grpc.ClientConn, method string, in raw) (out raw, err error) {
	err = conn.Invoke(ctx, method, in, &out, grpc.ForceCodec(rawCodec{}))
	return out, err
}
