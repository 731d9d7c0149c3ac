package storage

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"engram/memory"
)

// The fields of a consolidation.
const (
	consolidationSimilarity protowire.Number = 1 + iota
	consolidationMinAge
)

func appendConsolidation(b []byte, x *memory.Consolidation) []byte {
	return appendInner(b, moreConsolidation, func(b []byte) []byte {
		b = appendFloat(b, consolidationSimilarity, x.Similarity)
		return appendNumber(b, consolidationMinAge, uint64(x.MinAge))
	})
}

func (c *cursor) consolidation(f field) (x memory.Consolidation) {
	c.inner(f, "a consolidation", func(f field) bool {
		switch f.number {
		case consolidationSimilarity:
			x.Similarity = c.float(f)
		case consolidationMinAge:
			x.MinAge = time.Duration(c.number(f, "a duration", math.MaxInt64))
		default:
			return false
		}
		return true
	})
	if field, reason := x.Check(); field != "" {
		c.fail(fmt.Errorf("a consolidation whose %s %s", field, reason))
	}
	return x
}

// minSource is the least bytes that one takes.
const minSource = 1 + 8

// appendSources writes what a field of a record has: a count, and of each source the id and
// the time.
func appendSources(b []byte, list []memory.Source) []byte {
	b = binary.AppendUvarint(b, uint64(len(list)))
	for i := range list {
		b = appendString(b, list[i].ID)
		b = le.AppendUint64(b, uint64(list[i].Time))
	}
	return b
}

// sources reads them; the ids alias the frame. The memory checks them where a record is
// restored.
func (c *cursor) sources(f field) []memory.Source {
	if !c.kind(f, protowire.BytesType) {
		return nil
	}
	length := int(c.uvarint("a length", uint64(len(c.b)-c.off)))
	end := c.off + length
	n := c.count("sources", minSource)
	if c.err == nil && (n == 0 || n > memory.MaxSources) {
		c.fail(fmt.Errorf("1 to %d sources, not %d", memory.MaxSources, n))
	}
	if c.err != nil {
		return nil
	}
	list := make([]memory.Source, 0, n)
	for i := 0; i < n && c.err == nil; i++ {
		list = append(list, memory.Source{ID: c.alias(), Time: int64(c.u64())})
	}
	if c.err == nil && c.off != end {
		c.fail(errors.New("the end of sources"))
	}
	return list
}
