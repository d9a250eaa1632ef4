//go:build linux

package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"gtrace/internal/lab"
)

// confining are all ways to start the programs: with privilege, and without.
var confining = append(slices.Clone(installs), install{"ordinary user", nil, nobody, false})

// TestConfined reads how every thread of a running program is confined, however it got its sockets.
func TestConfined(t *testing.T) {
	s := standard(t)
	silent, target := s.Special(lab.SilentAt, 4).String(), s.Target.Only(4).String()
	ours := filters(t, threads(t, os.Getpid())[filepath.Join("/proc", strconv.Itoa(os.Getpid()), "task", strconv.Itoa(os.Getpid()), "status")])
	for _, in := range confining {
		for _, args := range [][]string{
			{"gping", "-n", "-i3600", target},
			{"gtrace", "-n", "-q1", "-m6", "-w3600,0,0", silent},
		} {
			t.Run(in.name+" "+args[0], func(t *testing.T) {
				path := installed(t, in, args[0])
				if in.prepare == nil && in.uid != 0 && args[0] == "gping" {
					args = []string{"gping", "-n", "-i3600", "--kind", "udp", target} // ping sockets are not for everybody
				}
				r := start(t, s.Client, as(in.uid), append([]string{path}, args[1:]...)...)
				r.line()
				r.line() // something has been sent and heard
				all := threads(t, r.cmd.Process.Pid)
				if len(all) < 2 {
					t.Errorf("%d thread, want several to look at", len(all))
				}
				for file, fields := range all {
					if fields["Seccomp"] != "2" || fields["NoNewPrivs"] != "1" {
						t.Errorf("%s: Seccomp %q, NoNewPrivs %q, want 2 and 1", file, fields["Seccomp"], fields["NoNewPrivs"])
					}
					if n := filters(t, fields); n != ours+1 {
						t.Errorf("%s: %d filters, want one more than the %d of this test", file, n, ours)
					}
				}
				r.signal(os.Interrupt)
				r.end()
			})
		}
	}
}

// filters is how many a thread has.
func filters(t *testing.T, status map[string]string) int {
	t.Helper()
	n, err := strconv.Atoi(status["Seccomp_filters"])
	if err != nil {
		t.Skipf("left out: the kernel does not count filters (Linux 5.9): %v", err)
	}
	return n
}

// TestDoctorConfined: the doctor tells of it, whoever asks.
func TestDoctorConfined(t *testing.T) {
	s := standard(t)
	for _, in := range confining {
		for _, prog := range []string{"gtrace", "gping"} {
			t.Run(in.name+" "+prog, func(t *testing.T) {
				r := start(t, s.Client, as(in.uid), installed(t, in, prog), "doctor", "--json").end()
				var doc struct {
					Confinement struct {
						Filter   bool     `json:"filter"`
						Filtered int      `json:"filter_threads"`
						Threads  int      `json:"threads"`
						Landlock int      `json:"landlock_abi"`
						Holds    []string `json:"landlock_holds"`
					} `json:"confinement"`
					Checks []struct {
						Check   string `json:"check"`
						Verdict string `json:"verdict"`
					} `json:"checks"`
				}
				if err := json.Unmarshal([]byte(r.stdout), &doc); err != nil {
					t.Fatalf("%v\n%v", err, r)
				}
				c := doc.Confinement
				if !c.Filter || c.Threads < 2 || c.Filtered != c.Threads {
					t.Errorf("confinement %+v, want every thread filtered", c)
				}
				if held := slices.Contains(c.Holds, "files"); held != (c.Landlock > 0) {
					t.Errorf("confinement %+v", c)
				}
				for _, check := range doc.Checks {
					switch check.Check {
					case "system-calls":
						if check.Verdict != "ok" {
							t.Errorf("%+v", check)
						}
					case "file-access":
						if ok := check.Verdict == "ok"; ok != (c.Landlock > 0) {
							t.Errorf("%+v, with version %d of Landlock", check, c.Landlock)
						}
					}
				}
			})
		}
	}
}

// argued are the calls whose arguments the filter looks at, refused.
var argued = regexp.MustCompile(`\b(socket|openat|mmap|mprotect|clone|fcntl|prctl|kill|tgkill)\b.* = -1 EPERM`)

// TestConfinedMisses: nothing that the programs and Go's runtime do is refused. What a call that is missing from
// the filter takes away may be little, and no other test may see it.
func TestConfinedMisses(t *testing.T) {
	s := standard(t)
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skipf("%v: apt-get install strace", err)
	}
	target := s.Target.Only(4).String()
	list := filepath.Join(t.TempDir(), "list")
	if err := os.WriteFile(list, []byte(target+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"gping", "--help"},
		{"gping", "doctor"},
		{"gping", "-c3", "-i0.05", "--targets", list},
		{"gping", "-c2", "-i0.05", "--kind", "tcp", s.Target.Only(6).String()},
		{"gtrace", "-q1", "--json", target},
		{"gtrace", "-q1", "--tcp", target},
		{"gtrace", "-q1", "-m2", "nobody.invalid"},
	} {
		t.Run(strings.Join(args[:2], " "), func(t *testing.T) {
			log := filepath.Join(t.TempDir(), "calls")
			line := append([]string{strace, "-f", "-o", log, program(args[0])}, args[1:]...)
			r := start(t, s.Client, func(c *exec.Cmd) { c.Env = []string{"GOGC=1"} }, line...).end()
			calls, err := os.ReadFile(log)
			if err != nil {
				t.Fatalf("%v\n%v", err, r)
			}
			_, after, filtered := strings.Cut(string(calls), "seccomp(SECCOMP_SET_MODE_FILTER")
			if !filtered {
				t.Fatalf("no filter was set\n%v", r)
			}
			for call := range strings.Lines(after) {
				if strings.Contains(call, "ENOSYS") || argued.MatchString(call) {
					t.Errorf("refused: %s", call)
				}
			}
		})
	}
}
