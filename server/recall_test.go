package server

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/timestamppb"

	"engram/memory/prompt"
	engramv1 "engram/proto/engram/v1"
)

// at gives a record of a session its time, so many minutes in.
func (h *harness) talk(namespace, session string, day int, lines ...string) {
	h.t.Helper()
	var records []*engramv1.Record
	for i, line := range lines {
		speaker, text, _ := strings.Cut(line, ": ")
		r := said(fmt.Sprint(session, i), speaker, text)
		r.Session = &session
		r.Time = timestamppb.New(time.Date(2023, 5, day, 10, i, 0, 0, time.UTC))
		records = append(records, r)
	}
	h.store(namespace, records...)
}

// whole says what a Recall gave in one string: ids, * for the last turns, + for neighbours.
func whole(r *engramv1.RecallResponse) string {
	var out []string
	for _, p := range r.Records {
		out = append(out, map[engramv1.RecallReason]string{
			engramv1.RecallReason_RECALL_REASON_LAST: "*", engramv1.RecallReason_RECALL_REASON_HIT: "", engramv1.RecallReason_RECALL_REASON_NEIGHBOUR: "+",
		}[p.Reason]+p.Record.Id)
	}
	return strings.Join(out, " ")
}

func (h *harness) recall(req *engramv1.RecallRequest) *engramv1.RecallResponse {
	h.t.Helper()
	if req.MaxTokens == nil {
		req.MaxTokens = ptr(uint32(500))
	}
	return must[*engramv1.RecallResponse](h.t)(h.memory.Recall(ctx(h.t), req))
}

func TestRecallPrompt(t *testing.T) {
	h := start(t)
	h.talk("talk", "a", 7, "Ann: Good morning!", "Bob: Where did you go last weekend?", "Ann: We camped beside a river.", "Bob: I stayed in bed.")
	h.talk("talk", "b", 8, "Ann: The spare key is under the blue pot.", "Bob: Thanks.", "Ann: See you.")
	words := &engramv1.Ranking{Lexical: 1}
	ask := func(text string) *engramv1.RecallRequest {
		return &engramv1.RecallRequest{Namespaces: []string{"talk"}, Query: &engramv1.Query{Text: text}, Ranking: words}
	}

	got := h.recall(ask("river key"))
	want := "2023-05-07 10:02 Ann: We camped beside a river.\n\n2023-05-08 10:00 Ann: The spare key is under the blue pot.\n"
	if got.Prompt != want || whole(got) != "a2 b0" || len(got.LeftOut) != 0 {
		t.Errorf("%q of %s", got.Prompt, whole(got))
	}
	if n := prompt.Estimate([]byte(want)); int(got.Tokens) != n {
		t.Errorf("%d tokens, not %d", got.Tokens, n)
	}
	if len(got.Namespaces) != 1 || got.Namespaces[0].Lsn == 0 || got.Search == nil {
		t.Errorf("%v, %v", got.Namespaces, got.Search)
	}
	hits := must[*engramv1.RetrieveResponse](t)(h.memory.Retrieve(ctx(t), &engramv1.RetrieveRequest{Namespaces: []string{"talk"}, Queries: []*engramv1.Query{{Text: "river key"}}, Ranking: words})).Results[0].Hits
	for _, hit := range hits {
		i := slices.IndexFunc(got.Records, func(r *engramv1.Recalled) bool { return r.Record.Id == hit.Record.Id })
		if r := got.Records[i]; *r.Score != hit.Score || *r.Similarity != hit.Similarity || r.Parts.GetLexical() != hit.Parts.GetLexical() || r.Record.Text != hit.Record.Text || r.Namespace != "talk" {
			t.Errorf("recalled is %v, retrieved %v", r, hit)
		}
	}

	near := ask("river")
	near.NeighboursBefore, near.NeighboursAfter, near.Last = 1, 2, 1
	got = h.recall(near)
	want = "2023-05-07 10:01 Bob: Where did you go last weekend?\n2023-05-07 10:02 Ann: We camped beside a river.\n2023-05-07 10:03 Bob: I stayed in bed.\n\n2023-05-08 10:02 Ann: See you.\n"
	if got.Prompt != want || whole(got) != "+a1 a2 +a3 *b2" {
		t.Errorf("with neighbours %q of %s", got.Prompt, whole(got))
	}
	if r := got.Records[0]; r.Score != nil || r.Parts != nil || r.Tokens == 0 {
		t.Errorf("a neighbour is %v", r)
	}

	relevant := ask("spare pot key river")
	relevant.Order, relevant.Separator, relevant.Template = engramv1.PromptOrder_PROMPT_ORDER_RELEVANCE, ptr("--\n"), "{{{id}}} {session} {namespace} {score}"
	relevant.Last = 1
	got = h.recall(relevant)
	score := func(i int) string { return fmt.Sprintf("%.3f", *got.Records[i].Score) }
	if want = "{b0} b talk " + score(0) + "\n--\n{a2} a talk " + score(1) + "\n--\n{b2} b talk \n"; got.Prompt != want {
		t.Errorf("by relevance %q, want %q", got.Prompt, want)
	}

	// What doesn't fit is told, with what it would have taken.
	small := ask("spare pot key river")
	small.MaxTokens, small.Last = ptr(uint32(36)), 3
	got = h.recall(small)
	if got.Tokens > 36 || whole(got) != "*b1 *b2" {
		t.Errorf("%d tokens: %s", got.Tokens, whole(got))
	}
	var left []string
	for _, l := range got.LeftOut {
		left = append(left, l.Id)
		line := must[*engramv1.GetResponse](t)(h.memory.Get(ctx(t), &engramv1.GetRequest{Namespace: "talk", Ids: []string{l.Id}})).Records[0]
		n := prompt.Estimate([]byte(line.Time.AsTime().Format(prompt.TimeForm) + " " + *line.Speaker + ": " + line.Text + "\n"))
		if l.Reason != engramv1.LeftOutReason_LEFT_OUT_REASON_OVER_BUDGET || int(l.Tokens) != n || l.Namespace != "talk" || l.Score == nil {
			t.Errorf("left out is %v, of %d tokens", l, n)
		}
	}
	if fmt.Sprint(left) != "[b0 a2]" || got.LeftOut[0].Wanted != engramv1.RecallReason_RECALL_REASON_LAST || got.LeftOut[1].Wanted != engramv1.RecallReason_RECALL_REASON_HIT {
		t.Errorf("left out are %v", got.LeftOut)
	}

	// The last turns alone need no query, and a filter goes for everything.
	got = h.recall(&engramv1.RecallRequest{Namespaces: []string{"talk"}, Last: 2, TopK: ptr(uint32(0)), Filter: speaker("Bob")})
	if whole(got) != "*a3 *b1" || got.Search != nil {
		t.Errorf("the last of Bob's are %s", whole(got))
	}
	filtered := ask("river")
	filtered.Filter, filtered.NeighboursBefore, filtered.NeighboursAfter = speaker("Ann"), 1, 1
	if got = h.recall(filtered); whole(got) != "+a0 a2" || strings.Contains(got.Prompt, "\n\n") {
		t.Errorf("of Ann's, %s: %q", whole(got), got.Prompt)
	}

	if got = h.recall(ask("nothing of the kind")); got.Prompt != "" || got.Tokens != 0 || len(got.Records) != 0 {
		t.Errorf("of nothing %v", got)
	}
	bare := ask("river")
	bare.Include = &engramv1.Include{Text: ptr(false)}
	if got = h.recall(bare); got.Records[0].Record.Text != "" || !strings.Contains(got.Prompt, "river") {
		t.Errorf("without texts %v", got)
	}
}

// By default a Recall finds what a Retrieve does, of several namespaces together too.
func TestRecallRanking(t *testing.T) {
	h := start(t)
	h.talk("one", "a", 7, "Ann: We camped beside a river.", "Bob: I stayed in bed.")
	h.talk("two", "b", 6, "Ann: The river was wild.", "Bob: A wild river!")
	names := []string{"one", "two"}
	q := &engramv1.Query{Text: "a wild river"}
	hits := must[*engramv1.RetrieveResponse](t)(h.memory.Retrieve(ctx(t), &engramv1.RetrieveRequest{Namespaces: names, Queries: []*engramv1.Query{q}, TopK: ptr(uint32(3))}))
	got := h.recall(&engramv1.RecallRequest{Namespaces: names, Query: q, TopK: ptr(uint32(3)), Order: engramv1.PromptOrder_PROMPT_ORDER_RELEVANCE})
	if first := got.Records[0]; len(got.Records) != 3 || *got.Records[0].Score > hits.Results[0].Hits[0].Score || first.Namespace != "two" {
		t.Errorf("%v of %q, retrieved %q", got.Prompt, whole(got), ids(hits))
	}
	if got = h.recall(&engramv1.RecallRequest{Namespaces: names, Last: 3, TopK: ptr(uint32(0)), Template: "{namespace} {id}"}); got.Prompt != "two b1\n\none a0\none a1\n" {
		t.Errorf("the last of both are %q", got.Prompt)
	}

	h.store("vectors", &engramv1.Record{Id: "x", Key: vec(1, 0), Text: "x"}, &engramv1.Record{Id: "y", Key: vec(0, 1), Text: "y"}, &engramv1.Record{Id: "mute", Key: vec(1, 1)})
	got = h.recall(&engramv1.RecallRequest{Namespaces: []string{"vectors"}, Query: &engramv1.Query{Vector: vec(1, 0.1)}, MinScore: ptr(float32(0.5)), Template: "{text}"})
	if got.Prompt != "x\n" || got.Records[0].Parts != nil || len(got.LeftOut) != 1 || got.LeftOut[0].Id != "mute" || got.LeftOut[0].Reason != engramv1.LeftOutReason_LEFT_OUT_REASON_NO_TEXT || got.LeftOut[0].Tokens != 0 {
		t.Errorf("of vectors %v", got)
	}
	like := h.recall(&engramv1.RecallRequest{Namespaces: []string{"vectors"}, Query: &engramv1.Query{Record: &engramv1.RecordName{Id: "x"}}, Template: "{text}"})
	if like.Prompt != "y\n" {
		t.Errorf("like a record %q", like.Prompt)
	}
}

// No tokenizer is ever passed, and what it counts is told.
func TestRecallTokenizers(t *testing.T) {
	h := start(t)
	var lines []string
	for i := range 60 {
		lines = append(lines, fmt.Sprintf("Ann: Turn %d says something about rivers, keys and camping, doesn't it?", i))
	}
	h.talk("talk", "a", 7, lines...)
	for _, name := range prompt.Tokenizers {
		count, _ := prompt.CounterOf(name)
		for _, most := range []uint32{1, 29, 30, 200, 777} {
			got := h.recall(&engramv1.RecallRequest{Namespaces: []string{"talk"}, Query: &engramv1.Query{Text: "rivers"}, Last: 2, MaxTokens: &most, Tokenizer: name})
			if n := count([]byte(got.Prompt)); n != int(got.Tokens) || got.Tokens > most {
				t.Errorf("%s: %d tokens under %d, in truth %d", name, got.Tokens, most, n)
			}
			if most == 777 && got.Tokens < 700 {
				t.Errorf("%s: %d tokens where 777 are allowed", name, got.Tokens)
			}
			if len(got.Records)+len(got.LeftOut) != 60 {
				t.Errorf("%s: %d in, %d left out", name, len(got.Records), len(got.LeftOut))
			}
		}
	}
}

func TestBadRecalls(t *testing.T) {
	h := start(t)
	h.talk("talk", "a", 7, "Ann: We camped beside a river.", "Bob: I stayed in bed.")
	h.store("vectors", rec("one", 1, 0, 0))
	before := h.export()
	q := &engramv1.Query{Text: "river"}
	talk := []string{"talk"}
	some := ptr(uint32(100))
	const bad = codes.InvalidArgument
	for _, c := range []struct {
		name   string
		req    *engramv1.RecallRequest
		code   codes.Code
		fields []string
	}{
		{"nothing", &engramv1.RecallRequest{}, bad, []string{"namespaces", "query", "max_tokens"}},
		{"no such namespace", &engramv1.RecallRequest{Namespaces: []string{"no"}, Query: q, MaxTokens: some}, codes.NotFound, nil},
		{"a namespace twice", &engramv1.RecallRequest{Namespaces: []string{"talk", "talk"}, Query: q, MaxTokens: some}, bad, []string{"namespaces[1]"}},
		{"namespaces unlike", &engramv1.RecallRequest{Namespaces: []string{"talk", "vectors"}, Query: q, MaxTokens: some}, bad, []string{"namespaces[1]"}},
		{"no query", &engramv1.RecallRequest{Namespaces: talk, MaxTokens: some, Last: 3}, bad, []string{"query"}},
		{"an empty query", &engramv1.RecallRequest{Namespaces: talk, Query: &engramv1.Query{}, MaxTokens: some}, bad, []string{"query"}},
		{"an empty query for nothing", &engramv1.RecallRequest{Namespaces: talk, Query: &engramv1.Query{}, TopK: ptr(uint32(0)), MaxTokens: some}, bad, []string{"query"}},
		{"text over 64 KiB", &engramv1.RecallRequest{Namespaces: talk, Query: &engramv1.Query{Text: strings.Repeat("x", 64<<10+1)}, MaxTokens: some}, bad, []string{"query.text"}},
		{"a vector of another dimension", &engramv1.RecallRequest{Namespaces: talk, Query: &engramv1.Query{Vector: vec(1, 2)}, MaxTokens: some}, bad, []string{"query.vector"}},
		{"a record without a name", &engramv1.RecallRequest{Namespaces: talk, Query: &engramv1.Query{Record: &engramv1.RecordName{}}, MaxTokens: some}, bad, []string{"query.record.id"}},
		{"no such record", &engramv1.RecallRequest{Namespaces: talk, Query: &engramv1.Query{Record: &engramv1.RecordName{Id: "no"}}, MaxTokens: some}, codes.NotFound, nil},
		{"text where there is no embedder", &engramv1.RecallRequest{Namespaces: []string{"vectors"}, Query: q, MaxTokens: some}, codes.FailedPrecondition, nil},
		{"0 tokens", &engramv1.RecallRequest{Namespaces: talk, Query: q, MaxTokens: ptr(uint32(0))}, bad, []string{"max_tokens"}},
		{"1,000,001 tokens", &engramv1.RecallRequest{Namespaces: talk, Query: q, MaxTokens: ptr(uint32(1000001))}, bad, []string{"max_tokens"}},
		{"1,001 last", &engramv1.RecallRequest{Namespaces: talk, Query: q, MaxTokens: some, Last: 1001}, bad, []string{"last"}},
		{"the most last", &engramv1.RecallRequest{Namespaces: talk, Query: q, MaxTokens: some, Last: math.MaxUint32}, bad, []string{"last"}},
		{"top_k of 1,001", &engramv1.RecallRequest{Namespaces: talk, Query: q, MaxTokens: some, TopK: ptr(uint32(1001))}, bad, []string{"top_k"}},
		{"a bad filter", &engramv1.RecallRequest{Namespaces: talk, Query: q, MaxTokens: some, Filter: &engramv1.Filter{}}, bad, []string{"filter"}},
		{"min_score that is no number", &engramv1.RecallRequest{Namespaces: talk, Query: q, MaxTokens: some, MinScore: ptr(float32(math.NaN()))}, bad, []string{"min_score"}},
		{"two ways to search", &engramv1.RecallRequest{Namespaces: talk, Query: q, MaxTokens: some, Search: &engramv1.Search{Probes: ptr(uint32(1)), Recall: ptr(0.5)}}, bad, []string{"search"}},
		{"a negative weight", &engramv1.RecallRequest{Namespaces: talk, Query: q, MaxTokens: some, Ranking: &engramv1.Ranking{Lexical: -1}}, bad, []string{"ranking"}},
		{"17 neighbours", &engramv1.RecallRequest{Namespaces: talk, Query: q, MaxTokens: some, NeighboursBefore: 17, NeighboursAfter: 17}, bad, []string{"neighbours_before", "neighbours_after"}},
		{"no order", &engramv1.RecallRequest{Namespaces: talk, Query: q, MaxTokens: some, Order: 9}, bad, []string{"order"}},
		{"an unknown field", &engramv1.RecallRequest{Namespaces: talk, Query: q, MaxTokens: some, Template: "{who}: {text}"}, bad, []string{"template"}},
		{"an open brace", &engramv1.RecallRequest{Namespaces: talk, Query: q, MaxTokens: some, Template: "{text"}, bad, []string{"template"}},
		{"a template of 1,025 bytes", &engramv1.RecallRequest{Namespaces: talk, Query: q, MaxTokens: some, Template: "{text}" + strings.Repeat("x", 1019)}, bad, []string{"template"}},
		{"a separator of 257 bytes", &engramv1.RecallRequest{Namespaces: talk, Query: q, MaxTokens: some, Separator: ptr(strings.Repeat("x", 257))}, bad, []string{"separator"}},
		{"no tokenizer", &engramv1.RecallRequest{Namespaces: talk, Query: q, MaxTokens: some, Tokenizer: "gpt-9"}, bad, []string{"tokenizer"}},
		{"no form of vectors", &engramv1.RecallRequest{Namespaces: talk, Query: q, MaxTokens: some, Include: &engramv1.Include{VectorForm: 9}}, bad, []string{"include.vector_form"}},
		{"a reply of 0 bytes", &engramv1.RecallRequest{Namespaces: talk, Query: q, MaxTokens: some, MaxReplyBytes: ptr(uint32(0))}, bad, []string{"max_reply_bytes"}},
		{"a reply of 100 bytes", &engramv1.RecallRequest{Namespaces: talk, Query: q, MaxTokens: some, MaxReplyBytes: some}, codes.ResourceExhausted, nil},
		{"another embedder", &engramv1.RecallRequest{Namespaces: talk, Query: q, MaxTokens: some, Embedder: "other"}, codes.FailedPrecondition, nil},
		{"all at once", &engramv1.RecallRequest{Namespaces: talk, Query: &engramv1.Query{}, MaxTokens: ptr(uint32(0)), Last: 5000, Template: "}", Tokenizer: "x", Order: 7}, bad, []string{"last", "query", "max_tokens", "tokenizer", "order", "template"}},
	} {
		_, err := h.memory.Recall(ctx(t), c.req)
		wantCode(t, err, c.code)
		if got := fields(err); !slices.Equal(got, c.fields) {
			t.Errorf("%s: fields %q, not %q: %v", c.name, got, c.fields, err)
		}
	}
	_, err := h.memory.Recall(ctx(t), &engramv1.RecallRequest{Namespaces: talk, Query: q, MaxTokens: some, Template: "{who}"})
	if err == nil || !strings.Contains(err.Error(), `"who"`) || !strings.Contains(err.Error(), "id, session, speaker, time, text, namespace, score") {
		t.Errorf("an unknown field: %v", err)
	}
	if string(h.export()) != string(before) {
		t.Error("what was refused changed something")
	}
}

// A Recall rehearses the hits that went into the prompt, and no others.
func TestRecallRehearses(t *testing.T) {
	h, db, _ := clocked(t)
	h.store("talk",
		said("lake", "Ann", "We swam in the lake."), said("long", "Bob", "The lake "+strings.Repeat("was wide and cold ", 50)), said("bread", "Ann", "I bake bread."))
	must[*engramv1.RecallResponse](t)(h.memory.Recall(ctx(t), &engramv1.RecallRequest{
		Namespaces: []string{"talk"}, Query: &engramv1.Query{Text: "lake"}, MaxTokens: ptr(uint32(60)), Last: 1, Rehearse: true,
		Ranking: &engramv1.Ranking{Lexical: 1},
	}))
	if err := db.CommitRehearsals(ctx(t)); err != nil {
		t.Fatal(err)
	}
	for id, want := range map[string]uint32{"lake": 1, "long": 0, "bread": 0} {
		if got := h.record("talk", id).Rehearsals; got != want {
			t.Errorf("%q was rehearsed %d times, want %d", id, got, want)
		}
	}
}
