// Package storage keeps the state of a memory in files: a journal of every mutation,
// and snapshots, so that not all of the journal need be kept and read.
//
// A Dir is a data directory. It belongs to one process, which holds a lock on it;
// Inspect opens one to look at it alone. Recover fills a memory.DB from the newest
// whole snapshot (reader.go, restore.go) and the journal after it (segment.go), then
// gives the DB a journal as its memory.Log (journal.go). Snapshots writes snapshots
// beside a running server (writer.go), and deletes what they make needless (prune.go).
// Report and Repaired are what Check and Repair say, for directories that don't start.
//
// The journal is a row of segments, journal-LSN.engram, the next of which is made ahead
// (spare.go). A frame (journal_format.go) is one mutation (mutation.go), and carries the
// offset up to which its segment was known to be durable: recovery cuts what is torn
// behind all such offsets, and refuses what is damaged below one. A snapshot,
// snapshot-LSN.engram (format.go, encode.go, decode.go), is zstd frames with checksums.
// The bytes are described in docs/format.md. A newer server reads all older versions; the
// golden files in testdata hold it to that.
//
// Caveats: the first error of writing or syncing the journal is final, for the system
// may have dropped the data. The two kept snapshots and the journal since the older one
// belong together: neither is a backup alone. Damage to the journal's very end, behind all
// synced offsets, can't be told from a torn write.
//
// Files are reached by a vfs.FS, so that tests can cut the power and fail any call.
package storage
