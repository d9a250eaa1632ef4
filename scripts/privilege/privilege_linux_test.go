package privilege

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"gtrace/internal/lab"
)

const nobody = 65534

// safe is where the tests' child has a file system of its own: below directories that are root's alone, as /tmp is not.
const safe = "/mnt"

// TestPrivilege runs itself in a mount namespace of its own, where what a machine may be like is made and is
// gone with it.
func TestPrivilege(t *testing.T) {
	if os.Getenv("TEST_PRIVILEGE_CHILD") != "" {
		child(t)
		return
	}
	lab.Need(t)
	if _, err := exec.LookPath("/usr/sbin/setcap"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("CI is set, so this test may not be left out: %v; install libcap2-bin", err)
		}
		t.Skipf("left out: %v; install libcap2-bin", err)
	}
	if _, err := os.ReadFile("../install-privilege"); err != nil { // also so that go test knows what its result depends on
		t.Fatal(err)
	}
	program := filepath.Join(t.TempDir(), "gtrace")
	build := exec.Command("go", "build", "-o", program, "-trimpath", "-buildvcs=false", "-ldflags=-s -w",
		"gtrace/cmd/gtrace")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	// As asked for, such as -run=TestPrivilege/refused; more than that is not there in the child.
	c := exec.Command(os.Args[0], "-test.run="+flag.Lookup("test.run").Value.String(), "-test.v")
	c.Env = append(os.Environ(), "TEST_PRIVILEGE_CHILD="+program)
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	out, err := c.CombinedOutput()
	if err != nil || bytes.Contains(out, []byte("--- SKIP")) {
		t.Errorf("%v\n%s", err, out)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// run runs the script as a user and returns its exit status and what it said.
func run(t *testing.T, uid uint32, args ...string) (status int, said string) {
	t.Helper()
	c := exec.Command(safe+"/install-privilege", args...)
	c.Dir = safe
	c.Env = []string{"PATH=/nowhere"} // which must not matter
	c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	out, err := c.CombinedOutput()
	if c.ProcessState == nil {
		t.Fatal(err)
	}
	return c.ProcessState.ExitCode(), string(out)
}

// copies is a copy of the file, with that mode.
func copies(t *testing.T, from, to string, mode os.FileMode) string {
	t.Helper()
	b, err := os.ReadFile(from)
	must(t, err)
	must(t, os.WriteFile(to, b, 0o600))
	must(t, os.Chmod(to, mode))
	return to
}

// has is what a file has, without the script: its mode, and its capabilities as in linux/capability.h.
func has(t *testing.T, path string) string {
	t.Helper()
	var st unix.Stat_t
	must(t, unix.Lstat(path, &st))
	b := make([]byte, 64)
	n, err := unix.Lgetxattr(path, "security.capability", b)
	caps := ""
	switch {
	case err == nil:
		caps = " other"
		for name, value := range map[string]string{
			" p":     "\x00\x00\x00\x02\x00\x20\x00\x00",
			" ep":    "\x01\x00\x00\x02\x00\x20\x00\x00",
			" admin": "\x00\x00\x00\x02\x00\x10\x00\x00",
		} {
			if string(b[:n]) == value+strings.Repeat("\x00", 12) {
				caps = name
			}
		}
	case !errors.Is(err, unix.ENODATA) && !errors.Is(err, unix.ENOTSUP):
		t.Fatal(err)
	}
	return strings.TrimPrefix(os.FileMode(st.Mode&0o777).String(), "-") + map[bool]string{true: " setuid"}[st.Mode&unix.S_ISUID != 0] + caps
}

func wantHas(t *testing.T, path, want string) {
	t.Helper()
	if got := has(t, path); got != want {
		t.Errorf("%s has %q, want %q", path, got, want)
	}
}

func wantRun(t *testing.T, wantStatus int, want string, args ...string) {
	t.Helper()
	if status, said := run(t, 0, args...); status != wantStatus || !strings.Contains(said, want) {
		t.Errorf("%q: status %d, %q; want %d and %q", args, status, said, wantStatus, want)
	}
}

func setcap(t *testing.T, what, path string) {
	t.Helper()
	out, err := exec.Command("/usr/sbin/setcap", what, path).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// without makes a file unable to be run while f runs.
func without(t *testing.T, f func(), paths ...string) {
	t.Helper()
	for _, p := range paths {
		must(t, unix.Mount("/dev/null", p, "", unix.MS_BIND, ""))
	}
	f()
	for _, p := range paths {
		must(t, unix.Unmount(p, 0))
	}
}

func child(t *testing.T) {
	must(t, unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
	program := os.Getenv("TEST_PRIVILEGE_CHILD")
	script, err := filepath.Abs("../install-privilege")
	must(t, err)
	// Where the caller's files are must not be hidden by the mount.
	b, err := os.ReadFile(program)
	must(t, err)
	s, err := os.ReadFile(script)
	must(t, err)
	must(t, unix.Mount("none", safe, "tmpfs", 0, "mode=0755"))
	must(t, os.WriteFile(safe+"/install-privilege", s, 0o755))
	real := safe + "/real"
	must(t, os.WriteFile(real, b, 0o755))
	// What the script knows a program by; most tests need no more of it.
	original := safe + "/original"
	must(t, os.WriteFile(original, []byte("\x7fELF\x00\nodd\x00path\tgtrace/cmd/gping\nmod\tgtrace\n"), 0o755))
	must(t, os.Chdir(safe))
	// fresh is a directory of root's with both programs in it, as installed.
	fresh := func(t *testing.T) (gtrace, gping string) {
		dir, err := os.MkdirTemp(safe, "bin")
		must(t, err)
		must(t, os.Chmod(dir, 0o755))
		return copies(t, original, dir+"/gtrace", 0o755), copies(t, original, dir+"/gping", 0o755)
	}

	t.Run("give, look, take", func(t *testing.T) {
		gtrace, gping := fresh(t)
		must(t, os.Chmod(gping, 0o750)) // for a group alone: it stays so
		must(t, os.Chown(gping, 0, 7))
		wantRun(t, 1, gtrace+": no privilege", "--check", gtrace, gping)
		wantRun(t, 0, gtrace+": cap_net_raw=p\n"+gping+": cap_net_raw=p\n", gtrace, gping)
		for range 2 {
			wantHas(t, gtrace, "rwxr-xr-x p")
			wantHas(t, gping, "rwxr-x--- p")
			wantRun(t, 0, gping+": cap_net_raw=p\n", "--check", gtrace, gping)
			wantRun(t, 0, gtrace+": cap_net_raw=p already", gtrace, gping)
		}
		if status, said := run(t, nobody, "--check", gtrace); status != 0 || said != gtrace+": cap_net_raw=p\n" {
			t.Errorf("an ordinary user looks: status %d, %q", status, said)
		}
		wantRun(t, 0, gtrace+": no privilege any more, had cap_net_raw=p", "--undo", gtrace, gping)
		wantRun(t, 0, gtrace+": no privilege\n", "--undo", gtrace, gping)
		wantHas(t, gtrace, "rwxr-xr-x")
		wantHas(t, gping, "rwxr-x---")
		var st unix.Stat_t
		must(t, unix.Stat(gping, &st))
		if st.Uid != 0 || st.Gid != 7 {
			t.Errorf("belongs to %d:%d, want 0:7 as before", st.Uid, st.Gid)
		}
	})

	t.Run("the program starts with it", func(t *testing.T) {
		dir := filepath.Dir(original)
		gtrace := copies(t, real, dir+"/gtrace", 0o755)
		wantRun(t, 0, "cap_net_raw=p", gtrace)
		c := exec.Command(gtrace, "-n", "-q1", "-m1", "--json", "127.0.0.1")
		c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		out, err := c.CombinedOutput()
		if err != nil || !bytes.Contains(out, []byte(`"socket":"raw"`)) {
			t.Errorf("%v: %s; want raw sockets", err, out)
		}
	})

	t.Run("by other names", func(t *testing.T) {
		gtrace, _ := fresh(t)
		dir := filepath.Dir(gtrace)
		for _, name := range []string{"it's", "with  space", `back\slash`, "100%", "*", "tab\tbed", "-n"} {
			sub := filepath.Join(dir, name)
			must(t, os.Mkdir(sub, 0o755))
			odd := copies(t, gtrace, sub+"/"+name, 0o755)
			wantRun(t, 0, odd+": cap_net_raw=p", odd)
			wantHas(t, odd, "rwxr-xr-x p")
		}
		must(t, os.Symlink(dir, safe+"/aside")) // a link above the program is followed
		wantRun(t, 0, gtrace+": cap_net_raw=p\n", safe+"/aside/gtrace")
		rel, err := filepath.Rel(safe, gtrace)
		must(t, err)
		wantRun(t, 0, gtrace+": cap_net_raw=p\n", "--check", rel)
	})

	t.Run("what was there", func(t *testing.T) {
		gtrace, gping := fresh(t)
		setcap(t, "cap_net_raw+ep", gtrace)
		wantRun(t, 1, "does not start at all", "--check", gtrace)
		wantRun(t, 0, gtrace+": cap_net_raw=p, had cap_net_raw=ep", gtrace)
		wantHas(t, gtrace, "rwxr-xr-x p")
		must(t, os.Chmod(gtrace, 0o4755|os.ModeSetuid))
		wantRun(t, 1, "one of these is enough", "--check", gtrace)
		wantRun(t, 0, "cap_net_raw=p, had cap_net_raw=p and setuid root", gtrace)
		wantHas(t, gtrace, "rwxr-xr-x p")
		setcap(t, "cap_net_admin+p", gping)
		wantRun(t, 1, "has cap_net_admin=p, which was not given by this", gtrace, gping)
		wantRun(t, 1, "has cap_net_admin=p", "--undo", gtrace, gping)
		wantHas(t, gping, "rwxr-xr-x admin")
		wantHas(t, gtrace, "rwxr-xr-x p") // nothing was changed
	})

	t.Run("without setcap", func(t *testing.T) {
		gtrace, gping := fresh(t)
		without(t, func() {
			wantRun(t, 1, "install the package that has them (Debian, Ubuntu: libcap2-bin; ", gtrace, gping)
			wantHas(t, gtrace, "rwxr-xr-x")
			wantRun(t, 1, "cannot be told", "--check", gtrace)
			wantRun(t, 1, "cannot be told", "--undo", gtrace)
			for range 2 {
				wantRun(t, 0, gtrace+": setuid root, as the capability cannot be set", "--setuid", gtrace, gping)
				wantHas(t, gtrace, "rwxr-xr-x setuid")
			}
			wantRun(t, 0, gtrace+": setuid root\n", "--check", gtrace, gping)
			wantRun(t, 0, gtrace+": no privilege any more, had setuid root", "--undo", gtrace, gping)
			wantHas(t, gtrace, "rwxr-xr-x")
			wantHas(t, gping, "rwxr-xr-x")
		}, "/usr/sbin/setcap")
		// With setcap --setuid is what is done without; and from setuid it goes over.
		wantRun(t, 0, gtrace+": cap_net_raw=p\n", "--setuid", gtrace)
		wantHas(t, gtrace, "rwxr-xr-x p")
		must(t, os.Chmod(gping, 0o755|os.ModeSetuid))
		wantRun(t, 0, "cap_net_raw=p, had setuid root", gping)
		wantHas(t, gping, "rwxr-xr-x p")
	})

	t.Run("a file system that keeps no capabilities", func(t *testing.T) {
		gtrace, _ := fresh(t)
		dir := safe + "/bare"
		must(t, os.Mkdir(dir, 0o755))
		must(t, unix.Mount("none", dir, "ramfs", 0, "mode=0755"))
		bare := copies(t, original, dir+"/gping", 0o755)
		wantRun(t, 1, bare+": the capability cannot be set: ", gtrace, bare)
		wantRun(t, 1, gtrace+": no privilege, as before", gtrace, bare)
		wantHas(t, gtrace, "rwxr-xr-x") // taken back
		wantHas(t, bare, "rwxr-xr-x")
		wantRun(t, 0, bare+": setuid root, as", "--setuid", gtrace, bare)
		wantHas(t, gtrace, "rwxr-xr-x p")
		wantHas(t, bare, "rwxr-xr-x setuid")
		wantRun(t, 1, bare+": the capability cannot be set", gtrace, bare)
		wantHas(t, gtrace, "rwxr-xr-x p") // as they were
		wantHas(t, bare, "rwxr-xr-x setuid")
		wantRun(t, 0, bare+": no privilege any more", "--undo", gtrace, bare)
		wantHas(t, bare, "rwxr-xr-x")
	})

	t.Run("setcap that does nothing", func(t *testing.T) {
		gtrace, _ := fresh(t)
		must(t, unix.Mount("/bin/true", "/usr/sbin/setcap", "", unix.MS_BIND, ""))
		defer unix.Unmount("/usr/sbin/setcap", 0)
		wantRun(t, 1, "the capability cannot be set: it is not there when read back", gtrace)
	})

	t.Run("refused", func(t *testing.T) {
		for name, tt := range map[string]struct {
			spoil func(t *testing.T, gtrace string)
			want  string // after the file's or the directory's name
			undo  bool   // --undo is refused too
		}{
			"a symbolic link": {func(t *testing.T, p string) {
				must(t, os.Rename(p, p+".real"))
				must(t, os.Symlink(p+".real", p))
			}, "gtrace: is a symbolic link: name the program itself, /", true},
			"a broken link": {func(t *testing.T, p string) {
				must(t, os.Remove(p))
				must(t, os.Symlink("nowhere/at/all", p))
			}, "gtrace: is a symbolic link: name the program itself, which is not there", true},
			"nothing there": {func(t *testing.T, p string) { must(t, os.Remove(p)) }, "gtrace: is not there: install it first", true},
			"a directory": {func(t *testing.T, p string) {
				must(t, os.Remove(p))
				must(t, os.Mkdir(p, 0o755))
			}, "gtrace: is no regular file", true},
			"a pipe": {func(t *testing.T, p string) {
				must(t, os.Remove(p))
				must(t, unix.Mkfifo(p, 0o755))
			}, "gtrace: is no regular file", true},
			"another's file":        {func(t *testing.T, p string) { must(t, os.Chown(p, nobody, 0)) }, "gtrace: belongs to user 65534", false},
			"a group's file":        {func(t *testing.T, p string) { must(t, os.Chmod(p, 0o775)) }, "gtrace: its group may write to it (mode 775)", false},
			"everybody's file":      {func(t *testing.T, p string) { must(t, os.Chmod(p, 0o757)) }, "gtrace: everybody may write to it (mode 757)", false},
			"another's directory":   {func(t *testing.T, p string) { must(t, os.Chown(filepath.Dir(p), nobody, 0)) }, ": belongs to user 65534", true},
			"a group's directory":   {func(t *testing.T, p string) { must(t, os.Chmod(filepath.Dir(p), 0o770)) }, ": its group may write to it (mode 770)", true},
			"everybody's directory": {func(t *testing.T, p string) { must(t, os.Chmod(filepath.Dir(p), 0o707)) }, ": everybody may write to it (mode 707)", true},
			"a sticky directory":    {func(t *testing.T, p string) { must(t, os.Chmod(filepath.Dir(p), 0o777|os.ModeSticky)) }, ": everybody may make files there (mode 1777)", true},
			"a second name": {func(t *testing.T, p string) { must(t, os.Link(p, p+"2")) },
				"gtrace: has 2 names (hard links)", false},
			"another program": {func(t *testing.T, p string) { copies(t, "/bin/true", p, 0o755) }, "gtrace: is neither gtrace nor gping", true},
			"a script that says so": {func(t *testing.T, p string) {
				must(t, os.WriteFile(p, []byte("#!/bin/sh\npath\tgtrace/cmd/gtrace\n"), 0o755))
			}, "gtrace: is neither gtrace nor gping", true},
			"a nosuid file system": {func(t *testing.T, p string) {
				d := filepath.Dir(p)
				must(t, unix.Mount(d, d, "", unix.MS_BIND, ""))
				must(t, unix.Mount("", d, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_NOSUID, ""))
			}, "gtrace: its file system is mounted nosuid", false},
		} {
			t.Run(name, func(t *testing.T) {
				gtrace, _ := fresh(t)
				tt.spoil(t, gtrace)
				_, other := fresh(t) // which would be well
				for _, args := range [][]string{{"--setuid", other, gtrace}, {"--check", other, gtrace}} {
					status, said := run(t, 0, args...)
					if status != 1 || !strings.Contains(said, tt.want) || args[0] != "--check" && !strings.Contains(said, "nothing was changed") {
						t.Errorf("%q: status %d, %q; want 1 and %q", args, status, said, tt.want)
					}
				}
				wantHas(t, other, "rwxr-xr-x")
				if fi, err := os.Stat(gtrace); err == nil && (fi.Mode()&os.ModeSetuid != 0 || strings.ContainsRune(has(t, gtrace), ' ')) {
					t.Errorf("%s has %q", gtrace, has(t, gtrace))
				}
				status, said := run(t, 0, "--undo", gtrace)
				if refused := status == 1 && strings.Contains(said, tt.want); refused != tt.undo {
					t.Errorf("--undo: status %d, %q; want it refused: %t", status, said, tt.undo)
				}
			})
		}
	})

	t.Run("a directory further up", func(t *testing.T) {
		gtrace, _ := fresh(t)
		deep := filepath.Dir(gtrace) + "/a/b/c"
		must(t, os.MkdirAll(deep, 0o755))
		copies(t, original, deep+"/gping", 0o755)
		must(t, os.Chmod(filepath.Dir(gtrace), 0o775))
		wantRun(t, 1, filepath.Dir(gtrace)+": its group may write to it", deep+"/gping")
		wantHas(t, deep+"/gping", "rwxr-xr-x")
	})

	t.Run("not root", func(t *testing.T) {
		gtrace, _ := fresh(t)
		for _, args := range [][]string{{gtrace}, {"--setuid", gtrace}, {"--undo", gtrace}} {
			if status, said := run(t, nobody, args...); status != 1 || !strings.Contains(said, "user 65534 may not change") {
				t.Errorf("%q: status %d, %q", args, status, said)
			}
		}
	})

	t.Run("usage", func(t *testing.T) {
		for _, tt := range []struct {
			args []string
			want string
		}{
			{nil, "no file is given"},
			{[]string{"--check"}, "no file is given"},
			{[]string{""}, "name is empty"},
			{[]string{"--force", "x"}, "--force: no such option"},
			{[]string{"x", "--undo"}, "--undo: options come before the files"},
			{[]string{"--check", "--undo", "x"}, "--undo: with --check already"},
			{[]string{"--setuid", "--undo", "x"}, "--setuid: makes no sense with --undo"},
			{[]string{"a\nb"}, "line feed"},
		} {
			wantRun(t, 2, tt.want, tt.args...)
		}
		wantRun(t, 1, "nowhere/gtrace: the directory it would be in is not there", "nowhere/gtrace")
		wantRun(t, 0, "take the capability and the setuid bit away", "--help")
	})
}
