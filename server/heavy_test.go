//go:build heavy

package server

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	engramv1 "engram/proto/engram/v1"
)

// resident is the memory of this process.
func resident(t testing.TB) int64 {
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Fatal(err)
	}
	pages, err := strconv.ParseInt(strings.Fields(string(b))[1], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return pages * int64(os.Getpagesize())
}

// largeMessagesTo makes TestThousandLargeMessages its own clients, in a process apart.
const largeMessagesTo = "ENGRAM_TEST_LARGE_MESSAGES_TO"

// A thousand connections send a message of 16 MiB each, 16 GiB in all. The server, whose
// clients are another process, grows by no more than its budget and what the connections
// themselves take.
func TestThousandLargeMessages(t *testing.T) {
	const connections = 1000
	if addr := os.Getenv(largeMessagesTo); addr != "" {
		sendLargeMessages(t, addr, connections)
		return
	}
	h := start(t)
	clients := exec.Command(os.Args[0], "-test.run=^TestThousandLargeMessages$", "-test.v")
	clients.Env = append(os.Environ(), largeMessagesTo+"="+h.apiAddr)
	clients.Stderr = os.Stderr
	begin, err := clients.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := clients.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := clients.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() && lines.Text() != "connected" {
	}
	runtime.GC()
	debug.FreeOSMemory()
	before := resident(t)
	budget := h.limits.BytesInFlight
	// As a server in a container does: the collector keeps garbage within the limit.
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(before + budget))

	var peak atomic.Int64
	done := make(chan struct{})
	var watch sync.WaitGroup
	watch.Go(func() {
		for {
			select {
			case <-done:
				return
			case <-time.After(2 * time.Millisecond):
				peak.Store(max(peak.Load(), resident(t)))
			}
		}
	})
	if err := begin.Close(); err != nil {
		t.Error(err)
	}
	for lines.Scan() {
		t.Log("clients:", lines.Text())
	}
	if err := clients.Wait(); err != nil {
		t.Error("the clients failed:", err)
	}
	close(done)
	watch.Wait()
	grown := peak.Load() - before
	t.Logf("memory grew by %d MiB, the budget being %d MiB", grown>>20, budget>>20)
	// Each connection may hold its windows and buffers.
	if allowed := budget + connections*(256<<10); grown > allowed {
		t.Errorf("memory grew by %d bytes, over %d", grown, allowed)
	}
	h.waitIdle()
	h.store("a", rec("one", 1, 0)) // the server goes on
}

// A Python client with gRPC's C core and its defaults reads the error of 1,000 bad records.
func TestPythonReadsThousandViolations(t *testing.T) {
	h := start(t)
	dir := t.TempDir()
	run := func(name string, args ...string) []byte {
		t.Helper()
		cmd := exec.Command(name, args...)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%s: %v\n%s%s", cmd, err, out, stderr.Bytes())
		}
		return out
	}
	run("python3", "-m", "venv", dir)
	python := filepath.Join(dir, "bin", "python")
	run(python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "grpcio")
	records := make([]*engramv1.Record, 1000)
	for i := range records {
		records[i] = &engramv1.Record{Id: strings.Repeat("é", 200), Key: vec(float32(i))}
	}
	request, err := proto.Marshal(&engramv1.StoreRequest{Namespace: strings.Repeat("\x01", 300), Records: records})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "request")
	if err := os.WriteFile(file, request, 0o600); err != nil {
		t.Fatal(err)
	}
	const program = `
import sys, grpc
channel = grpc.insecure_channel(sys.argv[1])
try:
    channel.unary_unary("/engram.v1.MemoryService/Store")(open(sys.argv[2], "rb").read())
except grpc.RpcError as e:
    details = dict(e.trailing_metadata()).get("grpc-status-details-bin", b"")
    print(e.code().name, details.hex())
`
	code, details, _ := strings.Cut(strings.TrimSpace(string(run(python, "-c", program, h.apiAddr, file))), " ")
	if code != "INVALID_ARGUMENT" {
		t.Fatalf("Python sees %s", code)
	}
	var b []byte
	if _, err := fmt.Sscanf(details, "%x", &b); err != nil {
		t.Fatalf("details %q: %v", details, err)
	}
	if !bytes.Contains(b, []byte("records[0].id")) || !bytes.Contains(b, []byte("left out")) {
		t.Errorf("the details that Python sees are %q", b)
	}
}

// sendLargeMessages connects, says so, waits for its input to end, and has every
// connection send its message; each is read, refused with RetryInfo, or cut.
func sendLargeMessages(t *testing.T, addr string, connections int) {
	request := field(2, field(4, make([]byte, 16<<20-64))) // one record with too much text
	conns := make([]*grpc.ClientConn, connections)
	small := []byte{}
	for i := range conns {
		conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		conns[i] = conn
		var reply []byte
		wantCode(t, conn.Invoke(t.Context(), "/engram.v1.MemoryService/Get", &small, &reply, grpc.ForceCodec(rawCodec{})), codes.InvalidArgument)
	}
	fmt.Println("connected")
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		t.Fatal(err)
	}
	var counts [17]atomic.Int64
	var calls sync.WaitGroup
	for _, conn := range conns {
		calls.Go(func() {
			var reply []byte
			err := conn.Invoke(t.Context(), "/engram.v1.MemoryService/Store", &request, &reply, grpc.ForceCodec(rawCodec{}))
			counts[status.Code(err)].Add(1)
			switch status.Code(err) {
			case codes.InvalidArgument: // it was read
			case codes.ResourceExhausted:
				if detail[*errdetails.RetryInfo](err) == nil {
					t.Errorf("no RetryInfo: %v", err)
				}
			case codes.DeadlineExceeded: // cut: not complete in time
			default:
				t.Error(err)
			}
		})
	}
	calls.Wait()
	t.Logf("%d were read, %d refused, %d cut", counts[codes.InvalidArgument].Load(),
		counts[codes.ResourceExhausted].Load(), counts[codes.DeadlineExceeded].Load())
	if counts[codes.InvalidArgument].Load() == 0 {
		t.Error("no message was read")
	}
}
