package main

import (
	"strings"
	"testing"
)

// engram attend --max-error says within what the context is, and passes on what is refused.
func TestAttendMaxError(t *testing.T) {
	s := serve(t)
	s.ok("", "store", "v", "--id=a", "--key=1,0", "--value=5,0")
	s.ok("", "store", "v", "--id=b", "--key=-1,0", "--value=7,0")
	if out := s.ok("", "attend", "v", "--vector=1,0", "--scale=40", "--max-error=0.01"); !strings.Contains(out, "2 records attended") || !strings.Contains(out, "within 1.8e-35 of the greatest norm of a value") {
		t.Errorf("attend says %s", out)
	}
	a := objects(t, s.ok("", "attend", "v", "--vector=1,0", "--scale=40", "--max-error=0.01", "--json"))[0]
	if bound := a["error_bound"].(float64); !(bound > 0 && bound < 1e-30) {
		t.Errorf("the bound is %v", bound)
	}
	s.fails(exitUsage, "max_error is 2; it must be above 0 and below 1", "attend", "v", "--vector=1,0", "--max-error=2")
}
