package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// emulated boots a machine with AVX-512 in Bochs, which runs the program, and
// returns the program's exit code. It needs the Debian packages bochs,
// bochs-term, bochsbios, vgabios, isolinux and xorriso, and a Linux kernel at
// ENGRAM_AVX512_KERNEL (that of linux-image-cloud-amd64).
func emulated(args []string, timeout time.Duration) (int, error) {
	dir, err := os.MkdirTemp("", "engram-avx512-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	if err := makeDisc(dir, args); err != nil {
		return 0, err
	}
	serial := filepath.Join(dir, "serial")
	config := filepath.Join(dir, "bochsrc")
	if err := os.WriteFile(config, []byte(bochsrc(dir)), 0o666); err != nil {
		return 0, err
	}
	if err := os.WriteFile(serial, nil, 0o666); err != nil {
		return 0, err
	}

	start := time.Now()
	cmd := exec.Command("bochs", "-q", "-f", config)
	// The text screen needs a terminal's name, and goes to nobody.
	cmd.Env = append(os.Environ(), "TERM=vt100")
	cmd.Dir = dir
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	defer func() {
		if err := cmd.Process.Kill(); err == nil {
			<-ended
		}
	}()

	code, err := follow(serial, ended, timeout)
	if err != nil {
		note, _ := os.ReadFile(filepath.Join(dir, "bochs.log"))
		return 0, fmt.Errorf("%w; Bochs' log ends:\n%s", err, tail(string(note), 20))
	}
	log.Printf("%.0f s in Bochs", time.Since(start).Seconds())
	return code, nil
}
