package storage

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"engram/memory"
)

// The parts that a mutation has, as flags of its first byte.
const (
	mutationDrop = 1 << iota
	mutationCreate
	mutationImport
	mutationMaxBytes
	mutationDurability
	mutationRequest
	mutationEncodings
	mutationRecall
)

// sameKeys stands for the encoding of keys where only that of values changes. By itself it
// would say nothing, and says that there is more: another byte of encodings follows, sameKeys
// for none, and a block (more.go).
const sameKeys = 15

// appendMutation writes all of a mutation but its LSN, which is the frame's.
func appendMutation(b []byte, m *memory.Mutation) []byte {
	at := len(b)
	b = append(b, 0)
	b = appendString(b, m.Namespace)
	b = le.AppendUint64(b, uint64(m.Time))
	if m.Drop {
		b[at] |= mutationDrop
	}
	if m.Create != nil {
		b[at] |= mutationCreate
		b = appendConfig(b, m.Create)
	}
	if m.Import != "" {
		b[at] |= mutationImport
		b = appendString(b, m.Import)
	}
	if m.MaxBytes != nil {
		b[at] |= mutationMaxBytes
		b = binary.AppendUvarint(b, uint64(*m.MaxBytes))
	}
	if m.Durability != nil {
		b[at] |= mutationDurability
		b = append(b, byte(*m.Durability))
	}
	if m.Request != nil {
		b[at] |= mutationRequest
		b = appendRequest(b, m.Request)
	}
	if more := hasMoreMutation(m); more || m.KeyEncoding != nil || m.ValueEncoding != nil {
		b[at] |= mutationEncodings
		if more {
			b = append(b, sameKeys)
		}
		key, value := byte(sameKeys), byte(0)
		if m.KeyEncoding != nil {
			key = byte(*m.KeyEncoding)
		}
		if m.ValueEncoding != nil {
			value = byte(*m.ValueEncoding) + 1
		}
		b = append(b, key|value<<4)
		if more {
			b = appendMoreMutation(b, m)
		}
	}
	if m.Recall != nil {
		b[at] |= mutationRecall
		b = le.AppendUint64(b, math.Float64bits(*m.Recall))
	}
	b = binary.AppendUvarint(b, uint64(len(m.Deletes)))
	for _, id := range m.Deletes {
		b = appendString(b, id)
	}
	b = binary.AppendUvarint(b, uint64(len(m.Changes)))
	for i := range m.Changes {
		c := &m.Changes[i]
		b = binary.AppendUvarint(b, uint64(fileMask(c.Mask)))
		b = binary.AppendUvarint(b, uint64(len(c.Key)))
		b = binary.AppendUvarint(b, uint64(len(c.Value)))
		b = appendRecord(b, &c.Record)
	}
	return b
}

// Masks as files have them. Records had no position at first, and the mask of all other
// fields stood for a record that is replaced whole: it still does. That of these fields and
// the position, all there were then, came to stand for what leaves the position alone; and
// what sets just these, since there are more, is said as all fields are.
const (
	maskFirst    = memory.MaskPosition - 1
	maskPosition = maskFirst | memory.MaskPosition
)

// fileMask gives a mask as a file has it.
func fileMask(m memory.Mask) memory.Mask {
	switch m {
	case memory.MaskAll:
		return maskFirst
	case maskFirst:
		return maskPosition
	case maskPosition:
		return memory.MaskAll
	}
	return m
}

// maskOf is the mask that a file has as m.
func maskOf(m memory.Mask) memory.Mask {
	switch m {
	case maskFirst:
		return memory.MaskAll
	case maskPosition:
		return maskFirst
	case memory.MaskAll:
		return maskPosition
	}
	return m
}

// The least bytes that an id, and a change, take.
const (
	minID     = 1
	minChange = 3 + 49 + 5
)

// mutationOf reads a frame's mutation, whose ids, texts and metadata alias data.
func mutationOf(f *journalFrame) (*memory.Mutation, error) {
	c := cursor{b: f.data, version: version}
	m := &memory.Mutation{LSN: f.lsn}
	flags := c.u8()
	m.Namespace = c.string()
	m.Time = int64(c.u64())
	m.Drop = flags&mutationDrop != 0
	if flags&mutationCreate != 0 {
		config := c.config(m.Namespace)
		m.Create = &config
	}
	if flags&mutationImport != 0 {
		m.Import = c.string()
		if _, rest, ok := numberOf(m.Import, importPrefix); (!ok || rest != fileSuffix || m.Create == nil) && c.err == nil {
			c.fail(fmt.Errorf("the name of an import file, of a namespace that is made, not %.40q", m.Import))
		}
	}
	if flags&mutationMaxBytes != 0 {
		n := int64(c.uvarint("max_bytes", math.MaxInt64))
		m.MaxBytes = &n
	}
	if flags&mutationDurability != 0 {
		d := c.durability()
		m.Durability = &d
	}
	if flags&mutationRequest != 0 {
		r := c.request()
		m.Request = &r
	}
	if flags&mutationEncodings != 0 {
		b := c.u8()
		more := b == sameKeys
		if more {
			b = c.u8()
		}
		if key := b & 15; key != sameKeys {
			e := c.keyEncoding(key)
			m.KeyEncoding = &e
		}
		if value := b >> 4; value != 0 {
			e := c.valueEncoding(value - 1)
			m.ValueEncoding = &e
		}
		if more {
			c.moreMutation(m)
		}
	}
	if flags&mutationRecall != 0 {
		r := math.Float64frombits(c.u64())
		m.Recall = &r
	}
	if n := c.count("deletes", minID); n > 0 {
		m.Deletes = make([]string, 0, n)
		for i := 0; i < n && c.err == nil; i++ {
			m.Deletes = append(m.Deletes, c.alias())
		}
	}
	if n := c.count("changes", minChange); n > 0 {
		m.Changes = make([]memory.Change, n)
		for i := 0; i < n && c.err == nil; i++ {
			c.change(&m.Changes[i])
		}
	}
	if c.err == nil && c.off != len(c.b) {
		c.fail(errors.New("the mutation's end"))
	}
	if c.err != nil {
		return nil, fmt.Errorf("%w (%d bytes into the mutation)", c.err, c.off)
	}
	return m, nil
}

// mutationIn reads the mutation of a frame of a segment; if it isn't one, that is damage,
// unless a newer version wrote it.
func mutationIn(segment string, f *journalFrame) (*memory.Mutation, error) {
	m, err := mutationOf(f)
	if errors.Is(err, ErrNewer) {
		return nil, newer(segment, f.offset, err)
	}
	if err != nil {
		return nil, &Damage{segment, f.offset, fmt.Sprintf("a mutation, but: %v", err)}
	}
	return m, nil
}

// namespaceOf is the namespace of a frame's mutation.
func namespaceOf(f *journalFrame) string {
	c := cursor{b: f.data}
	_ = c.u8()
	return c.string()
}

// count reads how many things follow that take at least some bytes each.
func (c *cursor) count(what string, least int) int {
	return int(c.uvarint("a count of "+what, uint64((len(c.b)-c.off)/least)))
}

func (c *cursor) change(out *memory.Change) {
	out.Mask = maskOf(memory.Mask(c.uvarint("a mask", uint64(memory.MaskAll))))
	shape := memory.Config{
		Dimension:      int(c.uvarint("a key's dimension", maxDimension)),
		ValueDimension: int(c.uvarint("a value's dimension", maxDimension)),
	}
	key, _ := c.record(&out.Record, nil, nil, &shape)
	if len(key) == 0 {
		out.Key = nil
	}
}
