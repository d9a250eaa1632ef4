//go:build linux

package e2e

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"golang.org/x/net/dns/dnsmessage"

	"gtrace/internal/lab"
)

// A nameServer answers reverse look-ups of a network's addresses.
type nameServer struct {
	names  map[string]string // by the name that is asked for, with the final dot; "": no such name; others are never answered
	silent atomic.Bool
	asked  atomic.Int32
}

func (s *nameServer) answer(q []byte) []byte {
	s.asked.Add(1)
	var p dnsmessage.Parser
	h, err := p.Start(q)
	if err != nil || s.silent.Load() {
		return nil
	}
	question, err := p.Question()
	if err != nil {
		return nil
	}
	b := dnsmessage.NewBuilder(nil, dnsmessage.Header{ID: h.ID, Response: true, RecursionAvailable: true, RecursionDesired: h.RecursionDesired})
	b.EnableCompression()
	name, known := s.names[question.Name.String()]
	if !known || question.Type != dnsmessage.TypePTR {
		b = dnsmessage.NewBuilder(nil, dnsmessage.Header{ID: h.ID, Response: true, RCode: dnsmessage.RCodeNameError})
	}
	if b.StartQuestions() != nil || b.Question(question) != nil || b.StartAnswers() != nil {
		return nil
	}
	if known {
		ptr, err := dnsmessage.NewName(name)
		if err != nil || b.PTRResource(dnsmessage.ResourceHeader{Name: question.Name, Class: dnsmessage.ClassINET, TTL: 60},
			dnsmessage.PTRResource{PTR: ptr}) != nil {
			return nil
		}
	}
	msg, _ := b.Finish()
	return msg
}

func arpa(a netip.Addr) string {
	b := a.As4()
	return fmt.Sprintf("%d.%d.%d.%d.in-addr.arpa.", b[3], b[2], b[1], b[0])
}

// asking makes a command use the name server at a: it gets a mount namespace of its own, with another resolv.conf.
func asking(t *testing.T, server netip.Addr) func(*exec.Cmd) {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "resolv.conf")
	if err := os.WriteFile(file, fmt.Appendf(nil, "nameserver %s\noptions timeout:1 attempts:1\n", server), 0o644); err != nil {
		t.Fatal(err)
	}
	shell, err := exec.LookPath("sh")
	if err != nil {
		t.Fatal(err)
	}
	return func(c *exec.Cmd) {
		c.Args = append([]string{shell, "-c", `mount --make-rprivate / && mount --bind "$0" /etc/resolv.conf && exec "$@"`, file, c.Path}, c.Args[1:]...)
		c.Path = shell
		c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	}
}

// TestNames: hops and hosts have their names in text and JSON where that is asked for; with -n nobody is asked; a name
// that would move a cursor is harmless, and a name server that is down costs no more than a little.
func TestNames(t *testing.T) {
	programs(t)
	p := lab.Plan{Links: []lab.Link{
		{A: "client", B: "r1", V4: "198.51.100.0/30"}, {A: "r1", B: "r2", V4: "198.51.100.4/30"}, {A: "r2", B: "target", V4: "203.0.113.8/30"},
	}}
	network := lab.Start(t, p)
	client, target := network.Node("client"), network.Node("target")
	r1, r2 := network.Node("r1").Addr("client", 4), network.Node("r2").Addr("r1", 4)
	there := target.Addr("r2", 4)
	s := &nameServer{names: map[string]string{
		arpa(r1):    "gw\x1b[2J.example.", // no name to Go's resolver, and so none here
		arpa(there): "target.example.",
	}}
	if err := target.ServeUDP(53, s.answer); err != nil {
		t.Fatal(err)
	}
	ask := asking(t, there)

	t.Run("text", func(t *testing.T) {
		r := start(t, client, ask, "gtrace", "--names", "-q1", there.String()).end()
		for _, want := range []string{
			fmt.Sprintf("%s (%s)  ", r1, r1), fmt.Sprintf("%s (%s)  ", r2, r2), fmt.Sprintf("target.example (%s)  ", there),
		} {
			if !strings.Contains(r.stdout, want) {
				t.Errorf("%q is missing in %v", want, r)
			}
		}
		if r.status != 0 || strings.ContainsRune(r.stdout, '\x1b') {
			t.Error(r)
		}
	})
	t.Run("ping", func(t *testing.T) {
		r := start(t, client, ask, "gping", "--names", "-c1", there.String()).end()
		if want := fmt.Sprintf("64 bytes from target.example (%s): icmp_seq=1 ", there); r.status != 0 || !strings.Contains(r.stdout, want) {
			t.Errorf("%q is missing in %v", want, r)
		}
	})
	t.Run("JSON", func(t *testing.T) {
		r := start(t, client, ask, "gtrace", "--names", "--json", "-q1", there.String()).end()
		if r.status != 0 || strings.Count(r.stdout, `"name":`) != 1 || !strings.Contains(r.stdout, `"name":"target.example"`) {
			t.Error(r)
		}
	})
	t.Run("JSON of a ping", func(t *testing.T) {
		r := start(t, client, ask, "gping", "--names", "--json", "-c1", there.String()).end()
		if r.status != 0 || !strings.Contains(r.stdout, `"name":"target.example"`) {
			t.Error(r)
		}
	})
	t.Run("nobody is asked", func(t *testing.T) {
		before := s.asked.Load()
		for _, args := range [][]string{
			{"gtrace", "-n", "-q1", there.String()}, {"gtrace", "-q1", there.String()}, {"gtrace", "--json", "-q1", there.String()},
			{"gping", "-nc1", there.String()}, {"gping", "--json", "-c1", there.String()},
			{persona(t, "ping"), "-c1", there.String()}, // as iputils: of a host that was given by its address
		} {
			if r := start(t, client, ask, args...).end(); r.status != 0 || strings.Contains(r.stdout, "example") {
				t.Error(r)
			}
		}
		if n := s.asked.Load() - before; n != 0 {
			t.Errorf("%d queries", n)
		}
	})
	t.Run("a server that is down", func(t *testing.T) {
		s.silent.Store(true)
		r := start(t, client, ask, "gtrace", "--names", "-q1", there.String()).end()
		if r.status != 0 || !strings.Contains(r.stdout, fmt.Sprintf("%s (%s)  ", there, there)) {
			t.Error(r)
		}
	})
}
