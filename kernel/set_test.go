package kernel

import (
	"os"
	"strings"
	"testing"
)

// TestExpectedSet fails where a set was meant to run and didn't: whoever sets
// ENGRAM_KERNEL_EXPECT (the emulated processors in CI do) learns of it here.
func TestExpectedSet(t *testing.T) {
	want := os.Getenv("ENGRAM_KERNEL_EXPECT")
	if want != "" && Set() != want {
		t.Fatalf("the tests run %s, ENGRAM_KERNEL_EXPECT asks for %s", Set(), want)
	}
	t.Logf("instruction set: %s", Set())
}

func TestChoose(t *testing.T) {
	if s, err := choose(""); err != nil || !s.runs() {
		t.Errorf("nothing forced: %q, %v", s, err)
	}
	for _, s := range sets {
		got, err := choose(string(s))
		switch {
		case s.runs() && (err != nil || got != s):
			t.Errorf("%s forced: %q, %v", s, got, err)
		case !s.runs() && (err == nil || !strings.Contains(err.Error(), string(s))):
			t.Errorf("%s can't run, and forcing it gave %q, %v", s, got, err)
		}
	}
	_, err := choose("sse9")
	if err == nil || !strings.Contains(err.Error(), "sse9") || !strings.Contains(err.Error(), "purego") {
		t.Errorf("an unknown set must be named, and what there is; got %v", err)
	}
	defer func() {
		if recover() == nil {
			t.Error("an unknown set must panic at start")
		}
	}()
	mustChoose("sse9")
}

func TestPanelWidth(t *testing.T) {
	eachSet(t, func(t *testing.T) {
		if w := PanelWidth(); w <= 0 || w%16 != 0 || w > MaxPanelWidth {
			t.Errorf("PanelWidth() = %d", w)
		}
	})
}

// eachSet runs a test on every instruction set that runs here, in one process.
func eachSet(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	for _, s := range sets {
		if s.runs() {
			t.Run(string(s), func(t *testing.T) {
				use(t, s)
				test(t)
			})
		}
	}
}

func use(t testing.TB, s instructionSet) {
	before := active
	active = s
	t.Cleanup(func() { active = before })
}
