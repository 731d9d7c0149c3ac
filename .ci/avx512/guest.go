package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"time"

	"golang.org/x/sys/unix"
)

// job is what the host asks the guest to run; it lies in the guest's root as
// jobFile, the program as programFile.
type job struct {
	Args, Env []string
}

const (
	jobFile     = "/job.json"
	programFile = "/program"
)

// guest is process 1 of the emulated machine. It never returns: the host ends
// the machine when it reads the exit line.
func guest() {
	code, err := runJob()
	if err != nil {
		fmt.Println("avx512: guest:", err)
		code = notRun
	}
	fmt.Println(exitLine(code))
	for {
		time.Sleep(time.Hour)
	}
}

func runJob() (int, error) {
	mounts := map[string]string{"/proc": "proc", "/sys": "sysfs", "/dev": "devtmpfs", "/tmp": "tmpfs"}
	for dir, kind := range mounts {
		if err := os.MkdirAll(dir, 0o777); err != nil {
			return 0, err
		}
		if err := unix.Mount(kind, dir, kind, 0, ""); err != nil {
			return 0, fmt.Errorf("mount %s: %w", dir, err)
		}
	}
	text, err := os.ReadFile(jobFile)
	if err != nil {
		return 0, err
	}
	var j job
	if err := json.Unmarshal(text, &j); err != nil {
		return 0, fmt.Errorf("%s: %w", jobFile, err)
	}
	cmd := exec.Command(programFile, j.Args...)
	cmd.Env, cmd.Dir = j.Env, "/tmp"
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stdout
	return exitCode(cmd.Run())
}
