package server

import (
	"crypto/sha256"

	"google.golang.org/protobuf/proto"

	engramv1 "engram/proto/engram/v1"
)

// memoryService serves MemoryService: each method in the file of its name.
type memoryService struct {
	engramv1.UnimplementedMemoryServiceServer
	s *Server
}

// digest tells whether a repeated request_id comes with the same body. It is computed
// only where there is an id.
func digest(requestID string, body proto.Message) [sha256.Size]byte {
	if requestID == "" {
		return [sha256.Size]byte{}
	}
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(body)
	if err != nil { // can't be: it was decoded, or what is wrong with it is refused
		return [sha256.Size]byte{}
	}
	return sha256.Sum256(b)
}

func (s *Server) requestID(v *violations, id string) {
	if n := len(id); n > s.records.RequestIDBytes {
		v.add("request_id", "is %d bytes; at most %d are allowed", n, s.records.RequestIDBytes)
	}
}
