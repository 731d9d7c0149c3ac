package main

import (
	"bytes"
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

// tools is the folder that .ci/tools-avx512 fills: bochs (Bochs 3) and linux
// (a kernel). The Debian packages bochsbios, vgabios, isolinux,
// syslinux-common and xorriso must be installed besides.
func tools() string { return filepath.Join(os.Getenv("ENGRAM_CI_CACHE"), "avx512") }

// machine is Bochs' configuration. Skylake-X has AVX-512 F, BW, DQ, VL and CD;
// the kernel does not boot on Bochs' later models. The clock follows the
// instructions that were run, so that a slow host causes no time-outs inside.
const machine = `display_library: nogui
config_interface: textconfig
cpu: model=corei7_skylake_x, count=1, ips=100000000, reset_on_triple_fault=0, ignore_bad_msrs=1
memory: guest=2048, host=2048
romimage: file=/usr/share/bochs/BIOS-bochs-latest, options=fastboot
vgaromimage: file=/usr/share/vgabios/vgabios.bin
pci: enabled=1, chipset=i440fx
ata0: enabled=1, ioaddr1=0x1f0, ioaddr2=0x3f0, irq=14
ata0-master: type=cdrom, path=disc.iso, status=inserted
boot: cdrom
clock: sync=none, time0=utc
com1: enabled=1, mode=file, dev=serial
log: bochs.log
panic: action=fatal
error: action=ignore
info: action=ignore
debug: action=ignore
`

const isolinux = `DEFAULT linux
PROMPT 0
LABEL linux
 KERNEL /linux
 INITRD /initrd
 APPEND console=ttyS0,115200 quiet mitigations=off nokaslr random.trust_cpu=on panic=-1
`

// emulated boots a machine with AVX-512 in Bochs, which runs the program, and
// returns the program's exit code.
func emulated(args []string, timeout time.Duration) (int, error) {
	dir, err := os.MkdirTemp("", "engram-avx512-")
	if err != nil {
		return 0, err
	}
	defer func() { _ = os.RemoveAll(dir) }() // a leftover in /tmp spoils no result
	if err := makeDisc(dir, args); err != nil {
		return 0, err
	}
	serial := filepath.Join(dir, "serial")
	for path, text := range map[string]string{serial: "", filepath.Join(dir, "bochsrc"): machine} {
		if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
			return 0, err
		}
	}

	start := time.Now()
	cmd := exec.Command(filepath.Join(tools(), "bochs"), "-q", "-f", "bochsrc")
	cmd.Dir = dir
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait() // however it ended, the exit line decides
	}()
	code, err := follow(serial, ended, start.Add(timeout))
	_ = cmd.Process.Kill() // fails where it has ended by itself
	<-ended
	log.Printf("%.0f s in Bochs", time.Since(start).Seconds())
	return code, err
}

// makeDisc writes disc.iso into dir: boot loader, kernel, and a first file
// system that holds this executable as init, the program and its job.
func makeDisc(dir string, args []string) error {
	tree := filepath.Join(dir, "tree")
	if err := os.Mkdir(tree, 0o777); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	order, err := json.Marshal(job{Args: args[1:], Env: environment()})
	if err != nil {
		return err
	}
	initrd, err := archive(map[string]string{"init": self, strings.TrimPrefix(programFile, "/"): args[0]}, order)
	if err != nil {
		return err
	}
	files := map[string][]byte{"initrd": initrd, "isolinux.cfg": []byte(isolinux)}
	for name, path := range map[string]string{
		"linux":        filepath.Join(tools(), "linux"),
		"isolinux.bin": "/usr/lib/ISOLINUX/isolinux.bin",
		"ldlinux.c32":  "/usr/lib/syslinux/modules/bios/ldlinux.c32",
	} {
		if files[name], err = os.ReadFile(path); err != nil {
			return err
		}
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(tree, name), text, 0o666); err != nil {
			return err
		}
	}
	out, err := exec.Command("xorriso", "-as", "mkisofs", "-quiet", "-o", filepath.Join(dir, "disc.iso"),
		"-b", "isolinux.bin", "-c", "boot.cat", "-no-emul-boot", "-boot-load-size", "4", "-boot-info-table", tree).CombinedOutput()
	if err != nil {
		return fmt.Errorf("xorriso: %w: %s", err, out)
	}
	return nil
}

// archive is a cpio archive in the form that Linux unpacks at boot ("newc"):
// executables read from the paths given, and order as jobFile.
func archive(executables map[string]string, order []byte) ([]byte, error) {
	var b bytes.Buffer
	inode := 0
	add := func(name string, mode int, body []byte) {
		inode++
		// inode, mode, uid, gid, links, mtime, size, device (4), name's length, checksum
		fmt.Fprintf(&b, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x",
			inode, mode, 0, 0, 1, 0, len(body), 0, 0, 0, 0, len(name)+1, 0)
		b.WriteString(name)
		b.WriteByte(0)
		b.Write(make([]byte, -b.Len()&3))
		b.Write(body)
		b.Write(make([]byte, -b.Len()&3))
	}
	const regular = 0o100000
	for name, path := range executables {
		body, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		add(name, regular|0o755, body)
	}
	add(strings.TrimPrefix(jobFile, "/"), regular|0o644, order)
	add("TRAILER!!!", 0, nil)
	return b.Bytes(), nil
}

// follow prints what the guest writes to its serial line until the exit line,
// and returns the code in it.
func follow(path string, ended <-chan struct{}, deadline time.Time) (int, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer func() { _ = f.Close() }()
	var line []byte
	chunk := make([]byte, 4096)
	over := false
	for {
		n, err := f.Read(chunk)
		for _, c := range chunk[:n] {
			if c != '\n' {
				line = append(line, c)
				continue
			}
			text := strings.TrimSuffix(string(line), "\r")
			line = line[:0]
			if code, found := strings.CutPrefix(text, marker); found {
				return strconv.Atoi(code)
			}
			fmt.Println(text)
		}
		switch {
		case err != nil && !errors.Is(err, io.EOF):
			return 0, err
		case n > 0:
			continue
		case over:
			fmt.Printf("%s\n", line)
			return 0, errors.New("the emulator ended before the program did")
		case time.Now().After(deadline):
			fmt.Printf("%s\n", line)
			return 0, errors.New("out of time in the emulator")
		}
		select {
		case <-ended:
			over = true // one more read: it may have written since the last
		case <-time.After(100 * time.Millisecond):
		}
	}
}
