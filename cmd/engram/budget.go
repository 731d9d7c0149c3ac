package main

import (
	"fmt"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
)

// byteSize is a number of bytes on the command line: 512MiB, 8GiB, 1000000.
type byteSize int64

func (b *byteSize) UnmarshalText(text []byte) error {
	s := strings.TrimSpace(string(text))
	unit := int64(1)
	for i, u := range []string{"KiB", "MiB", "GiB", "TiB"} {
		if n, ok := strings.CutSuffix(s, u); ok {
			s, unit = strings.TrimSpace(n), 1<<(10*(i+1))
		}
	}
	n, err := strconv.ParseFloat(s, 64)
	if err != nil || !(n >= 0 && n*float64(unit) < 1<<62) { // NaN is neither
		return fmt.Errorf("expected a size like 512MiB or 8GiB, not %q", text)
	}
	*b = byteSize(n * float64(unit))
	return nil
}

// memoryOfMachine is what the container, else the machine, has, in bytes; 0 if
// neither says.
func memoryOfMachine() int64 {
	var total int64
	if b, err := os.ReadFile("/proc/meminfo"); err == nil {
		for line := range strings.Lines(string(b)) {
			if f := strings.Fields(line); len(f) == 3 && f[0] == "MemTotal:" {
				if kib, err := strconv.ParseInt(f[1], 10, 64); err == nil {
					total = kib << 10
				}
			}
		}
	}
	for _, file := range cgroupLimits() {
		if b, err := os.ReadFile(file); err == nil {
			if n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64); err == nil && n > 0 && (total == 0 || n < total) {
				total = n
			}
		}
	}
	return total
}

// cgroupLimits names the files that may hold a limit of this process: its own control
// group's and of those above, of either version. In a container its own is often all
// that can be seen, at the root.
func cgroupLimits() (files []string) {
	b, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil
	}
	for line := range strings.Lines(string(b)) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(f) != 3 {
			continue
		}
		mount, limit := "/sys/fs/cgroup", "memory.max"
		switch {
		case slices.Contains(strings.Split(f[1], ","), "memory"):
			mount, limit = "/sys/fs/cgroup/memory", "memory.limit_in_bytes"
		case f[0] != "0":
			continue
		}
		for group := path.Clean("/" + f[2]); ; group = path.Dir(group) {
			files = append(files, path.Join(mount, group, limit))
			if group == "/" {
				break
			}
		}
	}
	return files
}
