package server

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	engramv1 "engram/proto/engram/v1"
)

func ptr[T any](v T) *T { return &v }

// TestBadInput sends everything that is refused: each gives one clear error with its
// details, the server goes on, and what it holds is as before.
func TestBadInput(t *testing.T) {
	h := start(t)
	h.store("a", rec("one", 1, 0, 0), rec("two", 0, 1, 0), rec("three", 0, 0, 1))
	h.store("b", rec("one", 1, 0, 0, 0))
	h.store("text", &engramv1.Record{Id: "eagle", Text: "the Eagle has landed"})
	must[*engramv1.NamespaceServiceCreateResponse](t)(h.namespaces.Create(ctx(t), &engramv1.NamespaceServiceCreateRequest{
		Namespace: &engramv1.Namespace{Name: "dot", Metric: engramv1.Metric_METRIC_DOT, Dimension: 3}}))
	must[*engramv1.NamespaceServiceCreateResponse](t)(h.namespaces.Create(ctx(t), &engramv1.NamespaceServiceCreateRequest{
		Namespace: &engramv1.Namespace{Name: "values", Dimension: 3, ValueDimension: 2}}))
	must[*engramv1.NamespaceServiceCreateResponse](t)(h.namespaces.Create(ctx(t), &engramv1.NamespaceServiceCreateRequest{
		Namespace: &engramv1.Namespace{Name: "heads", Dimension: 4, KvHeads: 2}}))
	page := must[*engramv1.ListResponse](t)(h.memory.List(ctx(t), &engramv1.ListRequest{Namespace: "a", PageSize: ptr(uint32(1))}))
	before := h.export()

	nan, inf := float32(math.NaN()), float32(math.Inf(-1))
	long := strings.Repeat("x", 257)
	many := func(n int, f func(i int) *engramv1.Record) []*engramv1.Record {
		out := make([]*engramv1.Record, n)
		for i := range out {
			out[i] = f(i)
		}
		return out
	}
	deep := func(levels int) *engramv1.Filter {
		f := &engramv1.Filter{Node: &engramv1.Filter_Condition{Condition: &engramv1.Condition{
			Operand: &engramv1.Condition_Field{Field: engramv1.Field_FIELD_ID}, Test: &engramv1.Condition_Exists{Exists: true}}}}
		for range levels - 1 {
			f = &engramv1.Filter{Node: &engramv1.Filter_Not{Not: f}}
		}
		return f
	}
	query := func(v ...float32) []*engramv1.Query { return []*engramv1.Query{{Vector: vec(v...)}} }
	store := func(namespace string, records ...*engramv1.Record) func() error {
		return func() error {
			_, err := h.memory.Store(ctx(t), &engramv1.StoreRequest{Namespace: namespace, Records: records})
			return err
		}
	}
	retrieve := func(r *engramv1.RetrieveRequest) func() error {
		return func() error { _, err := h.memory.Retrieve(ctx(t), r); return err }
	}
	attend := func(r *engramv1.AttendRequest) func() error {
		return func() error { _, err := h.memory.Attend(ctx(t), r); return err }
	}
	list := func(r *engramv1.ListRequest) func() error {
		return func() error { _, err := h.memory.List(ctx(t), r); return err }
	}
	names := func(n int) []string {
		out := make([]string, n)
		for i := range out {
			out[i] = fmt.Sprint("n", i)
		}
		return out
	}
	withMetadata := func(values map[string]any) *engramv1.Record {
		m, err := structpb.NewStruct(values)
		if err != nil {
			t.Fatal(err)
		}
		return &engramv1.Record{Key: vec(1, 0, 0), Metadata: m}
	}

	const bad, missing, exhausted, failed = codes.InvalidArgument, codes.NotFound, codes.ResourceExhausted, codes.FailedPrecondition
	for _, c := range []struct {
		name   string
		call   func() error
		code   codes.Code
		fields []string // of BadRequest
	}{
		{"wrong dimension", store("a", rec("x", 1, 2)), bad, []string{"records[0].key"}},
		{"dimensions differ in a new namespace", store("new", rec("x", 1, 2), rec("y", 1, 2, 3)), bad, []string{"records[1].key"}},
		{"NaN first", store("a", rec("x", nan, 0, 0)), bad, []string{"records[0].key"}},
		{"NaN last", store("a", rec("x", 0, 1, nan)), bad, []string{"records[0].key"}},
		{"Inf", store("a", rec("x", 0, inf, 1)), bad, []string{"records[0].key"}},
		{"norm over 1e18", store("a", rec("x", 2e18, 0, 0)), bad, []string{"records[0].key"}},
		{"norm below 1e-18", store("a", rec("x", 1e-19, 0, 0)), bad, []string{"records[0].key"}},
		{"zero vector under COSINE", store("a", rec("x", 0, 0, 0)), bad, []string{"records[0].key"}},
		{"NaN in a value", store("a", &engramv1.Record{Key: vec(1, 0, 0), Value: vec(1, nan, 0)}), bad, []string{"records[0].value"}},
		{"wrong value_dimension", store("a", &engramv1.Record{Key: vec(1, 0, 0), Value: vec(1, 0)}), bad, []string{"records[0].value"}},
		{"no value where dimensions differ", store("values", rec("x", 1, 0, 0)), bad, []string{"records[0].value"}},
		{"both forms", store("a", &engramv1.Record{Key: &engramv1.Vector{Values: []float32{1, 0, 0}, F32: make([]byte, 12)}}), bad, []string{"records[0].key"}},
		{"f32 not a multiple of four", store("a", &engramv1.Record{Key: &engramv1.Vector{F32: make([]byte, 11)}}), bad, []string{"records[0].key"}},
		{"NaN in f32", store("a", &engramv1.Record{Key: &engramv1.Vector{F32: []byte{0, 0, 0xc0, 0x7f, 0, 0, 0, 0, 0, 0, 0, 0}}}), bad, []string{"records[0].key"}},
		{"empty batch", store("a"), bad, []string{"records"}},
		{"1,001 records", store("a", many(1001, func(int) *engramv1.Record { return rec("", 1, 0, 0) })...), bad, []string{"records"}},
		{"empty namespace", store("", rec("", 1, 0, 0)), bad, []string{"namespace"}},
		{"namespace of 257 bytes", store(long, rec("", 1, 0, 0)), bad, []string{"namespace"}},
		{"id of 257 bytes", store("a", rec(long, 1, 0, 0)), bad, []string{"records[0].id"}},
		{"session of 257 bytes", store("a", &engramv1.Record{Key: vec(1, 0, 0), Session: &long}), bad, []string{"records[0].session"}},
		{"speaker of 257 bytes", store("a", &engramv1.Record{Key: vec(1, 0, 0), Speaker: &long}), bad, []string{"records[0].speaker"}},
		{"text over 64 KiB", store("a", &engramv1.Record{Key: vec(1, 0, 0), Text: strings.Repeat("x", 64<<10+1)}), bad, []string{"records[0].text"}},
		{"metadata over 16 KiB", store("a", withMetadata(map[string]any{"x": strings.Repeat("x", 16<<10)})), bad, []string{"records[0].metadata"}},
		{"whole number of 2^53", store("a", withMetadata(map[string]any{"x": float64(1 << 53)})), bad, []string{`records[0].metadata["x"]`}},
		{"NaN in metadata", store("a", withMetadata(map[string]any{"x": math.NaN()})), bad, []string{`records[0].metadata["x"]`}},
		{"importance 0", store("a", &engramv1.Record{Key: vec(1, 0, 0), Importance: ptr(float32(0))}), bad, []string{"records[0].importance"}},
		{"importance 1.5", store("a", &engramv1.Record{Key: vec(1, 0, 0), Importance: ptr(float32(1.5))}), bad, []string{"records[0].importance"}},
		{"time of the year 9999", store("a", &engramv1.Record{Key: vec(1, 0, 0), Time: &timestamppb.Timestamp{Seconds: 253402300799}}), bad, []string{"records[0].time"}},
		{"time out of range", store("a", &engramv1.Record{Key: vec(1, 0, 0), Time: &timestamppb.Timestamp{Nanos: -1}}), bad, []string{"records[0].time"}},
		{"neither key nor text", store("a", &engramv1.Record{Id: "x"}), bad, []string{"records[0].key"}},
		{"two records with one id", store("a", rec("x", 1, 0, 0), rec("x", 0, 1, 0)), bad, []string{"records[1].id"}},
		{"many things at once", store("a", rec(long, 1), &engramv1.Record{Key: &engramv1.Vector{F32: make([]byte, 3)}, Importance: ptr(float32(-1))}), bad,
			[]string{"records[0].id", "records[0].key", "records[1].importance", "records[1].key"}},
		{"a mode that doesn't exist", func() error {
			_, err := h.memory.Store(ctx(t), &engramv1.StoreRequest{Namespace: "a", Mode: 9, Records: []*engramv1.Record{rec("", 1, 0, 0)}})
			return err
		}, bad, []string{"mode"}},
		{"request_id of 129 bytes", func() error {
			_, err := h.memory.Store(ctx(t), &engramv1.StoreRequest{Namespace: "a", RequestId: long[:129], Records: []*engramv1.Record{rec("", 1, 0, 0)}})
			return err
		}, bad, []string{"request_id"}},
		{"INSERT of an id that exists", func() error {
			_, err := h.memory.Store(ctx(t), &engramv1.StoreRequest{Namespace: "a", Mode: engramv1.StoreMode_STORE_MODE_INSERT, Records: []*engramv1.Record{rec("new", 1, 0, 0), rec("one", 1, 0, 0)}})
			return err
		}, codes.AlreadyExists, nil},
		{"UPDATE of an id that doesn't", func() error {
			_, err := h.memory.Store(ctx(t), &engramv1.StoreRequest{Namespace: "a", Mode: engramv1.StoreMode_STORE_MODE_UPDATE, Records: []*engramv1.Record{rec("nine", 1, 0, 0)}})
			return err
		}, missing, nil},
		{"if_version 0 of a record that exists", store("a", &engramv1.Record{Id: "one", Key: vec(1, 0, 0), IfVersion: ptr(uint64(0))}), failed, nil},
		{"if_version of another version", store("a", &engramv1.Record{Id: "one", Key: vec(1, 0, 0), IfVersion: ptr(uint64(5))}), failed, nil},
		{"text where there is no embedder", store("a", &engramv1.Record{Text: "hello"}), failed, nil},
		{"another embedder", func() error {
			_, err := h.memory.Store(ctx(t), &engramv1.StoreRequest{Namespace: "text", Embedder: "other", Records: []*engramv1.Record{{Text: "hello"}}})
			return err
		}, failed, nil},

		{"no namespaces", retrieve(&engramv1.RetrieveRequest{Queries: query(1, 0, 0)}), bad, []string{"namespaces"}},
		{"17 namespaces", retrieve(&engramv1.RetrieveRequest{Namespaces: names(17), Queries: query(1, 0, 0)}), bad, []string{"namespaces"}},
		{"a namespace twice", retrieve(&engramv1.RetrieveRequest{Namespaces: []string{"a", "a"}, Queries: query(1, 0, 0)}), bad, []string{"namespaces[1]"}},
		{"unknown namespace", retrieve(&engramv1.RetrieveRequest{Namespaces: []string{"a", "nowhere"}, Queries: query(1, 0, 0)}), missing, nil},
		{"namespaces of different dimensions", retrieve(&engramv1.RetrieveRequest{Namespaces: []string{"a", "b"}, Queries: query(1, 0, 0)}), bad, []string{"namespaces[1]"}},
		{"namespaces of different metrics", retrieve(&engramv1.RetrieveRequest{Namespaces: []string{"a", "dot"}, Queries: query(1, 0, 0)}), bad, []string{"namespaces[1]"}},
		{"namespaces of different value_dimensions", attend(&engramv1.AttendRequest{Namespaces: []string{"a", "values"}, Queries: query(1, 0, 0)}), bad, []string{"namespaces[1]"}},
		{"no queries", retrieve(&engramv1.RetrieveRequest{Namespaces: []string{"a"}}), bad, []string{"queries"}},
		{"257 queries", retrieve(&engramv1.RetrieveRequest{Namespaces: []string{"a"}, Queries: slices.Repeat(query(1, 0, 0), 257)}), bad, []string{"queries"}},
		{"a query of nothing", retrieve(&engramv1.RetrieveRequest{Namespaces: []string{"a"}, Queries: []*engramv1.Query{{}}}), bad, []string{"queries[0]"}},
		{"a query of two things", retrieve(&engramv1.RetrieveRequest{Namespaces: []string{"a"}, Queries: []*engramv1.Query{{Vector: vec(1, 0, 0), Text: "x"}}}), bad, []string{"queries[0]"}},
		{"a query of the wrong dimension", retrieve(&engramv1.RetrieveRequest{Namespaces: []string{"a"}, Queries: query(1, 0)}), bad, []string{"queries[0].vector"}},
		{"an empty query vector", retrieve(&engramv1.RetrieveRequest{Namespaces: []string{"a"}, Queries: query()}), bad, []string{"queries[0].vector"}},
		{"a query with NaN", attend(&engramv1.AttendRequest{Namespaces: []string{"a"}, Queries: query(1, 0, nan)}), bad, []string{"queries[0].vector"}},
		{"a zero query under COSINE", retrieve(&engramv1.RetrieveRequest{Namespaces: []string{"a"}, Queries: query(0, 0, 0)}), bad, []string{"queries[0].vector"}},
		{"a query by text without embedder", retrieve(&engramv1.RetrieveRequest{Namespaces: []string{"a"}, Queries: []*engramv1.Query{{Text: "x"}}}), failed, nil},
		{"a query by a record that is missing", retrieve(&engramv1.RetrieveRequest{Namespaces: []string{"a"}, Queries: []*engramv1.Query{{Record: &engramv1.RecordName{Id: "nine"}}}}), missing, nil},
		{"a query by a record of another dimension", retrieve(&engramv1.RetrieveRequest{Namespaces: []string{"a"}, Queries: []*engramv1.Query{{Record: &engramv1.RecordName{Namespace: "b", Id: "one"}}}}), bad, []string{"queries[0].record"}},
		{"a read that states another embedder", retrieve(&engramv1.RetrieveRequest{Namespaces: []string{"a"}, Queries: query(1, 0, 0), Embedder: "other"}), failed, nil},
		{"top_k 0", retrieve(&engramv1.RetrieveRequest{Namespaces: []string{"a"}, Queries: query(1, 0, 0), TopK: ptr(uint32(0))}), bad, []string{"top_k"}},
		{"top_k 1,001", retrieve(&engramv1.RetrieveRequest{Namespaces: []string{"a"}, Queries: query(1, 0, 0), TopK: ptr(uint32(1001))}), bad, []string{"top_k"}},
		{"queries × top_k", retrieve(&engramv1.RetrieveRequest{Namespaces: []string{"a"}, Queries: slices.Repeat(query(1, 0, 0), 66), TopK: ptr(uint32(1000))}), bad, []string{"top_k"}},
		{"top_weights 1,001", attend(&engramv1.AttendRequest{Namespaces: []string{"a"}, Queries: query(1, 0, 0), TopWeights: 1001}), bad, []string{"top_weights"}},
		{"min_score NaN", retrieve(&engramv1.RetrieveRequest{Namespaces: []string{"a"}, Queries: query(1, 0, 0), MinScore: &nan}), bad, []string{"min_score"}},
		{"scale −1", attend(&engramv1.AttendRequest{Namespaces: []string{"a"}, Queries: query(1, 0, 0), Scale: ptr(float32(-1))}), bad, []string{"scale"}},
		{"a form that doesn't exist", retrieve(&engramv1.RetrieveRequest{Namespaces: []string{"a"}, Queries: query(1, 0, 0), Include: &engramv1.Include{VectorForm: 9}}), bad, []string{"include.vector_form"}},
		{"max_reply_bytes 0", retrieve(&engramv1.RetrieveRequest{Namespaces: []string{"a"}, Queries: query(1, 0, 0), MaxReplyBytes: ptr(uint32(0))}), bad, []string{"max_reply_bytes"}},
		{"max_reply_bytes over the message limit", retrieve(&engramv1.RetrieveRequest{Namespaces: []string{"a"}, Queries: query(1, 0, 0), MaxReplyBytes: ptr(uint32(16<<20 + 1))}), bad, []string{"max_reply_bytes"}},
		{"a reply over max_reply_bytes", retrieve(&engramv1.RetrieveRequest{Namespaces: []string{"a"}, Queries: query(1, 0, 0), MaxReplyBytes: ptr(uint32(200))}), exhausted, nil},
		{"contexts over max_reply_bytes", attend(&engramv1.AttendRequest{Namespaces: []string{"a"}, Queries: slices.Repeat(query(1, 0, 0), 20), MaxReplyBytes: ptr(uint32(1000))}), exhausted, nil},
		{"Get over max_reply_bytes", func() error {
			_, err := h.memory.Get(ctx(t), &engramv1.GetRequest{Namespace: "a", Ids: []string{"one", "two"}, MaxReplyBytes: ptr(uint32(250))})
			return err
		}, exhausted, nil},
		{"many things wrong with a read", retrieve(&engramv1.RetrieveRequest{Namespaces: []string{"a", ""}, Queries: []*engramv1.Query{{}, {Vector: &engramv1.Vector{F32: make([]byte, 5)}}}, TopK: ptr(uint32(0)), MinScore: &inf}), bad,
			[]string{"min_score", "namespaces[1]", "queries[0]", "queries[1].vector", "top_k"}},

		{"filter 9 deep", retrieve(&engramv1.RetrieveRequest{Namespaces: []string{"a"}, Queries: query(1, 0, 0), Filter: deep(9)}), bad, []string{"filter.not.not.not.not.not.not.not.not"}},
		{"filter of nothing", list(&engramv1.ListRequest{Namespace: "a", Filter: &engramv1.Filter{}}), bad, []string{"filter"}},
		{"filter of 129 nodes", list(&engramv1.ListRequest{Namespace: "a", Filter: &engramv1.Filter{Node: &engramv1.Filter_Any{Any: &engramv1.FilterList{Filters: slices.Repeat([]*engramv1.Filter{deep(1)}, 128)}}}}), bad, []string{"filter"}},
		{"range without bounds, in the second of a list", list(&engramv1.ListRequest{Namespace: "a", Filter: &engramv1.Filter{Node: &engramv1.Filter_All{All: &engramv1.FilterList{Filters: []*engramv1.Filter{
			deep(1), {Node: &engramv1.Filter_Condition{Condition: &engramv1.Condition{Operand: &engramv1.Condition_Field{Field: engramv1.Field_FIELD_ID}, Test: &engramv1.Condition_Range{Range: &engramv1.Range{}}}}}}}}}}),
			bad, []string{"filter.all.filters[1].condition.range"}},
		{"a time that is none", list(&engramv1.ListRequest{Namespace: "a", Filter: &engramv1.Filter{Node: &engramv1.Filter_Condition{Condition: &engramv1.Condition{
			Operand: &engramv1.Condition_Field{Field: engramv1.Field_FIELD_TIME}, Test: &engramv1.Condition_Equals{Equals: structpb.NewStringValue("yesterday")}}}}}), bad, []string{"filter.condition.equals"}},

		{"page_size 0", list(&engramv1.ListRequest{Namespace: "a", PageSize: ptr(uint32(0))}), bad, []string{"page_size"}},
		{"page_size 1,001", list(&engramv1.ListRequest{Namespace: "a", PageSize: ptr(uint32(1001))}), bad, []string{"page_size"}},
		{"an order that doesn't exist", list(&engramv1.ListRequest{Namespace: "a", Order: 9}), bad, []string{"order"}},
		{"a page token that is none", list(&engramv1.ListRequest{Namespace: "a", PageToken: "?"}), bad, []string{"page_token"}},
		{"a page token that was tampered with", list(&engramv1.ListRequest{Namespace: "a", PageToken: tamper(page.NextPageToken)}), bad, []string{"page_token"}},
		{"a page token of another namespace", list(&engramv1.ListRequest{Namespace: "b", PageToken: page.NextPageToken}), bad, []string{"page_token"}},
		{"a page token of another order", list(&engramv1.ListRequest{Namespace: "a", Order: engramv1.ListOrder_LIST_ORDER_TIME, PageToken: page.NextPageToken}), bad, []string{"page_token"}},
		{"a page token of another filter", list(&engramv1.ListRequest{Namespace: "a", Filter: deep(1), PageToken: page.NextPageToken}), bad, []string{"page_token"}},
		{"a page of a record too large", list(&engramv1.ListRequest{Namespace: "a", MaxReplyBytes: ptr(uint32(100))}), exhausted, nil},
		{"List of an unknown namespace", list(&engramv1.ListRequest{Namespace: "nowhere"}), missing, nil},
		{"Get of nothing", func() error {
			_, err := h.memory.Get(ctx(t), &engramv1.GetRequest{Namespace: "a"})
			return err
		}, bad, []string{"ids"}},
		{"Get of an id of 257 bytes", func() error {
			_, err := h.memory.Get(ctx(t), &engramv1.GetRequest{Namespace: "a", Ids: []string{"one", long}})
			return err
		}, bad, []string{"ids[1]"}},
		{"Count of an unknown namespace", func() error {
			_, err := h.memory.Count(ctx(t), &engramv1.CountRequest{Namespace: "nowhere"})
			return err
		}, missing, nil},
		{"Delete of nothing", func() error {
			_, err := h.memory.Delete(ctx(t), &engramv1.DeleteRequest{Namespace: "a"})
			return err
		}, bad, []string{"ids"}},
		{"Delete by ids and filter", func() error {
			_, err := h.memory.Delete(ctx(t), &engramv1.DeleteRequest{Namespace: "a", Ids: []string{"one"}, Filter: deep(1)})
			return err
		}, bad, []string{"filter"}},
		{"Update without a mask", func() error {
			_, err := h.memory.Update(ctx(t), &engramv1.UpdateRequest{Namespace: "a", Records: []*engramv1.Record{rec("one", 1, 0, 0)}})
			return err
		}, bad, []string{"update_mask"}},
		{"Update of a field that can't", func() error {
			_, err := h.memory.Update(ctx(t), &engramv1.UpdateRequest{Namespace: "a", Records: []*engramv1.Record{rec("one", 1, 0, 0)}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"text", "version"}}})
			return err
		}, bad, []string{"update_mask.paths[1]"}},
		{"Update without an id", func() error {
			_, err := h.memory.Update(ctx(t), &engramv1.UpdateRequest{Namespace: "a", Records: []*engramv1.Record{{Text: "x"}}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"text"}}})
			return err
		}, bad, []string{"records[0].id"}},
		{"Update of a record that is missing", func() error {
			_, err := h.memory.Update(ctx(t), &engramv1.UpdateRequest{Namespace: "a", Records: []*engramv1.Record{{Id: "one", Text: "x"}, {Id: "nine", Text: "x"}}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"text"}}})
			return err
		}, missing, nil},
		{"Update that clears a key", func() error {
			_, err := h.memory.Update(ctx(t), &engramv1.UpdateRequest{Namespace: "a", Records: []*engramv1.Record{{Id: "one"}}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"key"}}})
			return err
		}, bad, []string{"records[0].key"}},

		{"Create of a namespace that exists", func() error {
			_, err := h.namespaces.Create(ctx(t), &engramv1.NamespaceServiceCreateRequest{Namespace: &engramv1.Namespace{Name: "a", Dimension: 3}})
			return err
		}, codes.AlreadyExists, nil},
		{"Create with everything wrong", func() error {
			_, err := h.namespaces.Create(ctx(t), &engramv1.NamespaceServiceCreateRequest{Namespace: &engramv1.Namespace{Metric: 9, Dimension: 8193, ValueDimension: 8193, MaxBytes: math.MaxUint64}})
			return err
		}, bad, []string{"namespace.dimension", "namespace.max_bytes", "namespace.metric", "namespace.name", "namespace.value_dimension"}},
		{"Create with another's embedder", func() error {
			_, err := h.namespaces.Create(ctx(t), &engramv1.NamespaceServiceCreateRequest{Namespace: &engramv1.Namespace{Name: "new", Embedder: &engramv1.Embedder{Name: "other"}}})
			return err
		}, failed, nil},
		{"Get of a namespace that is missing", func() error {
			_, err := h.namespaces.Get(ctx(t), &engramv1.NamespaceServiceGetRequest{Name: "nowhere"})
			return err
		}, missing, nil},
		{"Update of a namespace's dimension", func() error {
			_, err := h.namespaces.Update(ctx(t), &engramv1.NamespaceServiceUpdateRequest{Namespace: &engramv1.Namespace{Name: "a", Dimension: 4}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"dimension"}}})
			return err
		}, bad, []string{"update_mask.paths[0]"}},
		{"Delete of a namespace that is missing", func() error {
			_, err := h.namespaces.Delete(ctx(t), &engramv1.NamespaceServiceDeleteRequest{Name: "nowhere"})
			return err
		}, missing, nil},
		{"namespaces' page token that was tampered with", func() error {
			first := must[*engramv1.NamespaceServiceListResponse](t)(h.namespaces.List(ctx(t), &engramv1.NamespaceServiceListRequest{PageSize: ptr(uint32(1))}))
			_, err := h.namespaces.List(ctx(t), &engramv1.NamespaceServiceListRequest{PageToken: tamper(first.NextPageToken)})
			return err
		}, bad, []string{"page_token"}},
		{"Stats of a namespace that is missing", func() error {
			_, err := h.admin.Stats(ctx(t), &engramv1.StatsRequest{Namespaces: []string{"nowhere"}})
			return err
		}, missing, nil},
		{"Snapshot without a data directory", func() error {
			_, err := h.admin.Snapshot(ctx(t), &engramv1.SnapshotRequest{})
			return err
		}, failed, nil},
		{"Export of a namespace that is missing", func() error { _, err := h.exportItems("nowhere"); return err }, missing, nil},
		{"kv_heads that don't divide the dimension", func() error {
			_, err := h.namespaces.Create(ctx(t), &engramv1.NamespaceServiceCreateRequest{Namespace: &engramv1.Namespace{Name: "h", Dimension: 6, KvHeads: 4}})
			return err
		}, bad, []string{"namespace.kv_heads"}},
		{"kv_heads that don't divide the value_dimension", func() error {
			_, err := h.namespaces.Create(ctx(t), &engramv1.NamespaceServiceCreateRequest{Namespace: &engramv1.Namespace{Name: "h", Dimension: 6, ValueDimension: 8, KvHeads: 3}})
			return err
		}, bad, []string{"namespace.kv_heads"}},
		{"a head of norm 0", store("heads", rec("x", 1, 1, 0, 0)), bad, []string{"records[0].key"}},
		{"position over 2^53", store("a", &engramv1.Record{Key: vec(1, 0, 0), Position: ptr(int64(1)<<53 + 1)}), bad, []string{"records[0].position"}},
		{"query_heads no multiple of kv_heads", attend(&engramv1.AttendRequest{Namespaces: []string{"heads"}, Queries: query(1, 0, 0, 1, 1, 1), QueryHeads: 3}), bad, []string{"queries[0].vector", "query_heads"}},
		{"query_heads over 256", attend(&engramv1.AttendRequest{Namespaces: []string{"a"}, Queries: query(1, 0, 0), QueryHeads: 257}), bad, []string{"query_heads"}},
		{"a query of other heads", attend(&engramv1.AttendRequest{Namespaces: []string{"heads"}, Queries: query(1, 0, 0, 1), QueryHeads: 4}), bad, []string{"queries[0].vector"}},
		{"a query with a head of norm 0", attend(&engramv1.AttendRequest{Namespaces: []string{"heads"}, Queries: query(1, 0, 0, 0)}), bad, []string{"queries[0].vector"}},
		{"a stored record with more heads", attend(&engramv1.AttendRequest{Namespaces: []string{"a"}, QueryHeads: 2,
			Queries: []*engramv1.Query{{Record: &engramv1.RecordName{Id: "one"}}}}), bad, []string{"queries[0]"}},
		{"kv_heads differ", attend(&engramv1.AttendRequest{Namespaces: []string{"heads", "b"}, Queries: query(1, 0, 0, 1)}), bad, []string{"namespaces[1]"}},
		{"sinks without last", attend(&engramv1.AttendRequest{Namespaces: []string{"a"}, Queries: query(1, 0, 0), Window: &engramv1.Window{Sinks: 1}}), bad, []string{"window.sinks"}},
		{"last over 65,536", attend(&engramv1.AttendRequest{Namespaces: []string{"a"}, Queries: query(1, 0, 0), Window: &engramv1.Window{Last: 1<<16 + 1}}), bad, []string{"window.last"}},
		{"before no time", attend(&engramv1.AttendRequest{Namespaces: []string{"a"}, Queries: query(1, 0, 0), Window: &engramv1.Window{BeforeTime: &timestamppb.Timestamp{Nanos: -1}}}), bad, []string{"window.before_time"}},
		{"before LSN 0", attend(&engramv1.AttendRequest{Namespaces: []string{"a"}, Queries: query(1, 0, 0), Window: &engramv1.Window{BeforeLsn: ptr(uint64(0))}}), bad, []string{"window.before_lsn"}},
		{"before a position below -2^53", attend(&engramv1.AttendRequest{Namespaces: []string{"a"}, Queries: query(1, 0, 0), Window: &engramv1.Window{BeforePosition: ptr(int64(math.MinInt64))}}), bad, []string{"window.before_position"}},
		{"slopes without positions", attend(&engramv1.AttendRequest{Namespaces: []string{"a"}, Queries: query(1, 0, 0), Bias: &engramv1.Bias{Slopes: []float64{1}}}), bad, []string{"queries[0].position"}},
		{"a position over 2^53", attend(&engramv1.AttendRequest{Namespaces: []string{"a"}, Queries: []*engramv1.Query{{Vector: vec(1, 0, 0), Position: ptr(int64(math.MaxInt64))}}}), bad, []string{"queries[0].position"}},
		{"slopes for other heads", attend(&engramv1.AttendRequest{Namespaces: []string{"a"}, Queries: []*engramv1.Query{{Vector: vec(1, 0, 0), Position: ptr(int64(1))}}, Bias: &engramv1.Bias{Slopes: []float64{1, 1}}}), bad, []string{"bias.slopes"}},
		{"a negative slope", attend(&engramv1.AttendRequest{Namespaces: []string{"a"}, Queries: []*engramv1.Query{{Vector: vec(1, 0, 0), Position: ptr(int64(1))}}, Bias: &engramv1.Bias{Slopes: []float64{-1}}}), bad, []string{"bias.slopes[0]"}},
		{"an importance of NaN", attend(&engramv1.AttendRequest{Namespaces: []string{"a"}, Queries: query(1, 0, 0), Bias: &engramv1.Bias{Importance: math.NaN()}}), bad, []string{"bias.importance"}},
		{"top_k of Attend over 1,000", attend(&engramv1.AttendRequest{Namespaces: []string{"a"}, Queries: query(1, 0, 0), TopK: 1001}), bad, []string{"top_k"}},
		{"a search without top_k", attend(&engramv1.AttendRequest{Namespaces: []string{"a"}, Queries: query(1, 0, 0), Search: &engramv1.Search{Exact: ptr(true)}}), bad, []string{"search"}},
		{"no way to combine", attend(&engramv1.AttendRequest{Namespaces: []string{"a"}, Queries: query(1, 0, 0), Combine: 9}), bad, []string{"combine"}},
		{"ADD of other lengths", attend(&engramv1.AttendRequest{Namespaces: []string{"values"}, Queries: query(1, 0, 0), Combine: engramv1.Combine_COMBINE_ADD}), bad, []string{"combine"}},
		{"GATE without a gate", attend(&engramv1.AttendRequest{Namespaces: []string{"a"}, Queries: query(1, 0, 0), Combine: engramv1.Combine_COMBINE_GATE}), bad, []string{"gate"}},
		{"a gate of 1.5", attend(&engramv1.AttendRequest{Namespaces: []string{"a"}, Queries: query(1, 0, 0), Combine: engramv1.Combine_COMBINE_GATE, Gate: []float32{1.5}}), bad, []string{"gate[0]"}},
		{"a gate without GATE", attend(&engramv1.AttendRequest{Namespaces: []string{"a"}, Queries: query(1, 0, 0), Gate: []float32{1}}), bad, []string{"gate"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := c.call()
			wantCode(t, err, c.code)
			got := fields(err)
			slices.Sort(got)
			if !slices.Equal(got, c.fields) {
				t.Errorf("fields %q, want %q: %v", got, c.fields, err)
			}
			var present bool
			switch c.code {
			case bad:
				present = len(got) > 0
			case missing, codes.AlreadyExists:
				present = detail[*errdetails.ResourceInfo](err) != nil
			case failed:
				present = detail[*errdetails.PreconditionFailure](err) != nil
			case exhausted:
				present = detail[*errdetails.QuotaFailure](err) != nil
			}
			if !present {
				t.Errorf("the details lack what belongs to %v: %v", c.code, err)
			}
		})
	}
	if after := h.export(); !bytes.Equal(before, after) {
		t.Error("what the server holds has changed")
	}
	if strings.Contains(h.logged.String(), "panic") {
		t.Error("a handler panicked:", h.logged)
	}
}

// tamper changes one character in the middle of a token.
func tamper(token string) string {
	b := []byte(token)
	i := len(b) / 2
	if b[i] == 'A' {
		b[i] = 'B'
	} else {
		b[i] = 'A'
	}
	return string(b)
}
