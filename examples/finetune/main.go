// Finetune writes the conversations of a memory as lines that trainers of chat models read.
package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/alecthomas/kong"

	"engram/client"
	"engram/memory/prompt"
)

type options struct {
	Namespace   string `arg:"" help:"The memory."`
	Assistant   string `help:"The speaker whom a model is to be like; all others are the user." default:"assistant" placeholder:"NAME"`
	System      string `help:"A system message for every line; default: none." placeholder:"TEXT"`
	MaxMessages int    `help:"The most messages of a line beside the system message, from 2; longer sessions are split. 0: any number." placeholder:"N"`
	MaxTokens   int    `help:"The most tokens of a line, likewise. 0: any number." placeholder:"N"`
	Tokenizer   string `help:"What counts tokens: ${enum}." enum:"${tokenizers}" default:"estimate"`
	Addr        string `help:"The Engram server." env:"ENGRAM_ADDR" default:"127.0.0.1:7440"`
}

// Validate is asked by kong.
func (o *options) Validate() error {
	switch {
	case o.MaxMessages < 0 || o.MaxMessages == 1:
		return fmt.Errorf("--max-messages: %d: want 2 or more, or 0", o.MaxMessages)
	case o.MaxTokens < 0:
		return fmt.Errorf("--max-tokens: %d is below 0", o.MaxTokens)
	}
	return nil
}

func main() {
	var o options
	k := kong.Parse(&o, kong.Vars{"tokenizers": strings.Join(prompt.Tokenizers, ",")},
		kong.Description("Writes a memory's sessions to standard output as chat-format JSONL for fine-tuning, and what was left out to standard error."))
	k.FatalIfErrorf(run(context.Background(), o))
}

func run(ctx context.Context, o options) error {
	memory, err := client.Dial(o.Addr)
	if err != nil {
		return err
	}
	defer func() { _ = memory.Close() }()
	out := bufio.NewWriter(os.Stdout)
	report, err := export(ctx, memory, o, out)
	if err != nil {
		return err
	}
	fmt.Fprint(os.Stderr, report)
	return out.Flush()
}
