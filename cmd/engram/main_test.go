package main

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"engram/embed"
)

// asProcess makes the test's binary be engram itself, for tests of processes.
const asProcess = "ENGRAM_TEST_AS_PROCESS"

func TestMain(m *testing.M) {
	if os.Getenv(asProcess) != "" {
		main()
	}
	os.Exit(m.Run())
}

// engram runs a command in this process and returns its exit code and output.
func engram(in string, args ...string) (code int, out, errOut string) {
	var o, e bytes.Buffer
	code = run(args, strings.NewReader(in), &o, &e)
	return code, o.String(), e.String()
}

// A process is a server that runs as one.
type process struct {
	t          *testing.T
	cmd        *exec.Cmd
	log        *syncBuffer
	api, admin string
	done       chan struct{}
}

// syncBuffer is what a process has said so far.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

var listening = regexp.MustCompile(`msg=listening api=(\S+) admin=(\S+)`)

// begin starts `engram serve` with more flags. It doesn't wait.
func begin(t *testing.T, flags ...string) *process {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return beginAs(t, exec.Command(self, append([]string{"serve", "--addr=127.0.0.1:0", "--admin=127.0.0.1:0", "--memory=1GiB"}, flags...)...))
}

// beginAs is begin with a command of one's own, which runs this binary.
func beginAs(t *testing.T, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{t: t, cmd: cmd, log: &syncBuffer{}, done: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), asProcess+"=1")
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { _ = p.cmd.Wait(); close(p.done) }()
	t.Cleanup(func() { _ = p.cmd.Process.Kill(); <-p.done })
	return p
}

// serve starts a server and waits until it answers.
func serve(t *testing.T, flags ...string) *process {
	t.Helper()
	p := begin(t, flags...)
	p.ready()
	return p
}

// ready waits until the server answers.
func (p *process) ready() {
	p.t.Helper()
	deadline := time.After(time.Minute)
	for {
		if m := listening.FindStringSubmatch(p.log.String()); m != nil {
			p.api, p.admin = m[1], m[2]
			if code, _, _ := p.run("", "namespaces"); code == exitOK {
				return
			}
		}
		select {
		case <-p.done:
			p.t.Fatalf("the server ended:\n%s", p.log)
		case <-deadline:
			p.t.Fatalf("the server isn't ready:\n%s", p.log)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// run runs a command against the server.
func (p *process) run(in string, args ...string) (code int, out, errOut string) {
	return engram(in, append(args, "--addr="+p.api, "--admin="+p.admin)...)
}

// ok runs a command that must succeed and returns its output.
func (p *process) ok(in string, args ...string) string {
	p.t.Helper()
	code, out, errOut := p.run(in, args...)
	if code != exitOK {
		p.t.Fatalf("engram %s: exit code %d\n%s%s", strings.Join(args, " "), code, out, errOut)
	}
	return out
}

// fails runs a command that must end with a code and say something.
func (p *process) fails(want int, says string, args ...string) {
	p.t.Helper()
	code, _, errOut := p.run("", args...)
	if code != want || !strings.Contains(errOut, says) {
		p.t.Errorf("engram %s: exit code %d, want %d with %q:\n%s", strings.Join(args, " "), code, want, says, errOut)
	}
}

// end waits until the process is gone and returns its exit code.
func (p *process) end() int {
	p.t.Helper()
	select {
	case <-p.done:
	case <-time.After(time.Minute):
		p.t.Fatalf("the server doesn't end:\n%s", p.log)
	}
	return p.cmd.ProcessState.ExitCode()
}

// stop ends the server as an operator does.
func (p *process) stop() {
	p.t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.t.Fatal(err)
	}
	if code := p.end(); code != exitOK {
		p.t.Fatalf("exit code %d after SIGTERM:\n%s", code, p.log)
	}
}

// objects reads JSON, an object a line.
func objects(t *testing.T, out string) []map[string]any {
	t.Helper()
	var list []map[string]any
	for d := json.NewDecoder(strings.NewReader(out)); ; {
		var o map[string]any
		err := d.Decode(&o)
		if err == io.EOF {
			return list
		}
		if err != nil {
			t.Fatalf("%v in\n%s", err, out)
		}
		list = append(list, o)
	}
}

// each gives one field of each object.
func each(list []map[string]any, field string) []any {
	out := []any{}
	for _, o := range list {
		out = append(out, o[field])
	}
	return out
}

func TestRecordsFromTheCommandLine(t *testing.T) {
	s := serve(t)
	if out := s.ok("", "store", "notes", "My dog is called Ada.", "--id=m1", "--speaker=me", "--meta", "topic=pets", "--meta", "turn=1"); out != "stored m1 in notes\n" {
		t.Errorf("store says %q", out)
	}
	s.ok("The spare key is under the blue pot.", "store", "notes", "-", "--id=m2", "--speaker=you", "--meta", "turn=2")
	if out := s.ok("", "store", "notes", "My dog is called Ada.", "--id=m1", "--speaker=me", "--meta", "topic=pets", "--meta", "turn=1"); out != "replaced m1 in notes\n" {
		t.Errorf("store of an id that exists says %q", out)
	}
	s.fails(exitRefused, "m1", "store", "notes", "again", "--id=m1", "--insert")

	hits := objects(t, s.ok("", "retrieve", "notes", "where", "is", "the", "key", "--json"))
	if ids := each(hits, "id"); !reflect.DeepEqual(ids, []any{"m2", "m1"}) {
		t.Errorf("retrieve gives %v", ids)
	}
	if hits[0]["text"] != "The spare key is under the blue pot." || hits[0]["score"].(float64) <= hits[1]["score"].(float64) {
		t.Errorf("the first hit is %v", hits[0])
	}
	like := objects(t, s.ok("", "retrieve", "notes", "--like=m2", "--json", "--vectors"))
	if len(like) != 1 || like[0]["id"] != "m1" || len(like[0]["key"].([]any)) != embed.DefaultDimension {
		t.Errorf("like m2: %v", like)
	}
	chosen := objects(t, s.ok("", "retrieve", "notes", "key", "--json", "--diversity=0.5", "--candidates=50", "--before=1", "--after=2", "--group-by=meta.topic", "--per-group=2"))
	if len(chosen) != 2 || chosen[1]["group"] != 1.0 || chosen[0]["diversity"] != 0.0 ||
		len(chosen[0]["before"].([]any)) != 1 || len(chosen[1]["before"].([]any)) != 0 {
		t.Errorf("chosen are %v", chosen)
	}
	if out := s.ok("", "retrieve", "notes", "key", "-k1", "--before=1"); strings.Count(out, "\n") != 3 || strings.Index(out, "Ada") > strings.Index(out, "blue pot") {
		t.Errorf("a hit and the one before:\n%s", out)
	}
	for flag, says := range map[string]string{"--candidates=3": "--diversity", "--per-group=2": "--group-by", "--before=-1": "0 or more", "--group-by=x": "meta.x"} {
		s.fails(exitUsage, says, "retrieve", "notes", "key", flag)
	}
	s.fails(exitRefused, "diversity.weight is 2", "retrieve", "notes", "key", "--diversity=2")
	if out := s.ok("", "retrieve", "notes", "key"); !strings.Contains(out, "score") || !strings.Contains(out, "blue pot") || strings.Contains(out, "\x1b") {
		t.Errorf("a table:\n%s", out)
	}
	if out := s.ok("", "retrieve", "notes", "key", "--color=always"); !strings.Contains(out, "\x1b[32m") {
		t.Errorf("a table in colour:\n%q", out)
	}

	a := objects(t, s.ok("", "attend", "notes", "key", "--json", "-n1"))[0]
	if a["attended"] != 2.0 || len(a["context"].([]any)) != embed.DefaultDimension || a["top_weights"].([]any)[0].(map[string]any)["id"] != "m2" {
		t.Errorf("attend gives %v", a)
	}
	none := objects(t, s.ok("", "attend", "notes", "key", "--json", "--where=speaker=nobody"))[0]
	if none["attended"] != 0.0 || none["log_sum_exp"] != nil {
		t.Errorf("attention to nothing: %v", none)
	}

	if out := s.ok("", "attend", "notes", "key"); !strings.Contains(out, "attention by time") || !strings.ContainsAny(out, "█▓") || !strings.Contains(out, "blue pot") {
		t.Errorf("a heat map:\n%s", out)
	}
	picture := filepath.Join(t.TempDir(), "a.svg")
	s.ok("", "attend", "notes", "the", "key", "--and=my dog <Ada>", "--svg", picture)
	b, err := os.ReadFile(picture)
	if err != nil {
		t.Fatal(err)
	}
	var svg struct {
		Rects []struct {
			Title string `xml:"title"`
		} `xml:"rect"`
		Texts []string `xml:"text"`
	}
	if err := xml.Unmarshal(b, &svg); err != nil {
		t.Fatal(err)
	}
	shares := 0.0
	for _, r := range svg.Rects[1:] {
		var x float64
		if _, err := fmt.Sscanf(r.Title, "%f%%", &x); err != nil {
			t.Fatal(err)
		}
		shares += x
	}
	if len(svg.Rects) != 1+2*mapCells || math.Abs(shares-200) > 1 || !slices.Contains(svg.Texts, "my dog <Ada>") {
		t.Errorf("the picture has %d cells of %v%%, and says %q", len(svg.Rects), shares, svg.Texts)
	}
	s.fails(exitUsage, "--svg is for", "attend", "notes", "key", "--last=1", "--svg", picture)

	if out := s.ok("", "count", "notes", "-w", "meta.turn>1"); out != "1\n" {
		t.Errorf("count says %q", out)
	}
	listed := objects(t, s.ok("", "list", "notes", "--json", "--order=-created", "-w", "speaker!=nobody"))
	if ids := each(listed, "id"); !reflect.DeepEqual(ids, []any{"m2", "m1"}) {
		t.Errorf("list, newest first, gives %v", ids)
	}
	s.fails(exitRefused, "m9", "get", "notes", "m1", "m9")
	if out := s.ok("", "delete", "notes", "m1", "m9"); out != "deleted 1 record\n" {
		t.Errorf("delete says %q", out)
	}
	if out := s.ok("", "delete", "notes", "--where=speaker=you", "--json"); out != "{\"deleted\":1}\n" {
		t.Errorf("delete says %q", out)
	}
}

func TestNamespacesAndStats(t *testing.T) {
	s := serve(t)
	s.ok("", "namespaces", "create", "v", "--metric=l2", "--dimension=2", "--value-dimension=1")
	s.ok("", "store", "v", "--id=a", "--key=1,0", "--value=5")
	a := objects(t, s.ok("", "attend", "v", "--vector=1,0", "--json"))[0]
	if got := a["context"]; !reflect.DeepEqual(got, []any{5.0}) {
		t.Errorf("context %v", got)
	}
	s.ok("", "namespaces", "create", "heads", "--metric=dot", "--dimension=4", "--heads=2")
	for i := range 4 {
		s.ok("", "store", "heads", "--key=1,0,0,1", fmt.Sprintf("--value=%d,0,0,%d", i, -i), fmt.Sprint("--position=", i))
	}
	h := objects(t, s.ok("", "attend", "heads", "--vector=1,0,0,1,0,0,0,0", "--query-heads=4", "--before=3", "--last=2", "--json"))[0]
	if got := h["context"]; !reflect.DeepEqual(got, []any{1.5, 0.0, 1.5, 0.0, 0.0, -1.5, 0.0, -1.5}) || len(h["heads"].([]any)) != 4 {
		t.Errorf("of four heads: %v", h)
	}
	s.ok("", "namespaces", "delete", "heads")
	fades := objects(t, s.ok("", "namespaces", "create", "fades", "--dimension=2", "--half-life=2d", "--growth=1.5", "--min-interval=90s", "--json"))[0]
	if want := map[string]any{"half_life": 2 * 86400.0, "growth": 1.5, "min_interval": 90.0, "max_half_life": 104 * 86400.0}; !reflect.DeepEqual(fades["retention"], want) {
		t.Errorf("%v", fades["retention"])
	}
	s.ok("", "store", "fades", "--id=a", "--key=1,0")
	s.ok("", "store", "fades", "--id=kept", "--key=0,1", "--pinned", "--ttl=2d")
	if kept := objects(t, s.ok("", "get", "fades", "kept", "--json"))[0]; kept["pinned"] != true || kept["expire_time"] == nil {
		t.Errorf("%v", kept)
	}
	if got := objects(t, s.ok("", "namespaces", "forget", "fades", "0.25", "--json"))[0]; got["forget"] != 0.25 {
		t.Errorf("%v", got)
	}
	s.ok("", "store", "fades", "--id=twin", "--key=1,0", "--speaker=me")
	s.ok("", "store", "fades", "--id=other", "--key=1,0.1", "--speaker=me")
	if out := s.ok("", "consolidate", "fades", "--similarity=0.9", "--min-age=0s", "--dry-run", "--where", "speaker=me"); !strings.HasSuffix(out, "\nwould merge 2 records into 1\n") {
		t.Errorf("it says %q", out)
	}
	merged := objects(t, s.ok("", "consolidate", "fades", "--similarity=0.9", "--min-age=0s", "--where", "speaker=me", "--json"))[0]
	if sources := merged["records"].([]any)[0].(map[string]any)["sources"].([]any); merged["merged"] != 2.0 || merged["made"] != 1.0 || sources[1].(map[string]any)["id"] != "other" {
		t.Errorf("%v", merged)
	}
	s.fails(exitRefused, "consolidation", "consolidate", "fades")
	s.fails(exitUsage, "--similarity", "consolidate", "fades", "--min-age=1d")
	if got := objects(t, s.ok("", "namespaces", "consolidation", "fades", "0.99", "--min-age=30d", "--json"))[0]; !reflect.DeepEqual(got["consolidation"], map[string]any{"similarity": 0.99, "min_age": 30 * 86400.0}) {
		t.Errorf("%v", got)
	}
	if got := objects(t, s.ok("", "namespaces", "consolidation", "fades", "0", "--json"))[0]; got["consolidation"] != nil {
		t.Errorf("%v", got)
	}
	if hit := objects(t, s.ok("", "retrieve", "fades", "--vector=1,0", "--rehearse", "--ranking=similarity,retention=0.5", "--json"))[0]; hit["retention"].(float64) < 0.99 {
		t.Errorf("%v", hit)
	}
	for deadline := time.Now().Add(time.Minute); ; {
		got := objects(t, s.ok("", "get", "fades", "a", "--json"))[0]
		if got["rehearsals"] == 1.0 && got["rehearse_time"] != nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("it wasn't rehearsed: %v", got)
		}
		time.Sleep(100 * time.Millisecond)
	}
	if got := objects(t, s.ok("", "namespaces", "retention", "fades", "--half-life=36h", "--json"))[0]["retention"].(map[string]any); got["half_life"] != 129600.0 || got["growth"] != 2.0 {
		t.Errorf("%v", got)
	}
	s.fails(exitUsage, "half-life", "namespaces", "retention", "fades", "--half-life=soon")
	s.fails(exitRefused, "namespace.retention.growth", "namespaces", "retention", "fades", "--growth=0.5")
	s.ok("", "attend", "fades", "--vector=1,0", "--by-retention=1")
	s.ok("", "namespaces", "delete", "fades")
	n := objects(t, s.ok("", "namespaces", "limit", "v", "64MiB", "--json"))[0]
	if n["metric"] != "l2" || n["dimension"] != 2.0 || n["records"] != 1.0 || n["max_bytes"] != float64(64<<20) {
		t.Errorf("namespace %v", n)
	}
	if out := s.ok("", "stats", "v"); !strings.Contains(out, "lexical") || !strings.Contains(out, "1, and 0 dead rows in 1 segment") {
		t.Errorf("stats:\n%s", out)
	}
	s.fails(exitRefused, "data directory", "snapshot")
	s.fails(exitRefused, "v", "namespaces", "create", "v", "--dimension=2")
	if out := s.ok("", "namespaces", "delete", "v"); out != "deleted v with 1 record\n" {
		t.Errorf("delete says %q", out)
	}
	s.fails(exitRefused, "v", "count", "v")
	for _, want := range []string{"StoreStream", "Retrieve", "Attend"} {
		if out := s.ok("", "bench", "--records=50", "--dimension=8", "--clients=2", "--duration=20ms", "--json"); !strings.Contains(out, want) {
			t.Errorf("bench lacks %s:\n%s", want, out)
		}
	}
	if out := s.ok("", "namespaces", "--json"); out != "" {
		t.Errorf("bench leaves behind %s", out)
	}
}

func write(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestImport(t *testing.T) {
	s := serve(t)
	var lines strings.Builder
	for i := range 2500 {
		switch i + 1 {
		case 700:
			lines.WriteString("{oops\n")
		case 1800:
			lines.WriteString(`{"id":"bad","body":"x","importance":7}` + "\n")
		default:
			fmt.Fprintf(&lines, `{"id":"r%d","body":"line %d","author":"a"}`+"\n", i+1, i+1)
		}
	}
	bad := write(t, "bad.jsonl", lines.String())
	mapped := []string{"--text-field=body", "--speaker-field=author"}
	s.fails(exitRefused, "bad.jsonl: line 700: not a JSON object", append([]string{"import", bad, "stopped"}, mapped...)...)

	code, out, errOut := s.run("", append([]string{"import", bad, "skipped", "--skip-bad"}, mapped...)...)
	if code != exitOK || out != "stored 2,498 records in skipped, skipped 2 bad lines\n" {
		t.Errorf("import --skip-bad: %d %q\n%s", code, out, errOut)
	}
	for _, says := range []string{"line 700 skipped: not a JSON object", "line 1800 skipped: importance"} {
		if !strings.Contains(errOut, says) {
			t.Errorf("import --skip-bad doesn't say %q:\n%s", says, errOut)
		}
	}
	if out := s.ok("", "count", "skipped", "-w", "speaker=a"); out != "2,498\n" {
		t.Errorf("%s records came", out)
	}
	refused := write(t, "refused.jsonl", `{"text":"fine"}`+"\n\n"+`{"text":"x","importance":7}`)
	s.fails(exitRefused, "refused.jsonl, line 3: importance", "import", refused, "refused")
	s.fails(exitRefused, "0 records stored before", "import", refused, "refused")

	s.ok("", "import", write(t, "v.npy", string(npy(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2), }", []float32{1, 2, 3, 4}))), "npy")
	s.ok("", "import", write(t, "v.fvecs", string(fvecs([]float32{1, 2}, []float32{3, 4}))), "fvecs")
	for _, n := range []string{"npy", "fvecs"} {
		got := each(objects(t, s.ok("", "list", n, "--json", "--vectors")), "key")
		if !reflect.DeepEqual(got, []any{[]any{1.0, 2.0}, []any{3.0, 4.0}}) {
			t.Errorf("%s: keys %v", n, got)
		}
	}
	s.ok(`{"id":"a","text":"from standard input"}`, "import", "-", "piped")
	s.fails(exitUsage, "name the namespace", "import", bad)
	s.fails(exitRefused, "no such file", "import", "nowhere.jsonl", "x")
}

func TestExportAndImportGiveTheSame(t *testing.T) {
	s := serve(t)
	s.ok("", "namespaces", "create", "v", "--metric=dot", "--dimension=2", "--value-dimension=3")
	s.ok("", "store", "v", "--id=a", "--key=1,-0.5", "--value=1,2,3", "--importance=0.9", "--session=s")
	s.ok("", "store", "notes", "My dog is called Ada.", "--id=m1", "--speaker=me", "--meta", `deep={"a":[1,null]}`)
	s.ok("", "store", "notes", "The spare key is under the blue pot.")

	dir := t.TempDir()
	all, again := filepath.Join(dir, "all.engram"), filepath.Join(dir, "again.engram")
	if out := s.ok("", "export", all); out != "wrote 3 records to "+all+"\n" {
		t.Errorf("export says %q", out)
	}
	s.fails(exitRefused, "notes", "import", all)

	other := serve(t)
	if out := other.ok("", "import", all); out != "imported 3 records in 2 namespaces\n" {
		t.Errorf("import says %q", out)
	}
	for _, args := range [][]string{
		{"list", "notes", "--json", "--vectors"},
		{"list", "v", "--json", "--vectors"},
		{"retrieve", "notes", "the key", "--json"},
		{"attend", "v", "--vector=1,1", "--json"},
	} {
		if was, is := s.ok("", args...), other.ok("", args...); was != is {
			t.Errorf("engram %s was\n%s\nand is\n%s", strings.Join(args, " "), was, is)
		}
	}
	other.ok("", "export", again, "notes", "v")

	whole, err := os.ReadFile(all)
	if err != nil {
		t.Fatal(err)
	}
	third := serve(t)
	third.fails(exitRefused, "damaged", "import", write(t, "cut.engram", string(whole[:len(whole)-3])))
	whole[len(whole)/2] ^= 0x40
	third.fails(exitRefused, "", "import", write(t, "flipped.engram", string(whole)))

	// JSON lines go the same way, but for what the server sets.
	lines := s.ok("", "export", "-", "notes", "--format=jsonl")
	third.ok(lines, "import", "-", "lines")
	if got, want := each(objects(t, third.ok("", "list", "lines", "--json")), "text"), each(objects(t, lines), "text"); !reflect.DeepEqual(got, want) {
		t.Errorf("texts %v; want %v", got, want)
	}
	s.fails(exitUsage, "name it", "export", "-", "--format=jsonl")
}

func TestRestartRestores(t *testing.T) {
	dir := t.TempDir()
	first := serve(t, "--data="+dir)
	first.ok("", "store", "notes", "My dog is called Ada.", "--id=m1", "--speaker=me", "--meta", "turn=1")
	first.ok("", "store", "notes", "The spare key is under the blue pot.", "--id=m2")
	was := first.ok("", "list", "notes", "--json", "--vectors")
	first.stop()

	second := serve(t, "--data="+dir)
	if is := second.ok("", "list", "notes", "--json", "--vectors"); is != was {
		t.Errorf("was\n%s\nand is\n%s", was, is)
	}
	snapshot := objects(t, second.ok("", "snapshot", "--json"))[0]
	if snapshot["records"] != 2.0 || snapshot["namespaces"] != 1.0 {
		t.Errorf("snapshot %v", snapshot)
	}
	second.ok("", "store", "notes", "Our train leaves on Friday.", "--id=m3")
	was = second.ok("", "list", "notes", "--json", "--vectors")
	if err := second.cmd.Process.Kill(); err != nil { // a crash
		t.Fatal(err)
	}
	second.end()

	third := serve(t, "--data="+dir)
	if is := third.ok("", "list", "notes", "--json", "--vectors"); is != was {
		t.Errorf("before a crash there was\n%s\nand after it is\n%s", was, is)
	}
	third.stop()
}

// A directory is opened as of any LSN, and repaired to end with one; what is wrong with
// it is told, with the command that helps.
func TestUntilCheckRepair(t *testing.T) {
	dir := t.TempDir()
	s := serve(t, "--data="+dir, "--durability=sync", "--snapshot-interval=0")
	var lsns []string
	for i := range 3 {
		s.ok("", "store", "notes", "words", fmt.Sprint("--id=m", i))
		lsns = append(lsns, fmt.Sprintf("%.0f", objects(t, s.ok("", "namespaces", "--json"))[0]["lsn"]))
	}
	if log := s.log.String(); !strings.Contains(log, "durability=sync") {
		t.Errorf("the log doesn't tell the durability:\n%s", log)
	}
	if err := s.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	s.end()

	offline := &process{t: t, api: "127.0.0.1:1", admin: "127.0.0.1:1"}
	report := offline.ok("", "check", dir)
	if !strings.Contains(report, lsns[2]) || !strings.Contains(report, "replay 3 mutations") {
		t.Errorf("check says:\n%s", report)
	}
	old := serve(t, "--data="+dir, "--until-lsn="+lsns[0])
	if n := len(objects(t, old.ok("", "list", "notes", "--json"))); n != 1 {
		t.Errorf("as of LSN %s there are %d records", lsns[0], n)
	}
	old.fails(exitRefused, "read-only", "store", "notes", "more")
	old.stop()
	never := begin(t, "--data="+dir, "--until-lsn=999999999999999999")
	if code := never.end(); code != exitRefused || !strings.Contains(never.log.String(), "can be opened as of LSN") {
		t.Errorf("exit code %d:\n%s", code, never.log)
	}

	journal := filepath.Join(dir, "journal-0001000000000000.engram")
	b, err := os.ReadFile(journal)
	if err != nil {
		t.Fatal(err)
	}
	b[100] ^= 1 // in the first mutation, which was synced long before the last
	if err := os.WriteFile(journal, b, 0o600); err != nil {
		t.Fatal(err)
	}
	offline.fails(exitRefused, "offset 64", "check", dir)
	bad := begin(t, "--data="+dir)
	if code := bad.end(); code != exitRefused || !strings.Contains(bad.log.String(), "engram repair "+dir+" --truncate-at ") {
		t.Errorf("exit code %d:\n%s", code, bad.log)
	}
	b[100] ^= 1
	if err := os.WriteFile(journal, b, 0o600); err != nil {
		t.Fatal(err)
	}
	offline.fails(exitRefused, "no mutation with LSN", "repair", dir, "--truncate-at=281474976719999")
	if said := offline.ok("", "repair", dir, "--truncate-at", lsns[1]); !strings.Contains(said, "journal-0001000000000000.engram.cut") {
		t.Errorf("repair says %q", said)
	}
	last := serve(t, "--data="+dir)
	if n := len(objects(t, last.ok("", "list", "notes", "--json"))); n != 2 {
		t.Errorf("after the repair there are %d records", n)
	}
	last.ok("", "store", "notes", "more")
	last.stop()
	offline.ok("", "check", dir)
}

func TestTwoServersOnOneDirectory(t *testing.T) {
	dir := t.TempDir()
	s := serve(t, "--data="+dir)
	other := begin(t, "--data="+dir)
	if code := other.end(); code != exitRefused || !strings.Contains(other.log.String(), dir) {
		t.Errorf("exit code %d:\n%s", code, other.log)
	}
	s.ok("", "store", "notes", "still here")
}

func TestAddressTaken(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	for _, flag := range []string{"--addr", "--admin"} {
		p := begin(t, flag+"="+l.Addr().String())
		if code := p.end(); code != exitRefused || !strings.Contains(p.log.String(), "Choose another address with "+flag) {
			t.Errorf("exit code %d:\n%s", code, p.log)
		}
	}
}

func TestExitCodes(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close() // nobody answers here now
	nobody := &process{t: t, api: l.Addr().String(), admin: l.Addr().String()}
	nobody.fails(exitUnreachable, "no server answers at", "count", "notes")
	nobody.fails(exitUnreachable, "no server answers at", "stats")
	nobody.fails(exitUsage, "give one query", "retrieve", "notes")
	nobody.fails(exitUsage, "give one query", "attend", "notes", "words", "--vector=1")
	nobody.fails(exitUsage, "--where", "count", "notes", "--where=colour=red")
	nobody.fails(exitUsage, "name records", "delete", "notes")
	nobody.fails(exitUsage, "unknown flag", "count", "notes", "--nonsense")
	nobody.fails(exitUsage, "above zero", "bench", "--records=0")

	for _, args := range [][]string{{"serve", "--addr=0.0.0.0:0"}, {"serve", "--tls-cert=main.go"}, {"serve", "--embedder=openai"}, {"serve", "--embedder=minilm"}} {
		if code, _, errOut := engram("", args...); code != exitUsage {
			t.Errorf("engram %s: exit code %d\n%s", strings.Join(args, " "), code, errOut)
		}
	}
	for _, args := range [][]string{{}, {"--help"}, {"serve", "--help"}, {"retrieve", "--help"}, {"version"}, {"completion", "bash"}} {
		if code, out, errOut := engram("", args...); code != exitOK || out == "" {
			t.Errorf("engram %s: exit code %d\n%s%s", strings.Join(args, " "), code, out, errOut)
		}
	}
}

func TestDemo(t *testing.T) {
	code, out, errOut := engram("", "demo")
	if code != exitOK {
		t.Fatalf("exit code %d\n%s", code, errOut)
	}
	if n := strings.Count(out, "attention by hour of the mission"); n != len(questions) {
		t.Errorf("%d heat maps for %d questions", n, len(questions))
	}
	if n := strings.Count(out, "Recall: a prompt of "); n != len(questions) {
		t.Errorf("%d prompts for %d questions", n, len(questions))
	}
	for _, want := range []string{"stored 8,482 utterances", " CDR: ", "That's one small step for man", "day 9", "engram serve"} {
		if !strings.Contains(out, want) {
			t.Errorf("the demo lacks %q", want)
		}
	}
}
