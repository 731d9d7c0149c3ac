//go:build binutils

package neon

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

var (
	comment = regexp.MustCompile(`^// ([a-z].*\{d\}.*)$`)
	define  = regexp.MustCompile(`^#define (\w+)\(([^)]*)\) WORD \$\(0x([0-9A-F]{8}) \| (.*)\)$`)
	term    = regexp.MustCompile(`^(?:\((\w)\)|\(\((\w)\)&1\)|\(\((\w)\)>>1\))(?:<<(\d+))?$`)
)

// TestEncodings has the GNU assembler assemble each macro's comment, for several
// registers, and compares what it gives with the macro's word. It needs
// aarch64-linux-gnu-as and -objcopy, so it is behind the build tag binutils.
func TestEncodings(t *testing.T) {
	header, err := os.ReadFile("encode.h")
	if err != nil {
		t.Fatal(err)
	}
	var source strings.Builder
	var names []string
	var words []uint32
	mnemonic := ""
	for line := range strings.SplitSeq(string(header), "\n") {
		if m := comment.FindStringSubmatch(line); m != nil {
			mnemonic = m[1]
		}
		if !strings.HasPrefix(line, "#define") {
			continue
		}
		m := define.FindStringSubmatch(line)
		if m == nil || mnemonic == "" {
			t.Fatalf("can't read %q, or the instruction over it", line)
		}
		for _, v := range []map[string]uint32{
			{"d": 1, "n": 2, "m": 4, "i": 0}, {"d": 8, "n": 16, "m": 31, "i": 1},
			{"d": 31, "n": 0, "m": 15, "i": 2}, {"d": 0, "n": 31, "m": 16, "i": 3},
		} {
			text := mnemonic
			for name, x := range v {
				text = strings.ReplaceAll(text, "{"+name+"}", fmt.Sprint(x))
			}
			fmt.Fprintln(&source, text)
			names = append(names, m[1]+": "+text)
			word, err := strconv.ParseUint(m[3], 16, 32)
			if err != nil {
				t.Fatal(err)
			}
			for part := range strings.SplitSeq(m[4], " | ") {
				p := term.FindStringSubmatch(part)
				if p == nil {
					t.Fatalf("%s: can't read the term %q", m[1], part)
				}
				shift, _ := strconv.Atoi(p[4])
				word |= uint64(v[p[1]]|v[p[2]]&1|v[p[3]]>>1) << shift
			}
			words = append(words, uint32(word))
		}
		mnemonic = ""
	}

	object, binary := filepath.Join(t.TempDir(), "encode.o"), filepath.Join(t.TempDir(), "encode.bin")
	as := exec.Command("aarch64-linux-gnu-as", "-o", object, "-")
	as.Stdin = strings.NewReader(source.String())
	for _, c := range []*exec.Cmd{as, exec.Command("aarch64-linux-gnu-objcopy", "-O", "binary", object, binary)} {
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", c, err, out)
		}
	}
	code, err := os.ReadFile(binary)
	if err != nil {
		t.Fatal(err)
	}
	if len(words) == 0 || len(code) != 4*len(words) {
		t.Fatalf("%d bytes of code for %d instructions", len(code), len(words))
	}
	for i, want := range words {
		got := uint32(code[4*i]) | uint32(code[4*i+1])<<8 | uint32(code[4*i+2])<<16 | uint32(code[4*i+3])<<24
		if got != want {
			t.Errorf("%s: the assembler gives %#08x, the macro %#08x", names[i], got, want)
		}
	}
}
