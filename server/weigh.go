package server

import (
	"fmt"
	"reflect"
	"sync"
	"unicode/utf8"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// maxNesting bounds how deep messages stand in one another. A filter of 8 levels takes
// about 25, a value of metadata three for each level of JSON.
const maxNesting = 200

// allocation is what an object of the Go heap costs beside its bytes, by rounding.
const allocation = 16

// plan tells how much memory a message of one type takes when it is decoded. Empty
// submessages take two bytes on the wire and a hundred times that on the heap, so the
// size of a request alone says little about what it costs.
type plan struct {
	name   protoreflect.FullName
	bytes  int64 // of an empty one
	fields []planField
}

// planField is one field, by its number.
type planField struct {
	name     protoreflect.Name
	message  *plan // of its submessages; nil for scalars
	repeated bool
	text     bool // a string, which must be UTF-8
	each     int64
}

var plans = struct {
	sync.RWMutex
	of map[protoreflect.FullName]*plan
}{of: map[protoreflect.FullName]*plan{}}

// planOf gives the plan of a type, made when it is first asked for.
func planOf(d protoreflect.MessageDescriptor) *plan {
	plans.RLock()
	p := plans.of[d.FullName()]
	plans.RUnlock()
	if p == nil {
		plans.Lock()
		defer plans.Unlock()
		p = makePlan(d)
	}
	return p
}

func makePlan(d protoreflect.MessageDescriptor) *plan {
	if p := plans.of[d.FullName()]; p != nil {
		return p
	}
	p := &plan{name: d.FullName(), bytes: 96} // a map's entry has no Go type of its own
	if t, err := protoregistry.GlobalTypes.FindMessageByName(d.FullName()); err == nil {
		p.bytes = int64(reflect.TypeOf(t.Zero().Interface()).Elem().Size()) + allocation
	}
	plans.of[d.FullName()] = p // before its fields: types contain themselves
	for i := range d.Fields().Len() {
		fd := d.Fields().Get(i)
		f := planField{name: fd.Name(), repeated: fd.Cardinality() == protoreflect.Repeated, text: fd.Kind() == protoreflect.StringKind}
		switch fd.Kind() {
		case protoreflect.MessageKind, protoreflect.GroupKind:
			f.message = makePlan(fd.Message())
			f.each = 8
		case protoreflect.StringKind, protoreflect.BytesKind:
			f.each = allocation
			if f.repeated {
				f.each += 24
			}
		default:
			f.each = 8
		}
		if f.repeated {
			f.each *= 2 // a slice that grows has room to spare
		}
		if fd.ContainingOneof() != nil {
			f.each += 24 + allocation // the wrapper, or the pointer's target
		}
		for len(p.fields) <= int(fd.Number()) {
			p.fields = append(p.fields, planField{})
		}
		p.fields[fd.Number()] = f
	}
	return p
}

var errNesting = fmt.Errorf("messages are nested over %d deep", maxNesting)

// weigh gives the bytes of memory that the encoded message takes when it is decoded, or
// an error if it can't be.
func (p *plan) weigh(b []byte) (int64, error) { return p.weighAt(b, 0) }

func (p *plan) weighAt(b []byte, depth int) (int64, error) {
	if depth > maxNesting {
		return 0, errNesting
	}
	total := p.bytes
	for len(b) > 0 {
		number, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return 0, protowire.ParseError(n)
		}
		b = b[n:]
		if typ != protowire.BytesType {
			if n = protowire.ConsumeFieldValue(number, typ, b); n < 0 {
				return 0, protowire.ParseError(n)
			}
			b = b[n:]
			total += 16 + int64(n)
			continue
		}
		v, n := protowire.ConsumeBytes(b)
		if n < 0 {
			return 0, protowire.ParseError(n)
		}
		b = b[n:]
		var f planField
		if int(number) < len(p.fields) {
			f = p.fields[number]
		}
		total += f.each
		if f.message == nil {
			total += int64(len(v))
			continue
		}
		inner, err := f.message.weighAt(v, depth+1)
		if err != nil {
			return 0, err
		}
		total += inner
	}
	return total, nil
}

// undecodable is the status of an encoded message that could be weighed but not decoded:
// it names every string that isn't UTF-8.
func (p *plan) undecodable(b []byte) error {
	var v violations
	p.invalidUTF8(b, "", &v)
	if bad := v.err(); bad != nil {
		return bad
	}
	return status.Errorf(codes.InvalidArgument, "the request is not a valid %s", p.name)
}

func (p *plan) invalidUTF8(b []byte, path string, v *violations) {
	seen := map[protowire.Number]int{}
	for len(b) > 0 {
		number, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return
		}
		value := b[n:]
		m := protowire.ConsumeFieldValue(number, typ, value)
		if m < 0 {
			return
		}
		b = value[m:]
		if typ != protowire.BytesType || int(number) >= len(p.fields) || p.fields[number].name == "" {
			continue
		}
		content, _ := protowire.ConsumeBytes(value)
		f := p.fields[number]
		name := path + string(f.name)
		if f.repeated {
			name = fmt.Sprintf("%s[%d]", name, seen[number])
			seen[number]++
		}
		switch {
		case f.message != nil:
			f.message.invalidUTF8(content, name+".", v)
		case f.text && !utf8.Valid(content):
			v.add(name, "is not valid UTF-8")
		}
	}
}
