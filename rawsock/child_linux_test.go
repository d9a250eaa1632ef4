package rawsock

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// nobody is an ordinary user and group.
const nobody = 65534

// allUsers reports whether this is the first user namespace, where all users
// and groups exist.
func allUsers() bool {
	b, err := os.ReadFile("/proc/self/uid_map")
	return err == nil && strings.Join(strings.Fields(string(b)), " ") == "0 0 4294967295"
}

// needUsers skips what starts programs as other users, which a root of its
// own user namespace cannot, and fails where it must not be left out.
func needUsers(t *testing.T) {
	t.Helper()
	needRoot(t)
	if allUsers() {
		return
	}
	const why = "needs root of the first user namespace, to start programs as other users; run it with sudo"
	if os.Getenv("CI") == "true" {
		t.Fatal(why)
	}
	t.Skip(why)
}

// staticTest is this test program without cgo, as the system calls that reach
// every thread want it: itself, or one built now if this one has cgo, as -race does.
func staticTest(t *testing.T) string {
	t.Helper()
	if _, _, e := syscall.AllThreadsSyscall(unix.SYS_GETPID, 0, 0, 0); e == 0 {
		path, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		return path
	}
	path := filepath.Join(t.TempDir(), "rawsock.test")
	c := exec.Command("go", "test", "-c", "-o", path, ".")
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("build without cgo: %v\n%s", err, out)
	}
	return path
}

// childProgram copies the test program src to where any user can start it and
// setuid and file capabilities count, and returns its path.
func childProgram(t *testing.T, src string) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "rawsock-child-") // t.TempDir is closed to others
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		t.Fatal(err)
	}
	if fs.Flags&(unix.ST_NOSUID|unix.ST_NOEXEC) != 0 {
		t.Skipf("%s is mounted nosuid or noexec: set TMPDIR to a directory that is not", dir)
	}
	in, err := os.Open(src)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	path := filepath.Join(dir, "rawsock.test")
	out, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(out, in); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o755); err != nil { // whatever the umask
		t.Fatal(err)
	}
	return path
}

// child prepares a run of one test of that program, as the named user. The Go runtime's variables may not be given to it: with
// privilege it would be started anew without any of its environment, and not know that it is a child.
func child(path, test string, uid uint32, env ...string) *exec.Cmd {
	for _, kv := range env {
		if name, _, _ := strings.Cut(kv, "="); ofRuntime(name) {
			panic(kv + ": is the Go runtime's, see CleanEnvironment")
		}
	}
	c := exec.Command(path, "-test.run=^"+test+"$", "-test.v", "-test.timeout=60s")
	c.Dir = filepath.Dir(path)
	c.Env = append([]string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "TMPDIR=" + os.TempDir()}, env...)
	c.SysProcAttr = &syscall.SysProcAttr{
		Credential: &syscall.Credential{Uid: uid, Gid: uid},
		Pdeathsig:  syscall.SIGKILL,
	}
	return c
}
