package server

import (
	"context"
	"math"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"engram/memory"
	engramv1 "engram/proto/engram/v1"
)

func said(id, speaker, text string) *engramv1.Record {
	return &engramv1.Record{Id: id, Speaker: &speaker, Text: text, Session: ptr("one")}
}

// ids gives those of a query's hits, in order.
func ids(r *engramv1.RetrieveResponse) (out []string) {
	for _, h := range r.Results[0].Hits {
		out = append(out, h.Record.Id)
	}
	return out
}

func TestRanking(t *testing.T) {
	h := start(t)
	h.store("talk",
		said("ask", "Bob", "Where did you go last weekend?"),
		said("answer", "Ann", "We camped beside a river."),
		said("other", "Bob", "The weekend was long."),
		said("hello", "Ann", "Hello Bob!"),
	)
	retrieve := func(req *engramv1.RetrieveRequest) (*engramv1.RetrieveResponse, error) {
		req.Namespaces = []string{"talk"}
		return h.memory.Retrieve(ctx(t), req)
	}
	words := func(text string) []*engramv1.Query { return []*engramv1.Query{{Text: text}} }

	own := must[*engramv1.RetrieveResponse](t)(retrieve(&engramv1.RetrieveRequest{Queries: words("Where did Ann go for the weekend?")}))
	if got := ids(own); len(got) != 4 || got[0] != "answer" {
		t.Errorf("by the namespace's ranking the hits are %q", got)
	}
	p := own.Results[0].Hits[0]
	sum := 0.2*p.Parts.GetSimilarity() + p.Parts.GetLexical() + p.Parts.GetAssociation() + 2*p.Parts.GetMention()
	if p.Similarity != p.Parts.GetSimilarity() || math.Abs(float64(p.Score-sum)) > 1e-5 || p.Parts.GetMention() <= 0 || p.Parts.GetAssociation() <= 0 {
		t.Errorf("the parts of a hit of score %v are %v", p.Score, p.Parts)
	}

	plain := must[*engramv1.RetrieveResponse](t)(retrieve(&engramv1.RetrieveRequest{Queries: words("river"), Ranking: &engramv1.Ranking{Similarity: 3}}))
	if hit := plain.Results[0].Hits[0]; hit.Score != hit.Similarity || hit.Parts != nil {
		t.Errorf("by similarity alone a hit is %v", hit)
	}
	lexical := &engramv1.Ranking{Lexical: 1}
	if got := ids(must[*engramv1.RetrieveResponse](t)(retrieve(&engramv1.RetrieveRequest{Queries: words("the weekends"), Ranking: lexical}))); len(got) != 2 {
		t.Errorf("by words alone the hits are %q", got)
	}
	like := []*engramv1.Query{{Record: &engramv1.RecordName{Id: "ask"}, Text: "river"}}
	if got := ids(must[*engramv1.RetrieveResponse](t)(retrieve(&engramv1.RetrieveRequest{Queries: like}))); len(got) != 3 || got[0] != "answer" {
		t.Errorf("like a record, with words, the hits are %q", got)
	}
	vector := must[*engramv1.RetrieveResponse](t)(retrieve(&engramv1.RetrieveRequest{Queries: []*engramv1.Query{{Record: &engramv1.RecordName{Id: "ask"}}}}))
	if vector.Results[0].Hits[0].Parts != nil {
		t.Error("a query without text is ranked by more than similarity")
	}

	for name, req := range map[string]*engramv1.RetrieveRequest{
		"a negative weight":              {Queries: words("x"), Ranking: &engramv1.Ranking{Lexical: -1}},
		"a weight that is no number":     {Queries: words("x"), Ranking: &engramv1.Ranking{Mention: math.NaN()}},
		"no fusion":                      {Queries: words("x"), Ranking: &engramv1.Ranking{Lexical: 1, Fusion: 7}},
		"words beside a vector, unasked": {Queries: like, Ranking: &engramv1.Ranking{}},
	} {
		if _, err := retrieve(req); len(fields(err)) == 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Words find records of a namespace without an embedder, if it says how.
func TestWordsWithoutEmbedder(t *testing.T) {
	h := start(t)
	made := must[*engramv1.NamespaceServiceCreateResponse](t)(h.namespaces.Create(ctx(t), &engramv1.NamespaceServiceCreateRequest{Namespace: &engramv1.Namespace{
		Name: "own", Dimension: 2, Lexical: engramv1.Lexical_LEXICAL_WORDS, Ranking: &engramv1.Ranking{Lexical: 1},
	}})).Namespace
	if made.Lexical != engramv1.Lexical_LEXICAL_WORDS || made.Ranking.GetLexical() != 1 || made.Ranking.GetFusion() != engramv1.Fusion_FUSION_WEIGHTED {
		t.Errorf("made with %v", made)
	}
	h.store("own", &engramv1.Record{Id: "a", Key: vec(1, 0), Text: "a lake"}, &engramv1.Record{Id: "b", Key: vec(0, 1), Text: "a dog"})
	find := func(q *engramv1.Query) *engramv1.RetrieveResponse {
		return must[*engramv1.RetrieveResponse](t)(h.memory.Retrieve(ctx(t), &engramv1.RetrieveRequest{Namespaces: []string{"own"}, Queries: []*engramv1.Query{q}}))
	}
	if got := ids(find(&engramv1.Query{Text: "lake"})); len(got) != 1 || got[0] != "a" {
		t.Errorf("%q", got)
	}
	hit := find(&engramv1.Query{Text: "dog", Vector: vec(3, 4)}).Results[0].Hits[0]
	if hit.Record.Id != "b" || math.Abs(float64(hit.Similarity)-0.8) > 1e-6 {
		t.Errorf("a hit by words, beside a vector, is %v", hit)
	}
	_, err := h.memory.Retrieve(ctx(t), &engramv1.RetrieveRequest{Namespaces: []string{"own"}, Queries: []*engramv1.Query{{Text: "lake"}}, Ranking: &engramv1.Ranking{Similarity: 1, Lexical: 1}})
	wantCode(t, err, codes.FailedPrecondition)
}

func TestNamespaceRanking(t *testing.T) {
	h := start(t)
	h.store("text", said("a", "Ann", "hello"))
	h.store("vectors", rec("a", 1, 0))
	get := func(name string) *engramv1.Namespace {
		return must[*engramv1.NamespaceServiceGetResponse](t)(h.namespaces.Get(ctx(t), &engramv1.NamespaceServiceGetRequest{Name: name})).Namespace
	}
	if n := get("text"); n.Lexical != engramv1.Lexical_LEXICAL_ENGLISH || n.Ranking.GetAssociation() != 1 || n.Ranking.GetSimilarity() != 0.2 || n.Ranking.GetMention() != 2 {
		t.Errorf("made of text, a namespace has %v and %v", n.Lexical, n.Ranking)
	}
	if n := get("vectors"); n.Lexical != engramv1.Lexical_LEXICAL_NONE || n.Ranking.GetSimilarity() != 1 || n.Ranking.GetLexical() != 0 {
		t.Errorf("made of vectors, a namespace has %v and %v", n.Lexical, n.Ranking)
	}
	update := func(name string, r *engramv1.Ranking) error {
		_, err := h.namespaces.Update(ctx(t), &engramv1.NamespaceServiceUpdateRequest{
			Namespace: &engramv1.Namespace{Name: name, Ranking: r}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"ranking"}},
		})
		return err
	}
	want := &engramv1.Ranking{Lexical: 2, Fusion: engramv1.Fusion_FUSION_RECIPROCAL_RANK}
	if err := update("text", want); err != nil || !proto.Equal(get("text").Ranking, want) {
		t.Errorf("changed to %v, %v", get("text").Ranking, err)
	}
	wantCode(t, update("vectors", want), codes.FailedPrecondition)
	wantCode(t, update("text", &engramv1.Ranking{Lexical: -2}), codes.InvalidArgument)
	_, err := h.namespaces.Update(ctx(t), &engramv1.NamespaceServiceUpdateRequest{
		Namespace: &engramv1.Namespace{Name: "text"}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"lexical"}},
	})
	wantCode(t, err, codes.InvalidArgument)
	_, err = h.namespaces.Create(ctx(t), &engramv1.NamespaceServiceCreateRequest{Namespace: &engramv1.Namespace{Name: "x", Dimension: 2, Lexical: 9}})
	wantCode(t, err, codes.InvalidArgument)
}

// asked is an embedder that keeps the texts it was asked for.
type asked struct {
	memory.Embedder
	queries *[]string
}

func (a asked) Embed(ctx context.Context, texts []string, query bool) ([][]float32, error) {
	if query {
		*a.queries = append(*a.queries, texts...)
	}
	return a.Embedder.Embed(ctx, texts, query)
}

// Who is named counts by mention; what is embedded is the rest, of the speakers there are.
func TestNamesAreNotEmbedded(t *testing.T) {
	var texts []string
	h := start(t, func(c *Config) { c.Embedder = asked{c.Embedder, &texts} })
	h.store("talk", said("a", "Ann", "We camped beside a river."), said("b", "Bob", "The weekend was long."))
	const question = "Where did Ann's sister Cecily camp, Ann?"
	for _, c := range []struct {
		ranking *engramv1.Ranking
		want    string
	}{
		{nil, "Where did sister Cecily camp, ?"},
		{&engramv1.Ranking{Similarity: 1, Mention: 1}, "Where did sister Cecily camp, ?"},
		{&engramv1.Ranking{Similarity: 1, Lexical: 1}, question},
		{&engramv1.Ranking{Similarity: 1}, question},
	} {
		texts = nil
		_, err := h.memory.Retrieve(ctx(t), &engramv1.RetrieveRequest{Namespaces: []string{"talk"}, Queries: []*engramv1.Query{{Text: question}}, Ranking: c.ranking})
		if err != nil || len(texts) != 1 || texts[0] != c.want {
			t.Errorf("by %v %q is embedded, %v; want %q", c.ranking, texts, err, c.want)
		}
	}
}
