package memory

// A row is the fixed part of one version of a record: 64 bytes, one cache line,
// in its segment's slab.
type row struct {
	created    uint64 // LSN
	version    uint64 // LSN
	createTime int64
	updateTime int64
	time       int64
	payload    uint64 // flags << 56 | chunk << 32 | offset: where payload.go's bytes begin
	hash       uint32 // of the id
	place      uint32
	importance float32
	prev       uint16 // the row of this segment that its record had before, or noRow
	_          uint16
}

const rowBytes = 64

// noRow is no row that another can follow: the last row of a full segment.
const noRow = 1<<16 - 1

const (
	flagValue   = 1 << 56 // the value was given, not taken from the key
	flagKeyText = 1 << 57 // the key was made of the text
	flagPinned  = 1 << 58

	flags = flagValue | flagKeyText | flagPinned

	chunkMask = 1<<24 - 1 // a segment has at most a chunk a row
)

func (r *row) chunk() int           { return int(r.payload >> 32 & chunkMask) }
func (r *row) offset() uint32       { return uint32(r.payload) }
func (r *row) has(flag uint64) bool { return r.payload&flag != 0 }
