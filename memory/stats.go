package memory

import (
	"unsafe"

	"engram/index"
)

// NamespaceStats are the sizes of one namespace. Bytes are those taken from
// memory, room for growth included.
type NamespaceStats struct {
	Records  int
	DeadRows int // versions of records that were replaced or deleted and not yet swept out
	Segments int

	VectorBytes  int64 // keys, values, inverse norms
	PayloadBytes int64 // ids, texts, sessions, speakers, metadata
	RowBytes     int64 // fixed columns, the tables of ids included
	IDTableBytes int64 // of RowBytes
	IndexBytes   int64 // secondary indexes
	LexicalBytes int64 // lexical indexes; terms that lie beside texts are of PayloadBytes
	IVF          IVFStats
	HeapBytes    int64 // on the Go heap, about

	// Records removed since the process began: expired, evicted, forgotten, merged.
	Expired, Evicted, Forgotten, Merged uint64
}

// IVFStats are of the index of a namespace with a recall; zero: there is none.
type IVFStats struct {
	Lists, Rows int
	Uncovered   int // rows that it lacks, and that are all scored
	Bytes       int64
	ByKeys      bool                       // calibrated by stored keys, not by queries
	Curves      map[int][]index.CurvePoint // by top_k
}

// Stats measures a namespace.
func (v *View) Stats() NamespaceStats {
	st := NamespaceStats{
		Records: v.count, Segments: len(v.segments),
		HeapBytes: int64(unsafe.Sizeof(View{})+unsafe.Sizeof(Namespace{})) + int64(len(v.ns.name)) + nameEntryBytes,
	}
	r := &v.ns.removed
	st.Expired, st.Evicted, st.Forgotten = r[expiredAt].Load(), r[evictedAt].Load(), r[forgottenAt].Load()
	st.Merged = r[mergedAt].Load()
	if v.requests != nil {
		st.HeapBytes += int64(v.requests.bytes)
	}
	if x := v.ivf; x != nil {
		st.IVF = IVFStats{x.Lists(), x.Rows(), v.uncovered(), x.Bytes(), x.byKeys, make(map[int][]index.CurvePoint)}
		for _, k := range calibratedKs {
			st.IVF.Curves[k] = x.calibration.Curve(k)
		}
	}
	for i := range v.segments {
		s := &v.segments[i]
		st.DeadRows += int(s.deadRows)
		st.VectorBytes += s.vectors.Bytes()
		st.RowBytes += int64(cap(s.block))
		st.IDTableBytes += int64(4 * len(s.ids))
		for _, c := range s.chunks {
			st.PayloadBytes += int64(cap(c))
		}
		if s.index != nil {
			st.IndexBytes += s.index.Bytes()
		}
		if s.lexical != nil {
			st.LexicalBytes += s.lexical.Bytes()
		}
		st.HeapBytes += int64(unsafe.Sizeof(segment{})+unsafe.Sizeof(index.Segment{})) + int64(8*len(s.dead)) + int64(cap(s.rehearsed))*int64(unsafe.Sizeof(rehearsedRow{}))
		if s.expiring != nil {
			st.HeapBytes += int64(unsafe.Sizeof(*s.expiring)) + int64(cap(s.expiring.rows))*int64(unsafe.Sizeof(expiringRow{}))
		}
	}
	return st
}

// Sharing counts the reads that shared passes; ok is false if none may.
func (db *DB) Sharing() (stats index.SharingStats, ok bool) {
	if db.sharing == nil {
		return index.SharingStats{}, false
	}
	return db.sharing.Stats(), true
}

// nameEntryBytes is what finding a namespace by its name takes: its share of the
// hash trie and of the sorted tree.
const nameEntryBytes = 150
