package memory

import (
	"encoding/binary"
	"math/bits"
	"unsafe"

	"engram/memory/lexical"
)

// The payload of a row is what has no fixed size: eight lengths as uvarints, then
// the bytes of id, text, session, speaker, metadata, position, terms and sources.
type payload struct {
	id, text, session, speaker string
	metadata                   []byte
	positionBytes              string // 8 bytes, little-endian, or none
	terms                      lexical.Terms
	sources                    string // as appendSources writes them
}

func payloadOf(r *Record) payload {
	p := payload{id: r.ID, text: r.Text, session: r.Session, speaker: r.Speaker, metadata: r.Metadata}
	if r.HasPosition {
		p.positionBytes = string(binary.LittleEndian.AppendUint64(nil, uint64(r.Position)))
	}
	if len(r.Sources) > 0 {
		p.sources = string(appendSources(nil, r.Sources, r.Spread))
	}
	return p
}

// at is the record's position in a sequence.
func (p *payload) at() (position int64, ok bool) {
	if p.positionBytes == "" {
		return 0, false
	}
	return int64(binary.LittleEndian.Uint64([]byte(p.positionBytes))), true
}

func uvarintLen(n int) int { return max(1, (bits.Len(uint(n))+6)/7) }

// size is how many bytes appendTo takes.
func (p *payload) size() int {
	n := p.bytes()
	for _, l := range [...]int{len(p.id), len(p.text), len(p.session), len(p.speaker), len(p.metadata), len(p.positionBytes), len(p.terms), len(p.sources)} {
		n += uvarintLen(l)
	}
	return n
}

// bytes is the size of the contents.
func (p *payload) bytes() int {
	return len(p.id) + len(p.text) + len(p.session) + len(p.speaker) + len(p.metadata) + len(p.positionBytes) + len(p.terms) + len(p.sources)
}

// appendTo writes the payload behind b, which has room for it.
func (p *payload) appendTo(b []byte) []byte {
	for _, l := range [...]int{len(p.id), len(p.text), len(p.session), len(p.speaker), len(p.metadata), len(p.positionBytes), len(p.terms), len(p.sources)} {
		b = binary.AppendUvarint(b, uint64(l))
	}
	b = append(b, p.id...)
	b = append(b, p.text...)
	b = append(b, p.session...)
	b = append(b, p.speaker...)
	b = append(b, p.metadata...)
	b = append(b, p.positionBytes...)
	b = append(b, p.terms...)
	return append(b, p.sources...)
}

// readPayload reads what appendTo wrote, and says how long it is. Its strings
// alias b.
func readPayload(b []byte) (p payload, size int) {
	var lengths [8]int
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
	at += lengths[4]
	p.positionBytes = next(lengths[5])
	p.terms = lexical.Terms(b[at : at+lengths[6] : at+lengths[6]])
	at += lengths[6]
	p.sources = next(lengths[7])
	return p, at
}

// readID reads the id alone.
func readID(b []byte) string {
	n := int(b[0])
	if n >= 0x80 {
		l, _ := binary.Uvarint(b)
		n = int(l)
	}
	at := 0
	for range 8 {
		for b[at] >= 0x80 {
			at++
		}
		at++
	}
	return unsafe.String(unsafe.SliceData(b[at:]), n)
}
