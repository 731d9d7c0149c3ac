package main

import (
	"reflect"
	"testing"
)

func TestRecallFromTheCommandLine(t *testing.T) {
	s := serve(t)
	for i, text := range []string{"My dog is called Ada.", "The spare key is under the blue pot.", "Noted: under the blue pot."} {
		s.ok("", "store", "notes", text, "--id=m"+string('1'+rune(i)), "--speaker=me", "--time=2023-05-07T13:4"+string('0'+rune(i))+":00Z")
	}
	want := "2023-05-07 13:41 me: The spare key is under the blue pot.\n2023-05-07 13:42 me: Noted: under the blue pot.\n"
	if out := s.ok("", "recall", "notes", "the", "spare", "key", "--ranking=lexical", "--last=1"); out != want {
		t.Errorf("recall prints\n%s", out)
	}
	got := objects(t, s.ok("", "recall", "notes", "spare key", "--json", "--ranking=lexical", "--before=1", "-t", "9", "--template={id} {text}", "--tokenizer=o200k_base"))[0]
	if got["prompt"] != "" || got["tokens"] != 0.0 {
		t.Errorf("%v", got)
	}
	left := got["left_out"].([]any)[0].(map[string]any)
	delete(left, "tokens")
	if !reflect.DeepEqual(left, map[string]any{"namespace": "notes", "id": "m2", "reason": "over_budget", "wanted": "hit"}) {
		t.Errorf("left out is %v", left)
	}
	got = objects(t, s.ok("", "recall", "notes", "spare key", "--json", "--ranking=lexical", "--before=1", "--order=relevance", "--separator=--", "--where=id!=m3"))[0]
	var reasons []any
	for _, r := range got["records"].([]any) {
		r := r.(map[string]any)
		reasons = append(reasons, r["id"], r["reason"], r["score"] != nil)
	}
	if !reflect.DeepEqual(reasons, []any{"m1", "neighbour", false, "m2", "hit", true}) {
		t.Errorf("recalled are %v", reasons)
	}
	if out := s.ok("", "recall", "notes", "--last=1", "--top-k=0", "--template={{{text}}}"); out != "{Noted: under the blue pot.}\n" {
		t.Errorf("the last turn is %q", out)
	}
	s.fails(exitUsage, "give one query", "recall", "notes")
	s.fails(exitUsage, "--last", "recall", "notes", "key", "--last=-1")
	s.fails(exitUsage, "luck", "recall", "notes", "key", "--ranking=luck")
	s.fails(exitRefused, "who", "recall", "notes", "key", "--template={who}")
}
