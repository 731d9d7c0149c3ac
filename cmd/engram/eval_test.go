package main

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"engram/client"
)

func TestLocomo(t *testing.T) {
	f, err := os.Open("testdata/locomo.json")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	all, err := locomo(f)
	if err != nil {
		t.Fatal(err)
	}
	d := all[0]
	if d.name != "talk-1" || len(d.turns) != 5 || len(d.questions) != 3 || d.dropped != 3 || d.skipped != 1 {
		t.Fatalf("%s: %d turns, %d questions, %d dropped, %d skipped", d.name, len(d.turns), len(d.questions), d.dropped, d.skipped)
	}
	r := d.turns[2]
	if r.ID != "D1:3" || r.Text != "I painted. [a photo of a sunrise over a lake]" || r.Speaker != "Ann" || r.Session != "session_1" || r.Time.Format("2006-01-02 15:04") != "2023-05-08 13:56" {
		t.Errorf("%+v", r)
	}
	if q := d.questions[2]; len(q.evidence) != 1 || q.category != 4 {
		t.Errorf("%+v", q)
	}
	for _, bad := range []string{"", "{}", `[{"conversation":{"session_1":[{"dia_id":"D1:1"}]}}]`, `[{"qa":[{"category":9}]}]`, `[{"conversation":{"session_1":[],"session_1_date_time":"May"}}]`} {
		if _, err := locomo(strings.NewReader(bad)); err == nil {
			t.Errorf("%q is taken for a file of dialogues", bad)
		}
	}
}

func TestTally(t *testing.T) {
	var y tally
	y.add([]int{4, 2, 30}, 4)
	y.add(nil, 1)
	if y.questions != 2 || y.recall != [4]float64{0, 0.5, 0.5, 0.5} || y.mrr != 0.5 {
		t.Errorf("%+v", y)
	}
}

func TestEvalLocomo(t *testing.T) {
	code, out, errOut := engram("", "eval", "locomo", "testdata/locomo.json")
	if code != exitOK || !strings.Contains(out, "1 dialogue, 5 turns, 3 questions") || !strings.Contains(out, "temporal") {
		t.Fatalf("%d: %s%s", code, out, errOut)
	}
	code, out, errOut = engram("", "eval", "locomo", "testdata/locomo.json", "--json", "--ranking", "lexical", "--ranking", "similarity=0.2,lexical,association,mention")
	if code != exitOK {
		t.Fatalf("%d: %s", code, errOut)
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if len(lines) != 6 {
		t.Fatalf("%d lines: %s", len(lines), out)
	}
	var last struct {
		Ranking, Category string
		Questions         int
		MRR               float64
		Recall            float64 `json:"recall@1"`
		Prompt            float64 `json:"prompt@500"`
	}
	if err := json.Unmarshal([]byte(lines[5]), &last); err != nil {
		t.Fatal(err)
	}
	if last.Ranking != "similarity=0.2,lexical,association,mention" || last.Category != "all" || last.Questions != 3 || last.Recall != 1 || last.Prompt != 1 || math.Abs(last.MRR-1) > 1e-9 {
		t.Errorf("%+v", last)
	}
	if code, out, errOut = engram("", "eval", "locomo", "testdata/locomo.json", "--diversity", "0.3"); code != exitOK || !strings.Contains(out, "mention=2), diversity 0.3\n") {
		t.Errorf("with diversity: %d: %s%s", code, out, errOut)
	}
	for _, args := range [][]string{{"--diversity", "2"}, {"--only", "talk-2"}, {"--ranking", "luck"}, {"--embedder", "none"}, {"--ranking", "lexical=x"}} {
		if code, _, errOut := engram("", append([]string{"eval", "locomo", "testdata/locomo.json"}, args...)...); code != exitUsage && code != exitRefused || errOut == "" {
			t.Errorf("%q: %d, %s", args, code, errOut)
		}
	}
}

// Each dialogue is scored by what the other chose, however much better another ranking is there.
func TestBestWithout(t *testing.T) {
	of := func(questions int, recall float64) tally {
		return tally{questions: questions, recall: [len(evalDepths)]float64{recall}}
	}
	found := [][]tally{
		{of(3, 3), of(2, 0), of(9, 1)}, // best of the first alone
		{of(3, 0), of(2, 2), of(9, 5)},
		{of(3, 0), of(2, 2), of(9, 5)}, // equal, but later
	}
	for out, want := range []int{1, 1, 0} {
		if got := bestWithout(found, out); got != want {
			t.Errorf("without dialogue %d ranking %d is chosen, want %d", out, got, want)
		}
	}
}

func TestLeaveOneOut(t *testing.T) {
	talk := func(name, place string) map[string]any {
		return map[string]any{
			"sample_id": name,
			"conversation": map[string]any{
				"session_1_date_time": "1:56 pm on 8 May, 2023",
				"session_1": []map[string]any{
					{"speaker": "Ann", "dia_id": "D1:1", "text": "Good morning to all of you."},
					{"speaker": "Bob", "dia_id": "D1:2", "text": "We camped beside the " + place + "."},
				},
			},
			"qa": []map[string]any{{"question": "When was Bob at the " + place + "?", "evidence": []string{"D1:2"}, "category": 2}},
		}
	}
	file, err := json.Marshal([]map[string]any{talk("one", "river"), talk("two", "lake")})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "talks.json")
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	// By importance alone both turns are alike, and the older is first.
	args := []string{"eval", "locomo", path, "--leave-one-out", "--ranking", "importance", "--ranking", "lexical"}
	code, out, errOut := engram("", append(args, "--json")...)
	want := `{"dialogue":"one","mrr":1,"questions":1,"ranking":"lexical","recall@1":1,"recall@10":1,"recall@25":1,"recall@5":1}
{"dialogue":"two","mrr":1,"questions":1,"ranking":"lexical","recall@1":1,"recall@10":1,"recall@25":1,"recall@5":1}
{"dialogue":"all","mrr":1,"questions":2,"ranking":"","recall@1":1,"recall@10":1,"recall@25":1,"recall@5":1}
`
	if code != exitOK || out != want {
		t.Errorf("%d, %s%s", code, out, errOut)
	}
	if code, out, errOut = engram("", args...); code != exitOK || !strings.Contains(out, "chosen by the others") || strings.Count(out, "lexical") != 2 {
		t.Errorf("%d, %s%s", code, out, errOut)
	}
	if code, _, errOut = engram("", "eval", "locomo", path, "--leave-one-out"); code != exitUsage || !strings.Contains(errOut, "2 dialogues and 1 ranking") {
		t.Errorf("of one ranking: %d, %s", code, errOut)
	}
}

func TestRankingText(t *testing.T) {
	for _, s := range []string{"similarity", "lexical=0.5,rrf", "similarity=0.2,lexical,association=2,mention", "lexical,retention=0.5,importance=0.1", "lexical,kin=0.6"} {
		r, err := parseRanking(s)
		if err != nil || rankingText(&r) != s {
			t.Errorf("%q is read as %+v and written %q, %v", s, r, rankingText(&r), err)
		}
	}
	if got := rankingText(&client.Ranking{}); got != "" {
		t.Errorf("no weights are written %q", got)
	}
}

func TestEvalRetention(t *testing.T) {
	dialogue := map[string]any{"session_1_date_time": "1:56 pm on 8 May, 2023", "session_2_date_time": "9:10 am on 10 May, 2023"}
	said := func(session int, texts ...string) {
		var turns []map[string]any
		for i, text := range texts {
			turns = append(turns, map[string]any{"speaker": "Ann", "dia_id": fmt.Sprintf("D%d:%d", session, i+1), "text": text})
		}
		dialogue[fmt.Sprint("session_", session)] = turns
	}
	said(1, "We camped beside the river.")
	var chatter []string
	for i := range 60 {
		chatter = append(chatter, fmt.Sprintf("The weather of day %d was fine.", i))
	}
	said(2, chatter...)
	file, err := json.Marshal([]map[string]any{{
		"sample_id": "talk", "conversation": dialogue,
		"qa": []map[string]any{{"question": "Where did Ann camp?", "evidence": []string{"D1:1"}, "category": 4}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "talk.json")
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	code, out, errOut := engram("", "eval", "retention", path, "--max-records", "18", "--json")
	// Within the 18 it is found; later in the memory alone where that question rehearsed it.
	want := `{"further_turns":10,"questions":1,"recall@10":1,"recall@10_rehearsed":1}
{"further_turns":20,"questions":1,"recall@10":0,"recall@10_rehearsed":1}
{"further_turns":50,"questions":1,"recall@10":0,"recall@10_rehearsed":1}
`
	if code != 0 || out != want {
		t.Errorf("%d, %s%s", code, out, errOut)
	}
}
