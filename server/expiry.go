package server

import (
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"engram/memory"
	engramv1 "engram/proto/engram/v1"
)

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
