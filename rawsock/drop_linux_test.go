package rawsock

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestDrop starts itself in each way to have privilege, lets that child open
// a raw socket and drop, and then looks, from outside and as root, at
// every one of its threads.
func TestDrop(t *testing.T) {
	switch os.Getenv("TEST_DROP_CHILD") {
	case "drop":
		dropChild(t)
		return
	case "status":
		printStatus(t)
		return
	}
	needUsers(t)
	tests := []struct {
		name     string
		uid      uint32
		install  func(t *testing.T, path string)
		noNew    bool // started under no_new_privs
		ambient  bool // started with CAP_NET_RAW in the ambient set
		raw      bool // it gets its raw socket
		secure   bool
		bounded  bool // it may empty the bounding set
		dumpable bool // it had nothing to protect
	}{
		{name: "root", uid: 0, raw: true, bounded: true},
		{name: "setuid root", uid: nobody, install: setuidRoot, raw: true, secure: true, bounded: true},
		{name: "setuid and setgid root", uid: nobody, install: setBothRoot, raw: true, secure: true, bounded: true},
		{name: "cap_net_raw+p", uid: nobody, install: fileCap(1<<unix.CAP_NET_RAW, false), raw: true, secure: true},
		{name: "cap_net_raw+ep", uid: nobody, install: fileCap(1<<unix.CAP_NET_RAW, true), raw: true, secure: true},
		{name: "cap_net_raw,cap_setpcap,cap_setgid+p", uid: nobody, raw: true, secure: true, bounded: true,
			install: fileCap(1<<unix.CAP_NET_RAW|1<<unix.CAP_SETPCAP|1<<unix.CAP_SETGID, false)},
		{name: "setuid root under no_new_privs", uid: nobody, install: setuidRoot, noNew: true, dumpable: true},
		{name: "cap_net_raw+p under no_new_privs", uid: nobody, install: fileCap(1<<unix.CAP_NET_RAW, false), noNew: true, dumpable: true},
		{name: "ambient cap_net_raw", uid: nobody, ambient: true, raw: true},
		{name: "ordinary user", uid: nobody, dumpable: true},
	}
	program := staticTest(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := childProgram(t, program)
			if tt.install != nil {
				tt.install(t, path)
			}
			c := child(path, "TestDrop", tt.uid, "TEST_DROP_CHILD=drop", "TZ=UTC", "LC_ALL=C",
				fmt.Sprintf("TEST_DROP_RAW=%t", tt.raw), fmt.Sprintf("TEST_DROP_SECURE=%t", tt.secure),
				fmt.Sprintf("TEST_DROP_UID=%d", tt.uid), "TEST_DROP_PATH="+path)
			c.SysProcAttr.Credential.Groups = []uint32{4, 24}
			if tt.ambient {
				c.SysProcAttr.AmbientCaps = []uintptr{unix.CAP_NET_RAW}
			}
			if tt.noNew {
				underNoNewPrivs(c)
			}
			stdin, err := c.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			stdout, err := c.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			var stderr bytes.Buffer
			c.Stderr = &stderr
			if err := c.Start(); err != nil {
				t.Fatal(err)
			}
			var said strings.Builder
			lines := bufio.NewScanner(stdout)
			dropped := false
			for lines.Scan() {
				fmt.Fprintln(&said, lines.Text())
				if dropped = lines.Text() == "dropped"; dropped {
					break
				}
			}
			if dropped {
				wantDropped(t, c.Process.Pid, tt.uid, tt.bounded, tt.dumpable)
			} else {
				t.Error("the child did not get as far as dropping")
			}
			stdin.Close()
			for lines.Scan() {
				fmt.Fprintln(&said, lines.Text())
			}
			if err := c.Wait(); err != nil {
				t.Errorf("%v\n%s%s", err, said.String(), stderr.String())
			}
		})
	}
}

// wantDropped reads every thread's status, in the terms of proc_pid_status(5).
func wantDropped(t *testing.T, pid int, uid uint32, bounded, dumpable bool) {
	t.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil || len(files) < 8 {
		t.Fatalf("%d threads found, want at least the 8 it started: %v", len(files), err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			continue // the thread has ended
		}
		ids := fmt.Sprintf("%d\t%[1]d\t%[1]d\t%[1]d", uid)
		want := map[string]string{"Uid": ids, "Gid": ids, "NoNewPrivs": "1"}
		for _, set := range []string{"CapInh", "CapPrm", "CapEff", "CapAmb"} {
			want[set] = "0000000000000000"
		}
		if bounded {
			want["CapBnd"], want["Groups"] = "0000000000000000", ""
		}
		for key, w := range want {
			if got, ok := statusField(b, key); !ok || got != w {
				t.Errorf("%s: %s is %q, want %q", f, key, got, w)
			}
		}
	}
	// Root owns the files of a process that is not dumpable.
	fi, err := os.Stat(fmt.Sprintf("/proc/%d/mem", pid))
	if err != nil {
		t.Fatal(err)
	}
	if owner := fi.Sys().(*syscall.Stat_t).Uid; (owner == uid) != (dumpable || uid == 0) {
		t.Errorf("its memory belongs to user %d, want dumpable %t", owner, dumpable)
	}
}

func statusField(status []byte, key string) (string, bool) {
	for line := range bytes.Lines(status) {
		if k, v, _ := strings.Cut(string(line), ":"); k == key {
			return strings.TrimSpace(v), true
		}
	}
	return "", false
}

// dropChild is the child: it opens a raw socket as Open does, drops, says so, waits until it has been
// looked at, and then tries to get something back.
func dropChild(t *testing.T) {
	if want := os.Getenv("TEST_DROP_SECURE") == "true"; Secure() != want {
		t.Errorf("Secure says %t, want %t", Secure(), want)
	}
	raw, path, uid := os.Getenv("TEST_DROP_RAW") == "true", os.Getenv("TEST_DROP_PATH"), os.Getenv("TEST_DROP_UID")
	secure := Secure()
	CleanEnvironment()
	if _, there := os.LookupEnv("TZ"); there == secure {
		t.Errorf("TZ is in the environment: %t, want %t", there, !secure)
	}
	if os.Getenv("LC_ALL") != "C" {
		t.Error("LC_ALL is not in the environment")
	}

	stop := make(chan bool)
	defer close(stop)
	ready := make(chan bool)
	for range 8 { // threads for Drop to reach
		go func() {
			runtime.LockOSThread()
			ready <- true
			<-stop
		}()
		<-ready
	}

	before, err := threadCaps()
	if err != nil {
		t.Fatal(err)
	}
	lower, err := raiseNetRaw()
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if (err == nil) != raw {
		t.Errorf("raw socket: %v, want one: %t", err, raw)
	}
	if err == nil {
		defer unix.Close(fd)
	}
	if err := lower(); err != nil {
		t.Fatal(err)
	}
	if after, err := threadCaps(); err != nil || after != before {
		t.Errorf("capabilities %+v after opening, want %+v again (%v)", after, before, err)
	}

	if err := Drop(); err != nil {
		t.Fatal(err)
	}
	fmt.Println("\ndropped")
	bufio.NewReader(os.Stdin).ReadString('\n') // until the parent has looked

	lower, err = raiseNetRaw()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW); err != unix.EPERM {
		t.Errorf("another raw socket: %v, want EPERM", err)
	}
	if err := lower(); err != nil {
		t.Error(err)
	}
	for c := range 41 {
		if err := setThreadCaps(capSets{effective: 1 << c, permitted: 1 << c}); err != unix.EPERM {
			t.Errorf("raise capability %d: %v, want EPERM", c, err)
		}
	}
	if uid != "0" {
		if err := syscall.Setuid(0); err != syscall.EPERM {
			t.Errorf("setuid(0): %v, want EPERM", err)
		}
		if err := syscall.Setgid(0); err != syscall.EPERM {
			t.Errorf("setgid(0): %v, want EPERM", err)
		}
	}
	if err := Drop(); err != nil {
		t.Errorf("drop again: %v", err)
	}
	// Nor by starting a program: this one, with whatever is on its file.
	c := exec.Command(path, "-test.run=^TestDrop$")
	c.Env = []string{"TEST_DROP_CHILD=status"}
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, key := range []string{"CapInh", "CapPrm", "CapEff", "CapAmb"} {
		if got, ok := statusField(out, key); !ok || got != "0000000000000000" {
			t.Errorf("a program started after the drop has %s %q", key, got)
		}
	}
	ids := strings.Join([]string{uid, uid, uid, uid}, "\t")
	if got, _ := statusField(out, "Uid"); got != ids {
		t.Errorf("a program started after the drop has Uid %q, want %q", got, ids)
	}
}

func printStatus(t *testing.T) {
	b, err := os.ReadFile("/proc/thread-self/status")
	if err != nil {
		t.Fatal(err)
	}
	os.Stdout.Write(b)
}

func setuidRoot(t *testing.T, path string) {
	t.Helper()
	if err := unix.Chown(path, 0, nobody); err != nil { // clears the bits, so before chmod
		t.Fatal(err)
	}
	if err := unix.Chmod(path, 0o4755); err != nil {
		t.Fatal(err)
	}
}

func setBothRoot(t *testing.T, path string) {
	t.Helper()
	if err := unix.Chown(path, 0, 0); err != nil {
		t.Fatal(err)
	}
	if err := unix.Chmod(path, 0o6755); err != nil {
		t.Fatal(err)
	}
}

// fileCap gives a file capabilities as setcap does: struct vfs_cap_data, revision
// 2, of linux/capability.h.
func fileCap(permitted uint32, effective bool) func(*testing.T, string) {
	return func(t *testing.T, path string) {
		t.Helper()
		magic := uint32(0x02000000)
		if effective {
			magic |= 1
		}
		b := make([]byte, 20)
		binary.LittleEndian.PutUint32(b, magic)
		binary.LittleEndian.PutUint32(b[4:], permitted)
		err := unix.Setxattr(path, "security.capability", b, 0)
		if errors.Is(err, unix.ENOTSUP) {
			t.Skipf("the file system of %s keeps no capabilities: set TMPDIR to one that does", path)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// underNoNewPrivs starts c through setpriv, which is in every distribution's util-linux.
func underNoNewPrivs(c *exec.Cmd) {
	c.Args = append([]string{"setpriv", "--no-new-privs", c.Path}, c.Args[1:]...)
	c.Path = "/usr/bin/setpriv"
}

func TestDropCheck(t *testing.T) {
	const good = "Name:\tgtrace\nUid:\t7\t7\t7\t7\nGid:\t8\t8\t8\t8\nGroups:\t\n" +
		"CapInh:\t0000000000000000\nCapPrm:\t0000000000000000\nCapEff:\t0000000000000000\n" +
		"CapBnd:\t0000000000000000\nCapAmb:\t0000000000000000\nNoNewPrivs:\t1\n"
	want := threadStatus{uid: 7, gid: 8, bounded: true, alone: true}
	tests := []struct {
		name, old, new string
		left           string // what the error names; "": none
	}{
		{name: "nothing left"},
		{"saved user", "Uid:\t7\t7\t7\t7", "Uid:\t7\t7\t0\t7", "Uid"},
		{"file system group", "Gid:\t8\t8\t8\t8", "Gid:\t8\t8\t8\t0", "Gid"},
		{"one id missing", "Gid:\t8\t8\t8\t8", "Gid:\t8\t8\t8", "Gid"},
		{"a group", "Groups:\t", "Groups:\t4 ", "Groups"},
		{"inheritable", "CapInh:\t00000000000000", "CapInh:\t00000000000020", "CapInh"},
		{"permitted", "CapPrm:\t0000000000000000", "CapPrm:\t0000000000002000", "CapPrm"},
		{"effective, the highest bit", "CapEff:\t0", "CapEff:\t8", "CapEff"},
		{"bounding", "CapBnd:\t0000000000000000", "CapBnd:\t0000000000000001", "CapBnd"},
		{"ambient", "CapAmb:\t0000000000000000", "CapAmb:\t0000000000002000", "CapAmb"},
		{"new privileges", "NoNewPrivs:\t1", "NoNewPrivs:\t0", "NoNewPrivs"},
		{"an empty set", "CapPrm:\t0000000000000000", "CapPrm:\t", "CapPrm"},
		{"no permitted set", "CapPrm:\t0000000000000000\n", "", "CapPrm"},
		{"no ids", "Uid:\t7\t7\t7\t7\n", "", "Uid"},
		{"before Linux 4.3", "CapAmb:\t0000000000000000\nNoNewPrivs:\t1\n", "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if !strings.Contains(good, tt.old) {
				t.Fatalf("%q is not in the good example", tt.old)
			}
			err := want.check()([]byte(strings.Replace(good, tt.old, tt.new, 1)))
			switch {
			case tt.left == "" && err != nil:
				t.Error(err)
			case tt.left != "" && (!errors.Is(err, errLeft) || !strings.Contains(err.Error(), tt.left)):
				t.Errorf("error %v, want one that names %s", err, tt.left)
			}
		})
	}
	if err := (threadStatus{uid: 7, gid: 8}).check()([]byte(strings.Replace(good, "CapBnd:\t0", "CapBnd:\t8", 1))); err != nil {
		t.Errorf("a bounding set that could not be emptied: %v", err)
	}
}

// TestRaiseIsNoError holds raiseNetRaw to what it does where there is nothing to do.
func TestRaiseIsNoError(t *testing.T) {
	before, err := threadCaps()
	if err != nil {
		t.Fatal(err)
	}
	if before.permitted != before.effective {
		t.Skip("this program has capabilities that are not in use")
	}
	lower, err := raiseNetRaw()
	if err != nil {
		t.Fatal(err)
	}
	if now, err := threadCaps(); err != nil || now != before {
		t.Errorf("capabilities %+v, want %+v (%v)", now, before, err)
	}
	if err := lower(); err != nil {
		t.Fatal(err)
	}
}

func TestHarmless(t *testing.T) {
	for name, want := range map[string]bool{
		"TERM": true, "LANG": true, "LC_ALL": true, "NO_COLOR": true, "COLUMNS": true,
		"GODEBUG": false, "LOCALDOMAIN": false, "RES_OPTIONS": false, "TZ": false, "PATH": false,
		"HTTP_PROXY": false, "TERMINFO": false, "LANGUAGE": false, "": false,
	} {
		if got := harmless(name); got != want {
			t.Errorf("%q kept: %t, want %t", name, got, want)
		}
	}
}

// TestCleanEnvironmentKeeps holds CleanEnvironment to leaving an ordinary
// program's environment alone.
func TestCleanEnvironmentKeeps(t *testing.T) {
	if Secure() {
		t.Skip("this program is itself started with privilege")
	}
	t.Setenv("TZ", "UTC")
	CleanEnvironment()
	if os.Getenv("TZ") != "UTC" {
		t.Error("the environment of an ordinary program was cleaned")
	}
}

func TestSource(t *testing.T) {
	for _, tt := range []struct{ dst, want string }{
		{"127.0.0.1", "127.0.0.1"},
		{"127.9.9.9", "127.0.0.1"},
		{"::ffff:127.0.0.1", "127.0.0.1"},
		{"::1", "::1"},
	} {
		got, err := Source(netip.MustParseAddr(tt.dst))
		var se *SendError
		if errors.As(err, &se) && se.Name == "EADDRNOTAVAIL" && tt.dst == "::1" {
			t.Log("no IPv6 on this host")
			continue
		}
		if err != nil || got.String() != tt.want {
			t.Errorf("to %s: %v (%v), want %s", tt.dst, got, err, tt.want)
		}
	}
	if _, err := Source(netip.Addr{}); err == nil {
		t.Error("no error without a destination")
	}
}
