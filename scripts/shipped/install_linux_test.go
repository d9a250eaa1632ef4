package shipped

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"gtrace/internal/lab"
)

const (
	nobody    = 65534
	installer = "/usr/libexec/gtrace/install-privilege"
)

// one is the file of dist/packages that a pattern names.
func one(t *testing.T, pattern string) string {
	t.Helper()
	files, err := filepath.Glob("../../dist/packages/" + pattern)
	if err != nil || len(files) != 1 {
		t.Fatalf("%s: found %q, %v; want one file; run the tests with: make test-packages", pattern, files, err)
	}
	file, err := filepath.Abs(files[0])
	must(t, err)
	return file
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// need is lab.Need, and for a program.
func need(t *testing.T, program, debian string) {
	t.Helper()
	lab.Need(t)
	if _, err := exec.LookPath(program); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("CI is set, so this test may not be left out: %v; install %s", err, debian)
		}
		t.Skipf("left out: %v; install %s", err, debian)
	}
}

// A system is a copy of the one the test runs on, as an overlay that keeps all changes in memory, seen by this
// process's mount namespace alone. Nothing that is done there is done to the machine.
type system struct{ root, upper string }

// inCopy runs the test that calls it as a child of its own, in such a copy.
func inCopy(t *testing.T, f func(t *testing.T, s system)) {
	t.Helper()
	if os.Getenv("TEST_SHIPPED_CHILD") == "" {
		c := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
		c.Env = append(os.Environ(), "TEST_SHIPPED_CHILD=1")
		c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
		if out, err := c.CombinedOutput(); err != nil || bytes.Contains(out, []byte("--- SKIP")) {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	must(t, unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
	base := t.TempDir()
	must(t, unix.Mount("none", base, "tmpfs", 0, "mode=0755"))
	t.Cleanup(func() { unix.Unmount(base, unix.MNT_DETACH) })
	s := system{base + "/root", base + "/upper"}
	for _, dir := range []string{s.root, s.upper, base + "/work"} {
		must(t, os.Mkdir(dir, 0o755))
	}
	if err := unix.Mount("none", s.root, "overlay", 0, "lowerdir=/,upperdir="+s.upper+",workdir="+base+"/work"); err != nil {
		t.Fatalf("no overlay of / can be mounted: %v", err)
	}
	t.Cleanup(func() { unix.Unmount(s.root, unix.MNT_DETACH) })
	must(t, unix.Mount("/proc", s.root+"/proc", "", unix.MS_BIND|unix.MS_REC, ""))
	must(t, unix.Mount("/dev", s.root+"/dev", "", unix.MS_BIND|unix.MS_REC, ""))
	// The manual pages' index takes a minute to make and is not ours (the file is man-db's switch for it).
	os.Remove(s.root + "/var/lib/man-db/auto-update")
	f(t, s)
}

// run runs a command in the copy and returns what it said.
func (s system) run(uid uint32, args ...string) (string, error) {
	c := &exec.Cmd{Path: args[0], Args: args, Dir: "/"}
	c.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND=noninteractive", "HOME=/"}
	c.SysProcAttr = &syscall.SysProcAttr{Chroot: s.root, Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	out, err := c.CombinedOutput()
	return string(out), err
}

func (s system) mustRun(t *testing.T, args ...string) string {
	t.Helper()
	out, err := s.run(0, args...)
	if err != nil {
		t.Fatalf("%q: %v\n%s", args, err, out)
	}
	return out
}

// bring copies a file of the machine's into the copy.
func (s system) bring(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	must(t, err)
	to := "/tmp/" + filepath.Base(file)
	must(t, os.WriteFile(s.root+to, b, 0o644))
	return to
}

// changes are the files and directories that were made, changed or removed, but for what a package manager keeps of its own.
func (s system) changes(t *testing.T) []string {
	t.Helper()
	own := regexp.MustCompile(`^/(tmp|var/log|var/cache|var/lib/(dpkg|rpm|man-db)|usr/lib/sysimage/rpm|etc/ld\.so\.cache|root/\.rpmdb|\.rpmdb)(/|$)`)
	var out []string
	must(t, filepath.WalkDir(s.upper, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(path, s.upper)
		if name == "" || own.MatchString(name) {
			return nil
		}
		if _, err := os.Lstat(name); d.IsDir() && err == nil {
			return nil // on the way to something
		}
		if there, err := os.ReadDir(name); err == nil && len(there) == 0 {
			return nil // rpm removes an empty directory that was another's, where it knows of none, as on Debian
		}
		out = append(out, name)
		return nil
	}))
	return out
}

// wantUsable holds the programs, for an ordinary user, to the kind of socket that they must get.
func (s system) wantUsable(t *testing.T, socket string) {
	t.Helper()
	for _, args := range [][]string{
		{"/usr/bin/gtrace", "-n", "-q1", "-m2", "--json", "127.0.0.1"},
		{"/usr/bin/gping", "-n", "-c1", "--json", "127.0.0.1"},
	} {
		out, err := s.run(nobody, args...)
		switch {
		case strings.HasSuffix(args[0], "gping") && socket == "unprivileged":
			// Whether there are any for echo requests is the host's to say.
		case err != nil || !strings.Contains(out, `"socket":"`+socket+`"`):
			t.Errorf("%q by user %d: %v: %s\nwant %s sockets", args, nobody, err, out, socket)
		}
		c, err := s.run(0, "/usr/sbin/getcap", args[0])
		if want := map[bool]string{true: args[0] + " cap_net_raw=p\n"}[socket == "raw"]; c != want || err != nil {
			t.Errorf("getcap: %q, %v; want %q", c, err, want)
		}
	}
}

// wantWhole holds what is installed to be there, root's, and what it claims to be.
func (s system) wantWhole(t *testing.T, zsh string) {
	t.Helper()
	var want []string
	for _, p := range []string{"gtrace", "gping"} {
		want = append(want, "/usr/bin/"+p, "/usr/share/man/man1/"+p+".1.gz", "/usr/share/bash-completion/completions/"+p,
			zsh+"/_"+p, "/usr/share/fish/vendor_completions.d/"+p+".fish", "/usr/share/doc/gtrace/"+p+".cdx.json")
	}
	want = append(want, installer, "/usr/share/doc/gtrace/copyright")
	for _, pattern := range []string{"README.md", "CHANGELOG.md", "SECURITY.md", "docs/*.md", "docs/decisions/*.md", "report/schema/*.json"} {
		docs, err := fs.Glob(os.DirFS("../.."), pattern)
		if err != nil || len(docs) == 0 {
			t.Fatalf("%s: none (%v)", pattern, err)
		}
		for _, doc := range docs {
			want = append(want, "/usr/share/doc/gtrace/"+doc)
		}
	}
	for _, name := range append(want, "/usr/libexec/gtrace", "/usr/share/doc/gtrace") {
		mode := uint32(0o644)
		if strings.HasPrefix(name, "/usr/bin/") || name == installer {
			mode = 0o755
		}
		var st unix.Stat_t
		if err := unix.Lstat(s.root+name, &st); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if st.Mode&unix.S_IFMT == unix.S_IFDIR {
			mode = 0o755
		}
		if st.Mode&0o7777 != mode || st.Uid != 0 || st.Gid != 0 {
			t.Errorf("%s: mode %o, of %d:%d; want %o of root's", name, st.Mode&0o7777, st.Uid, st.Gid, mode)
		}
	}
	for _, name := range s.changes(t) {
		if fi, err := os.Lstat(s.root + name); !slices.Contains(want, name) && (err != nil || !fi.IsDir()) {
			t.Errorf("%s: was changed too", name)
		}
	}
	z, err := os.Open(s.root + "/usr/share/man/man1/gtrace.1.gz")
	must(t, err)
	defer z.Close()
	page, err := gzip.NewReader(z)
	must(t, err)
	if b, err := io.ReadAll(page); err != nil || !bytes.HasPrefix(b, []byte(".TH GTRACE 1 ")) {
		t.Errorf("the manual page begins %.40q (%v)", b, err)
	}
}

// A manager is one of the package managers.
type manager struct {
	zsh             string // where its zsh looks for completions
	install, remove func(file string) (string, error)
}

// wantCycle installs, uses, reinstalls and removes a package: an older one first, where there is one.
func (s system) wantCycle(t *testing.T, m manager, older, file string) {
	t.Helper()
	do := func(f func(string) (string, error), file string) string {
		t.Helper()
		out, err := f(file)
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return out
	}
	before := s.changes(t)
	if older != "" {
		do(m.install, older)
	}
	for range 2 { // again over itself
		if said := do(m.install, file); strings.Contains(said, "without privilege") {
			t.Errorf("installation says %q", said)
		}
		s.wantWhole(t, m.zsh)
		s.wantUsable(t, "raw")
	}
	s.mustRun(t, installer, "--check", "/usr/bin/gtrace", "/usr/bin/gping")
	s.mustRun(t, installer, "--undo", "/usr/bin/gtrace", "/usr/bin/gping")
	s.wantUsable(t, "unprivileged")
	do(m.install, file)
	s.wantUsable(t, "raw")
	do(m.remove, "gtrace")
	if after := s.changes(t); !slices.Equal(before, after) {
		t.Errorf("removed, it left %q; there was %q before", after, before)
	}

	// Where the capability cannot be had it is installed all the same, and says so.
	setcap := s.root + "/usr/sbin/setcap"
	must(t, unix.Mount("/dev/null", setcap, "", unix.MS_BIND, ""))
	said := do(m.install, file)
	for _, want := range []string{"installed, without privilege", "libcap2-bin", "doctor", installer + " /usr/bin/gtrace /usr/bin/gping"} {
		if !strings.Contains(said, want) {
			t.Errorf("without setcap: %q; want %q in it", said, want)
		}
	}
	must(t, unix.Unmount(setcap, 0))
	s.wantWhole(t, m.zsh)
	s.wantUsable(t, "unprivileged")
	do(m.remove, "gtrace")
	if after := s.changes(t); !slices.Equal(before, after) {
		t.Errorf("removed, it left %q; there was %q before", after, before)
	}
}

func TestDeb(t *testing.T) {
	need(t, "dpkg", "dpkg")
	need(t, "/usr/sbin/setcap", "libcap2-bin")
	deb := one(t, "*_"+runtime.GOARCH+".deb")
	inCopy(t, func(t *testing.T, s system) {
		file := s.bring(t, deb)
		// An older version, with a file that the newer has not.
		s.mustRun(t, "/usr/bin/dpkg-deb", "-R", file, "/tmp/older")
		control := s.root + "/tmp/older/DEBIAN/control"
		b, err := os.ReadFile(control)
		must(t, err)
		must(t, os.WriteFile(control, regexp.MustCompile(`(?m)^Version: .*$`).ReplaceAll(b, []byte("Version: 0~1")), 0o644))
		must(t, os.WriteFile(s.root+"/tmp/older/usr/share/doc/gtrace/older", nil, 0o644))
		s.mustRun(t, "/usr/bin/dpkg-deb", "-b", "/tmp/older", "/tmp/older.deb")
		for _, want := range []string{"Package: gtrace\n", "Recommends: libcap2-bin\n", "Section: net\n"} {
			if !bytes.Contains(b, []byte(want)) {
				t.Errorf("control has no %q: %s", want, b)
			}
		}
		s.wantCycle(t, manager{
			zsh: "/usr/share/zsh/vendor-completions",
			install: func(file string) (string, error) {
				out, err := s.run(0, "/usr/bin/dpkg", "-i", file)
				if err == nil && file != "/tmp/older.deb" {
					var odd string
					if odd, err = s.run(0, "/usr/bin/dpkg", "-V", "gtrace"); odd != "" {
						err = errors.New("dpkg -V: " + odd)
					}
				}
				return out, err
			},
			remove: func(name string) (string, error) { return s.run(0, "/usr/bin/dpkg", "--purge", name) },
		}, "/tmp/older.deb", file)
		if out, err := s.run(0, "/usr/bin/dpkg", "-s", "gtrace"); err == nil {
			t.Errorf("dpkg still knows it: %s", out)
		}
	})
}

func TestRPM(t *testing.T) {
	need(t, "rpm", "rpm")
	need(t, "/usr/sbin/setcap", "libcap2-bin")
	rpm := one(t, map[string]string{"amd64": "*.x86_64.rpm", "arm64": "*.aarch64.rpm"}[runtime.GOARCH])
	inCopy(t, func(t *testing.T, s system) {
		file := s.bring(t, rpm)
		if out := s.mustRun(t, "/usr/bin/rpm", "-qp", "--recommends", file); strings.TrimSpace(out) != "libcap" {
			t.Errorf("recommends %q, want libcap", out)
		}
		if out := s.mustRun(t, "/usr/bin/rpm", "-qp", "--qf", "%{BUILDHOST} [%{FILEUSERNAME}:%{FILEGROUPNAME} ]", file); strings.ReplaceAll(out, "root:root ", "") != "localhost " {
			t.Errorf("built at, and files of: %q", out)
		}
		// Debian's rpm wants to be told that it is meant, and knows of no package that is there.
		// It also makes directories of its own for its list of packages.
		s.mustRun(t, "/usr/bin/rpm", "--initdb")
		s.wantCycle(t, manager{
			zsh: "/usr/share/zsh/site-functions",
			install: func(file string) (string, error) {
				return s.run(0, "/usr/bin/rpm", "--force-debian", "--nodeps", "--replacepkgs", "-U", file)
			},
			remove: func(name string) (string, error) { return s.run(0, "/usr/bin/rpm", "--force-debian", "-e", name) },
		}, "", file)
	})
}

// TestAPK does what apk does with a package, which Debian has not: it unpacks it, runs its scripts, and removes what it unpacked.
func TestAPK(t *testing.T) {
	need(t, "/usr/sbin/setcap", "libcap2-bin")
	apk := one(t, map[string]string{"amd64": "*_x86_64.apk", "arm64": "*_aarch64.apk"}[runtime.GOARCH])
	inCopy(t, func(t *testing.T, s system) {
		// Two archives one after the other: what is told about the package, and its files.
		f, err := os.Open(apk)
		must(t, err)
		defer f.Close()
		meta := make(map[string]string)
		type entry struct {
			tar.Header
			data []byte
		}
		var files []entry
		r := bufio.NewReader(f)
		for {
			z, err := gzip.NewReader(r)
			if err == io.EOF {
				break
			}
			must(t, err)
			z.Multistream(false)
			for a := tar.NewReader(z); ; {
				h, err := a.Next()
				if err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) { // the first has no end of its own
					break
				}
				must(t, err)
				b, err := io.ReadAll(a)
				must(t, err)
				if strings.HasPrefix(h.Name, ".") {
					meta[h.Name] = string(b)
				} else {
					files = append(files, entry{*h, b})
				}
			}
			_, err = io.Copy(io.Discard, z)
			must(t, err)
		}
		for _, want := range []string{"pkgname = gtrace\n", "depend = libcap\n", "arch = "} {
			if !strings.Contains(meta[".PKGINFO"], want) {
				t.Errorf(".PKGINFO has no %q: %s", want, meta[".PKGINFO"])
			}
		}
		if meta[".post-install"] == "" || meta[".post-install"] != meta[".post-upgrade"] {
			t.Errorf("scripts after installation %q, after an upgrade %q; want the same", meta[".post-install"], meta[".post-upgrade"])
		}
		must(t, os.WriteFile(s.root+"/tmp/post-install", []byte(meta[".post-install"]), 0o755))
		var dirs []string
		s.wantCycle(t, manager{
			zsh: "/usr/share/zsh/site-functions",
			install: func(string) (string, error) {
				for _, e := range files {
					if e.Uid != 0 || e.Gid != 0 || e.Uname != "root" || e.Gname != "root" {
						t.Errorf("%s belongs to %d:%d, %s:%s", e.Name, e.Uid, e.Gid, e.Uname, e.Gname)
					}
					path := filepath.Join(s.root, e.Name)
					if e.Typeflag == tar.TypeDir {
						if os.Mkdir(path, fs.FileMode(e.Mode)) == nil {
							dirs = append(dirs, path)
						}
						continue
					}
					os.Remove(path)
					must(t, os.WriteFile(path, e.data, 0o600))
					must(t, os.Chmod(path, fs.FileMode(e.Mode)))
				}
				return s.run(0, "/tmp/post-install")
			},
			remove: func(string) (string, error) {
				for _, e := range files {
					if e.Typeflag != tar.TypeDir {
						must(t, os.Remove(filepath.Join(s.root, e.Name)))
					}
				}
				for _, d := range slices.Backward(dirs) {
					must(t, os.Remove(d))
				}
				dirs = nil
				return "", nil
			},
		}, "", apk)
	})
}
