package server

import (
	"log/slog"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

// finished counts and logs a call that has ended: what was called, by whom, how it went
// and how large it was, never what was in it. Successes are logged at debug level, what
// the client can mend at info, what it can't at error.
func (s *Server) finished(x *exchange, err error, took time.Duration) {
	code := status.Code(err)
	m := x.m
	if int(code) >= len(m.handled) {
		code = codes.Unknown
	}
	m.handled[code].Inc()
	m.seconds.Observe(took.Seconds())
	level := slog.LevelInfo
	switch code {
	case codes.OK:
		level = slog.LevelDebug
	case codes.Unknown, codes.Internal, codes.DataLoss:
		level = slog.LevelError
	}
	if !s.log.Enabled(x, level) {
		return
	}
	attrs := []slog.Attr{
		slog.String("method", m.name), slog.String("code", code.String()), slog.Duration("took", took),
		slog.Int("received_bytes", x.received), slog.Int("sent_bytes", x.sent),
	}
	if p, ok := peer.FromContext(x); ok {
		attrs = append(attrs, slog.String("peer", p.Addr.String()))
	}
	s.log.LogAttrs(x, level, "call", attrs...)
}
