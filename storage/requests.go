package storage

import (
	"encoding/binary"
	"math"

	"engram/memory"
)

func appendRequest(b []byte, r *memory.RequestResult) []byte {
	b = appendString(b, r.ID)
	b = append(b, r.Digest[:]...)
	b = le.AppendUint64(b, uint64(r.Time))
	b = le.AppendUint64(b, uint64(r.LSN))
	b = binary.AppendUvarint(b, r.Deleted)
	b = appendString(b, r.Created)
	b = binary.AppendUvarint(b, uint64(len(r.Generated)))
	for _, id := range r.Generated {
		b = appendString(b, id)
	}
	return b
}

func (c *cursor) request() memory.RequestResult {
	r := memory.RequestResult{ID: c.string()}
	copy(r.Digest[:], c.take(len(r.Digest)))
	r.Time = int64(c.u64())
	r.LSN = memory.LSN(c.u64())
	r.Deleted = c.uvarint("a count", math.MaxInt64)
	r.Created = append([]byte(nil), c.bytes()...)
	n := c.uvarint("a count of ids", maxRaw)
	for i := uint64(0); i < n && c.err == nil; i++ {
		r.Generated = append(r.Generated, c.string())
	}
	return r
}
