// Command avx512 runs a static linux/amd64 program on a processor with
// AVX-512: on this machine's own where it has one, else in Bochs, which
// interprets every instruction of an emulated Skylake-X.
//
//	ENGRAM_CI_CACHE=folder avx512 [-timeout 20m] program [argument ...]
//
// The program gets this command's ENGRAM_* variables; its output is printed as
// it comes, and its exit code is passed on (125 means it could not be run).
// In Bochs it runs as root under Debian's cloud kernel with an otherwise empty
// file system, one processor and 2 GiB of memory.
//
// Build it with CGO_ENABLED=0: this one executable plays both parts, outside it
// boots the machine, and inside, as process 1, it starts the program and
// reports how it ended.
package main

import (
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/klauspost/cpuid/v2"
)

// notRun is the exit code where the program could not be started or timed out,
// so that no failure of the machinery looks like one of the program.
const notRun = 125

func main() {
	if os.Getpid() == 1 {
		guest()
	}
	log.SetFlags(0)
	log.SetPrefix("avx512: ")
	timeout := flag.Duration("timeout", 20*time.Minute, "end the emulator after this long")
	flag.Parse()
	if flag.NArg() == 0 {
		flag.Usage()
		os.Exit(2)
	}
	var code int
	var err error
	if cpuid.CPU.Supports(cpuid.AVX512F, cpuid.AVX512BW, cpuid.AVX512VL) {
		log.Printf("on hardware: %s", cpuid.CPU.BrandName)
		code, err = direct(flag.Args())
	} else {
		log.Printf("%s has no AVX-512: in Bochs", cpuid.CPU.BrandName)
		code, err = emulated(flag.Args(), *timeout)
	}
	if err != nil {
		log.Print(err)
		os.Exit(notRun)
	}
	os.Exit(code)
}

// direct runs the program on this machine and returns its exit code.
func direct(args []string) (int, error) {
	path, err := filepath.Abs(args[0])
	if err != nil {
		return 0, err
	}
	cmd := exec.Command(path, args[1:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	return exitCode(cmd.Run())
}

// exitCode gives the exit code of a command that ran, and an error for one
// that did not run or was killed by a signal.
func exitCode(err error) (int, error) {
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Exited() {
		return exit.ExitCode(), nil
	}
	return 0, err
}

// environment is what the program gets to see of ours.
func environment() []string {
	env := []string{"HOME=/", "TMPDIR=/tmp"}
	for _, pair := range os.Environ() {
		if strings.HasPrefix(pair, "ENGRAM_") {
			env = append(env, pair)
		}
	}
	return env
}

// marker opens the line by which the guest reports the program's exit code.
// It is the last thing that the guest prints.
const marker = "ENGRAM-EXIT "

func exitLine(code int) string { return fmt.Sprintf("%s%d", marker, code) }
