// Package server serves a memory.DB over gRPC: MemoryService and NamespaceService on the
// API port, AdminService beside metrics, health and profiles on the admin port.
//
// Every call passes through one wrapper (call.go), which bounds the memory that requests
// and replies may take (inflight.go), decodes (codec.go), recovers from panics, logs and
// counts. A handler checks every field of its request and reports all that is wrong at
// once (violations.go), asks the DB, and becomes a status in one place (errors.go).
// Replies hold copies: nothing in them aliases a slab, because gRPC encodes them after
// the handler has released its views.
package server
