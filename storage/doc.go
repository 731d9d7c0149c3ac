// Package storage keeps the state of a memory in files: snapshots, written
// beside a running server and read back when it starts.
//
// A data directory belongs to one process, which holds a lock on it (Dir). A
// snapshot is one file of zstd frames, each with its checksum, that is written
// under a temporary name, synced, verified and only then renamed (writer.go); it
// is read back frame by frame on every core (reader.go). Two are kept, so that
// damage to the newest leaves the one before.
//
// The bytes are described in docs/format.md. A newer server reads all older
// versions; the golden files in testdata hold it to that.
package storage
