package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"engram/memory"
	"engram/storage"
)

type checkCmd struct {
	Dir string `arg:"" help:"The data directory of a server that is not running." type:"path"`
}

func (*checkCmd) Help() string {
	return `Reads every file of the directory, verifies every checksum, and tells what a start
would make of it. Nothing is changed. The exit code is 1 if anything is wrong.

Example:
  engram check /var/lib/engram`
}

func (c *checkCmd) Run(ctx context.Context, t *terminal) error {
	dir, err := storage.Inspect(c.Dir, storage.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	defer func() { _ = dir.Close() }()
	r, err := dir.Check(ctx)
	if err != nil {
		return err
	}
	if err := t.report(r); err != nil {
		return err
	}
	wrong := 0
	for _, f := range r.Files {
		if f.Err != nil {
			wrong++
		}
	}
	switch {
	case r.Err != nil:
		return fmt.Errorf("a server would not start: %w", r.Err)
	case wrong > 0:
		return fmt.Errorf("%s; a server would start without losing anything by it", plural(wrong, "damaged file"))
	}
	return nil
}

func (t *terminal) report(r *storage.Report) error {
	if t.json {
		return t.reportJSON(r)
	}
	rows := make([][]string, len(r.Files))
	for i, f := range r.Files {
		rows[i] = []string{f.Name, bytesText(uint64(f.Bytes)), lsnText(f.From), lsnText(f.To), countText(uint64(f.Count)), errText(f.Err, "ok")}
	}
	if len(rows) > 0 {
		t.table([]column{{title: "file", sgr: cyan}, {title: "size", right: true}, {title: "from LSN", right: true}, {title: "to LSN", right: true}, {title: "holds", right: true}, {title: "state"}}, rows)
		t.printf("\n")
	}
	if r.Err == nil {
		t.outcome(r)
	}
	return nil
}

// outcome says what a start would do.
func (t *terminal) outcome(r *storage.Report) {
	from := r.Snapshot
	if from == "" {
		from = "nothing"
	}
	t.printf("A server would start from %s, replay %s, and go on from LSN %d.\n", from, plural(r.Replay, "mutation"), uint64(r.LSN))
	if r.LSN != 0 {
		t.printf("`engram serve --until-lsn` can open it as of LSN %d to %d.\n", uint64(r.Lowest), uint64(r.LSN))
	}
	if c := r.Cut; c != nil {
		t.printf("It would cut %d bytes from offset %d of %s, which had never been synced: expected %s.\n", c.Bytes, c.Offset, c.File, c.Want)
	}
}

func (t *terminal) reportJSON(r *storage.Report) error {
	for _, f := range r.Files {
		if err := t.object(map[string]any{
			"file": f.Name, "bytes": f.Bytes, "from_lsn": uint64(f.From), "to_lsn": uint64(f.To), "count": f.Count, "error": errText(f.Err, ""),
		}); err != nil {
			return err
		}
	}
	start := map[string]any{
		"snapshot": r.Snapshot, "replay": r.Replay, "lowest_lsn": uint64(r.Lowest), "lsn": uint64(r.LSN), "error": errText(r.Err, ""),
	}
	if c := r.Cut; c != nil {
		start["cut"] = map[string]any{"file": c.File, "offset": c.Offset, "bytes": c.Bytes, "expected": c.Want}
	}
	return t.object(map[string]any{"start": start})
}

func lsnText(l memory.LSN) string {
	if l == 0 {
		return ""
	}
	return fmt.Sprint(uint64(l))
}

func errText(err error, none string) string {
	if err == nil {
		return none
	}
	return err.Error()
}

type repairCmd struct {
	Dir        string `arg:"" help:"The data directory of a server that is not running." type:"path"`
	TruncateAt uint64 `name:"truncate-at" required:"" help:"The LSN of the last mutation to keep." placeholder:"LSN"`
}

func (*repairCmd) Help() string {
	return `Makes the directory end with a mutation. What is later is taken out of use, not
deleted: it stays in the directory under names that end in .cut. Look first:

  engram check /var/lib/engram
  engram repair /var/lib/engram --truncate-at 281474976710912`
}

func (c *repairCmd) Run(ctx context.Context, t *terminal) error {
	if c.TruncateAt == 0 {
		return usagef("--truncate-at is 0, which is no mutation's LSN")
	}
	dir, err := storage.Open(c.Dir, storage.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	r, err := dir.Repair(ctx, memory.LSN(c.TruncateAt))
	if err = errors.Join(err, dir.Close()); err != nil {
		return err
	}
	if t.json {
		return t.object(map[string]any{"lsn": uint64(r.LSN), "kept": r.Files})
	}
	t.printf("%s now ends with LSN %d.\n", c.Dir, uint64(r.LSN))
	for _, f := range r.Files {
		t.printf("kept %s\n", f)
	}
	return nil
}
