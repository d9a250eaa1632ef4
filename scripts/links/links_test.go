// Package links holds the test of scripts/links.sh.
package links

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// want are the links, by name, and the program that each is for.
var want = map[string]string{
	"ping": "gping", "ping6": "gping", "fping": "gping", "fping6": "gping",
	"traceroute": "gtrace", "traceroute6": "gtrace", "tracepath": "gtrace",
}

// run runs the script and returns its exit status and what it said.
func run(t *testing.T, args ...string) (status int, said string) {
	t.Helper()
	c := exec.Command("../links.sh", args...)
	out, err := c.CombinedOutput()
	if c.ProcessState == nil {
		t.Fatal(err)
	}
	return c.ProcessState.ExitCode(), string(out)
}

// programs is a directory with two programs, as installed.
func programs(t *testing.T) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"gtrace", "gping"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\necho \"$0\"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// files are what is in a directory: a link's target, or "file".
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	es, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	out := make(map[string]string)
	for _, e := range es {
		out[e.Name()] = "file"
		if to, err := os.Readlink(filepath.Join(dir, e.Name())); err == nil {
			out[e.Name()] = to
		}
	}
	return out
}

func TestLinks(t *testing.T) {
	from, dir := programs(t), t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "ping.txt"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	all := map[string]string{"ping.txt": "file"}
	for name, program := range want {
		all[name] = filepath.Join(from, program)
	}
	for range 2 { // again over our own links
		if status, said := run(t, "install", dir, from); status != 0 {
			t.Fatalf("status %d: %s", status, said)
		}
		if got := files(t, dir); !maps.Equal(got, all) {
			t.Fatalf("made %v, want %v", got, all)
		}
	}
	out, err := exec.Command(filepath.Join(dir, "traceroute6")).Output()
	if err != nil || strings.TrimSpace(string(out)) != filepath.Join(dir, "traceroute6") {
		t.Errorf("called by the link: %q, %v; want its name", out, err)
	}

	// Installed elsewhere since: they are still ours.
	again := programs(t)
	if status, said := run(t, "install", dir, again); status != 0 || files(t, dir)["ping"] != filepath.Join(again, "gping") {
		t.Errorf("status %d, %v: %s", status, files(t, dir), said)
	}
	if err := os.RemoveAll(again); err != nil {
		t.Fatal(err)
	}
	// The programs are gone: the links may go too.
	for range 2 {
		if status, said := run(t, "uninstall", dir, again); status != 0 {
			t.Errorf("status %d: %s", status, said)
		}
		if got := files(t, dir); !maps.Equal(got, map[string]string{"ping.txt": "file"}) {
			t.Errorf("left %v, want ping.txt alone", got)
		}
	}
}

// TestLinksLeaveOthersAlone: what is there and not ours stays, and then nothing is made at all.
func TestLinksLeaveOthersAlone(t *testing.T) {
	from := programs(t)
	for name, make := range map[string]func(path string) error{
		"a file":                      func(p string) error { return os.WriteFile(p, []byte("mine"), 0o755) },
		"a directory":                 func(p string) error { return os.Mkdir(p, 0o755) },
		"a link to another":           func(p string) error { return os.Symlink("/bin/true", p) },
		"a broken link":               func(p string) error { return os.Symlink("nowhere", p) },
		"a link to the other of ours": func(p string) error { return os.Symlink(filepath.Join(from, "gping"), p) },
		"a link that ends alike":      func(p string) error { return os.Symlink("/opt/mygtrace", p) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := make(filepath.Join(dir, "tracepath")); err != nil { // the last that would be made
				t.Fatal(err)
			}
			before := files(t, dir)
			status, said := run(t, "install", dir, from)
			if status != 1 || !strings.Contains(said, filepath.Join(dir, "tracepath")+": is there and is not a link to gtrace") {
				t.Errorf("status %d: %s", status, said)
			}
			if status, said := run(t, "uninstall", dir, from); status != 0 {
				t.Errorf("uninstall: status %d: %s", status, said)
			}
			if got := files(t, dir); !maps.Equal(got, before) {
				t.Errorf("there is %v, want %v as before", got, before)
			}
		})
	}
}

// TestLinksRefuse: where no links belong.
func TestLinksRefuse(t *testing.T) {
	from := programs(t)
	aside := filepath.Join(t.TempDir(), "aside")
	if err := os.Symlink("/usr/bin", aside); err != nil {
		t.Fatal(err)
	}
	before := files(t, "/usr/bin")
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"install", "", from}, "no directory given: make install-links DIR=DIRECTORY"},
		{[]string{"uninstall", "", from}, "make uninstall-links DIR=DIRECTORY"},
		{[]string{"install", filepath.Join(from, "none"), from}, "is no directory: make it first"},
		{[]string{"install", filepath.Join(from, "gping"), from}, "is no directory"},
		{[]string{"install", "/bin", from}, "where the system keeps"},
		{[]string{"install", "/usr/bin/", from}, "where the system keeps"},
		{[]string{"install", "/sbin", from}, "where the system keeps"},
		{[]string{"install", "/usr/sbin", from}, "where the system keeps"},
		{[]string{"install", "/usr/local/../bin", from}, "where the system keeps"},
		{[]string{"install", aside, from}, "where the system keeps"},
		{[]string{"uninstall", aside, from}, "where the system keeps"},
		{[]string{"install", "/", from}, "root of the file system"},
		{[]string{"install", from, filepath.Join(from, "none")}, "none/gping: is not installed: sudo make install, or say where it is: make install-links PREFIX="},
		{[]string{"install", from, t.TempDir()}, "gping: is not installed: sudo make install"},
		{[]string{"update", from, from}, "want install or uninstall"},
		{[]string{"install", from}, "usage"},
	} {
		status, said := run(t, tt.args...)
		if status != 2 || !strings.Contains(said, tt.want) || strings.Count(said, "\n") != 1 {
			t.Errorf("%q: status %d, %q; want 2 and one line with %q", tt.args, status, said, tt.want)
		}
	}
	if after := files(t, "/usr/bin"); !maps.Equal(before, after) {
		t.Error("something changed in /usr/bin")
	}
	if got := slices.Sorted(maps.Keys(files(t, from))); !slices.Equal(got, []string{"gping", "gtrace"}) {
		t.Errorf("there is %v", got)
	}
}

// TestLinksOddNames: a directory's name may be anything.
func TestLinksOddNames(t *testing.T) {
	from := programs(t)
	for _, name := range []string{"with space", "-n", "it's", "a\nb", "*"} {
		dir := filepath.Join(t.TempDir(), name)
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if status, said := run(t, "install", dir, from); status != 0 || len(files(t, dir)) != len(want) {
			t.Errorf("%q: status %d, %v: %s", name, status, files(t, dir), said)
		}
	}
}
