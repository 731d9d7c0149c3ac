package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"

	pb "engram/proto/engram/v1"
)

// A batch of a Load is closed at so many records or so many bytes.
const (
	batchRecords = 1000
	batchBytes   = 4 << 20
)

// Load stores any number of records on one stream, in batches of up to 1,000,
// without waiting for one to be acknowledged before it sends the next. It returns
// how many were acknowledged; those stay whatever happens to the rest. acked, if
// it isn't nil, is told that number after each batch.
//
// An error that the sequence gives ends the load after the records before it. The
// sequence is read by another goroutine, which has ended when Load returns.
func (c *Client) Load(ctx context.Context, namespace string, records iter.Seq2[Record, error], acked func(n int)) (int, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.memory.StoreStream(ctx)
	if err != nil {
		return 0, err
	}
	var sendErr error // once sent is closed
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		sendErr = errors.Join(send(stream, namespace, records), stream.CloseSend())
	}()
	n := 0
	for {
		reply, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			<-sent
			return n, sendErr
		}
		if err != nil {
			cancel()
			<-sent // the sequence is no longer read when Load returns
			return n, err
		}
		n += len(reply.GetResults())
		if acked != nil {
			acked(n)
		}
	}
}

// send sends the records in batches. If the stream has ended that is no error
// here: Recv says why.
func send(stream pb.MemoryService_StoreStreamClient, namespace string, records iter.Seq2[Record, error]) error {
	request := &pb.StoreStreamRequest{Namespace: namespace}
	size := 0
	flush := func() error {
		if len(request.GetRecords()) == 0 {
			return nil
		}
		request.RequestId = uuid.NewString()
		err := stream.Send(request)
		request, size = &pb.StoreStreamRequest{}, 0
		return err
	}
	i := 0
	for r, err := range records {
		if err != nil {
			return errors.Join(ignoreEOF(flush()), err)
		}
		p, err := r.proto()
		if err != nil {
			return errors.Join(ignoreEOF(flush()), fmt.Errorf("record %d: %w", i, err))
		}
		s := proto.Size(p)
		if len(request.GetRecords()) == batchRecords || size > 0 && size+s > batchBytes {
			if err := flush(); err != nil {
				return ignoreEOF(err)
			}
		}
		request.Records = append(request.Records, p)
		size += s
		i++
	}
	return ignoreEOF(flush())
}

func ignoreEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}
