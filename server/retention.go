package server

import (
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"engram/memory"
	engramv1 "engram/proto/engram/v1"
)

// retention converts a retention; what is unset takes its default, of which the zero one is
// the whole.
func retention(v *violations, field string, p *engramv1.Retention) memory.Retention {
	if p == nil {
		return memory.Retention{}
	}
	halfLife := duration(v, field+".half_life", p.HalfLife, memory.DefaultHalfLife)
	r := memory.RetentionOf(halfLife)
	if p.Growth != nil {
		r.Growth = *p.Growth
	}
	r.MinInterval = duration(v, field+".min_interval", p.MinInterval, r.MinInterval)
	r.MaxHalfLife = duration(v, field+".max_half_life", p.MaxHalfLife, r.MaxHalfLife)
	if name, reason := r.Check(); name != "" {
		v.add(field+"."+name, "%s", reason)
	}
	return r
}

// duration converts a duration; one beyond some 292 years becomes that.
func duration(v *violations, field string, p *durationpb.Duration, otherwise time.Duration) time.Duration {
	if p == nil {
		return otherwise
	}
	if p.CheckValid() != nil {
		v.add(field, "is not a valid duration: seconds %d, nanos %d", p.Seconds, p.Nanos)
		return otherwise
	}
	return p.AsDuration()
}

func retentionProto(r memory.Retention) *engramv1.Retention {
	r = r.OrDefault()
	return &engramv1.Retention{
		HalfLife: durationpb.New(r.HalfLife), Growth: &r.Growth,
		MinInterval: durationpb.New(r.MinInterval), MaxHalfLife: durationpb.New(r.MaxHalfLife),
	}
}
