package server

import (
	"math"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"engram/memory"
	engramv1 "engram/proto/engram/v1"
)

var evictionOf = map[engramv1.Eviction]memory.Eviction{
	engramv1.Eviction_EVICTION_UNSPECIFIED:         memory.EvictNone,
	engramv1.Eviction_EVICTION_NONE:                memory.EvictNone,
	engramv1.Eviction_EVICTION_RETENTION:           memory.EvictRetention,
	engramv1.Eviction_EVICTION_OLDEST:              memory.EvictOldest,
	engramv1.Eviction_EVICTION_LEAST_RECENTLY_USED: memory.EvictLeastRecent,
}

var evictionProto = map[memory.Eviction]engramv1.Eviction{
	memory.EvictNone:        engramv1.Eviction_EVICTION_NONE,
	memory.EvictRetention:   engramv1.Eviction_EVICTION_RETENTION,
	memory.EvictOldest:      engramv1.Eviction_EVICTION_OLDEST,
	memory.EvictLeastRecent: engramv1.Eviction_EVICTION_LEAST_RECENTLY_USED,
}

func eviction(v *violations, field string, p engramv1.Eviction) memory.Eviction {
	e, ok := evictionOf[p]
	if !ok {
		v.add(field+".eviction", "is %d, which is no eviction", p)
	}
	return e
}

func maxRecords(v *violations, field string, n uint64) int64 {
	if n > math.MaxInt64 {
		v.add(field+".max_records", "is %d; at most %d is allowed", n, int64(math.MaxInt64))
		return 0
	}
	return int64(n)
}

func forget(v *violations, field string, x float64) float64 {
	if reason := memory.CheckForget(x); reason != "" {
		v.add(field+".forget", "%s", reason)
	}
	return x
}

// expiry reads when a record to store is gone.
func expiry(v *violations, field string, p *engramv1.Record, out *memory.Put) {
	if p.ExpireTime != nil {
		out.Expire = expireTime(v, field+".expire_time", p.ExpireTime)
	}
	switch {
	case p.Ttl == nil:
	case p.ExpireTime != nil:
		v.add(field+".ttl", "is set beside expire_time; set one of them")
	default:
		if out.TTL = duration(v, field+".ttl", p.Ttl, time.Second); out.TTL <= 0 || out.TTL > memory.MaxTTL {
			v.add(field+".ttl", "is %v; give more than 0, up to %v", out.TTL, memory.MaxTTL)
			out.TTL = 0
		}
	}
}

// expireTime gives the Unix nanoseconds of a time at which something is gone.
func expireTime(v *violations, field string, p *timestamppb.Timestamp) int64 {
	ns, ok := nanoseconds(p.AsTime())
	if p.CheckValid() != nil || !ok || ns <= 0 {
		v.add(field, "is no time after 1970, up to the year 2261")
		return 0
	}
	return ns
}
