package client

import (
	"context"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	pb "engram/proto/engram/v1"
)

// A Result tells what became of one record that was stored or updated.
type Result struct {
	ID      string
	Version uint64
	Created bool // else it was replaced or changed
	// Repeated: the record repeats a stored one, whose ID this is, and wasn't added. It has
	// no Version. See Namespace.RepeatSimilarity.
	Repeated bool
}

func results(in []*pb.RecordResult) []Result {
	out := make([]Result, len(in))
	for i, r := range in {
		out[i] = Result{r.GetId(), r.GetVersion(), r.GetCreated(), r.GetRepeated()}
	}
	return out
}

// Store creates the records, or replaces those whose ids exist: all or none, up to
// 1,000. The namespace is made if it isn't there. Use Load for more.
func (c *Client) Store(ctx context.Context, namespace string, records ...Record) ([]Result, error) {
	return c.store(ctx, namespace, pb.StoreMode_STORE_MODE_UPSERT, records)
}

// Insert creates the records; an id that exists is AlreadyExists.
func (c *Client) Insert(ctx context.Context, namespace string, records ...Record) ([]Result, error) {
	return c.store(ctx, namespace, pb.StoreMode_STORE_MODE_INSERT, records)
}

// Replace replaces the records whole; an id that doesn't exist is NotFound.
func (c *Client) Replace(ctx context.Context, namespace string, records ...Record) ([]Result, error) {
	return c.store(ctx, namespace, pb.StoreMode_STORE_MODE_UPDATE, records)
}

func (c *Client) store(ctx context.Context, namespace string, mode pb.StoreMode, records []Record) ([]Result, error) {
	list, err := protos(records)
	if err != nil {
		return nil, err
	}
	reply, err := c.memory.Store(ctx, &pb.StoreRequest{
		Namespace: namespace, Records: list, Mode: mode, RequestId: uuid.NewString(),
	})
	if err != nil {
		return nil, err
	}
	return results(reply.GetResults()), nil
}

// Update changes the named fields (key, value, text, metadata, session, speaker,
// time, importance, position) of records that exist, all or none.
func (c *Client) Update(ctx context.Context, namespace string, fields []string, records ...Record) ([]Result, error) {
	list, err := protos(records)
	if err != nil {
		return nil, err
	}
	reply, err := c.memory.Update(ctx, &pb.UpdateRequest{
		Namespace: namespace, Records: list, UpdateMask: &fieldmaskpb.FieldMask{Paths: fields}, RequestId: uuid.NewString(),
	})
	if err != nil {
		return nil, err
	}
	return results(reply.GetResults()), nil
}

// Delete deletes records by id and says how many there were.
func (c *Client) Delete(ctx context.Context, namespace string, ids ...string) (int, error) {
	return c.delete(ctx, &pb.DeleteRequest{Namespace: namespace, Ids: ids})
}

// DeleteWhere deletes every record that matches and says how many did.
func (c *Client) DeleteWhere(ctx context.Context, namespace string, filter Filter) (int, error) {
	if filter.err != nil {
		return 0, filter.err
	}
	return c.delete(ctx, &pb.DeleteRequest{Namespace: namespace, Filter: filter.pb})
}

func (c *Client) delete(ctx context.Context, request *pb.DeleteRequest) (int, error) {
	request.RequestId = uuid.NewString()
	reply, err := c.memory.Delete(ctx, request)
	return int(reply.GetDeleted()), err
}
