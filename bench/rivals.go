package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"runtime"
	"strconv"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protowire"
)

// efforts are the settings of a server's graph.
func efforts() [][][]int {
	var all [][]int
	for ef := 10; ef <= 640; ef *= 2 {
		all = append(all, []int{ef}, []int{ef * 3 / 2})
	}
	return [][][]int{all}
}

// freePorts are n that nobody listens at now, one after the other.
func freePorts(n int) (ports []string, err error) {
	for range 20 {
		l, err := listen()
		if err != nil {
			return nil, err
		}
		first := l.Addr().(*net.TCPAddr).Port
		open := []net.Listener{l}
		for i := 1; i < n; i++ {
			if l, err = net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", first+i)); err == nil {
				open = append(open, l)
			}
		}
		for _, l := range open {
			_ = l.Close()
		}
		if len(open) == n {
			for i := range n {
				ports = append(ports, strconv.Itoa(first+i))
			}
			return ports, nil
		}
	}
	return nil, fmt.Errorf("no %d ports in a row are free", n)
}

// scripted is a service that a script of bench/peers starts and fills.
func (b *bench) scripted(d *data, script string, packages []string, connect func(address string) (connection, error)) (*service, error) {
	p, err := b.peers.python(b.ctx, strings.TrimSuffix(script, "_server.py"), script, packages...)
	if err != nil {
		return nil, err
	}
	if err := p.load(d); err != nil {
		p.stop()
		return nil, err
	}
	b.report.note("%s", p.about)
	var address string
	return &service{
		store: func() (built, error) {
			a, err := p.ask(question{Op: "build", Threads: runtime.NumCPU()})
			if err != nil {
				return built{}, err
			}
			address = a.Address
			return built{a.About, a.Seconds, residentBytes(a.PID), a.Series}, nil
		},
		set: func(setting []int) error {
			_, err := p.ask(question{Op: "set", Setting: setting, TopCount: topK})
			return err
		},
		connect: func() (connection, error) { return connect(address) },
		stop:    p.stop,
	}, nil
}

func startChroma(b *bench, d *data) (*service, error) {
	transport := &http.Transport{MaxIdleConnsPerHost: askers}
	s, err := b.scripted(d, "chroma_server.py", []string{"numpy", "chromadb"}, func(address string) (connection, error) {
		return chromaConn{b.ctx, address, &http.Client{Transport: transport}}, nil
	})
	if err != nil {
		return nil, err
	}
	set := s.set
	s.set = func(setting []int) error { // which starts it anew
		defer transport.CloseIdleConnections()
		return set(setting)
	}
	return s, nil
}

// A chromaConn is a client's connection to Chroma.
type chromaConn struct {
	ctx    context.Context
	url    string
	client *http.Client
}

func (c chromaConn) close() { c.client.CloseIdleConnections() }

func (c chromaConn) ask(query []float32, _ []int) ([]int, error) {
	in, err := json.Marshal(map[string]any{"query_embeddings": [][]float32{query}, "n_results": topK, "include": []string{}})
	if err != nil {
		return nil, err
	}
	var out struct{ IDs [][]string }
	if err := sendJSON(c.ctx, c.client, http.MethodPost, c.url, in, &out); err != nil {
		return nil, err
	}
	var rows []int
	for _, id := range out.IDs[0] {
		row, err := strconv.Atoi(id)
		if err != nil {
			return nil, err
		}
		rows = append(rows, row)
	}
	return rows, nil
}

func startMilvus(b *bench, d *data) (*service, error) {
	return b.scripted(d, "milvus_server.py", []string{"numpy", "milvus-lite", "pymilvus"}, func(address string) (connection, error) {
		conn, err := dial(address)
		return milvusConn{conn, b.ctx}, err
	})
}

// A milvusConn is a client's connection to Milvus Lite.
type milvusConn struct {
	*grpc.ClientConn
	ctx context.Context
}

func (c milvusConn) close() { _ = c.Close() }

func (c milvusConn) ask(query []float32, setting []int) (rows []int, err error) {
	// PlaceholderValue: tag 1, type 2 of float vectors, values 3.
	const floatVector = 101
	asked := raw{}.bytes(1, raw{}.string(1, "$0").number(2, floatVector).bytes(3, littleEndian(query)).b)
	// SearchRequest: collection_name 3, placeholder_group 6, dsl_type 7 (an expression),
	// search_params 9, nq 12.
	in := raw{}.string(3, "rows").bytes(6, asked.b).number(7, 1)
	for _, p := range [][2]string{
		{"anns_field", "key"},
		{"topk", strconv.Itoa(topK)},
		{"metric_type", "IP"},
		{"params", fmt.Sprintf(`{"ef": %d}`, setting[0])},
	} {
		in = in.bytes(9, raw{}.string(1, p[0]).string(2, p[1]).b)
	}
	out, err := call(c.ctx, c.ClientConn, "/milvus.proto.milvus.MilvusService/Search", in.number(12, 1))
	if err != nil {
		return nil, err
	}
	// SearchResults: results 2, of which ids 5, of which int_id 1, of which data 1.
	ids, err := out.in(2, 5, 1, 1)
	if err != nil {
		return nil, err
	}
	for b := bytes.NewBuffer(ids.b); b.Len() > 0; {
		id, n := protowire.ConsumeVarint(b.Bytes())
		if n < 0 {
			return nil, protowire.ParseError(n)
		}
		b.Next(n)
		rows = append(rows, int(id))
	}
	if len(rows) == 0 {
		status, _ := out.in(1)
		return nil, fmt.Errorf("milvus lite found nothing: %q", status.b)
	}
	return rows, nil
}

// startVectorSets says why Redis is missing: the packaged one is too old.
func startVectorSets(b *bench, _ *data) (*service, error) {
	about, err := exec.CommandContext(b.ctx, "redis-server", "--version").Output()
	if err != nil {
		return nil, err
	}
	return nil, fmt.Errorf("vector sets came with 8.0, and aren't measured; this is %s", strings.TrimSpace(string(about)))
}
