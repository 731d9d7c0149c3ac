package client

import (
	"context"

	pb "engram/proto/engram/v1"
)

// PromptOptions say what a prompt is like. Zero fields are defaults: see
// engram.v1.RecallRequest.
type PromptOptions struct {
	MaxTokens int // the most that it may have, from 1; required
	Last      int // so many last turns go in first
	// Before and After are how many neighbours of each hit are tried with it.
	Before, After int
	Order         PromptOrder
	Template      string  // "{time} {speaker}: {text}"
	Separator     *string // between passages; nil: a newline
	Tokenizer     string  // what counts: "estimate", "cl100k_base", "o200k_base"
}

// A PromptOrder is the order of a prompt's passages.
type PromptOrder = pb.PromptOrder

// The orders of a prompt.
const (
	PromptByTime      = pb.PromptOrder_PROMPT_ORDER_TIME
	PromptByRelevance = pb.PromptOrder_PROMPT_ORDER_RELEVANCE
)

// A RecallReason says why a record is in a prompt, or was to be.
type RecallReason = pb.RecallReason

// The reasons.
const (
	RecalledAsLast      = pb.RecallReason_RECALL_REASON_LAST
	RecalledAsHit       = pb.RecallReason_RECALL_REASON_HIT
	RecalledAsNeighbour = pb.RecallReason_RECALL_REASON_NEIGHBOUR
)

// A LeftOutReason says why a record isn't in a prompt.
type LeftOutReason = pb.LeftOutReason

// The reasons.
const (
	LeftOutOverBudget = pb.LeftOutReason_LEFT_OUT_REASON_OVER_BUDGET
	LeftOutNoText     = pb.LeftOutReason_LEFT_OUT_REASON_NO_TEXT
)

// A Prompt is memories in words.
type Prompt struct {
	Text    string
	Tokens  int        // of Text, by the tokenizer
	Records []Recalled // in the order of the prompt
	LeftOut []LeftOut  // the last turns first, then hits, best first, with their neighbours
}

// Recalled is a record in a prompt.
type Recalled struct {
	Hit    // zero but for Namespace and Record where IsHit is false
	IsHit  bool
	Reason RecallReason
	Tokens int // of its line by itself
}

// LeftOut is a record that was to go into a prompt, and didn't.
type LeftOut struct {
	Namespace, ID string
	Reason        LeftOutReason
	Wanted        RecallReason
	Tokens        int // of its line by itself; 0 without text
}

// Recall writes the last turns of a namespace and the memories that matter most for the query
// into a prompt. Without hits (TopK(0)) the zero Query will do. Options: TopK, MinScore, Where,
// RankBy, Exact, Recall, Probes, Rehearse, WithVectors, WithoutContent.
func (c *Client) Recall(ctx context.Context, namespace string, query Query, prompt PromptOptions, options ...ReadOption) (Prompt, error) {
	return c.RecallAll(ctx, []string{namespace}, query, prompt, options...)
}

// RecallAll is Recall over several namespaces together.
func (c *Client) RecallAll(ctx context.Context, namespaces []string, query Query, prompt PromptOptions, options ...ReadOption) (Prompt, error) {
	r, err := read(options)
	if err != nil {
		return Prompt{}, err
	}
	maxTokens := uint32(prompt.MaxTokens)
	reply, err := c.memory.Recall(ctx, &pb.RecallRequest{
		Namespaces: namespaces, Query: query.pb, MaxTokens: &maxTokens, Last: uint32(prompt.Last), TopK: r.topK, Filter: r.filter.pb,
		MinScore: r.minScore, Search: r.search, Ranking: r.ranking, NeighboursBefore: uint32(prompt.Before), NeighboursAfter: uint32(prompt.After),
		Order: prompt.Order, Template: prompt.Template, Separator: prompt.Separator, Tokenizer: prompt.Tokenizer,
		Include: r.include, MaxReplyBytes: r.maxBytes, Rehearse: r.rehearse,
	})
	if err != nil {
		return Prompt{}, err
	}
	out := Prompt{Text: reply.GetPrompt(), Tokens: int(reply.GetTokens())}
	for _, p := range reply.GetRecords() {
		out.Records = append(out.Records, Recalled{
			Hit: Hit{
				Namespace: p.GetNamespace(), Record: record(p.GetRecord()), Similarity: p.GetSimilarity(), Score: p.GetScore(),
				Parts: partsOf(p.GetParts()),
			},
			IsHit: p.Score != nil, Reason: p.GetReason(), Tokens: int(p.GetTokens()),
		})
	}
	for _, p := range reply.GetLeftOut() {
		out.LeftOut = append(out.LeftOut, LeftOut{p.GetNamespace(), p.GetId(), p.GetReason(), p.GetWanted(), int(p.GetTokens())})
	}
	return out, nil
}
