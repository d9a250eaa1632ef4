package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
)

// TestVersion: what the linker is told is what --version says, in one line.
func TestVersion(t *testing.T) {
	for _, name := range []string{"gtrace", "gping"} {
		program := filepath.Join(t.TempDir(), name)
		build := exec.Command("go", "build",
			"-ldflags=-X main.version=v1.2.3 -X main.commit=abcdef0", "-o", program, "../"+name)
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", build, err, out)
		}
		out, err := exec.Command(program, "--version").Output()
		if want := regexp.MustCompile(`^` + name + ` v1\.2\.3 \(commit abcdef0, go\S+ \w+/\w+\)\n$`); err != nil || !want.Match(out) {
			t.Errorf("%s --version: %q, %v; want %s", name, out, err, want)
		}
	}
}
