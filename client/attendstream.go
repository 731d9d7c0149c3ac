package client

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "engram/proto/engram/v1"
)

// A Step is one step of a decoder: what to store, and then what to attend with.
type Step struct {
	Records []Record // none: nothing is stored
	Queries []Query  // none: nothing is attended to
	// Before restricts this step and those after it to records of a lesser position. It can't
	// go back. nil: as before.
	Before *int64
}

// A StepResult answers a Step.
type StepResult struct {
	Number   uint64 // from 0
	Stored   []Result
	LSN      uint64 // of what was stored; 0: nothing
	Durable  bool   // what was stored is on disk
	Attended []Attention
}

// stepsAhead is how many steps may be without an answer.
const stepsAhead = 64

// resumeFor is for how long a broken stream is tried to be opened again.
const resumeFor = 10 * time.Second

// An AttendStream is a decoder's loop. Send and Recv may be called from two goroutines, each
// from one.
type AttendStream struct {
	c     *Client
	ctx   context.Context
	end   context.CancelFunc
	setup *pb.AttendStreamRequest // the namespace, and how to attend
	room  chan struct{}

	sending sync.Mutex // over the stream's side that sends, and its making
	stream  pb.MemoryService_AttendStreamClient
	next    uint64
	closed  bool
	begun   bool   // the stream knows the setup
	from    *int64 // what Before was when it was resumed

	mu      sync.Mutex
	waiting []*pb.AttendStreamRequest // without an answer

	// Recv's alone.
	before *int64    // Before, as of the steps that have an answer
	broken time.Time // when the stream broke, until there is an answer again
	tries  int       // since then
}

// AttendStream begins a decoder's loop over a namespace. Where the connection breaks it is
// resumed, for up to ten seconds: steps without an answer are sent again, and none is stored
// twice. Options: as Attend. Close it in any case.
func (c *Client) AttendStream(ctx context.Context, namespace string, options ...ReadOption) (*AttendStream, error) {
	r, err := read(options)
	if err != nil {
		return nil, err
	}
	request := &r.attend
	request.Namespaces, request.Filter, request.Include, request.MaxReplyBytes = []string{namespace}, r.filter.pb, r.include, r.maxBytes
	if r.topK != nil {
		request.TopK, request.Search = *r.topK, r.search
	}
	s := &AttendStream{c: c, setup: &pb.AttendStreamRequest{Namespace: namespace, Attend: request}, room: make(chan struct{}, stepsAhead)}
	s.ctx, s.end = context.WithCancel(ctx)
	if s.stream, err = c.memory.AttendStream(s.ctx); err != nil {
		s.end()
		return nil, err
	}
	return s, nil
}

// Send sends a step. It waits while 64 steps have no answer, or the server has no room; so a
// goroutine that also calls Recv must not send more than that ahead.
func (s *AttendStream) Send(step Step) error {
	records, err := protos(step.Records)
	if err != nil {
		return err
	}
	select {
	case s.room <- struct{}{}:
	case <-s.ctx.Done():
		return s.ctx.Err()
	}
	s.sending.Lock()
	defer s.sending.Unlock()
	number := s.next
	s.next++
	p := &pb.AttendStreamRequest{Step: &number, Records: records, Queries: queryProtos(step.Queries), BeforePosition: step.Before}
	if !s.begun {
		p.Namespace, p.Attend, s.begun = s.setup.Namespace, s.setup.Attend, true
		if p.BeforePosition == nil {
			p.BeforePosition = s.from
		}
	}
	if len(records) > 0 {
		p.RequestId = uuid.NewString()
	}
	s.mu.Lock()
	s.waiting = append(s.waiting, p)
	s.mu.Unlock()
	if err := s.stream.Send(p); err != nil && !errors.Is(err, io.EOF) { // EOF: Recv says why
		return err
	}
	return nil
}

// Recv gives the answer to the next step, in the order sent; io.EOF after CloseSend once all
// are answered.
func (s *AttendStream) Recv() (*StepResult, error) {
	for {
		reply, err := s.stream.Recv()
		if err == nil {
			return s.answered(reply), nil
		}
		if status.Code(err) != codes.Unavailable || s.ctx.Err() != nil {
			return nil, err
		}
		if s.broken.IsZero() {
			s.broken = time.Now()
		}
		if resumed := s.resume(); resumed != nil {
			return nil, errors.Join(err, resumed)
		}
	}
}

func (s *AttendStream) answered(reply *pb.AttendStreamResponse) *StepResult {
	s.mu.Lock()
	if b := s.waiting[0].BeforePosition; b != nil {
		s.before = b
	}
	s.waiting = s.waiting[1:]
	s.mu.Unlock()
	s.broken, s.tries = time.Time{}, 0
	<-s.room
	out := &StepResult{Number: reply.GetStep(), Stored: results(reply.GetResults()), LSN: reply.GetLsn(), Durable: reply.GetDurable()}
	for _, a := range reply.GetAttended().GetResults() {
		one := attention(a)
		one.RowsScanned = reply.GetAttended().GetSearch().GetRowsScanned()
		out.Attended = append(out.Attended, one)
	}
	return out
}

// resume opens a stream in the place of one that broke, and sends what has no answer again.
func (s *AttendStream) resume() error {
	s.sending.Lock()
	stream, err := s.open()
	if err != nil {
		s.sending.Unlock()
		return err
	}
	s.stream = stream
	s.mu.Lock()
	again := append([]*pb.AttendStreamRequest(nil), s.waiting...)
	s.mu.Unlock()
	before := s.before
	s.begun, s.from = len(again) > 0, before
	go func() { // while Recv makes room for answers
		defer s.sending.Unlock()
		for i, p := range again {
			if i == 0 {
				p = &pb.AttendStreamRequest{
					Step: p.Step, Records: p.Records, Queries: p.Queries, BeforePosition: p.BeforePosition, RequestId: p.RequestId,
					Namespace: s.setup.Namespace, Attend: s.setup.Attend,
				}
				if p.BeforePosition == nil {
					p.BeforePosition = before
				}
			}
			if stream.Send(p) != nil { // Recv says why
				return
			}
		}
		if s.closed {
			_ = stream.CloseSend()
		}
	}()
	return nil
}

// open opens a stream once the server is there again, at longer and longer intervals.
func (s *AttendStream) open() (pb.MemoryService_AttendStreamClient, error) {
	for ; ; s.tries++ {
		select {
		case <-time.After(time.Second >> max(0, 7-s.tries)):
		case <-s.ctx.Done():
			return nil, s.ctx.Err()
		}
		stream, err := s.c.memory.AttendStream(s.ctx)
		switch {
		case time.Since(s.broken) > resumeFor:
			return nil, errors.Join(err, errors.New("the stream could not be resumed"))
		case err == nil:
			s.tries++
			return stream, nil
		case status.Code(err) != codes.Unavailable:
			return nil, err
		}
	}
}

// CloseSend says that no step follows.
func (s *AttendStream) CloseSend() error {
	s.sending.Lock()
	defer s.sending.Unlock()
	s.closed = true
	return s.stream.CloseSend()
}

// Close ends the stream. Steps without an answer may or may not have been done.
func (s *AttendStream) Close() { s.end() }
