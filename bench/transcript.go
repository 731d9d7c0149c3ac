package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/DataDog/zstd"
)

// transcriptLines is the transcript of the flight of Apollo 11, as the demo has it.
func transcriptLines(ctx context.Context) ([]byte, error) {
	root, err := moduleRoot(ctx)
	if err != nil {
		return nil, err
	}
	packed, err := os.ReadFile(filepath.Join(root, "cmd", "engram", "apollo11.jsonl.zst"))
	if err != nil {
		return nil, err
	}
	return zstd.Decompress(nil, packed)
}

// transcript is what was said, utterance by utterance.
func transcript(ctx context.Context) (said []string, err error) {
	raw, err := transcriptLines(ctx)
	if err != nil {
		return nil, err
	}
	for lines := json.NewDecoder(bytes.NewReader(raw)); ; {
		var u struct{ Text string }
		if err := lines.Decode(&u); errors.Is(err, io.EOF) {
			return said, nil
		} else if err != nil {
			return nil, fmt.Errorf("apollo11.jsonl.zst, after %d utterances: %w", len(said), err)
		}
		said = append(said, u.Text)
	}
}
