package storage

import (
	"encoding/binary"
	"fmt"
	"math"

	"google.golang.org/protobuf/encoding/protowire"

	"engram/memory"
	"engram/memory/lexical"
)

// A "more" block is how a configuration, a mutation and a record say what their first form
// had no room for: a length, and fields as a protobuf message has them, a tag (number and
// wire type) and a value each. Numbers ascend, and what is zero is left out, so that one
// thing is written in one way. A number that isn't known is from a newer version, and
// refused as such: to pass over it would lose what a write was acknowledged for.
//
// A field of a later version is a new number here and a line in docs/format.md. The numbers
// of configurations and mutations are of one list: a mutation changes a field under the
// number that it has in the configuration.
const (
	moreLexical    protowire.Number = 1
	moreRanking    protowire.Number = 2
	moreRetention  protowire.Number = 10
	moreRehearsals protowire.Number = 11 // of a mutation, and of a record
	moreRepeats    protowire.Number = 12
	moreMaxRecords protowire.Number = 20
	moreEviction   protowire.Number = 21
	moreForget     protowire.Number = 22
	moreExpire     protowire.Number = 23 // of a record
	morePinned     protowire.Number = 24 // of a record

	moreConsolidation protowire.Number = 30
	moreSources       protowire.Number = 31 // of a record
	moreSpread        protowire.Number = 32 // of a record
)

// The fields of a ranking, a block in a block.
const (
	rankingFusion protowire.Number = 1 + iota
	rankingSimilarity
	rankingLexical
	rankingAssociation
	rankingMention
	rankingRetention
	rankingImportance
	rankingKin
)

// appendBlock appends what fields appends, behind its length.
func appendBlock(b []byte, fields func(b []byte) []byte) []byte {
	at := len(b)
	b = fields(b)
	n := len(b) - at
	b = protowire.AppendVarint(b, uint64(n)) // which goes in front
	length := len(b) - at - n
	var head [binary.MaxVarintLen64]byte
	copy(head[:], b[at+n:])
	copy(b[at+length:], b[at:at+n])
	copy(b[at:], head[:length])
	return b
}

func appendNumber(b []byte, field protowire.Number, v uint64) []byte {
	if v == 0 {
		return b
	}
	return protowire.AppendVarint(protowire.AppendTag(b, field, protowire.VarintType), v)
}

func appendFloat(b []byte, field protowire.Number, v float64) []byte {
	if v == 0 {
		return b
	}
	return protowire.AppendFixed64(protowire.AppendTag(b, field, protowire.Fixed64Type), math.Float64bits(v))
}

// appendInner appends a block as a field, even if there is nothing in it.
func appendInner(b []byte, field protowire.Number, fields func(b []byte) []byte) []byte {
	return appendBlock(protowire.AppendTag(b, field, protowire.BytesType), fields)
}

// A field is the head of one in a block: its value follows.
type field struct {
	number protowire.Number
	kind   protowire.Type
}

// block reads a block. read is given each field, whose value it reads; it gives false for a
// number that it doesn't know. of is what the block is of, for errors.
func (c *cursor) block(of string, read func(f field) bool) {
	n := c.uvarint("a length", maxRaw)
	if c.err == nil && n > uint64(len(c.b)-c.off) {
		c.fail(errShort)
	}
	if c.err != nil {
		return
	}
	whole := c.b
	c.b = c.b[:c.off+int(n)]
	last := protowire.Number(0)
	for c.err == nil && c.off < len(c.b) {
		number, kind, n := protowire.ConsumeTag(c.b[c.off:])
		if n < 0 || number <= last {
			c.fail(fmt.Errorf("a field of %s, of a number above %d", of, last))
			break
		}
		c.off += n
		last = number
		if !read(field{number, kind}) {
			c.fail(fmt.Errorf("field %d of %s is unknown: %w", number, of, ErrNewer))
		}
	}
	c.b = whole
}

func (c *cursor) kind(f field, want protowire.Type) bool {
	if f.kind != want {
		c.fail(fmt.Errorf("field %d of wire type %d, not %d", f.number, want, f.kind))
	}
	return c.err == nil
}

// number reads the number of a field, of at most max.
func (c *cursor) number(f field, what string, max uint64) uint64 {
	if !c.kind(f, protowire.VarintType) {
		return 0
	}
	return c.uvarint(what, max)
}

func (c *cursor) float(f field) float64 {
	if !c.kind(f, protowire.Fixed64Type) {
		return 0
	}
	return math.Float64frombits(c.u64())
}

// inner reads a block that is a field.
func (c *cursor) inner(f field, of string, read func(f field) bool) {
	if c.kind(f, protowire.BytesType) {
		c.block(of, read)
	}
}

// hasMoreConfig is true if a configuration needs a block.
func hasMoreConfig(c *memory.Config) bool {
	return c.Lexical != lexical.None || c.Ranking != (memory.Ranking{}) || !c.Retention.IsDefault() || c.Repeats != 0 || c.MaxRecords != 0 || c.Eviction != memory.EvictNone || c.Forget != 0 || c.Consolidation != (memory.Consolidation{})
}

func appendMoreConfig(b []byte, c *memory.Config) []byte {
	return appendBlock(b, func(b []byte) []byte {
		b = appendNumber(b, moreLexical, uint64(c.Lexical))
		if c.Ranking != (memory.Ranking{}) {
			b = appendRanking(b, &c.Ranking)
		}
		if !c.Retention.IsDefault() {
			b = appendRetention(b, &c.Retention)
		}
		b = appendFloat(b, moreRepeats, c.Repeats)
		b = appendNumber(b, moreMaxRecords, uint64(c.MaxRecords))
		b = appendNumber(b, moreEviction, uint64(c.Eviction))
		b = appendFloat(b, moreForget, c.Forget)
		if c.Consolidation != (memory.Consolidation{}) {
			b = appendConsolidation(b, &c.Consolidation)
		}
		return b
	})
}

func (c *cursor) moreConfig(cfg *memory.Config) {
	c.block("a configuration", func(f field) bool {
		switch f.number {
		case moreLexical:
			cfg.Lexical = lexical.Analysis(c.number(f, "an analysis", math.MaxUint8))
			if !cfg.Lexical.Valid() {
				c.fail(fmt.Errorf("an analysis of at most %d, not %d", lexical.English, cfg.Lexical))
			}
		case moreRanking:
			cfg.Ranking = c.ranking(f)
		case moreRetention:
			cfg.Retention = c.retention(f)
		case moreRepeats:
			cfg.Repeats = c.repeats(f)
		case moreMaxRecords:
			cfg.MaxRecords = int64(c.number(f, "max_records", memory.MaxRecords))
		case moreEviction:
			cfg.Eviction = c.eviction(f)
		case moreForget:
			cfg.Forget = c.forget(f)
		case moreConsolidation:
			cfg.Consolidation = c.consolidation(f)
		default:
			return false
		}
		return true
	})
}

func (c *cursor) repeats(f field) float64 {
	r := c.float(f)
	if reason := memory.CheckRepeats(r); reason != "" {
		c.fail(fmt.Errorf("a similarity of repeats that %s", reason))
	}
	return r
}

func (c *cursor) eviction(f field) memory.Eviction {
	e := memory.Eviction(c.number(f, "an eviction", math.MaxUint8))
	if !e.Valid() {
		c.fail(fmt.Errorf("an eviction, not %d", e))
	}
	return e
}

// hasMoreMutation is true if a mutation needs a block.
func hasMoreMutation(m *memory.Mutation) bool {
	return m.Ranking != nil || m.Retention != nil || len(m.Rehearsals) > 0 || m.Repeats != nil || m.MaxRecords != nil || m.Eviction != nil || m.Forget != nil || m.Consolidation != nil
}

func appendMoreMutation(b []byte, m *memory.Mutation) []byte {
	return appendBlock(b, func(b []byte) []byte {
		if m.Ranking != nil {
			b = appendRanking(b, m.Ranking)
		}
		if m.Retention != nil {
			b = appendRetention(b, m.Retention)
		}
		if len(m.Rehearsals) > 0 {
			b = appendInner(b, moreRehearsals, func(b []byte) []byte { return appendRehearsals(b, m.Rehearsals) })
		}
		if m.Repeats != nil { // 0, too, changes what was
			b = protowire.AppendTag(b, moreRepeats, protowire.Fixed64Type)
			b = protowire.AppendFixed64(b, math.Float64bits(*m.Repeats))
		}
		if m.MaxRecords != nil {
			b = protowire.AppendVarint(protowire.AppendTag(b, moreMaxRecords, protowire.VarintType), uint64(*m.MaxRecords))
		}
		if m.Eviction != nil {
			b = protowire.AppendVarint(protowire.AppendTag(b, moreEviction, protowire.VarintType), uint64(*m.Eviction))
		}
		if m.Forget != nil {
			b = protowire.AppendFixed64(protowire.AppendTag(b, moreForget, protowire.Fixed64Type), math.Float64bits(*m.Forget))
		}
		if m.Consolidation != nil {
			b = appendConsolidation(b, m.Consolidation)
		}
		return b
	})
}

func (c *cursor) moreMutation(m *memory.Mutation) {
	c.block("a mutation", func(f field) bool {
		switch f.number {
		case moreRanking:
			r := c.ranking(f)
			m.Ranking = &r
		case moreRetention:
			r := c.retention(f)
			m.Retention = &r
		case moreRehearsals:
			m.Rehearsals = c.rehearsals(f)
		case moreRepeats:
			r := c.repeats(f)
			m.Repeats = &r
		case moreMaxRecords:
			n := int64(c.number(f, "max_records", memory.MaxRecords))
			m.MaxRecords = &n
		case moreEviction:
			e := c.eviction(f)
			m.Eviction = &e
		case moreForget:
			x := c.forget(f)
			m.Forget = &x
		case moreConsolidation:
			x := c.consolidation(f)
			m.Consolidation = &x
		default:
			return false
		}
		return true
	})
}

// hasMoreRecord is true if a record needs a block.
func hasMoreRecord(r *memory.Record) bool {
	return r.Rehearsed.Count > 0 || r.Expire != 0 || r.Pinned || len(r.Sources) > 0
}

func appendMoreRecord(b []byte, r *memory.Record) []byte {
	return appendBlock(b, func(b []byte) []byte {
		if r.Rehearsed.Count > 0 {
			b = appendRehearsed(b, &r.Rehearsed)
		}
		b = appendNumber(b, moreExpire, uint64(r.Expire))
		if r.Pinned {
			b = appendNumber(b, morePinned, 1)
		}
		if len(r.Sources) > 0 {
			b = appendInner(b, moreSources, func(b []byte) []byte { return appendSources(b, r.Sources) })
			b = appendFloat(b, moreSpread, r.Spread)
		}
		return b
	})
}

func (c *cursor) moreRecord(r *memory.Record) {
	c.block("a record", func(f field) bool {
		switch f.number {
		case moreRehearsals:
			r.Rehearsed = c.rehearsed(f)
		case moreExpire:
			r.Expire = int64(c.number(f, "an expiry", math.MaxInt64))
		case morePinned:
			r.Pinned = c.number(f, "whether it is pinned", 1) == 1
		case moreSources:
			r.Sources = c.sources(f)
		case moreSpread:
			r.Spread = c.float(f)
		default:
			return false
		}
		return true
	})
}

func (c *cursor) forget(f field) float64 {
	x := c.float(f)
	if reason := memory.CheckForget(x); reason != "" {
		c.fail(fmt.Errorf("a threshold that %s", reason))
	}
	return x
}

func appendRanking(b []byte, r *memory.Ranking) []byte {
	return appendInner(b, moreRanking, func(b []byte) []byte {
		b = appendNumber(b, rankingFusion, uint64(r.Fusion))
		b = appendFloat(b, rankingSimilarity, r.Similarity)
		b = appendFloat(b, rankingLexical, r.Lexical)
		b = appendFloat(b, rankingAssociation, r.Association)
		b = appendFloat(b, rankingMention, r.Mention)
		b = appendFloat(b, rankingRetention, r.Retention)
		b = appendFloat(b, rankingImportance, r.Importance)
		return appendFloat(b, rankingKin, r.Kin)
	})
}

func (c *cursor) ranking(f field) (r memory.Ranking) {
	c.inner(f, "a ranking", func(f field) bool {
		switch f.number {
		case rankingFusion:
			r.Fusion = memory.Fusion(c.number(f, "a fusion", math.MaxUint8))
		case rankingSimilarity:
			r.Similarity = c.float(f)
		case rankingLexical:
			r.Lexical = c.float(f)
		case rankingAssociation:
			r.Association = c.float(f)
		case rankingMention:
			r.Mention = c.float(f)
		case rankingRetention:
			r.Retention = c.float(f)
		case rankingImportance:
			r.Importance = c.float(f)
		case rankingKin:
			r.Kin = c.float(f)
		default:
			return false
		}
		return true
	})
	if reason := r.Check(); reason != "" {
		c.fail(fmt.Errorf("a ranking that %s", reason))
	}
	return r
}

// newer is the error of a file with a place, err, that a newer version wrote.
func newer(file string, offset int64, err error) error {
	return fmt.Errorf("%s at offset %d: %w; start the newer version on this directory", file, offset, err)
}
