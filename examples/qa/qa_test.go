package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"engram/internal/servertest"
)

func TestQA(t *testing.T) {
	memory := servertest.Start(t)
	ctx := t.Context()
	var out bytes.Buffer
	if err := (&storeCmd{"log", "log.txt"}).Run(ctx, memory, &out); err != nil || out.String() != "16 passages of log.txt\n" {
		t.Fatalf("stored: %q, %v", out.String(), err)
	}
	out.Reset()
	if err := (&askCmd{"log", []string{"Where did the cat", "have its kittens?"}, 1}).Run(ctx, memory, &out); err != nil ||
		!strings.HasPrefix(out.String(), "The cat had four kittens in the chart locker on the first of May.") || !strings.Contains(out.String(), "(log.txt:31, ") {
		t.Errorf("the answer: %q, %v", out.String(), err)
	}
	out.Reset()
	if err := (&evalCmd{"log", "questions.tsv"}).Run(ctx, memory, &out); err != nil || out.String() != "12 questions: the passage was first 10 times, among the first five 11 times\n" {
		t.Errorf("questions: %q, %v", out.String(), err)
	}
	bad := filepath.Join(t.TempDir(), "bad.tsv")
	for _, text := range []string{"", "a question without a source\n"} {
		if err := os.WriteFile(bad, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := (&evalCmd{"log", bad}).Run(ctx, memory, &out); err == nil {
			t.Errorf("%q is taken for questions", text)
		}
	}
}

func TestPassages(t *testing.T) {
	var got []string
	for r, err := range passages(strings.NewReader("\none\n two \n\n\nthree"), "d") {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, r.ID+" "+r.Text)
	}
	if want := "d:2 one two|d:6 three"; strings.Join(got, "|") != want {
		t.Errorf("%q, want %q", got, want)
	}
}
