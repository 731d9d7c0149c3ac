// Command engram is a short-term memory for language models: the server, a
// demonstration, and a subcommand for each thing a user does with a server.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"
	kongcompletion "github.com/jotaen/kong-completion"
)

// version is set by the linker in releases.
var version = "dev"

// Exit codes.
const (
	exitOK          = 0
	exitRefused     = 1 // the server, or a file, said no
	exitUsage       = 2 // the command line is wrong
	exitUnreachable = 3 // no server answered
	exitInterrupted = 130
)

type cli struct {
	Connection `group:"Connection"`

	JSON   bool            `name:"json" help:"Print JSON, one object a line, for programs." group:"Output"`
	Color  string          `enum:"auto,always,never" default:"auto" help:"Colour the output: auto, always or never." group:"Output"`
	Config kong.ConfigFlag `help:"Read flags from a JSON file; flags and ENGRAM_* variables go before it." placeholder:"FILE"`

	Serve    serveCmd    `cmd:"" help:"Run a server."`
	Demo     demoCmd     `cmd:"" help:"Show what a memory does, on the Apollo 11 conversation; needs nothing."`
	Store    storeCmd    `cmd:"" help:"Store a record." group:"Records"`
	Retrieve retrieveCmd `cmd:"" help:"Find the records nearest to a query." group:"Records"`
	Attend   attendCmd   `cmd:"" help:"Attend to a memory with a query: softmax(q·Kᵀ·scale)·V." group:"Records"`
	Recall   recallCmd   `cmd:"" help:"Write the memories that matter for a query into a prompt, under a budget of tokens." group:"Records"`
	Get      getCmd      `cmd:"" help:"Read records by id." group:"Records"`
	Delete   deleteCmd   `cmd:"" help:"Delete records." group:"Records"`
	List     listCmd     `cmd:"" help:"List records." group:"Records"`
	Count    countCmd    `cmd:"" help:"Count records." group:"Records"`

	Consolidate consolidateCmd `cmd:"" help:"Merge old records that are close, or show what would be merged." group:"Records"`

	Namespaces namespacesCmd             `cmd:"" help:"List, make, limit and delete namespaces." group:"Administration"`
	Import     importCmd                 `cmd:"" help:"Load records from a file: JSONL, .npy, .fvecs, or an export." group:"Administration"`
	Export     exportCmd                 `cmd:"" help:"Write namespaces to a file." group:"Administration"`
	Stats      statsCmd                  `cmd:"" help:"Show counts and sizes." group:"Administration"`
	Snapshot   snapshotCmd               `cmd:"" help:"Write a snapshot now." group:"Administration"`
	Check      checkCmd                  `cmd:"" help:"Read a data directory and say what is in it, and what is wrong." group:"Administration"`
	Repair     repairCmd                 `cmd:"" help:"Make a damaged data directory end with a mutation, keeping a copy." group:"Administration"`
	Eval       evalCmd                   `cmd:"" help:"Measure how well a memory remembers." group:"Administration"`
	Bench      benchCmd                  `cmd:"" help:"Measure a server from here." group:"Administration"`
	Version    versionCmd                `cmd:"" help:"Print the version."`
	Completion kongcompletion.Completion `cmd:"" help:"Print the code that completes engram's words in your shell."`
}

func main() {
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run is main with its surroundings as arguments; it returns the exit code.
func run(args []string, in io.Reader, out, errOut io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	var c cli
	exit := -1
	parser, err := kong.New(&c,
		kong.Name("engram"),
		kong.Description("A short-term memory for language models. Try `engram demo`."),
		kong.UsageOnError(),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, NoExpandSubcommands: true}),
		kong.DefaultEnvars("ENGRAM"),
		kong.Vars{"ranking_help": rankingHelp},
		kong.Configuration(kong.JSON),
		kong.Writers(out, errOut),
		kong.Exit(func(code int) { exit = code }),
		kong.BindTo(ctx, (*context.Context)(nil)),
	)
	if err != nil {
		_, _ = fmt.Fprintln(errOut, "engram:", err)
		return exitUsage
	}
	kongcompletion.Register(parser)
	if len(args) == 0 {
		args = []string{"--help"}
	}
	parsed, err := parser.Parse(args)
	if exit >= 0 { // help or completion was printed
		return exit
	}
	if err != nil {
		_, _ = fmt.Fprintf(errOut, "engram: %v\nSee `engram --help`, or `engram COMMAND --help` for a command with examples.\n", err)
		return exitUsage
	}
	t := newTerminal(in, out, errOut, c.Color, c.JSON)
	err = parsed.Run(&c, t)
	if err == nil {
		return exitOK
	}
	if ctx.Err() != nil {
		_, _ = fmt.Fprintln(errOut, "engram: interrupted")
		return exitInterrupted
	}
	message, code := advice(err, &c.Connection)
	_, _ = fmt.Fprintln(errOut, "engram:", message)
	return code
}

type versionCmd struct{}

func (versionCmd) Run(t *terminal) error {
	if t.json {
		return t.object(map[string]string{"version": version})
	}
	t.printf("engram %s\n", version)
	return nil
}

// usageError is a mistake in the words of the command.
type usageError struct{ error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

func isUsage(err error) bool {
	var u usageError
	return errors.As(err, &u)
}
