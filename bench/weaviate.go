package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"
)

// weaviate builds the newest Weaviate in a module of the cache, where it isn't there.
func (ps *peers) weaviate(ctx context.Context) (program string, err error) {
	dir := filepath.Join(ps.cache, "weaviate")
	program = filepath.Join(dir, "weaviate-server")
	if _, err := os.Stat(program); err == nil || ps.short {
		return program, err
	}
	log.Print("building Weaviate …")
	const module = "github.com/weaviate/weaviate"
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	if err := os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module weaviate\n\ngo 1.26.0\n"), 0o600); err != nil {
		return "", err
	}
	for _, args := range [][]string{{"get", module + "@latest"}, {"build", "-mod=mod", "-o", program, module + "/cmd/weaviate-server"}} {
		c := exec.CommandContext(ctx, "go", args...)
		c.Dir = dir
		if out, err := c.CombinedOutput(); err != nil {
			return "", fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, out[max(0, len(out)-2000):])
		}
	}
	return program, nil
}

// weaviateClass is the name of the rows, which has to begin so.
const weaviateClass = "Rows"

// A weaviateServer is Weaviate in a process of its own. It is managed over REST, filled
// and asked over gRPC.
type weaviateServer struct {
	ctx        context.Context
	rest, grpc string
	cmd        *exec.Cmd
	class      map[string]any
}

func startWeaviate(b *bench, d *data) (*service, error) {
	program, err := b.peers.weaviate(b.ctx)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(b.peers.dir, "weaviate")
	if err != nil {
		return nil, err
	}
	ports, err := freePorts(6) // it takes some to be the one after another
	if err != nil {
		return nil, err
	}
	w := &weaviateServer{ctx: b.ctx, rest: "http://127.0.0.1:" + ports[0], grpc: "127.0.0.1:" + ports[1]}
	w.cmd = exec.CommandContext(b.ctx, program, "--host", "127.0.0.1", "--port", ports[0], "--scheme", "http")
	w.cmd.Env = append(os.Environ(), "PERSISTENCE_DATA_PATH="+dir, "GRPC_PORT="+ports[1], "CLUSTER_GOSSIP_BIND_PORT="+ports[2],
		"CLUSTER_DATA_BIND_PORT="+ports[3], "RAFT_PORT="+ports[4], "RAFT_INTERNAL_RPC_PORT="+ports[5], "RAFT_BOOTSTRAP_EXPECT=1",
		"CLUSTER_HOSTNAME=bench", "CLUSTER_ADVERTISE_ADDR=127.0.0.1", "CLUSTER_IN_LOCALHOST=true", "GO_PROFILING_DISABLE=true",
		"AUTHENTICATION_ANONYMOUS_ACCESS_ENABLED=true", "DISABLE_TELEMETRY=true", "LOG_LEVEL=panic")
	if err := w.cmd.Start(); err != nil {
		return nil, err
	}
	version, err := w.ready()
	if err != nil {
		w.stop()
		return nil, err
	}
	b.report.note("Weaviate %s, one query a call over gRPC", version)
	return &service{
		store:   func() (built, error) { return w.store(d) },
		set:     w.set,
		connect: w.connect,
		stop:    w.stop,
	}, nil
}

func (w *weaviateServer) stop() {
	_ = w.cmd.Process.Signal(os.Interrupt)
	_ = w.cmd.Wait()
}

// ready waits for the server, and gives its version.
func (w *weaviateServer) ready() (version string, err error) {
	for range 600 {
		var meta struct{ Version string }
		if err = w.do(http.MethodGet, "/v1/.well-known/ready", nil, nil); err == nil {
			return meta.Version, w.do(http.MethodGet, "/v1/meta", nil, &meta)
		}
		time.Sleep(100 * time.Millisecond)
	}
	return "", fmt.Errorf("after a minute: %w", err)
}

// do sends JSON and reads it.
func (w *weaviateServer) do(method, path string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	return sendJSON(w.ctx, http.DefaultClient, method, w.rest+path, body, out)
}

func (w *weaviateServer) store(d *data) (built, error) {
	w.class = map[string]any{
		"class": weaviateClass, "vectorizer": "none",
		"vectorIndexConfig": map[string]any{"distance": "dot", "maxConnections": 32, "efConstruction": 200, "ef": 64},
	}
	if err := w.do(http.MethodPost, "/v1/schema", w.class, &w.class); err != nil {
		return built{}, err
	}
	conn, err := dial(w.grpc)
	if err != nil {
		return built{}, err
	}
	defer func() { _ = conn.Close() }()
	start := time.Now()
	err = d.each(1000, func(from int, rows [][]float32) error {
		var in raw
		for i, r := range rows {
			// BatchObject: uuid 1, collection 4, vector_bytes 6.
			id := fmt.Sprintf("00000000-0000-0000-0000-%012x", from+i)
			in = in.bytes(1, raw{}.string(1, id).string(4, weaviateClass).bytes(6, littleEndian(r)).b)
		}
		out, err := call(w.ctx, conn, "/weaviate.v1.Weaviate/BatchObjects", in)
		if err != nil {
			return err
		}
		return out.each(2, func(e raw) error { return fmt.Errorf("a row was refused: %s", e.b) })
	})
	return built{"maxConnections 32, efConstruction 200", time.Since(start).Seconds(), residentBytes(w.cmd.Process.Pid), efforts()}, err
}

func (w *weaviateServer) set(setting []int) error {
	w.class["vectorIndexConfig"].(map[string]any)["ef"] = setting[0]
	return w.do(http.MethodPut, "/v1/schema/"+weaviateClass, w.class, nil)
}

// A weaviateConn is a client's connection.
type weaviateConn struct {
	*grpc.ClientConn
	ctx context.Context
}

func (w *weaviateServer) connect() (connection, error) {
	conn, err := dial(w.grpc)
	return weaviateConn{conn, w.ctx}, err
}

func (c weaviateConn) close() { _ = c.Close() }

func (c weaviateConn) ask(query []float32, _ []int) (rows []int, err error) {
	// SearchRequest: collection 1, metadata 21 with uuid 1, limit 30, near_vector 43 with
	// vector_bytes 4, uses_127_api 102.
	in := raw{}.string(1, weaviateClass).bytes(21, raw{}.number(1, 1).b).number(30, topK).
		bytes(43, raw{}.bytes(4, littleEndian(query)).b).number(102, 1)
	out, err := call(c.ctx, c.ClientConn, "/weaviate.v1.Weaviate/Search", in)
	if err != nil {
		return nil, err
	}
	err = out.each(2, func(result raw) error { // metadata 2 with id 1
		id, err := result.in(2, 1)
		if err != nil {
			return err
		}
		row, err := strconv.ParseInt(string(id.b[max(0, len(id.b)-12):]), 16, 64)
		rows = append(rows, int(row))
		return err
	})
	return rows, err
}

// sendJSON sends a body and reads the JSON that is answered, if out isn't nil.
func sendJSON(ctx context.Context, client *http.Client, method, url string, body []byte, out any) error {
	request, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	reply, err := client.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = reply.Body.Close() }()
	text, err := io.ReadAll(reply.Body)
	if err != nil {
		return err
	}
	if reply.StatusCode/100 != 2 {
		return fmt.Errorf("%s %s: %s: %.300s", method, url, reply.Status, text)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(text, out)
}
