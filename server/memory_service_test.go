package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	engramv1 "engram/proto/engram/v1"
)

func TestStoreAndGet(t *testing.T) {
	h := start(t)
	metadata, err := structpb.NewStruct(map[string]any{"topic": "landing", "n": 3.0, "tags": []any{"a", true, nil}, "in": map[string]any{"x": "y"}})
	if err != nil {
		t.Fatal(err)
	}
	when := timestamppb.New(time.Date(1969, 7, 20, 20, 17, 40, 123456789, time.UTC))
	in := &engramv1.Record{
		Id: "eagle", Key: vec(1, -2, 3), Value: vec(4, 5, 6), Text: "the Eagle has landed", Metadata: metadata,
		Session: ptr("day 5"), Speaker: ptr("CDR"), Time: when, Importance: ptr(float32(0.75)),
	}
	reply := h.store("a", in, &engramv1.Record{Key: &engramv1.Vector{F32: littleBytes([]float32{7, 8, 9})}})
	if len(reply.Results) != 2 || reply.Results[0].Id != "eagle" || !reply.Results[0].Created || reply.Results[0].Version != reply.Lsn || reply.Results[1].Id == "" {
		t.Fatalf("Store answers %v", reply)
	}
	given := reply.Results[1].Id
	get := func(include *engramv1.Include, ids ...string) *engramv1.GetResponse {
		t.Helper()
		return must[*engramv1.GetResponse](t)(h.memory.Get(ctx(t), &engramv1.GetRequest{Namespace: "a", Ids: ids, Include: include}))
	}
	got := get(&engramv1.Include{Key: true, Value: true}, given, "nine", "eagle", "eagle")
	if len(got.Records) != 3 || !slices.Equal(got.Missing, []string{"nine"}) || got.Namespace.Lsn != reply.Lsn || got.Namespace.Namespace != "a" {
		t.Fatalf("Get answers %v", got)
	}
	want := proto.Clone(in).(*engramv1.Record)
	r := got.Records[1]
	want.CreateTime, want.UpdateTime, want.Version = r.CreateTime, r.UpdateTime, reply.Lsn
	if !proto.Equal(r, want) || !proto.Equal(got.Records[2], want) {
		t.Errorf("stored %v\ngot %v", want, r)
	}
	if r.CreateTime.AsTime().IsZero() || !proto.Equal(r.CreateTime, r.UpdateTime) {
		t.Errorf("create_time %v, update_time %v", r.CreateTime, r.UpdateTime)
	}
	bare := got.Records[0]
	if !slices.Equal(bare.Key.Values, []float32{7, 8, 9}) || bare.Value != nil || *bare.Importance != 0.5 || !proto.Equal(bare.Time, bare.CreateTime) || bare.Session != nil {
		t.Errorf("a record stored with a key alone is %v", bare)
	}
	small := get(&engramv1.Include{Text: ptr(false), Metadata: ptr(false)}, "eagle").Records[0]
	if small.Text != "" || small.Metadata != nil || small.Key != nil || small.GetSpeaker() != "CDR" {
		t.Errorf("without text and metadata it is %v", small)
	}
	packed := get(&engramv1.Include{Key: true, VectorForm: engramv1.VectorForm_VECTOR_FORM_F32}, "eagle").Records[0]
	if !slices.Equal(floats(packed.Key.F32), []float32{1, -2, 3}) || packed.Key.Values != nil {
		t.Errorf("the key as f32 is %v", packed.Key)
	}
}

func TestRequestID(t *testing.T) {
	h := start(t)
	request := &engramv1.StoreRequest{Namespace: "a", RequestId: "r1", Records: []*engramv1.Record{rec("", 1, 0)}}
	first := must[*engramv1.StoreResponse](t)(h.memory.Store(ctx(t), request))
	again := must[*engramv1.StoreResponse](t)(h.memory.Store(ctx(t), request))
	if !proto.Equal(first, again) {
		t.Errorf("a retry is answered %v, at first %v", again, first)
	}
	request.Records[0].Key = vec(0, 1)
	_, err := h.memory.Store(ctx(t), request)
	wantCode(t, err, codes.InvalidArgument)
	if got := fields(err); !slices.Equal(got, []string{"request_id"}) {
		t.Errorf("fields %q", got)
	}
}

func TestRetrieveAndAttend(t *testing.T) {
	h := start(t)
	h.store("a", rec("x", 1, 0, 0), rec("y", 0, 1, 0))
	h.store("b", rec("z", 0, 0, 1), rec("xy", 1, 1, 0))
	got := must[*engramv1.RetrieveResponse](t)(h.memory.Retrieve(ctx(t), &engramv1.RetrieveRequest{
		Namespaces: []string{"a", "b"}, TopK: ptr(uint32(2)),
		Queries: []*engramv1.Query{{Vector: vec(1, 0, 0)}, {Record: &engramv1.RecordName{Namespace: "b", Id: "xy"}}},
	}))
	var found [][]string
	for _, r := range got.Results {
		var ids []string
		for _, hit := range r.Hits {
			ids = append(ids, hit.Namespace+"/"+hit.Record.Id)
			if hit.Score != hit.Similarity {
				t.Errorf("score %v, similarity %v", hit.Score, hit.Similarity)
			}
		}
		found = append(found, ids)
	}
	if fmt.Sprint(found) != "[[a/x b/xy] [a/x a/y]]" {
		t.Errorf("found %v", found)
	}
	if s := got.Results[0].Hits[0].Similarity; s != 1 {
		t.Errorf("the nearest has similarity %v", s)
	}
	if !got.Search.Exact || got.Search.RowsScanned == 0 || len(got.Namespaces) != 2 || got.Namespaces[1].Namespace != "b" || got.Namespaces[1].Lsn == 0 {
		t.Errorf("the search was done as %v over %v", got.Search, got.Namespaces)
	}
	least := must[*engramv1.RetrieveResponse](t)(h.memory.Retrieve(ctx(t), &engramv1.RetrieveRequest{
		Namespaces: []string{"a"}, Queries: []*engramv1.Query{{Vector: vec(1, 0, 0)}}, MinScore: ptr(float32(0.5))}))
	if n := len(least.Results[0].Hits); n != 1 {
		t.Errorf("%d hits with at least 0.5", n)
	}

	attended := must[*engramv1.AttendResponse](t)(h.memory.Attend(ctx(t), &engramv1.AttendRequest{
		Namespaces: []string{"a", "b"}, Queries: []*engramv1.Query{{Vector: vec(1, 0, 0)}}, Scale: ptr(float32(0)), TopWeights: 3,
	}))
	a := attended.Results[0]
	if head := a.Heads[0]; head.Attended != 4 || math.Abs(head.LogSumExp-math.Log(4)) > 1e-6 || math.Abs(head.Entropy-math.Log(4)) > 1e-6 ||
		len(head.TopWeights) != 3 || math.Abs(head.TopWeights[0].Weight-0.25) > 1e-9 {
		t.Errorf("with scale 0 the head is %v", head)
	}
	if c := a.Context.Values; len(c) != 3 || math.Abs(float64(c[0])-0.5) > 1e-6 {
		t.Errorf("the context is %v, want the mean of the values", c)
	}
	nothing := must[*engramv1.AttendResponse](t)(h.memory.Attend(ctx(t), &engramv1.AttendRequest{
		Namespaces: []string{"a"}, Queries: []*engramv1.Query{{Vector: vec(1, 0, 0)}}, Filter: speaker("nobody")}))
	if head := nothing.Results[0].Heads[0]; head.Attended != 0 || !math.IsInf(head.LogSumExp, -1) || !slices.Equal(nothing.Results[0].Context.Values, []float32{0, 0, 0}) {
		t.Errorf("with nothing to attend: %v", nothing.Results[0])
	}
}

func speaker(name string) *engramv1.Filter {
	return &engramv1.Filter{Node: &engramv1.Filter_Condition{Condition: &engramv1.Condition{
		Operand: &engramv1.Condition_Field{Field: engramv1.Field_FIELD_SPEAKER},
		Test:    &engramv1.Condition_Equals{Equals: structpb.NewStringValue(name)},
	}}}
}

func TestText(t *testing.T) {
	h := start(t)
	h.store("talk",
		&engramv1.Record{Id: "land", Text: "the Eagle has landed"},
		&engramv1.Record{Id: "food", Text: "we had bacon squares for breakfast"})
	ask := func(text string) string {
		t.Helper()
		got := must[*engramv1.RetrieveResponse](t)(h.memory.Retrieve(ctx(t), &engramv1.RetrieveRequest{
			Namespaces: []string{"talk"}, Queries: []*engramv1.Query{{Text: text}}, Embedder: "lexical", TopK: ptr(uint32(1))}))
		return got.Results[0].Hits[0].Record.Id
	}
	if ask("when did the Eagle land") != "land" || ask("bacon for breakfast") != "food" {
		t.Error("text doesn't find its like")
	}
	n := must[*engramv1.NamespaceServiceGetResponse](t)(h.namespaces.Get(ctx(t), &engramv1.NamespaceServiceGetRequest{Name: "talk"})).Namespace
	if n.Embedder.GetName() != "lexical" || n.Embedder.Dimension != testDimension || n.Dimension != testDimension || n.RecordCount != 2 {
		t.Errorf("the namespace is %v", n)
	}
	must[*engramv1.UpdateResponse](t)(h.memory.Update(ctx(t), &engramv1.UpdateRequest{Namespace: "talk",
		Records: []*engramv1.Record{{Id: "food", Text: "the parachutes opened over the ocean"}}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"text"}}}))
	if ask("parachutes over the ocean") != "food" {
		t.Error("a new text didn't make a new key")
	}
}

func TestStoreStream(t *testing.T) {
	h := start(t)
	stream := must[grpc.BidiStreamingClient[engramv1.StoreStreamRequest, engramv1.StoreStreamResponse]](t)(h.memory.StoreStream(ctx(t)))
	send := func(r *engramv1.StoreStreamRequest) (*engramv1.StoreStreamResponse, error) {
		if err := stream.Send(r); err != nil {
			t.Fatal(err)
		}
		return stream.Recv()
	}
	var last uint64
	for i := range 3 {
		r := &engramv1.StoreStreamRequest{Records: []*engramv1.Record{rec(fmt.Sprint(i), 1, float32(i))}}
		if i == 0 {
			r.Namespace = "a"
		}
		reply := must[*engramv1.StoreStreamResponse](t)(send(r))
		if reply.Batch != uint64(i) || len(reply.Results) != 1 || reply.Results[0].Id != fmt.Sprint(i) || reply.Lsn <= last {
			t.Fatalf("batch %d is answered %v", i, reply)
		}
		last = reply.Lsn
	}
	_, err := send(&engramv1.StoreStreamRequest{Records: []*engramv1.Record{rec("bad", 1, 2, 3)}})
	wantCode(t, err, codes.InvalidArgument)
	if got := fields(err); !slices.Equal(got, []string{"records[0].key"}) {
		t.Errorf("fields %q", got)
	}
	if n := must[*engramv1.CountResponse](t)(h.memory.Count(ctx(t), &engramv1.CountRequest{Namespace: "a"})).Count; n != 3 {
		t.Errorf("%d records stay of 3 batches acknowledged", n)
	}
	h.waitIdle()
}

// Pages together give every record that is there throughout, once, in order; records that
// come and go between pages change nothing of that.
func TestListPages(t *testing.T) {
	h := start(t)
	var records []*engramv1.Record
	for i := range 50 {
		records = append(records, &engramv1.Record{Id: fmt.Sprintf("%02d", i), Key: vec(1, 0), Speaker: ptr("s"), Text: "some text"})
	}
	h.store("a", records...)
	for _, c := range []struct {
		name    string
		request *engramv1.ListRequest
	}{
		{"all", &engramv1.ListRequest{PageSize: ptr(uint32(7))}},
		{"filter", &engramv1.ListRequest{PageSize: ptr(uint32(7)), Filter: speaker("s")}},
		{"cut by max_reply_bytes", &engramv1.ListRequest{MaxReplyBytes: ptr(uint32(1200))}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []string
			c.request.Namespace = "a"
			for page := 0; ; page++ {
				reply := must[*engramv1.ListResponse](t)(h.memory.List(ctx(t), c.request))
				if proto.Size(reply) > 1200 && c.request.MaxReplyBytes != nil {
					t.Errorf("a page of %d bytes", proto.Size(reply))
				}
				for _, r := range reply.Records {
					got = append(got, r.Id)
				}
				if reply.NextPageToken == "" {
					break
				}
				c.request.PageToken = reply.NextPageToken
				h.store("a", rec("passing", 0, 1))
				must[*engramv1.DeleteResponse](t)(h.memory.Delete(ctx(t), &engramv1.DeleteRequest{Namespace: "a", Ids: []string{"passing"}}))
			}
			if len(got) != 50 || !slices.IsSorted(got) {
				t.Errorf("pages give %q", got)
			}
		})
	}
}

func TestDelete(t *testing.T) {
	h := start(t)
	h.store("a", rec("x", 1, 0), rec("y", 0, 1), &engramv1.Record{Id: "z", Key: vec(1, 1), Speaker: ptr("CDR")})
	del := func(r *engramv1.DeleteRequest) *engramv1.DeleteResponse {
		t.Helper()
		r.Namespace = "a"
		return must[*engramv1.DeleteResponse](t)(h.memory.Delete(ctx(t), r))
	}
	first := del(&engramv1.DeleteRequest{Ids: []string{"x", "nine"}})
	if first.Deleted != 1 {
		t.Errorf("deleted %d", first.Deleted)
	}
	if none := del(&engramv1.DeleteRequest{Ids: []string{"nine"}}); none.Deleted != 0 || none.Lsn != first.Lsn {
		t.Errorf("deleting nothing gives %v, the namespace being at %d", none, first.Lsn)
	}
	if by := del(&engramv1.DeleteRequest{Filter: speaker("CDR")}); by.Deleted != 1 {
		t.Errorf("deleted %d by filter", by.Deleted)
	}
	if n := must[*engramv1.CountResponse](t)(h.memory.Count(ctx(t), &engramv1.CountRequest{Namespace: "a"})).Count; n != 1 {
		t.Errorf("%d records are left", n)
	}
}

func TestNamespaces(t *testing.T) {
	h := start(t)
	for _, name := range []string{"b", "a", "a/1", "a/2", "a0", "c\x00", "c"} {
		must[*engramv1.NamespaceServiceCreateResponse](t)(h.namespaces.Create(ctx(t), &engramv1.NamespaceServiceCreateRequest{
			Namespace: &engramv1.Namespace{Name: name, Metric: engramv1.Metric_METRIC_L2, Dimension: 2, ValueDimension: 3, MaxBytes: 1 << 20}}))
	}
	list := func(prefix string) (names []string) {
		t.Helper()
		r := &engramv1.NamespaceServiceListRequest{Prefix: prefix, PageSize: ptr(uint32(2))}
		for {
			reply := must[*engramv1.NamespaceServiceListResponse](t)(h.namespaces.List(ctx(t), r))
			for _, n := range reply.Namespaces {
				names = append(names, n.Name)
			}
			if r.PageToken = reply.NextPageToken; r.PageToken == "" {
				return names
			}
		}
	}
	for prefix, want := range map[string][]string{
		"":      {"a", "a/1", "a/2", "a0", "b", "c", "c\x00"},
		"a":     {"a", "a/1", "a/2", "a0"},
		"a/":    {"a/1", "a/2"},
		"c\x00": {"c\x00"},
		"d":     nil,
	} {
		if got := list(prefix); !slices.Equal(got, want) {
			t.Errorf("prefix %q gives %q, want %q", prefix, got, want)
		}
	}
	n := must[*engramv1.NamespaceServiceUpdateResponse](t)(h.namespaces.Update(ctx(t), &engramv1.NamespaceServiceUpdateRequest{
		Namespace: &engramv1.Namespace{Name: "b", MaxBytes: 2 << 20}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"max_bytes"}}})).Namespace
	if n.MaxBytes != 2<<20 || n.Metric != engramv1.Metric_METRIC_L2 || n.Dimension != 2 || n.ValueDimension != 3 || n.Embedder != nil || n.CreateTime == nil {
		t.Errorf("the namespace is %v", n)
	}
	byDefault := must[*engramv1.NamespaceServiceCreateResponse](t)(h.namespaces.Create(ctx(t), &engramv1.NamespaceServiceCreateRequest{Namespace: &engramv1.Namespace{Name: "d"}})).Namespace
	if byDefault.Embedder.GetName() != "lexical" || byDefault.Dimension != testDimension || byDefault.Metric != engramv1.Metric_METRIC_COSINE {
		t.Errorf("by default a namespace is %v", byDefault)
	}
	must[*engramv1.NamespaceServiceDeleteResponse](t)(h.namespaces.Delete(ctx(t), &engramv1.NamespaceServiceDeleteRequest{Name: "b"}))
	_, err := h.namespaces.Get(ctx(t), &engramv1.NamespaceServiceGetRequest{Name: "b"})
	wantCode(t, err, codes.NotFound)
}

func TestStats(t *testing.T) {
	h := start(t)
	h.store("a", rec("x", 1, 0), rec("y", 0, 1))
	got := must[*engramv1.StatsResponse](t)(h.admin.Stats(ctx(t), &engramv1.StatsRequest{Namespaces: []string{"a"}}))
	s := got.Server
	if s.Version != "test" || s.Records != 2 || s.Namespaces != 1 || s.Lsn == 0 || s.InstructionSet == "" || s.SlabLimitBytes != 1<<30 || s.HeapBytes == 0 || s.Embedder.GetName() != "lexical" {
		t.Errorf("the server is %v", s)
	}
	if len(got.Namespaces) != 1 || got.Namespaces[0].Namespace.RecordCount != 2 {
		t.Errorf("the namespaces are %v", got.Namespaces)
	}
}

// exportOf gives an export with a namespace of each kind.
func exportOf(t *testing.T, h *harness) []*engramv1.ExportItem {
	t.Helper()
	metadata, _ := structpb.NewStruct(map[string]any{"b": 1.0, "a": "x", "c": map[string]any{"z": nil, "y": true}})
	h.store("a", &engramv1.Record{Id: "x", Key: vec(1, 0), Value: vec(2, 3), Metadata: metadata, Speaker: ptr("CDR")}, rec("y", 0, 1))
	h.store("talk", &engramv1.Record{Id: "t", Text: "the Eagle has landed"})
	items, err := h.exportItems()
	if err != nil {
		t.Fatal(err)
	}
	if len(items) != 7 || items[0].GetHeader().GetFormat() != 1 || items[1].GetNamespace().GetNamespace().GetName() != "a" || items[6].GetTrailer().GetRecords() != 3 {
		t.Fatalf("the export is %v", items)
	}
	return items
}

func (h *harness) importItems(id string, items []*engramv1.ExportItem) (*engramv1.ImportResponse, error) {
	stream, err := h.admin.Import(ctx(h.t))
	if err != nil {
		return nil, err
	}
	for i := 0; i < len(items); i += 2 { // cut into messages anyhow
		err := stream.Send(&engramv1.ImportRequest{Items: items[i:min(i+2, len(items))], RequestId: id})
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			h.t.Fatal(err)
		}
	}
	return stream.CloseAndRecv()
}

func TestExportAndImport(t *testing.T) {
	from := start(t)
	items := exportOf(t, from)
	to := start(t)
	reply := must[*engramv1.ImportResponse](t)(to.importItems("r1", items))
	if reply.Namespaces != 2 || reply.Records != 3 || reply.Lsn == 0 {
		t.Errorf("Import answers %v", reply)
	}
	again := must[*engramv1.ImportResponse](t)(to.importItems("r1", items))
	if !proto.Equal(reply, again) {
		t.Errorf("a retry is answered %v, at first %v", again, reply)
	}
	_, err := to.importItems("r2", items)
	wantCode(t, err, codes.AlreadyExists)

	back, err := to.exportItems()
	if err != nil {
		t.Fatal(err)
	}
	for i, item := range items[1:6] {
		got := back[1+i]
		if ns := item.GetNamespace(); ns != nil { // the import is a mutation of its own
			ns.Namespace.Lsn, got.GetNamespace().Namespace.Lsn = 0, 0
		}
		if !proto.Equal(item, got) {
			t.Errorf("exported %v\nimported %v", item, got)
		}
	}
	if one, err := from.exportItems("talk"); err != nil || len(one) != 4 {
		t.Errorf("an export of one namespace: %v, %v", one, err)
	}
}

func TestBadImports(t *testing.T) {
	items := exportOf(t, start(t))
	clone := func() []*engramv1.ExportItem {
		out := make([]*engramv1.ExportItem, len(items))
		for i := range out {
			out[i] = proto.Clone(items[i]).(*engramv1.ExportItem)
		}
		return out
	}
	for _, c := range []struct {
		name   string
		change func([]*engramv1.ExportItem) []*engramv1.ExportItem
		code   codes.Code
		fields []string
		stays  uint64 // records that were completed before
	}{
		{"nothing", func(i []*engramv1.ExportItem) []*engramv1.ExportItem { return nil }, codes.InvalidArgument, []string{"items"}, 0},
		{"no header", func(i []*engramv1.ExportItem) []*engramv1.ExportItem { return i[1:] }, codes.InvalidArgument, []string{"items[0]"}, 0},
		{"a newer format", func(i []*engramv1.ExportItem) []*engramv1.ExportItem { i[0].GetHeader().Format = 2; return i }, codes.FailedPrecondition, nil, 0},
		{"no trailer", func(i []*engramv1.ExportItem) []*engramv1.ExportItem { return i[:6] }, codes.DataLoss, nil, 2},
		{"cut in a namespace", func(i []*engramv1.ExportItem) []*engramv1.ExportItem { return i[:3] }, codes.DataLoss, nil, 0},
		{"another checksum", func(i []*engramv1.ExportItem) []*engramv1.ExportItem { i[6].GetTrailer().Crc32C++; return i }, codes.DataLoss, nil, 3},
		{"another count", func(i []*engramv1.ExportItem) []*engramv1.ExportItem { i[6].GetTrailer().Records++; return i }, codes.DataLoss, nil, 3},
		{"something after the trailer", func(i []*engramv1.ExportItem) []*engramv1.ExportItem { return append(i, i[0]) }, codes.InvalidArgument, []string{"items[6]"}, 3},
		{"a record before a namespace", func(i []*engramv1.ExportItem) []*engramv1.ExportItem { return slices.Delete(i, 1, 2) }, codes.InvalidArgument, []string{"items[1]"}, 0},
		{"a record that is wrong", func(i []*engramv1.ExportItem) []*engramv1.ExportItem {
			i[3].GetRecord().Record.Key.F32 = make([]byte, 5)
			return i
		}, codes.InvalidArgument, []string{"items[3].record.record.key"}, 0},
		{"a record without times", func(i []*engramv1.ExportItem) []*engramv1.ExportItem {
			i[3].GetRecord().Record.CreateTime = nil
			return i
		}, codes.InvalidArgument, []string{"items[3].record.record.create_time"}, 0},
		{"a namespace without dimension", func(i []*engramv1.ExportItem) []*engramv1.ExportItem {
			i[1].GetNamespace().Namespace.Dimension = 0
			return i
		}, codes.InvalidArgument, []string{"items[1].namespace.namespace"}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := start(t)
			_, err := h.importItems("", c.change(clone()))
			wantCode(t, err, c.code)
			if got := fields(err); !slices.Equal(got, c.fields) {
				t.Errorf("fields %q, want %q: %v", got, c.fields, err)
			}
			if n := must[*engramv1.StatsResponse](t)(h.admin.Stats(ctx(t), &engramv1.StatsRequest{})).Server.Records; n != c.stays {
				t.Errorf("%d records stay, want %d", n, c.stays)
			}
			h.waitIdle()
		})
	}
}

// cancelledAt is a context that is cancelled when it is asked for the nth time.
type cancelledAt struct {
	context.Context
	n     int64
	asked atomic.Int64
}

func (c *cancelledAt) Err() error {
	if c.asked.Add(1) >= c.n {
		return context.Canceled
	}
	return nil
}

// A scan asks its context at each block, and ends where that is cancelled.
func TestCancelledScan(t *testing.T) {
	h := start(t)
	const dim = 256
	for from := range 10 {
		records := make([]*engramv1.Record, 1000)
		for i := range records {
			key := make([]float32, dim)
			key[i%dim], key[(from+i)%dim] = 1, 2
			records[i] = &engramv1.Record{Key: &engramv1.Vector{F32: littleBytes(key)}}
		}
		h.store("a", records...)
	}
	query := []*engramv1.Query{{Vector: vec(slices.Repeat([]float32{1}, dim)...)}}
	m := &memoryService{s: h.Server}
	for name, read := range map[string]func(context.Context) error{
		"Retrieve": func(c context.Context) error {
			_, err := m.Retrieve(c, &engramv1.RetrieveRequest{Namespaces: []string{"a"}, Queries: query, TopK: ptr(uint32(1))})
			return err
		},
		"Attend": func(c context.Context) error {
			_, err := m.Attend(c, &engramv1.AttendRequest{Namespaces: []string{"a"}, Queries: query})
			return err
		},
	} {
		whole := &cancelledAt{Context: t.Context(), n: math.MaxInt64}
		if err := read(whole); err != nil {
			t.Fatal(name, err)
		}
		cut := &cancelledAt{Context: t.Context(), n: 5}
		if err := read(cut); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: a scan that is cancelled gives %v", name, err)
		}
		// Each worker may be inside one block more, and the end asks once.
		if most := cut.n + int64(runtime.GOMAXPROCS(0)) + 1; cut.asked.Load() > most || whole.asked.Load() <= most {
			t.Errorf("%s asked its context %d times when cancelled at the %dth, and %d times in all otherwise", name, cut.asked.Load(), cut.n, whole.asked.Load())
		}
	}
}
