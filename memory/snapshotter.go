package memory

import (
	"context"
	"errors"
	"time"
)

// SnapshotInfo describes one snapshot that is durable.
type SnapshotInfo struct {
	File       string // its name in the data directory
	LSN        LSN    // the last committed when it began
	Time       time.Time
	Bytes      int64
	Namespaces int
	Records    int
	Duration   time.Duration
}

// A Snapshotter writes snapshots of a DB.
type Snapshotter interface {
	// Snapshot writes one and returns when it is durable: ErrSnapshotBusy if one
	// is under way, ErrDiskFull if there is no room.
	Snapshot(ctx context.Context) (SnapshotInfo, error)
	// Last is the last one that was written or restored.
	Last() (SnapshotInfo, bool)
}

var (
	// ErrSnapshotBusy is the error of a snapshot asked for while one is written.
	ErrSnapshotBusy = errors.New("a snapshot is under way")
	// ErrDiskFull is the error of a file that found no room.
	ErrDiskFull = errors.New("the disk is full")
)
