package main

import (
	"context"

	"engram/embed"
	"engram/embed/bert"
	"engram/memory"
)

// embedderFlags say what turns text into vectors.
type embedderFlags struct {
	Embedder       string `enum:"lexical,minilm,openai,none" default:"lexical" help:"What turns text into vectors: lexical (built in), minilm (a BERT-style model in --model-dir, run by this process), openai (any endpoint that speaks its protocol) or none." group:"Embedder"`
	Dimension      int    `help:"Dimension of the embedder's vectors; 0: its own default." default:"0" group:"Embedder"`
	ModelDir       string `help:"Directory of the model: config.json, tokenizer.json or vocab.txt, model.safetensors." type:"existingdir" placeholder:"DIR" group:"Embedder"`
	QueryPrefix    string `help:"What stands before texts that are looked for, as the model wants it (E5: \"query: \"); default: what the model's files say." placeholder:"TEXT" group:"Embedder"`
	DocumentPrefix string `help:"What stands before texts that are stored (E5: \"passage: \"); default: what the model's files say." placeholder:"TEXT" group:"Embedder"`
	OpenAIURL      string `name:"openai-url" help:"The endpoint, up to /v1." placeholder:"URL" group:"Embedder"`
	OpenAIModel    string `name:"openai-model" help:"The model." placeholder:"NAME" group:"Embedder"`
	OpenAIKeyFile  string `name:"openai-key-file" help:"File with the key; default: the variable OPENAI_API_KEY." type:"existingfile" placeholder:"FILE" group:"Embedder"`
}

// embedder makes what turns text into vectors; nil for none.
func (c *embedderFlags) embedder(ctx context.Context) (memory.Embedder, error) {
	switch c.Embedder {
	case "none":
		return nil, nil
	case "lexical":
		d := c.Dimension
		if d == 0 {
			d = embed.DefaultDimension
		}
		return embed.NewLexical(d)
	}
	if c.Embedder == "minilm" {
		return c.model()
	}
	if c.OpenAIURL == "" || c.OpenAIModel == "" {
		return nil, usagef("--embedder=openai needs --openai-url and --openai-model")
	}
	o, err := embed.NewOpenAI(embed.OpenAIConfig{
		BaseURL: c.OpenAIURL, Model: c.OpenAIModel, Dimension: c.Dimension,
		APIKeyFile: c.OpenAIKeyFile, APIKeyEnv: "OPENAI_API_KEY",
	})
	if err != nil {
		return nil, err
	}
	if o.Dimension() == 0 {
		if err := o.Probe(ctx); err != nil {
			return nil, err
		}
	}
	return o, nil
}

// model opens the model in --model-dir.
func (c *embedderFlags) model() (memory.Embedder, error) {
	if c.ModelDir == "" {
		return nil, usagef("--embedder=minilm needs --model-dir")
	}
	e, err := bert.Open(bert.Config{Name: "minilm", Dir: c.ModelDir, QueryPrefix: c.QueryPrefix, DocumentPrefix: c.DocumentPrefix})
	if err != nil {
		return nil, err
	}
	if d := e.Dimension(); c.Dimension != 0 && c.Dimension != d {
		return nil, usagef("--dimension is %d; the model in --model-dir has %d", c.Dimension, d)
	}
	return e, nil
}
