package server

import (
	"context"
	"errors"
	"maps"
	runtimemetrics "runtime/metrics"
	"slices"
	"sync"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"engram/index"
	"engram/kernel"
	"engram/memory"
	engramv1 "engram/proto/engram/v1"
)

// adminService serves AdminService; Export and Import are in files of their own.
type adminService struct {
	engramv1.UnimplementedAdminServiceServer
	s       *Server
	imports imports
}

func (a *adminService) Stats(_ context.Context, req *engramv1.StatsRequest) (*engramv1.StatsResponse, error) {
	s := a.s
	var v violations
	if n := len(req.Namespaces); n > s.limits.PageSize {
		v.add("namespaces", "has %d names; give at most %d", n, s.limits.PageSize)
	}
	for i, name := range req.Namespaces {
		s.namespaceName(&v, at("namespaces", i), name)
	}
	if err := v.err(); err != nil {
		return nil, err
	}
	out := &engramv1.StatsResponse{Server: &engramv1.ServerStats{
		Version:        s.version,
		InstructionSet: kernel.Set(),
		Uptime:         durationpb.New(s.clock.Now().Sub(s.start)),
		Lsn:            uint64(s.db.LSN()),
		Namespaces:     uint64(s.db.NamespaceCount()),
		Records:        uint64(s.db.RecordCount()),
		SlabBytes:      uint64(s.pool.InUse()),
		SlabLimitBytes: uint64(s.pool.Limit()),
		HeapBytes:      heapBytes(),
	}}
	if s.snapshots != nil {
		if info, ok := s.snapshots.Last(); ok {
			out.Server.LastSnapshot = snapshotProto(info)
		}
	}
	if s.embedder != nil {
		out.Server.Embedder = embedderProto(s.embedderID())
	}
	s.durabilityStats(out.Server)
	if st, ok := s.db.Sharing(); ok {
		out.Server.SharedScan = &engramv1.SharedScanStats{Reads: st.Reads, Passes: st.Passes, Riding: uint64(st.Riding)}
	}
	for _, name := range req.Namespaces {
		view, err := s.db.View(name)
		if err != nil {
			return nil, err
		}
		out.Namespaces = append(out.Namespaces, statsProto(view))
		view.Release()
	}
	return out, nil
}

// durabilityStats says what can be lost, and whether writes are served.
func (s *Server) durabilityStats(out *engramv1.ServerStats) {
	out.DefaultDurability = durabilityProto[s.durable]
	n := s.db.Durabilities()
	out.SyncNamespaces, out.IntervalNamespaces, out.NoneNamespaces = uint64(n[memory.Sync]), uint64(n[memory.Interval]), uint64(n[memory.None])
	var readOnly *memory.ReadOnly
	if errors.As(s.db.ReadOnly(), &readOnly) {
		out.ReadOnlyReason = readOnly.Reason
	}
	if journal, ok := s.db.Journal(); ok {
		j := journal.Info()
		out.Journal = &engramv1.JournalStats{Segments: uint64(j.Segments), Bytes: uint64(j.Bytes)}
	}
}

func statsProto(view *memory.View) *engramv1.NamespaceStats {
	st := view.Stats()
	out := &engramv1.NamespaceStats{
		Namespace:    namespaceProto(view),
		DeadRows:     uint64(st.DeadRows),
		Segments:     uint64(st.Segments),
		VectorBytes:  uint64(st.VectorBytes),
		PayloadBytes: uint64(st.PayloadBytes),
		RowBytes:     uint64(st.RowBytes + st.IDTableBytes),
		IndexBytes:   uint64(st.IndexBytes),
		LexicalBytes: uint64(st.LexicalBytes),
		Expired:      st.Expired,
		Evicted:      st.Evicted,
		Forgotten:    st.Forgotten,
		Merged:       st.Merged,
	}
	if x := st.IVF; x.Lists > 0 {
		out.Ivf = &engramv1.IVFStats{
			Lists: uint64(x.Lists), Rows: uint64(x.Rows), UncoveredRows: uint64(x.Uncovered), Bytes: uint64(x.Bytes), CalibratedByKeys: x.ByKeys,
		}
		for _, k := range slices.Sorted(maps.Keys(x.Curves)) {
			c := &engramv1.CalibrationCurve{TopK: uint32(k)}
			for _, p := range x.Curves[k] {
				c.Points = append(c.Points, &engramv1.CalibrationPoint{Probes: uint32(p.Probes), Recall: p.Recall, Error: p.Error})
			}
			out.Ivf.Curves = append(out.Ivf.Curves, c)
		}
	}
	return out
}

func (a *adminService) Snapshot(ctx context.Context, _ *engramv1.SnapshotRequest) (*engramv1.SnapshotResponse, error) {
	if a.s.snapshots == nil {
		return nil, precondition("server", "the server has no data directory to write a snapshot to")
	}
	info, err := a.s.snapshots.Snapshot(ctx)
	if err != nil {
		return nil, err
	}
	return &engramv1.SnapshotResponse{Snapshot: snapshotProto(info)}, nil
}

func snapshotProto(i memory.SnapshotInfo) *engramv1.SnapshotInfo {
	return &engramv1.SnapshotInfo{
		File: i.File, Lsn: uint64(i.LSN), Time: timestamppb.New(i.Time), Bytes: uint64(i.Bytes),
		Namespaces: uint64(i.Namespaces), Records: uint64(i.Records), Duration: durationpb.New(i.Duration),
	}
}

func heapBytes() uint64 {
	sample := []runtimemetrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	runtimemetrics.Read(sample)
	return sample[0].Value.Uint64()
}

// observe adds the gauges of the memory and the snapshots to /metrics.
func (s *Server) observe() {
	m := s.metrics
	m.gauge("engram_namespaces", "Namespaces.", func() float64 { return float64(s.db.NamespaceCount()) })
	m.gauge("engram_records", "Records.", func() float64 { return float64(s.db.RecordCount()) })
	m.gauge("engram_lsn_number", "The last LSN committed, without its epoch.", func() float64 { return float64(s.db.LSN().Number()) })
	m.gauge("engram_slab_bytes", "Memory outside the Go heap in use.", func() float64 { return float64(s.pool.InUse()) })
	m.gauge("engram_slab_limit_bytes", "The budget of memory outside the Go heap.", func() float64 { return float64(s.pool.Limit()) })
	m.gauge("engram_inflight_bytes", "Memory held for requests and replies.", func() float64 { return float64(s.inflight.used.Load() + s.inflight.windows.Load()) })
	m.gauge("engram_inflight_limit_bytes", "The budget of requests and replies.", func() float64 { return float64(s.inflight.limit) })
	m.gauge("engram_inflight_refused", "Calls refused because that budget was full, since the start.", func() float64 { return float64(s.inflight.refused.Load()) })
	removed := func(kind int) func() float64 {
		return func() float64 { return float64(s.db.Removed()[kind]) }
	}
	m.counter("engram_records_expired_total", "Records removed because they had expired.", removed(0))
	m.counter("engram_records_evicted_total", "Records removed to keep to a namespace's max_records.", removed(1))
	m.counter("engram_records_forgotten_total", "Records removed because their retention was below a namespace's forget.", removed(2))
	m.counter("engram_records_merged_total", "Records removed because they were merged into others that resemble them.", removed(3))
	sharing := func(value func(index.SharingStats) float64) func() float64 {
		return func() float64 {
			st, _ := s.db.Sharing()
			return value(st)
		}
	}
	m.counter("engram_shared_scan_reads_total", "Calls that rode in shared passes.", sharing(func(st index.SharingStats) float64 { return float64(st.Reads) }))
	m.counter("engram_shared_scan_passes_total", "Passes over a namespace's vectors that they took, in parts of a whole one: reads over passes is a read's company.",
		sharing(func(st index.SharingStats) float64 { return st.Passes }))
	m.gauge("engram_shared_scan_riding", "Calls that ride in shared passes now.", sharing(func(st index.SharingStats) float64 { return float64(st.Riding) }))
	m.gauge("engram_ready", "1 once the memory is restored.", func() float64 {
		if s.ready.Load() {
			return 1
		}
		return 0
	})
	m.gauge("engram_read_only", "1 if writes are refused until the next start.", func() float64 {
		if s.db.ReadOnly() != nil {
			return 1
		}
		return 0
	})
	if s.snapshots == nil {
		return
	}
	last := func(value func(memory.SnapshotInfo) float64) func() float64 {
		return func() float64 {
			if info, ok := s.snapshots.Last(); ok {
				return value(info)
			}
			return 0
		}
	}
	m.gauge("engram_snapshot_time_seconds", "When the last snapshot was completed, in Unix time; 0: none.",
		last(func(i memory.SnapshotInfo) float64 { return float64(i.Time.UnixMilli()) / 1e3 }))
	m.gauge("engram_snapshot_bytes", "Size of the last snapshot.", last(func(i memory.SnapshotInfo) float64 { return float64(i.Bytes) }))
	m.gauge("engram_snapshot_seconds", "How long the last snapshot took.", last(func(i memory.SnapshotInfo) float64 { return i.Duration.Seconds() }))
}

// imports remembers what imports with a request_id did.
type imports struct {
	sync.Mutex
	done map[string]importDone
}
