package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"engram/internal/slab"
	"engram/memory"
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

// Streams that wait for their clients take none of the budget: many of them are served,
// though it has room for the largest message but a few times.
func TestManyStreamsThatWait(t *testing.T) {
	h := start(t)
	var streams []grpc.BidiStreamingClient[engramv1.StoreStreamRequest, engramv1.StoreStreamResponse]
	for round := range 2 {
		for i := range 64 {
			if round == 0 {
				streams = append(streams, must[grpc.BidiStreamingClient[engramv1.StoreStreamRequest, engramv1.StoreStreamResponse]](t)(h.memory.StoreStream(ctx(t))))
			}
			if err := streams[i].Send(&engramv1.StoreStreamRequest{Namespace: "m", Records: []*engramv1.Record{rec(fmt.Sprint(i), 1, 2)}}); err != nil {
				t.Fatal(err)
			}
			must[*engramv1.StoreStreamResponse](t)(streams[i].Recv())
		}
	}
}

// A unary call has one request.
func TestOneRequest(t *testing.T) {
	h := start(t)
	must[*engramv1.StoreResponse](t)(h.memory.Store(ctx(t), &engramv1.StoreRequest{Namespace: "a", Records: []*engramv1.Record{rec("r", 1, 2)}}))
	for requests, want := range []codes.Code{codes.Internal, codes.OK, codes.Internal} {
		stream := must[grpc.ClientStream](t)(h.conn.NewStream(ctx(t), &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, engramv1.MemoryService_Count_FullMethodName))
		for range requests {
			if err := stream.SendMsg(&engramv1.CountRequest{Namespace: "a"}); err != nil {
				t.Fatal(err)
			}
		}
		if err := stream.CloseSend(); err != nil {
			t.Fatal(err)
		}
		wantCode(t, stream.RecvMsg(new(engramv1.CountResponse)), want)
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

// The encodings of keys give the same answers, but for what INT8_ONLY rounds and says so.
// They can be changed, and go along with exports.
func TestKeyEncodings(t *testing.T) {
	h := start(t)
	r := rand.New(rand.NewPCG(1, 2))
	const dim, records = 48, 700
	var batch []*engramv1.Record
	for i := range records {
		key := make([]float32, dim)
		for j := range key {
			key[j] = float32(r.NormFloat64())
		}
		batch = append(batch, &engramv1.Record{Id: fmt.Sprint(i), Key: vec(key...)})
	}
	query := batch[7].Key
	retrieve := func(namespace string) *engramv1.RetrieveResponse {
		t.Helper()
		return must[*engramv1.RetrieveResponse](t)(h.memory.Retrieve(ctx(t), &engramv1.RetrieveRequest{
			Namespaces: []string{namespace}, Queries: []*engramv1.Query{{Vector: query}}, TopK: ptr(uint32(9)), Include: &engramv1.Include{Key: true}}))
	}
	encodings := map[string]engramv1.KeyEncoding{
		"f32": engramv1.KeyEncoding_KEY_ENCODING_F32, "int8": engramv1.KeyEncoding_KEY_ENCODING_INT8, "only": engramv1.KeyEncoding_KEY_ENCODING_INT8_ONLY,
		"f16": engramv1.KeyEncoding_KEY_ENCODING_F16, "bf16": engramv1.KeyEncoding_KEY_ENCODING_BF16,
	}
	for name, e := range encodings {
		n := must[*engramv1.NamespaceServiceCreateResponse](t)(h.namespaces.Create(ctx(t), &engramv1.NamespaceServiceCreateRequest{
			Namespace: &engramv1.Namespace{Name: name, Dimension: dim, KeyEncoding: e}})).Namespace
		if n.KeyEncoding != e {
			t.Errorf("%s is made with %v", name, n.KeyEncoding)
		}
		h.store(name, batch...)
	}
	want := retrieve("f32").Results[0].Hits
	for i, hit := range retrieve("int8").Results[0].Hits {
		if hit.Record.Id != want[i].Record.Id || hit.Similarity != want[i].Similarity || hit.ScoreError != 0 || !proto.Equal(hit.Record.Key, want[i].Record.Key) {
			t.Errorf("hit %d of INT8 is %v, not %v", i, hit, want[i])
		}
	}
	exact := make(map[string]float32)
	for _, hit := range want {
		exact[hit.Record.Id] = hit.Similarity
	}
	for name, most := range map[string]float32{"only": 0.02, "f16": 0x1p-10, "bf16": 0x1p-7} {
		rounded := retrieve(name).Results[0].Hits
		known := 0
		for i, hit := range rounded {
			if s, ok := exact[hit.Record.Id]; ok {
				known++
				if off := math.Abs(float64(hit.Similarity - s)); off > float64(hit.ScoreError) || hit.ScoreError > most {
					t.Errorf("hit %d of %s scores %v ± %v, exactly %v", i, name, hit.Similarity, hit.ScoreError, s)
				}
			}
		}
		if known < 7 || proto.Equal(rounded[0].Record.Key, want[0].Record.Key) {
			t.Errorf("%s finds %d of %d, the first with the key that was given: %v", name, known, len(want), rounded[0])
		}
		// What comes back from an export scores the same, with the same errors.
		items, err := h.exportItems(name)
		if err != nil {
			t.Fatal(err)
		}
		here := h
		h = start(t)
		must[*engramv1.ImportResponse](t)(h.importItems("r", items))
		got := retrieve(name).Results[0].Hits
		if len(got) != len(rounded) {
			t.Fatalf("%d hits of the import of %s, not %d", len(got), name, len(rounded))
		}
		for i := range got {
			if got[i].Similarity != rounded[i].Similarity || got[i].ScoreError != rounded[i].ScoreError || !proto.Equal(got[i].Record.Key, rounded[i].Record.Key) {
				t.Errorf("hit %d of the import of %s is %v, not %v", i, name, got[i], rounded[i])
			}
		}
		h = here
	}
	only := retrieve("only").Results[0].Hits
	n := must[*engramv1.NamespaceServiceUpdateResponse](t)(h.namespaces.Update(ctx(t), &engramv1.NamespaceServiceUpdateRequest{
		Namespace:  &engramv1.Namespace{Name: "only", KeyEncoding: engramv1.KeyEncoding_KEY_ENCODING_F32},
		UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"key_encoding"}}})).Namespace
	if n.KeyEncoding != engramv1.KeyEncoding_KEY_ENCODING_F32 || retrieve("only").Results[0].Hits[0].Similarity != only[0].Similarity {
		t.Errorf("after a change the namespace is %v", n)
	}
	_, err := h.namespaces.Create(ctx(t), &engramv1.NamespaceServiceCreateRequest{Namespace: &engramv1.Namespace{Name: "x", Dimension: 2, KeyEncoding: 9}})
	wantCode(t, err, codes.InvalidArgument)
	_, err = h.namespaces.Create(ctx(t), &engramv1.NamespaceServiceCreateRequest{Namespace: &engramv1.Namespace{Name: "x", Dimension: 2, ValueEncoding: 9}})
	wantCode(t, err, codes.InvalidArgument)
}

// A namespace with a recall of its own gets an index from 50,000 records on. A request may
// ask otherwise; the reply says how it was searched.
func TestRecall(t *testing.T) {
	h := start(t)
	const dim, records = 16, 51_000
	r := rand.New(rand.NewPCG(3, 4))
	n := must[*engramv1.NamespaceServiceCreateResponse](t)(h.namespaces.Create(ctx(t), &engramv1.NamespaceServiceCreateRequest{
		Namespace: &engramv1.Namespace{Name: "n", Dimension: dim, Recall: 0.9}})).Namespace
	if n.Recall != 0.9 {
		t.Errorf("the namespace is %v", n)
	}
	random := func() *engramv1.Vector {
		v := make([]float32, dim)
		for j := range v {
			v[j] = float32(r.NormFloat64())
		}
		return &engramv1.Vector{F32: littleBytes(v)}
	}
	for from := 0; from < records; from += 1000 {
		batch := make([]*engramv1.Record, 1000)
		for i := range batch {
			batch[i] = &engramv1.Record{Id: fmt.Sprint(from + i), Key: random()}
		}
		h.store("n", batch...)
	}
	var ivf *engramv1.IVFStats
	for ivf == nil || ivf.UncoveredRows > records/4 {
		st := must[*engramv1.StatsResponse](t)(h.admin.Stats(ctx(t), &engramv1.StatsRequest{Namespaces: []string{"n"}}))
		ivf = st.Namespaces[0].Ivf
		time.Sleep(5 * time.Millisecond)
	}
	if ivf.Lists == 0 || ivf.Bytes == 0 || len(ivf.Curves) != 3 || len(ivf.Curves[1].Points) == 0 || !ivf.CalibratedByKeys {
		t.Errorf("the index is %v", ivf)
	}
	retrieve := func(query *engramv1.Vector, search *engramv1.Search) *engramv1.RetrieveResponse {
		t.Helper()
		return must[*engramv1.RetrieveResponse](t)(h.memory.Retrieve(ctx(t), &engramv1.RetrieveRequest{
			Namespaces: []string{"n"}, Queries: []*engramv1.Query{{Vector: query}}, Search: search, Include: &engramv1.Include{}}))
	}
	found, total := 0, 0
	for range 100 {
		q := random()
		exact := retrieve(q, &engramv1.Search{Exact: ptr(true)})
		if s := exact.Search; !s.Exact || s.ListsProbed != 0 || s.Recall != 1 {
			t.Fatalf("an exact search says %v", s)
		}
		byDefault := retrieve(q, nil)
		if s := byDefault.Search; s.Exact || s.ListsProbed == 0 || s.RowsScanned >= records || s.Recall < 0.9 {
			t.Fatalf("a search by the namespace's recall says %v", s)
		}
		if s := retrieve(q, &engramv1.Search{Probes: ptr(uint32(1))}).Search; s.Exact || s.ListsProbed != 1 {
			t.Fatalf("a search of one list says %v", s)
		}
		if s := retrieve(q, &engramv1.Search{Recall: ptr(0.999)}).Search; s.ListsProbed <= byDefault.Search.ListsProbed && !s.Exact {
			t.Fatalf("a search for 0.999 says %v", s)
		}
		ids := make(map[string]bool)
		for _, hit := range exact.Results[0].Hits {
			ids[hit.Record.Id] = true
		}
		for _, hit := range byDefault.Results[0].Hits {
			total++
			if ids[hit.Record.Id] {
				found++
			}
		}
	}
	if got := float64(found) / float64(total); got < 0.87 || total != 1000 {
		t.Errorf("the recall is %v of %d hits", got, total)
	}
	for name, search := range map[string]*engramv1.Search{
		"two":         {Exact: ptr(true), Recall: ptr(0.9)},
		"not exact":   {Exact: ptr(false)},
		"no probes":   {Probes: ptr(uint32(0))},
		"many probes": {Probes: ptr(uint32(1<<16 + 1))},
		"all":         {Recall: ptr(1.0)},
		"nan":         {Recall: ptr(math.NaN())},
	} {
		_, err := h.memory.Retrieve(ctx(t), &engramv1.RetrieveRequest{Namespaces: []string{"n"}, Queries: []*engramv1.Query{{Vector: random()}}, Search: search})
		if wantCode(t, err, codes.InvalidArgument); t.Failed() {
			t.Fatal(name)
		}
	}
	_, err := h.namespaces.Update(ctx(t), &engramv1.NamespaceServiceUpdateRequest{
		Namespace: &engramv1.Namespace{Name: "n", Recall: 1.5}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"recall"}}})
	wantCode(t, err, codes.InvalidArgument)
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

// Stats and metrics tell what reads of a large namespace shared.
func TestSharedScanStats(t *testing.T) {
	const dim, rows = 512, 4500
	load := func(h *harness) {
		for from := 0; from < rows; from += 500 {
			batch := make([]memory.Put, 500)
			for i := range batch {
				batch[i].ID, batch[i].Key = fmt.Sprint(from+i), make([]float32, dim)
				batch[i].Key[i], batch[i].Key[from/100] = 1, 2
			}
			if _, err := h.db.Store(ctx(t), &memory.Store{Namespace: "large", Records: batch}); err != nil {
				t.Fatal(err)
			}
		}
		h.store("small", rec("x", 1, 0))
	}
	read := func(h *harness, namespace string, dim int) {
		q := make([]float32, dim)
		q[0] = 1
		must[*engramv1.RetrieveResponse](t)(h.memory.Retrieve(ctx(t), &engramv1.RetrieveRequest{Namespaces: []string{namespace}, Queries: []*engramv1.Query{{Vector: vec(q...)}}}))
		must[*engramv1.AttendResponse](t)(h.memory.Attend(ctx(t), &engramv1.AttendRequest{Namespaces: []string{namespace}, Queries: []*engramv1.Query{{Vector: vec(q...)}}}))
	}
	h := start(t)
	load(h)
	for range 3 {
		read(h, "large", dim)
		read(h, "small", 2)
	}
	st := must[*engramv1.StatsResponse](t)(h.admin.Stats(ctx(t), &engramv1.StatsRequest{})).Server.SharedScan
	if st.GetReads() != 6 || math.Abs(st.GetPasses()-6) > 1e-6 || st.GetRiding() != 0 {
		t.Errorf("after six reads, one by one: %v", st)
	}
	metrics := h.get("/metrics")
	for _, want := range []string{"engram_shared_scan_reads_total 6", "engram_shared_scan_passes_total ", "engram_shared_scan_riding 0"} {
		if !strings.Contains(metrics, want) {
			t.Errorf("/metrics lacks %q", want)
		}
	}

	unshared := memory.New(memory.Options{Pool: slab.NewPool(1 << 20), Unshared: true})
	defer unshared.Close()
	off := start(t, func(c *Config) { c.DB = unshared })
	if st := must[*engramv1.StatsResponse](t)(off.admin.Stats(ctx(t), &engramv1.StatsRequest{})).Server.SharedScan; st != nil {
		t.Errorf("with sharing off: %v", st)
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
	for from := range 7 { // more, and the calls would ride a pass, whose walker is anyone
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
