package filter

import (
	"bytes"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
)

// MaxMetadataDepth bounds how deep objects and arrays nest in metadata, the outermost
// object counting as one.
const MaxMetadataDepth = 32

// maxWhole bounds numbers: from 2⁵³ on, float64 skips whole numbers, so what the client
// wrote may already be lost.
const maxWhole = 1 << 53

// EncodeMetadata gives the form in which records keep metadata: the wire encoding of the
// Struct with the keys of every object ascending by their bytes, so equal metadata have
// equal bytes. No metadata, and an object without keys, are no bytes.
func EncodeMetadata(s *structpb.Struct) ([]byte, error) {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("encoding metadata: %w", err)
	}
	return b, nil
}

// DecodeMetadata undoes EncodeMetadata; no bytes give an object without keys.
func DecodeMetadata(b []byte) (*structpb.Struct, error) {
	s := new(structpb.Struct)
	if err := (proto.UnmarshalOptions{RecursionLimit: 4 * MaxMetadataDepth}).Unmarshal(b, s); err != nil {
		return nil, fmt.Errorf("decoding metadata: %w", err)
	}
	return s, nil
}

// CheckMetadata reports everything that keeps an object from being stored, below
// "metadata": numbers that aren't finite or are 2⁵³ or more in magnitude, values without
// content, strings that aren't UTF-8, too deep a nesting, and an encoding over maxBytes.
func CheckMetadata(s *structpb.Struct, maxBytes int) []Violation {
	var found []Violation
	checkStruct(s, "metadata", 1, &found)
	if found != nil {
		return found // a size is asked only of what can be encoded
	}
	if n := proto.Size(s); n > maxBytes {
		found = append(found, Violation{"metadata", fmt.Sprintf("takes %d bytes; at most %d are allowed", n, maxBytes)})
	}
	return found
}

func checkStruct(s *structpb.Struct, path string, depth int, found *[]Violation) {
	if tooDeep(path, depth, found) {
		return
	}
	for _, key := range slices.Sorted(maps.Keys(s.GetFields())) {
		if !utf8.ValidString(key) {
			*found = append(*found, Violation{path, fmt.Sprintf("has the key %q, which isn't valid UTF-8", key)})
			continue
		}
		checkValue(s.Fields[key], path+"["+strconv.Quote(key)+"]", depth, found)
	}
}

func checkValue(v *structpb.Value, path string, depth int, found *[]Violation) {
	add := func(format string, args ...any) {
		*found = append(*found, Violation{path, fmt.Sprintf(format, args...)})
	}
	switch k := v.GetKind().(type) {
	case nil:
		add("has no value; for null set null_value")
	case *structpb.Value_NumberValue:
		switch n := k.NumberValue; {
		case math.IsNaN(n) || math.IsInf(n, 0):
			add("is %v; numbers must be finite", n)
		case math.Abs(n) >= maxWhole:
			add("is %v; whole numbers of 2^53 or more lose digits, send a string", n)
		}
	case *structpb.Value_StringValue:
		if !utf8.ValidString(k.StringValue) {
			add("isn't valid UTF-8")
		}
	case *structpb.Value_StructValue:
		checkStruct(k.StructValue, path, depth+1, found)
	case *structpb.Value_ListValue:
		if tooDeep(path, depth+1, found) {
			return
		}
		for i, e := range k.ListValue.GetValues() {
			checkValue(e, fmt.Sprintf("%s[%d]", path, i), depth+1, found)
		}
	}
}

func tooDeep(path string, depth int, found *[]Violation) bool {
	if depth > MaxMetadataDepth {
		*found = append(*found, Violation{path, fmt.Sprintf("is nested %d deep; at most %d is allowed", depth, MaxMetadataDepth)})
		return true
	}
	return false
}

// SharedMetadata gives, in their form, the pairs of the outermost objects that all of some
// metadata in EncodeMetadata's form have: the same key with an equal value.
func SharedMetadata(list [][]byte) ([]byte, error) {
	if len(list) == 0 || len(list[0]) == 0 {
		return nil, nil
	}
	shared, err := DecodeMetadata(list[0])
	if err != nil {
		return nil, err
	}
	for i, b := range list[1:] {
		if bytes.Equal(b, list[i]) {
			continue
		}
		other, err := DecodeMetadata(b)
		if err != nil {
			return nil, err
		}
		maps.DeleteFunc(shared.Fields, func(key string, v *structpb.Value) bool {
			w, ok := other.Fields[key]
			return !ok || !proto.Equal(v, w)
		})
	}
	return EncodeMetadata(shared)
}
