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

// The fields of a retention.
const (
	retentionHalfLife protowire.Number = 1 + iota
	retentionGrowth
	retentionMinInterval
	retentionMaxHalfLife
)

func appendRetention(b []byte, r *memory.Retention) []byte {
	return appendInner(b, moreRetention, func(b []byte) []byte {
		b = appendNumber(b, retentionHalfLife, uint64(r.HalfLife))
		b = appendFloat(b, retentionGrowth, r.Growth)
		b = appendNumber(b, retentionMinInterval, uint64(r.MinInterval))
		return appendNumber(b, retentionMaxHalfLife, uint64(r.MaxHalfLife))
	})
}

func (c *cursor) retention(f field) (r memory.Retention) {
	duration := func(f field) time.Duration { return time.Duration(c.number(f, "a duration", math.MaxInt64)) }
	c.inner(f, "a retention", func(f field) bool {
		switch f.number {
		case retentionHalfLife:
			r.HalfLife = duration(f)
		case retentionGrowth:
			r.Growth = c.float(f)
		case retentionMinInterval:
			r.MinInterval = duration(f)
		case retentionMaxHalfLife:
			r.MaxHalfLife = duration(f)
		default:
			return false
		}
		return true
	})
	if field, reason := r.Check(); field != "" {
		c.fail(fmt.Errorf("a retention whose %s %s", field, reason))
	}
	return r
}

// The fields of what is kept of a record's rehearsals.
const (
	rehearsedLast protowire.Number = 1 + iota
	rehearsedGrown
	rehearsedCount
	rehearsedGrowths
)

func appendRehearsed(b []byte, r *memory.Rehearsed) []byte {
	return appendInner(b, moreRehearsals, func(b []byte) []byte {
		b = appendTime(b, rehearsedLast, r.Last)
		b = appendTime(b, rehearsedGrown, r.Grown)
		b = appendNumber(b, rehearsedCount, uint64(r.Count))
		return appendNumber(b, rehearsedGrowths, uint64(r.Growths))
	})
}

// rehearsed reads what is kept, which the memory checks where a record is restored; in a
// change it doesn't count.
func (c *cursor) rehearsed(f field) (r memory.Rehearsed) {
	c.inner(f, "rehearsals", func(f field) bool {
		switch f.number {
		case rehearsedLast:
			r.Last = c.time(f)
		case rehearsedGrown:
			r.Grown = c.time(f)
		case rehearsedCount:
			r.Count = uint32(c.number(f, "a count of rehearsals", math.MaxUint32))
		case rehearsedGrowths:
			r.Growths = uint16(c.number(f, "a count of growths", math.MaxUint16))
		default:
			return false
		}
		return true
	})
	return r
}

func appendTime(b []byte, field protowire.Number, t int64) []byte {
	if t == 0 {
		return b
	}
	return protowire.AppendFixed64(protowire.AppendTag(b, field, protowire.Fixed64Type), uint64(t))
}

func (c *cursor) time(f field) int64 {
	if !c.kind(f, protowire.Fixed64Type) {
		return 0
	}
	return int64(c.u64())
}

// minRehearsal is the least bytes that one takes.
const minRehearsal = 1 + 8 + 1

// appendRehearsals writes what a field of a mutation has: a count, and of each the id, the
// time and how often.
func appendRehearsals(b []byte, list []memory.Rehearsal) []byte {
	b = binary.AppendUvarint(b, uint64(len(list)))
	for i := range list {
		r := &list[i]
		b = appendString(b, r.ID)
		b = le.AppendUint64(b, uint64(r.Time))
		b = binary.AppendUvarint(b, uint64(r.Count))
	}
	return b
}

func (c *cursor) rehearsals(f field) []memory.Rehearsal {
	if !c.kind(f, protowire.BytesType) {
		return nil
	}
	length := int(c.uvarint("a length", uint64(len(c.b)-c.off)))
	end := c.off + length
	n := c.count("rehearsals", minRehearsal)
	if c.err != nil || n == 0 {
		c.fail(errors.New("rehearsals"))
		return nil
	}
	list := make([]memory.Rehearsal, 0, n)
	for i := 0; i < n && c.err == nil; i++ {
		r := memory.Rehearsal{ID: c.alias(), Time: int64(c.u64()), Count: uint32(c.uvarint("a count of rehearsals", math.MaxUint32))}
		if c.err == nil && (i > 0 && r.ID <= list[i-1].ID || r.Count == 0) {
			c.fail(errors.New("rehearsals of ids in order, each at least once"))
		}
		list = append(list, r)
	}
	if c.err == nil && c.off != end {
		c.fail(errors.New("the end of rehearsals"))
	}
	return list
}
