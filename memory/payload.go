package memory

import (
	"encoding/binary"
	"math/bits"
	"unsafe"
)

// The payload of a row is what has no fixed size: five lengths as uvarints, then
// the bytes of id, text, session, speaker and metadata.
type payload struct {
	id, text, session, speaker string
	metadata                   []byte
}

func payloadOf(r *Record) payload {
	return payload{r.ID, r.Text, r.Session, r.Speaker, r.Metadata}
}

func uvarintLen(n int) int { return max(1, (bits.Len(uint(n))+6)/7) }

// size is how many bytes appendTo takes.
func (p *payload) size() int {
	n := p.bytes()
	for _, l := range [...]int{len(p.id), len(p.text), len(p.session), len(p.speaker), len(p.metadata)} {
		n += uvarintLen(l)
	}
	return n
}

// bytes is the size of the contents.
func (p *payload) bytes() int {
	return len(p.id) + len(p.text) + len(p.session) + len(p.speaker) + len(p.metadata)
}

// appendTo writes the payload behind b, which has room for it.
func (p *payload) appendTo(b []byte) []byte {
	for _, l := range [...]int{len(p.id), len(p.text), len(p.session), len(p.speaker), len(p.metadata)} {
		b = binary.AppendUvarint(b, uint64(l))
	}
	b = append(b, p.id...)
	b = append(b, p.text...)
	b = append(b, p.session...)
	b = append(b, p.speaker...)
	return append(b, p.metadata...)
}

// readPayload reads what appendTo wrote, and says how long it is. Its strings
// alias b.
func readPayload(b []byte) (p payload, size int) {
	var lengths [5]int
	at := 0
	for i := range lengths {
		if l := b[at]; l < 0x80 {
			lengths[i] = int(l)
			at++
			continue
		}
		l, n := binary.Uvarint(b[at:])
		lengths[i] = int(l)
		at += n
	}
	next := func(n int) string {
		s := b[at : at+n]
		at += n
		return unsafe.String(unsafe.SliceData(s), n)
	}
	p.id = next(lengths[0])
	p.text = next(lengths[1])
	p.session = next(lengths[2])
	p.speaker = next(lengths[3])
	p.metadata = b[at : at+lengths[4] : at+lengths[4]]
	return p, at + lengths[4]
}

// readID reads the id alone.
func readID(b []byte) string {
	n := int(b[0])
	if n >= 0x80 {
		l, _ := binary.Uvarint(b)
		n = int(l)
	}
	at := 0
	for range 5 {
		for b[at] >= 0x80 {
			at++
		}
		at++
	}
	return unsafe.String(unsafe.SliceData(b[at:]), n)
}
