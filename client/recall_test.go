package client_test

import (
	"strings"
	"testing"

	"engram/client"
)

func TestRecall(t *testing.T) {
	c := remember(t.Context(), "recalled")
	defer func() { _ = c.Close() }()
	newline := "--\n"
	got, err := c.Recall(t.Context(), "recalled", client.Text("key"), client.PromptOptions{
		MaxTokens: 60, Last: 1, Before: 1, Order: client.PromptByRelevance, Template: "{id} {text}", Separator: &newline, Tokenizer: "cl100k_base",
	}, client.TopK(1), client.RankBy(client.Ranking{Lexical: 1}), client.WithoutContent())
	if err != nil {
		t.Fatal(err)
	}
	if want := "m1 My dog is called Ada.\nm2 The spare key is under the blue pot.\nm3 Noted: under the blue pot.\n"; got.Text != want || len(got.LeftOut) != 0 {
		t.Errorf("%+v", got)
	}
	reasons := []client.RecallReason{client.RecalledAsNeighbour, client.RecalledAsHit, client.RecalledAsLast}
	sum := 0
	for i, r := range got.Records {
		sum += r.Tokens
		if r.Reason != reasons[i] || r.IsHit != (i == 1) || (r.Score > 0) != r.IsHit || (r.Parts.Lexical > 0) != r.IsHit || r.Record.Text != "" || r.Namespace != "recalled" {
			t.Errorf("%+v", r)
		}
	}
	if sum != got.Tokens {
		t.Errorf("%d tokens, of lines %d", got.Tokens, sum)
	}
	small, err := c.RecallAll(t.Context(), []string{"recalled"}, client.Query{}, client.PromptOptions{MaxTokens: 12, Last: 3}, client.TopK(0))
	if err != nil || small.Text != "" || len(small.LeftOut) != 3 || small.LeftOut[0].ID != "m3" || small.LeftOut[0].Reason != client.LeftOutOverBudget || small.LeftOut[0].Wanted != client.RecalledAsLast || small.LeftOut[0].Tokens < 13 {
		t.Errorf("%+v, %v", small, err)
	}
	if _, err := c.Recall(t.Context(), "recalled", client.Text("key"), client.PromptOptions{}); err == nil || !strings.Contains(err.Error(), "max_tokens") {
		t.Errorf("without a budget: %v", err)
	}
}
