// Package memory is the state machine of Engram: namespaces of records, written
// by one committer and read by anyone without a lock.
//
// Every write is a [Mutation]. The committer's goroutine decides it against the
// pending state (evaluate.go), applies it there (apply.go) and publishes, with
// one atomic store for each namespace it touched, a new [View]: an immutable
// picture of everything a read of that namespace looks at. Readers acquire the
// current view by raising its reference count and see exactly one LSN until they
// release it. Neither side waits for the other.
//
// Vectors, rows, ids, text and metadata lie in slabs, memory outside the Go
// heap, grouped in segments of up to 65,536 rows. Rows are only ever appended. A
// changed record is a new row; the row before it is marked dead in the bitmaps of
// later views. Segments are counted: a view holds each of its segments once, and
// whoever releases a segment last frees its slabs.
//
// Nothing that a [View] returns aliases a slab, but for the records that Records
// yields, which are good for the length of the call.
package memory
