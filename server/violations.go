package server

import (
	"fmt"
	"strings"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"engram/memory"
)

// detailsBytes bounds the details of an error. They travel in a trailer, in base64, and
// clients built on gRPC's C core refuse trailers over 8 KiB in all.
const detailsBytes = 4 << 10

// messageBytes bounds an error's message, which travels twice: once percent-encoded.
const messageBytes = 512

// violations gathers everything that is wrong with a request, one violation a field.
type violations struct {
	found []*errdetails.BadRequest_FieldViolation
	bytes int
	more  int // those that found no room
	named map[string]bool
}

// has tells whether the field is among those that are wrong.
func (v *violations) has(field string) bool { return v.named[field] }

// add notes that a field is wrong. The reason reads on from the field's name: "is 1001
// bytes; at most 1000 are allowed".
func (v *violations) add(field, format string, args ...any) {
	if v.named == nil {
		v.named = map[string]bool{}
	}
	v.named[field] = true
	if v.more > 0 { // keep to the order of the request: after one left out, all are
		v.more++
		return
	}
	f := &errdetails.BadRequest_FieldViolation{
		Field:       clip(field, 256),
		Description: clip(fmt.Sprintf(format, args...), 512),
	}
	n := proto.Size(f) + 3
	if v.bytes+n > detailsBytes-128 { // room for the status around them and for the last one
		v.more++
		return
	}
	v.found = append(v.found, f)
	v.bytes += n
}

// with adds what the DB finds wrong in fields that are well formed, and gives the error.
func (v *violations) with(found []memory.Violation) error {
	for _, bad := range found {
		if !v.has(bad.Field) {
			v.add(bad.Field, "%s", bad.Reason)
		}
	}
	return v.err()
}

// err is nil if nothing is wrong, else InvalidArgument with a BadRequest.
func (v *violations) err() error {
	if len(v.found) == 0 {
		return nil
	}
	first := v.found[0]
	message := first.Field + " " + first.Description
	if n := len(v.found) + v.more; n > 1 {
		message = fmt.Sprintf("%d fields are invalid, the first: %s", n, message)
	}
	found := v.found
	if v.more > 0 {
		found = append(found[:len(found):len(found)], &errdetails.BadRequest_FieldViolation{
			Description: fmt.Sprintf("and %d more fields are invalid, left out to keep this error small", v.more),
		})
	}
	return withDetails(codes.InvalidArgument, message, &errdetails.BadRequest{FieldViolations: found})
}

// invalid is the error of a single field.
func invalid(field, format string, args ...any) error {
	var v violations
	v.add(field, format, args...)
	return v.err()
}

// withDetails makes a status.
func withDetails(code codes.Code, message string, details ...proto.Message) error {
	p := &spb.Status{Code: int32(code), Message: clip(message, messageBytes)}
	for _, d := range details {
		any, err := anypb.New(d)
		if err != nil { // a string that isn't UTF-8: the message says as much
			break
		}
		p.Details = append(p.Details, any)
	}
	return status.ErrorProto(p)
}

// clip makes s valid UTF-8 of at most n bytes, and says so where it was cut.
func clip(s string, n int) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n-len("…")], "") + "…"
}
