package server

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"

	engramv1 "engram/proto/engram/v1"
)

func beside(n *engramv1.Neighbours) (before, after []string) {
	for _, r := range n.GetBefore() {
		before = append(before, r.Id)
	}
	for _, r := range n.GetAfter() {
		after = append(after, r.Id)
	}
	return before, after
}

func TestChoice(t *testing.T) {
	h := start(t)
	turn := func(id, session, speaker string, key ...float32) *engramv1.Record {
		r := rec(id, key...)
		r.Speaker, r.Text = &speaker, "text of "+id
		if session != "" {
			r.Session = &session
		}
		return r
	}
	h.store("n",
		turn("a1", "a", "Ann", 1, 0), turn("b1", "b", "Bob", 0.99, 0.01), turn("a2", "a", "Bob", 0.98, 0.02),
		turn("a3", "a", "Ann", 0, 1), turn("b2", "b", "Ann", 0.1, 0.9), turn("loose", "", "Cy", 0.5, 0.5),
	)
	retrieve := func(req *engramv1.RetrieveRequest) (*engramv1.RetrieveResponse, error) {
		req.Namespaces, req.Queries = []string{"n"}, []*engramv1.Query{{Vector: vec(1, 0)}}
		return h.memory.Retrieve(ctx(t), req)
	}

	plain := must[*engramv1.RetrieveResponse](t)(retrieve(&engramv1.RetrieveRequest{TopK: ptr(uint32(2))}))
	if got := ids(plain); !slices.Equal(got, []string{"a1", "b1"}) {
		t.Errorf("by similarity the hits are %q", got)
	}
	if hit := plain.Results[0].Hits[1]; hit.Neighbours != nil || hit.Diversity != nil || hit.Group != nil {
		t.Errorf("unasked, a hit has %v", hit)
	}

	diverse := must[*engramv1.RetrieveResponse](t)(retrieve(&engramv1.RetrieveRequest{TopK: ptr(uint32(2)), Diversity: &engramv1.Diversity{Weight: ptr(0.8)}}))
	if got := ids(diverse); !slices.Equal(got, []string{"a1", "a3"}) {
		t.Errorf("with diversity the hits are %q", got)
	}
	if hit := diverse.Results[0].Hits[0]; hit.Diversity == nil || *hit.Diversity != 0 || hit.Score != hit.Similarity {
		t.Errorf("the first hit is %v", hit)
	}
	few := must[*engramv1.RetrieveResponse](t)(retrieve(&engramv1.RetrieveRequest{TopK: ptr(uint32(2)), Diversity: &engramv1.Diversity{Weight: ptr(1.0), Candidates: ptr(uint32(3))}}))
	if got := ids(few); !slices.Equal(got, []string{"a1", "a2"}) {
		t.Errorf("of 3 candidates the hits are %q", got)
	}

	around := must[*engramv1.RetrieveResponse](t)(retrieve(&engramv1.RetrieveRequest{Neighbours: &engramv1.NeighbourCount{Before: 1, After: 1}}))
	for _, hit := range around.Results[0].Hits {
		want := map[string]string{"a1": "[] [a2]", "a2": "[a1] [a3]", "a3": "[a2] []", "b1": "[] [b2]", "b2": "[b1] []", "loose": "[] []"}[hit.Record.Id]
		before, after := beside(hit.Neighbours)
		if got := fmt.Sprint(before, after); got != want || hit.Neighbours == nil {
			t.Errorf("around %s are %s, want %s", hit.Record.Id, got, want)
		}
		if hit.Record.Id == "a1" && hit.Neighbours.After[0].Text != "text of a2" {
			t.Errorf("a neighbour is %v", hit.Neighbours.After[0])
		}
	}
	// What doesn't match is no neighbour.
	ann := &engramv1.Filter{Node: &engramv1.Filter_Condition{Condition: &engramv1.Condition{
		Operand: &engramv1.Condition_Field{Field: engramv1.Field_FIELD_SPEAKER}, Test: &engramv1.Condition_Prefix{Prefix: "Ann"}}}}
	hers := must[*engramv1.RetrieveResponse](t)(retrieve(&engramv1.RetrieveRequest{Filter: ann, TopK: ptr(uint32(1)), Neighbours: &engramv1.NeighbourCount{After: 16}, Include: &engramv1.Include{Text: ptr(false)}}))
	if _, after := beside(hers.Results[0].Hits[0].Neighbours); !slices.Equal(after, []string{"a3"}) || hers.Results[0].Hits[0].Neighbours.After[0].Text != "" {
		t.Errorf("after a1 Ann's are %q", after)
	}

	grouped := must[*engramv1.RetrieveResponse](t)(retrieve(&engramv1.RetrieveRequest{TopK: ptr(uint32(2)), GroupBy: &engramv1.GroupBy{
		Operand: &engramv1.GroupBy_Field{Field: engramv1.Field_FIELD_SESSION}, Hits: ptr(uint32(2))}}))
	var groups []uint32
	for _, hit := range grouped.Results[0].Hits {
		groups = append(groups, hit.GetGroup())
	}
	if got := ids(grouped); !slices.Equal(got, []string{"a1", "a2", "b1", "b2"}) || !slices.Equal(groups, []uint32{0, 0, 1, 1}) {
		t.Errorf("the groups are %v of %q", groups, got)
	}

	path := func(keys ...string) *engramv1.GroupBy {
		return &engramv1.GroupBy{Operand: &engramv1.GroupBy_Metadata{Metadata: &engramv1.MetadataPath{Keys: keys}}}
	}
	byField := func(f engramv1.Field, hits uint32) *engramv1.GroupBy {
		return &engramv1.GroupBy{Operand: &engramv1.GroupBy_Field{Field: f}, Hits: &hits}
	}
	for _, bad := range []struct {
		field, says string
		req         *engramv1.RetrieveRequest
	}{
		{"diversity.weight", "is -0.5; give 0 to 1", &engramv1.RetrieveRequest{Diversity: &engramv1.Diversity{Weight: ptr(-0.5)}}},
		{"diversity.weight", "is 1.5; give 0 to 1", &engramv1.RetrieveRequest{Diversity: &engramv1.Diversity{Weight: ptr(1.5)}}},
		{"diversity.weight", "is NaN", &engramv1.RetrieveRequest{Diversity: &engramv1.Diversity{Weight: ptr(math.NaN())}}},
		{"diversity.candidates", "is 0; give from top_k, 10, to 1000", &engramv1.RetrieveRequest{Diversity: &engramv1.Diversity{Candidates: ptr(uint32(0))}}},
		{"diversity.candidates", "is 9; give from top_k, 10, to 1000", &engramv1.RetrieveRequest{Diversity: &engramv1.Diversity{Candidates: ptr(uint32(9))}}},
		{"diversity.candidates", "is 1001; give from top_k, 10, to 1000", &engramv1.RetrieveRequest{Diversity: &engramv1.Diversity{Candidates: ptr(uint32(1001))}}},
		{"neighbours.before", "is 17; at most 16", &engramv1.RetrieveRequest{Neighbours: &engramv1.NeighbourCount{Before: 17}}},
		{"neighbours.after", "is 4294967295; at most 16", &engramv1.RetrieveRequest{Neighbours: &engramv1.NeighbourCount{After: math.MaxUint32}}},
		{"group_by", "has no operand", &engramv1.RetrieveRequest{GroupBy: &engramv1.GroupBy{}}},
		{"group_by.hits", "is 0; give 1 to 1000", &engramv1.RetrieveRequest{GroupBy: byField(engramv1.Field_FIELD_SPEAKER, 0)}},
		{"group_by.hits", "is 1001; give 1 to 1000", &engramv1.RetrieveRequest{GroupBy: byField(engramv1.Field_FIELD_SPEAKER, 1001)}},
		{"group_by.hits", "is 66, which times 1 queries and top_k of 1000 is 66000; at most 65536", &engramv1.RetrieveRequest{TopK: ptr(uint32(1000)), GroupBy: byField(engramv1.Field_FIELD_SPEAKER, 66)}},
		{"neighbours", "are 6 and the hit, which times 1 queries, top_k of 1000 and 10 hits of a group is 70000; at most 65536", &engramv1.RetrieveRequest{
			TopK: ptr(uint32(1000)), GroupBy: byField(engramv1.Field_FIELD_SPEAKER, 10), Neighbours: &engramv1.NeighbourCount{Before: 3, After: 3}}},
		{"group_by.field", "is FIELD_TEXT; records are grouped by", &engramv1.RetrieveRequest{GroupBy: byField(engramv1.Field_FIELD_TEXT, 1)}},
		{"group_by.field", "is FIELD_UNSPECIFIED", &engramv1.RetrieveRequest{GroupBy: byField(0, 1)}},
		{"group_by.metadata.keys", "has 0 keys; give 1 to 16", &engramv1.RetrieveRequest{GroupBy: path()}},
		{"group_by.metadata.keys", "has 17 keys; give 1 to 16", &engramv1.RetrieveRequest{GroupBy: path(slices.Repeat([]string{"x"}, 17)...)}},
		{"group_by.metadata.keys[1]", "is empty", &engramv1.RetrieveRequest{GroupBy: path("x", "")}},
	} {
		_, err := retrieve(bad.req)
		wantCode(t, err, codes.InvalidArgument)
		v := detail[*errdetails.BadRequest](err).GetFieldViolations()
		if len(v) != 1 || v[0].Field != bad.field || !strings.Contains(v[0].Description, bad.says) {
			t.Errorf("%s %q: refused with %v", bad.field, bad.says, v)
		}
	}

	many := &engramv1.RetrieveRequest{
		Namespaces: []string{"n"}, Queries: slices.Repeat([]*engramv1.Query{{Vector: vec(1, 0)}}, 65), TopK: ptr(uint32(1000)),
		Diversity: &engramv1.Diversity{Candidates: ptr(uint32(1000))},
	}
	if _, err := h.memory.Retrieve(ctx(t), many); !slices.Equal(fields(err), []string{"diversity.candidates"}) {
		t.Errorf("65 million resemblances: %v", err)
	}

	// Neighbours count for the size of a reply.
	small := &engramv1.RetrieveRequest{TopK: ptr(uint32(1)), MaxReplyBytes: ptr(uint32(400))}
	must[*engramv1.RetrieveResponse](t)(retrieve(small))
	small.Neighbours = &engramv1.NeighbourCount{After: 2}
	_, err := retrieve(small)
	wantCode(t, err, codes.ResourceExhausted)
	if !strings.Contains(err.Error(), "lower top_k or neighbours") {
		t.Errorf("a reply too large: %v", err)
	}
}

// Groups are filled by a ranking of words, too, and by a text's own.
func TestChoiceOfRanked(t *testing.T) {
	h := start(t)
	h.store("talk",
		said("1", "Ann", "We camped beside a river."), said("2", "Ann", "The river was cold."),
		said("3", "Bob", "No river for me."), said("4", "Cy", "Which river?"),
	)
	reply := must[*engramv1.RetrieveResponse](t)(h.memory.Retrieve(ctx(t), &engramv1.RetrieveRequest{
		Namespaces: []string{"talk"}, Queries: []*engramv1.Query{{Text: "river"}},
		GroupBy:   &engramv1.GroupBy{Operand: &engramv1.GroupBy_Field{Field: engramv1.Field_FIELD_SPEAKER}},
		Diversity: &engramv1.Diversity{}, Neighbours: &engramv1.NeighbourCount{Before: 1},
	}))
	seen := map[string]bool{}
	for i, hit := range reply.Results[0].Hits {
		seen[hit.Record.GetSpeaker()] = true
		if hit.GetGroup() != uint32(i) || hit.Parts == nil || hit.Diversity == nil || hit.Neighbours == nil {
			t.Errorf("hit %d is %v", i, hit)
		}
	}
	if len(seen) != 3 || len(reply.Results[0].Hits) != 3 {
		t.Errorf("the speakers are %v", seen)
	}
}
