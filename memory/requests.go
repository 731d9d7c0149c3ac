package memory

import "slices"

// A RequestResult is the remembered outcome of a write with a request id. With
// the request itself, which is known to be the same by its digest, it gives the
// answer again.
type RequestResult struct {
	ID      string
	Digest  [32]byte
	Time    int64 // of the mutation, Unix nanoseconds
	LSN     LSN
	Deleted uint64 // by a Delete

	// Of a Store: bit i of byte i/8 tells whether record i was created, and
	// Generated are the ids of records that came without, in order: given, or of
	// what they repeat.
	Created   []byte
	Generated []string

	// Of a Consolidate, Created is how many records it made and how many it did not for what
	// had changed, two uvarints, Generated the ids of the first that it made, and Deleted how
	// many were merged.
}

// size is about what a result takes of the heap.
func (r *RequestResult) size() int {
	n := 128 + len(r.ID) + len(r.Created)
	for _, id := range r.Generated {
		n += 16 + len(id)
	}
	return n
}

// A requestLog is the results a view remembers, oldest first. It never changes;
// logs that follow one another share their entries.
type requestLog struct {
	entries []RequestResult
	bytes   int
}

func (l *requestLog) all() []RequestResult {
	if l == nil {
		return nil
	}
	return l.entries
}

// requestLogOf gives a log of results as another had them. None of them is dropped for
// its age: which those were depends on how the clock went.
func requestLogOf(entries []RequestResult) *requestLog {
	if len(entries) == 0 {
		return nil
	}
	l := &requestLog{entries: slices.Clip(entries)}
	for i := range entries {
		l.bytes += entries[i].size()
	}
	return l
}

// with gives a log of one more result, without those that are too old by the
// time of the new one, and without the oldest where there is no room.
func (l *requestLog) with(r RequestResult, limits *Limits) *requestLog {
	out := &requestLog{bytes: r.size()}
	if l != nil {
		keep := l.entries
		bytes := l.bytes
		oldest := r.Time - limits.RequestsAge.Nanoseconds()
		for len(keep) > 0 && (keep[0].Time < oldest || bytes+out.bytes > limits.RequestsBytes) {
			bytes -= keep[0].size()
			keep = keep[1:]
		}
		// Appending writes behind what earlier logs show, or moves: either way
		// they stay as they are.
		out.entries = keep
		out.bytes += bytes
	}
	out.entries = append(out.entries, r)
	return out
}

// find gives the result of a request id, if it isn't older than it may be.
func (l *requestLog) find(id string, now int64, limits *Limits) *RequestResult {
	entries := l.all()
	for i := len(entries) - 1; i >= 0; i-- {
		if entries[i].ID == id && entries[i].Time >= now-limits.RequestsAge.Nanoseconds() {
			return &entries[i]
		}
	}
	return nil
}

// recall gives the result of a request that was answered before, nil if it
// wasn't. The same id with another body is *Invalid.
func (l *requestLog) recall(id string, digest [32]byte, now int64, limits *Limits) (*RequestResult, error) {
	if id == "" {
		return nil, nil
	}
	r := l.find(id, now, limits)
	if r != nil && r.Digest != digest {
		return nil, invalid("request_id", "is %q, which a request with another body had; a retry repeats its request unchanged", id)
	}
	return r, nil
}

// answer gives the results of a Store or an Update again.
func (r *RequestResult) answer(puts []Put) *StoreResult {
	generated := slices.Clone(r.Generated)
	out := &StoreResult{LSN: r.LSN, Results: make([]RecordResult, len(puts))}
	for i := range puts {
		id := puts[i].ID
		created := i/8 < len(r.Created) && r.Created[i/8]>>(i%8)&1 != 0
		out.Results[i] = RecordResult{ID: id, Version: r.LSN, Created: created}
		if id == "" && len(generated) > 0 {
			out.Results[i].ID, generated = generated[0], generated[1:]
			if !created { // a record without an id is, unless it repeats another
				out.Results[i].Version, out.Results[i].Repeated = 0, true
			}
		}
	}
	return out
}
