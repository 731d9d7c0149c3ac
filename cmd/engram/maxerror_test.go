package main

import (
	"fmt"
	"strings"
	"testing"
)

// engram attend --max-error says within what the context is, and passes on what is refused.
func TestAttendMaxError(t *testing.T) {
	s := serve(t)
	s.ok("", "store", "v", "--id=near", "--key=1,0", "--value=5,0")
	for i := range 20 {
		s.ok("", "store", "v", fmt.Sprint("--id=", i), "--key=-1,0", "--value=7,0")
	}
	attend := []string{"attend", "v", "--vector=1,0", "--scale=40", "--max-error=0.01"}
	if out := s.ok("", attend...); !strings.Contains(out, "21 records attended") || !strings.Contains(out, "within 3.6e-34 of the greatest norm of a value") {
		t.Errorf("attend says %s", out)
	}
	a := objects(t, s.ok("", append(attend, "--json")...))[0]
	if bound := a["error_bound"].(float64); !(bound > 3e-34 && bound < 4e-34) {
		t.Errorf("the bound is %v", bound)
	}
	s.fails(exitRefused, "max_error is 2; it must be above 0 and below 1", "attend", "v", "--vector=1,0", "--max-error=2")
}
