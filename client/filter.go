package client

import (
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/structpb"

	pb "engram/proto/engram/v1"
)

// A Filter is a typed condition on records. Build one from an Operand's tests and
// from All, Any and Not:
//
//	client.All(client.Speaker.Equals("CDR"), client.Metadata("mission", "day").AtLeast(4))
type Filter struct {
	pb  *pb.Filter
	err error
}

// An Operand is what a condition tests: a field of the record, or a place in its
// metadata.
type Operand struct {
	field pb.Field
	path  []string
}

// The fields that can be tested.
var (
	ID         = Operand{field: pb.Field_FIELD_ID}
	TextField  = Operand{field: pb.Field_FIELD_TEXT}
	Session    = Operand{field: pb.Field_FIELD_SESSION}
	Speaker    = Operand{field: pb.Field_FIELD_SPEAKER}
	Time       = Operand{field: pb.Field_FIELD_TIME}
	CreateTime = Operand{field: pb.Field_FIELD_CREATE_TIME}
	UpdateTime = Operand{field: pb.Field_FIELD_UPDATE_TIME}
	Importance = Operand{field: pb.Field_FIELD_IMPORTANCE}
)

// Metadata is a place in the metadata, key by key.
func Metadata(keys ...string) Operand { return Operand{path: keys} }

// Values are strings, bools, numbers, or time.Time for the fields of time.

// Equals: equal to v; of an array, an element is.
func (o Operand) Equals(v any) Filter {
	p, err := scalar(v)
	return o.where(&pb.Condition{Test: &pb.Condition_Equals{Equals: p}}, err)
}

// In: equal to one of the values.
func (o Operand) In(values ...any) Filter {
	list := &pb.ScalarList{}
	for _, v := range values {
		p, err := scalar(v)
		if err != nil {
			return Filter{err: err}
		}
		list.Values = append(list.Values, p)
	}
	return o.where(&pb.Condition{Test: &pb.Condition_In{In: list}}, nil)
}

// Contains: a string that has v in it, or an array that has v as an element.
func (o Operand) Contains(v any) Filter {
	p, err := scalar(v)
	return o.where(&pb.Condition{Test: &pb.Condition_Contains{Contains: p}}, err)
}

// Prefix: a string that begins so.
func (o Operand) Prefix(s string) Filter {
	return o.where(&pb.Condition{Test: &pb.Condition_Prefix{Prefix: s}}, nil)
}

// Exists: it is there.
func (o Operand) Exists() Filter {
	return o.where(&pb.Condition{Test: &pb.Condition_Exists{Exists: true}}, nil)
}

// AtLeast: greater than or equal to v.
func (o Operand) AtLeast(v any) Filter {
	p, err := scalar(v)
	return o.between(&pb.Range{Gte: p}, err)
}

// Above: greater than v.
func (o Operand) Above(v any) Filter {
	p, err := scalar(v)
	return o.between(&pb.Range{Gt: p}, err)
}

// AtMost: less than or equal to v.
func (o Operand) AtMost(v any) Filter {
	p, err := scalar(v)
	return o.between(&pb.Range{Lte: p}, err)
}

// Below: less than v.
func (o Operand) Below(v any) Filter {
	p, err := scalar(v)
	return o.between(&pb.Range{Lt: p}, err)
}

// Between: from low, and below high.
func (o Operand) Between(low, high any) Filter {
	l, err := scalar(low)
	h, err2 := scalar(high)
	return o.between(&pb.Range{Gte: l, Lt: h}, errors.Join(err, err2))
}

func (o Operand) between(r *pb.Range, err error) Filter {
	return o.where(&pb.Condition{Test: &pb.Condition_Range{Range: r}}, err)
}

func (o Operand) where(c *pb.Condition, err error) Filter {
	if o.path != nil {
		c.Operand = &pb.Condition_Metadata{Metadata: &pb.MetadataPath{Keys: o.path}}
	} else {
		c.Operand = &pb.Condition_Field{Field: o.field}
	}
	return Filter{&pb.Filter{Node: &pb.Filter_Condition{Condition: c}}, err}
}

// All holds where every filter does.
func All(filters ...Filter) Filter {
	list, err := filterList(filters)
	return Filter{&pb.Filter{Node: &pb.Filter_All{All: list}}, err}
}

// Any holds where at least one filter does.
func Any(filters ...Filter) Filter {
	list, err := filterList(filters)
	return Filter{&pb.Filter{Node: &pb.Filter_Any{Any: list}}, err}
}

// Not holds where f doesn't.
func Not(f Filter) Filter {
	return Filter{&pb.Filter{Node: &pb.Filter_Not{Not: f.pb}}, f.err}
}

func filterList(filters []Filter) (*pb.FilterList, error) {
	list := &pb.FilterList{}
	for _, f := range filters {
		if f.err != nil {
			return nil, f.err
		}
		list.Filters = append(list.Filters, f.pb)
	}
	return list, nil
}

func scalar(v any) (*structpb.Value, error) {
	if t, ok := v.(time.Time); ok {
		v = t.Format(time.RFC3339Nano)
	}
	p, err := structpb.NewValue(v)
	if err != nil {
		return nil, fmt.Errorf("filter: %w", err)
	}
	return p, nil
}
