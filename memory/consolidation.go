package memory

import (
	"encoding/binary"
	"fmt"
	"math"
	"strings"
	"time"
	"unsafe"
)

// A Consolidation says which records of a namespace are merged into one: old ones, of one
// session and speaker, whose cosines are at least Similarity. Zero: none are. What belongs
// together is decided in clusters.go, and done in consolidate.go.
type Consolidation struct {
	Similarity float64
	MinAge     time.Duration // by Time and by CreateTime
}

// DefaultMinAge is what a consolidation has that says none.
const DefaultMinAge = 24 * time.Hour

// maxMinAge bounds it.
const maxMinAge = maxHalfLife

// Check names a field that is wrong and says what is, or gives "". The zero Consolidation is
// right.
func (c Consolidation) Check() (field, reason string) {
	switch {
	case c == Consolidation{}:
	case !(c.Similarity > 0 && c.Similarity <= 1):
		return "similarity", fmt.Sprintf("is %v; give a cosine above 0, to 1", c.Similarity)
	case c.MinAge < 0 || c.MinAge > maxMinAge:
		return "min_age", fmt.Sprintf("is %v; give 0 to %v", c.MinAge, maxMinAge)
	}
	return "", ""
}

// every is how often a namespace looks for what it merges: 64 times in MinAge, but at least
// once an hour and at most once a second.
func (c Consolidation) every() int64 {
	return int64(min(max(c.MinAge/64, time.Second), time.Hour))
}

// A Source is a record that went into a merged one.
type Source struct {
	ID   string
	Time int64 // Unix nanoseconds
}

// MaxSources bounds the sources of one record.
const MaxSources = 256

// A payload has a record's sources as 8 bytes of its spread, a float64, little-endian, and of
// each source the length of the id as a uvarint, the id, and 8 bytes of its time; nothing
// where there are none.

func appendSources(b []byte, list []Source, spread float64) []byte {
	if len(list) == 0 {
		return b
	}
	b = binary.LittleEndian.AppendUint64(b, math.Float64bits(spread))
	for i := range list {
		b = binary.AppendUvarint(b, uint64(len(list[i].ID)))
		b = append(b, list[i].ID...)
		b = binary.LittleEndian.AppendUint64(b, uint64(list[i].Time))
	}
	return b
}

// readSources reads what appendSources wrote. The ids alias b.
func readSources(b string) (list []Source, spread float64) {
	if b == "" {
		return nil, 0
	}
	at := unsafe.Slice(unsafe.StringData(b), len(b))
	spread = math.Float64frombits(binary.LittleEndian.Uint64(at))
	for at = at[8:]; len(at) > 0; {
		n, size := binary.Uvarint(at)
		id := at[size : size+int(n)]
		at = at[size+int(n):]
		list = append(list, Source{unsafe.String(unsafe.SliceData(id), len(id)), int64(binary.LittleEndian.Uint64(at))})
		at = at[8:]
	}
	return list, spread
}

// cloneSources copies sources out of a slab.
func cloneSources(list []Source) []Source {
	if len(list) == 0 {
		return nil
	}
	out := make([]Source, len(list))
	for i := range list {
		out[i] = Source{strings.Clone(list[i].ID), list[i].Time}
	}
	return out
}

// sources checks what is kept of a merged record's.
func (c *checker) sources(f field, r *Record) {
	if n := len(r.Sources); n > MaxSources {
		c.add(f, "are %d; at most %d are kept", n, MaxSources)
		return
	}
	for i := range r.Sources {
		c.name(field{f.record, fmt.Sprintf("sources[%d].id", i)}, r.Sources[i].ID)
	}
	if !(r.Spread >= 0 && r.Spread <= math.Pi) || len(r.Sources) == 0 && r.Spread != 0 {
		c.add(f, "are %v from the key, an angle that can't be", r.Spread)
	}
}
