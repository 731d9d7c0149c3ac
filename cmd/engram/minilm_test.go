//go:build minilm

package main

import (
	"os"
	"testing"
)

// TestMiniLMServes: over a server with the model inside, a question finds its answer by
// what it means: they share no word that the others lack.
func TestMiniLMServes(t *testing.T) {
	dir := os.Getenv("ENGRAM_MINILM_DIR")
	if dir == "" {
		t.Fatal("ENGRAM_MINILM_DIR isn't set: .ci/run's step minilm shows how")
	}
	s := serve(t, "--embedder=minilm", "--model-dir="+dir)
	for id, text := range map[string]string{
		"dog":     "My puppy chewed on the sofa all afternoon.",
		"weather": "It rained so hard that the cellar was flooded.",
		"money":   "The bank raised the interest on our mortgage.",
	} {
		s.ok("", "store", "notes", text, "--id="+id)
	}
	for question, want := range map[string]string{
		"what did the pet do to the furniture": "dog",
		"was there a storm":                    "weather",
		"how expensive are loans for houses":   "money",
	} {
		hits := objects(t, s.ok("", "retrieve", "notes", question, "--json"))
		if len(hits) == 0 || hits[0]["id"] != want {
			t.Errorf("%q finds %v first, want %s", question, each(hits, "id"), want)
		}
	}
	like := objects(t, s.ok("", "retrieve", "notes", "--like=dog", "--json", "--vectors"))
	if n := len(like[0]["key"].([]any)); n != 384 {
		t.Errorf("keys have %d components", n)
	}
}
