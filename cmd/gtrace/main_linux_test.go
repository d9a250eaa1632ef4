package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestCgoBuild: a program built with cgo keeps its privilege, so it must end, and say how to build it.
func TestCgoBuild(t *testing.T) {
	if _, err := exec.LookPath("gcc"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skipf("%v: a build with cgo needs a C compiler: install gcc", err)
	}
	for _, name := range []string{"gtrace", "gping"} {
		program := filepath.Join(t.TempDir(), name)
		build := exec.Command("go", "build", "-o", program, "../"+name)
		build.Env = append(os.Environ(), "CGO_ENABLED=1", "CC=gcc")
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", build, err, out)
		}
		c := exec.Command(program, "--version")
		var stdout, stderr bytes.Buffer
		c.Stdout, c.Stderr = &stdout, &stderr
		_ = c.Run() // the exit status is looked at below
		if got := c.ProcessState.ExitCode(); got != 2 {
			t.Errorf("%s: exit status %d, want 2", name, got)
		}
		line := stderr.String()
		if !strings.HasPrefix(line, name+": give up privilege: ") || !strings.HasSuffix(line, "CGO_ENABLED=0 go build, or make build\n") || strings.Count(line, "\n") != 1 {
			t.Errorf("%s: standard error %q, want one line on what was tried and how to build", name, line)
		}
		if stdout.Len() > 0 {
			t.Errorf("%s: standard output %q, want nothing", name, &stdout)
		}
	}
}
