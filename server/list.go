package server

import (
	"context"
	"encoding/binary"

	"engram/memory"
	engramv1 "engram/proto/engram/v1"
)

// defaultPage is page_size where a request leaves it out.
const defaultPage = 100

var listOrders = map[engramv1.ListOrder]memory.Order{
	engramv1.ListOrder_LIST_ORDER_UNSPECIFIED:  memory.CreatedAsc,
	engramv1.ListOrder_LIST_ORDER_CREATED:      memory.CreatedAsc,
	engramv1.ListOrder_LIST_ORDER_CREATED_DESC: memory.CreatedDesc,
	engramv1.ListOrder_LIST_ORDER_TIME:         memory.TimeAsc,
	engramv1.ListOrder_LIST_ORDER_TIME_DESC:    memory.TimeDesc,
}

func (m *memoryService) List(ctx context.Context, req *engramv1.ListRequest) (*engramv1.ListResponse, error) {
	s := m.s
	var v violations
	s.namespaceName(&v, "namespace", req.Namespace)
	order, ok := listOrders[req.Order]
	if !ok {
		v.add("order", "is %d, which is no order", req.Order)
	}
	opt := memory.ListOptions{Order: order, N: s.pageSize(&v, req.PageSize), Filter: s.filterOf(&v, req.Filter)}
	inc := included(&v, req.Include)
	limit := s.replyLimit(&v, req.MaxReplyBytes)
	var scope [][]byte
	if len(v.found) == 0 { // a filter that isn't valid has no canonical form
		scope = [][]byte{[]byte("records"), []byte(req.Namespace), opt.Filter.AppendCanonical(nil), {byte(order)}}
		if req.PageToken != "" {
			position, ok := parsePageToken(req.PageToken, scope...)
			if opt.After, ok = parsePosition(position, ok); !ok {
				v.add("page_token", "is not the token of a page of this listing; namespace, filter and order must stay the same")
			}
		}
	}
	if err := v.err(); err != nil {
		return nil, err
	}
	view, err := s.db.View(req.Namespace)
	if err != nil {
		return nil, err
	}
	defer view.Release()

	refs, more := view.ListRefs(opt)
	cost := 128 + len(req.Namespace)
	for i, ref := range refs {
		n := recordOverhead + view.Size(ref, inc.Include)
		if cost+n > limit {
			if i == 0 {
				return nil, tooLarge(cost+n, limit, "ask for less of each record by include")
			}
			refs, more = refs[:i], true
			break
		}
		cost += n
	}
	if err := reserveReply(ctx, cost); err != nil {
		return nil, err
	}
	out := &engramv1.ListResponse{Namespace: lsnOf(view), Records: recordProtos(view, refs, inc)}
	if more {
		last := view.At(refs[len(refs)-1], 0)
		out.NextPageToken = pageToken(appendPosition(nil, memory.PositionOf(&last)), scope...)
	}
	return out, nil
}

func (s *Server) pageSize(v *violations, given *uint32) int {
	if given == nil {
		return min(defaultPage, s.limits.PageSize)
	}
	n := int(*given)
	if n < 1 || n > s.limits.PageSize {
		v.add("page_size", "is %d; give 1 to %d", n, s.limits.PageSize)
	}
	return n
}

// A position is 20 bytes: time, LSN of creation and place, little-endian.
func appendPosition(b []byte, p memory.Position) []byte {
	b = binary.LittleEndian.AppendUint64(b, uint64(p.Time))
	b = binary.LittleEndian.AppendUint64(b, uint64(p.Created))
	return binary.LittleEndian.AppendUint32(b, p.Place)
}

func parsePosition(b []byte, ok bool) (memory.Position, bool) {
	if !ok || len(b) != 20 {
		return memory.Position{}, false
	}
	return memory.Position{
		Time:    int64(binary.LittleEndian.Uint64(b)),
		Created: memory.LSN(binary.LittleEndian.Uint64(b[8:])),
		Place:   binary.LittleEndian.Uint32(b[16:]),
	}, true
}
