package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/google/renameio/v2"
	"google.golang.org/protobuf/encoding/protodelim"
	"google.golang.org/protobuf/proto"

	"engram/client"
	pb "engram/proto/engram/v1"
)

// exportMagic begins the file of an export: this line, then ExportItems, each with
// its length before it as a varint.
const exportMagic = "engram export 1\n"

type exportCmd struct {
	File       string   `arg:"" help:"The file to write; - for standard output."`
	Namespaces []string `arg:"" optional:"" help:"The namespaces; default: all."`
	Format     string   `enum:"engram,jsonl" default:"engram" help:"engram keeps everything, for engram import; jsonl is one record a line, of one namespace, for other programs."`
}

func (*exportCmd) Help() string {
	return `Examples:
  engram export all.engram
  engram export notes.jsonl notes --format jsonl

The file appears when it is complete, or not at all.`
}

func (c *exportCmd) Run(ctx context.Context, cli *cli, t *terminal) error {
	if c.Format == "jsonl" && len(c.Namespaces) != 1 {
		return usagef("--format jsonl writes one namespace: name it")
	}
	write := func(out io.Writer) (records int, err error) {
		buf := bufio.NewWriterSize(out, 1<<20)
		if c.Format == "jsonl" {
			records, err = c.jsonl(ctx, cli, buf)
		} else {
			records, err = c.engram(ctx, cli, buf)
		}
		return records, errors.Join(err, buf.Flush())
	}
	if c.File == "-" {
		_, err := write(t.out)
		return err
	}
	f, err := renameio.NewPendingFile(c.File, renameio.WithPermissions(0o600))
	if err != nil {
		return err
	}
	defer func() { _ = f.Cleanup() }()
	n, err := write(f)
	if err != nil {
		return err
	}
	if err := f.CloseAtomicallyReplace(); err != nil {
		return err
	}
	if t.json {
		return t.object(map[string]any{"file": c.File, "records": n})
	}
	t.printf("wrote %s to %s\n", plural(n, "record"), c.File)
	return nil
}

func (c *exportCmd) engram(ctx context.Context, cli *cli, out io.Writer) (records int, err error) {
	if _, err := io.WriteString(out, exportMagic); err != nil {
		return 0, err
	}
	err = cli.withAdmin(ctx, func(ctx context.Context, e pb.AdminServiceClient) error {
		stream, err := e.Export(ctx, &pb.ExportRequest{Namespaces: c.Namespaces})
		if err != nil {
			return err
		}
		for {
			reply, err := stream.Recv()
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return err
			}
			for _, item := range reply.GetItems() {
				if _, err := protodelim.MarshalTo(out, item); err != nil {
					return err
				}
				if item.GetRecord() != nil {
					records++
				}
			}
		}
	})
	return records, err
}

func (c *exportCmd) jsonl(ctx context.Context, cli *cli, out io.Writer) (records int, err error) {
	e, err := cli.dial()
	if err != nil {
		return 0, err
	}
	defer func() { _ = e.Close() }()
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	for r, err := range e.List(ctx, c.Namespaces[0], client.WithVectors()) {
		if err != nil {
			return records, err
		}
		if err := enc.Encode(recordObject(&r)); err != nil {
			return records, err
		}
		records++
	}
	return records, nil
}

// importExport sends an export's items to the server as they stand in the file.
func importExport(ctx context.Context, cli *cli, t *terminal, f *os.File, in *bufio.Reader, read func() int64) error {
	return cli.withAdmin(ctx, func(ctx context.Context, e pb.AdminServiceClient) error {
		stream, err := e.Import(ctx)
		if err != nil {
			return err
		}
		st, err := f.Stat()
		if err != nil {
			return err
		}
		p := t.progress("bytes", st.Size())
		defer p.end()
		request, size := &pb.ImportRequest{}, 0
		flush := func() error {
			if len(request.Items) == 0 {
				return nil
			}
			err := stream.Send(request)
			request, size = &pb.ImportRequest{}, 0
			p.set(read())
			return err
		}
		for {
			item := &pb.ExportItem{}
			err := protodelim.UnmarshalOptions{MaxSize: 16 << 20}.UnmarshalFrom(in, item)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return fmt.Errorf("%s is damaged near byte %d: %w", f.Name(), read(), err)
			}
			request.Items = append(request.Items, item)
			if size += proto.Size(item); size > 1<<20 {
				if err := flush(); err != nil {
					break // the reply says why
				}
			}
		}
		if err := flush(); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		reply, err := stream.CloseAndRecv()
		if err != nil {
			return err
		}
		p.end()
		if t.json {
			return t.object(map[string]uint64{"namespaces": reply.GetNamespaces(), "records": reply.GetRecords(), "lsn": reply.GetLsn()})
		}
		t.printf("imported %s in %s\n", plural(int(reply.GetRecords()), "record"), plural(int(reply.GetNamespaces()), "namespace"))
		return nil
	})
}
