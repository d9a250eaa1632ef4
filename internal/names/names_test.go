package names

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func addr(n int) netip.Addr { return netip.AddrFrom4([4]byte{192, 0, byte(n >> 8), byte(n)}) }

// slow is a name server that takes that long.
func slow(d time.Duration, asked *atomic.Int32) func(context.Context, string) ([]string, error) {
	return func(ctx context.Context, a string) ([]string, error) {
		asked.Add(1)
		select {
		case <-time.After(d):
			return []string{"host-" + strings.ReplaceAll(a, ".", "-") + ".example."}, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// TestBeside: Ask never waits, Name waits no longer than the bound from Ask on, and what comes later is used later.
func TestBeside(t *testing.T) {
	for _, tt := range []struct {
		name         string
		takes, until time.Duration // the look-up; between Ask and Name
		want         string
		waits        time.Duration
	}{
		{"at once", 0, 0, "host-192-0-0-1.example", 0},
		{"within the bound", 300 * time.Millisecond, 0, "host-192-0-0-1.example", 300 * time.Millisecond},
		{"asked early", 300 * time.Millisecond, 200 * time.Millisecond, "host-192-0-0-1.example", 100 * time.Millisecond},
		{"beyond the bound", 3 * time.Second, 0, "", reverseBound},
		{"beyond the bound, asked early", 3 * time.Second, 700 * time.Millisecond, "", reverseBound - 700*time.Millisecond},
		{"bound long over", 3 * time.Second, 2 * time.Second, "", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var asked atomic.Int32
				c := Reverse(t.Context(), slow(tt.takes, &asked))
				start := time.Now()
				c.Ask(addr(1))
				c.Ask(addr(1))
				if d := time.Since(start); d != 0 {
					t.Errorf("Ask took %v", d)
				}
				time.Sleep(tt.until)
				start = time.Now()
				if got := c.Name(addr(1)); got != tt.want {
					t.Errorf("got %q, want %q", got, tt.want)
				}
				if d := time.Since(start); d != tt.waits {
					t.Errorf("waited %v, want %v", d, tt.waits)
				}
				time.Sleep(5 * time.Second)
				if got, want := c.Name(addr(1)), "host-192-0-0-1.example"; got != want {
					t.Errorf("later: got %q, want %q", got, want)
				}
				if n := asked.Load(); n != 1 {
					t.Errorf("%d look-ups of one address", n)
				}
			})
		})
	}
}

// TestDeadServer: with a name server that is down a whole trace waits a few bounds and not one for each hop, and look-ups
// end. When it is back, names are there again.
func TestDeadServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int32
		var up atomic.Bool
		c := Reverse(t.Context(), func(ctx context.Context, a string) ([]string, error) {
			asked.Add(1)
			if up.Load() {
				return []string{"up.example."}, nil
			}
			<-ctx.Done()
			return nil, ctx.Err()
		})
		start := time.Now()
		for i := range 200 {
			if got := c.Name(addr(i)); got != "" {
				t.Fatalf("got %q", got)
			}
		}
		if d, most := time.Since(start), patience*reverseBound; d != most {
			t.Errorf("200 names took %v, want %v", d, most)
		}
		synctest.Wait() // the last may just have begun
		if n := asked.Load(); n != atOnce {
			t.Errorf("%d look-ups at once, want %d", n, atOnce)
		}
		time.Sleep(time.Minute)
		up.Store(true)
		c.Ask(addr(300))
		synctest.Wait()
		if got := c.Name(addr(300)); got != "up.example" {
			t.Errorf("the server is back: got %q", got)
		}
	})
}

// TestEnd: the end of the context ends what is under way, and nobody waits for it.
func TestEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var asked atomic.Int32
		c := Reverse(ctx, slow(time.Hour, &asked))
		c.Ask(addr(1))
		time.AfterFunc(100*time.Millisecond, cancel)
		start := time.Now()
		if got := c.Name(addr(1)); got != "" {
			t.Errorf("got %q", got)
		}
		if d := time.Since(start); d != 100*time.Millisecond {
			t.Errorf("waited %v", d)
		}
	})
}

func TestRemembersOnlySoMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int32
		c := newCache(t.Context(), time.Second, unzoned, func(context.Context, netip.Addr) (string, error) { asked.Add(1); return "", nil })
		a := netip.MustParseAddr("10.0.0.0")
		for range most + 100 {
			c.Ask(a)
			a = a.Next()
			synctest.Wait()
		}
		if n := asked.Load(); n != most {
			t.Errorf("%d look-ups, want %d", n, most)
		}
		if got := c.Name(a); got != "" {
			t.Errorf("got %q for one too many", got)
		}
	})
}

func TestReverse(t *testing.T) {
	for _, tt := range []struct {
		name  string
		a     string
		found []string
		err   error
		want  string
	}{
		{name: "one", a: "192.0.2.1", found: []string{"gw.example.org."}, want: "gw.example.org"},
		{name: "zone left out", a: "fe80::1%eth0", found: []string{"gw.example.org."}, want: "gw.example.org"},
		{name: "first that is one", a: "192.0.2.1", found: []string{".", "b.example.", "c.example."}, want: "b.example"},
		{name: "none", a: "192.0.2.1", err: errors.New("no such host")},
		{name: "an address is no name", a: "192.0.2.1", found: []string{"8.8.8.8."}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := Reverse(t.Context(), func(_ context.Context, a string) ([]string, error) {
				if strings.Contains(a, "%") {
					t.Errorf("asked for %q", a)
				}
				return tt.found, tt.err
			})
			if got := c.Name(netip.MustParseAddr(tt.a)); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestClean(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"gw1-a_b.example.org.", "gw1-a_b.example.org"},
		{"GW.example", "GW.example"},
		{"", ""}, {".", ""}, {"..", ""},
		{"a\x1b[2Jb.example.", `a\027\0912Jb.example`},
		{"a b.example", `a\032b.example`},
		{"a\nb", `a\010b`},
		{"münchen.example", `m\195\188nchen.example`},
		{"a\u202eb", `a\226\128\174b`},
		{"a(b).example", `a\040b\041.example`},
		{`a\b`, `a\092b`},
		{"8.8.8.8", ""}, {"8.8.8.8.8.", ""}, {"127.1", ""}, {"0x7f000001", ""}, {"host.0xfF", ""}, {"host.0xfg", "host.0xfg"}, {"1.example", "1.example"}, {"2001:db8::1.", ""}, {"::1", ""},
		{strings.Repeat("a", 253), strings.Repeat("a", 253)},
		{strings.Repeat("a", 254), ""},
	} {
		if got := Clean(tt.in); got != tt.want {
			t.Errorf("Clean(%q) = %q, want %q", tt.in, got, tt.want)
		}
	}
}

// FuzzClean: whatever a name server sends, what is printed is letters, digits, "-", "_", "." and "\", and no address.
func FuzzClean(f *testing.F) {
	f.Add("gw.example.org.")
	f.Add("a\x1b[31m\u202e.\n")
	f.Add("127.0.0.1")
	f.Fuzz(func(t *testing.T, s string) {
		got := Clean(s)
		if i := strings.IndexFunc(got, func(r rune) bool {
			return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune(`-_.\`, r))
		}); i >= 0 {
			t.Errorf("Clean(%q) = %q", s, got)
		}
		if _, err := netip.ParseAddr(got); err == nil {
			t.Errorf("Clean(%q) = %q, an address", s, got)
		}
	})
}

const registry = `% a comment
route:          198.51.0.0/16
descr:          wide
origin:         AS64500

route:      8.8.0.0/16
origin:     AS64501

route:      8.8.8.0/24 # the longest
descr:      origin: AS1 is not one
origin:     AS64497
source:     TEST

route:      8.8.8.0/24
origin:     as64496
origin:     AS64496

route:      8.8.8.0/33
origin:     AS64502

route6:     2001:4860::/32
origin:     AS64503
origin:     ASnonsense
`

func TestOrigins(t *testing.T) {
	for _, tt := range []struct {
		a    string
		want []string
	}{
		{"8.8.8.0", []string{"AS64496", "AS64497"}},
		{"8.8.9.0", []string{"AS64501"}},
		{"2001:4860:1::", []string{"AS64503"}},
		{"9.9.9.0", nil},
	} {
		if got, err := origins(strings.NewReader(registry), netip.MustParseAddr(tt.a)); !slices.Equal(got, tt.want) || err != nil {
			t.Errorf("%s: got %v, %v, want %v", tt.a, got, err, tt.want)
		}
	}
	if got, err := origins(strings.NewReader(strings.Repeat("x", 2<<20)), addr(1)); got != nil || err == nil {
		t.Errorf("a line without end: got %v, %v", got, err)
	}
}

// FuzzOrigins: whatever a registry answers, what is made of it is a few numbers of autonomous systems, each once.
func FuzzOrigins(f *testing.F) {
	f.Add(registry, "8.8.8.8")
	f.Add("route: 0.0.0.0/0\norigin: AS4294967295\n\nroute6: ::/0\norigin: as1 # x\n", "2001:4860::1")
	f.Add("origin: AS1\nroute: 8.0.0.0/7\norigin:AS00000000001\r\n", "8.8.8.8")
	f.Fuzz(func(t *testing.T, text, address string) {
		a, err := netip.ParseAddr(address)
		if err != nil {
			a = netip.MustParseAddr("8.8.8.8")
		}
		got, _ := origins(strings.NewReader(text), a)
		if len(got) > mostOrigins {
			t.Errorf("%d origins", len(got))
		}
		for i, as := range got {
			if digits, ok := strings.CutPrefix(as, "AS"); !ok || digits == "" || strings.Trim(digits, "0123456789") != "" || len(as) > longestASN || slices.Contains(got[:i], as) {
				t.Errorf("%q among %q", as, got)
			}
		}
	})
}

// TestOriginsAsksOnce: one question for a network, and none about what is nobody's.
func TestOriginsAsksOnce(t *testing.T) {
	var asked []string
	c := Origins(t.Context(), func(_ context.Context, network, address string) (net.Conn, error) {
		if network != "tcp" || address != "registry.example:43" {
			return nil, fmt.Errorf("dialled %s %s", network, address)
		}
		here, there := net.Pipe()
		go func() {
			defer there.Close()
			b := make([]byte, 100)
			n, _ := there.Read(b)
			asked = append(asked, string(b[:n]))
			io.WriteString(there, registry)
		}()
		return here, nil
	}, "registry.example:43")
	for _, a := range []string{"8.8.8.8", "8.8.8.9", "8.8.8.8"} {
		if got := c.Name(netip.MustParseAddr(a)); got != "AS64496/AS64497" {
			t.Errorf("%s: got %q", a, got)
		}
	}
	for _, a := range []string{"10.0.0.1", "192.168.1.1", "169.254.1.1", "192.0.2.1", "100.64.0.1", "127.0.0.1", "224.0.0.1",
		"fe80::1%eth0", "fd00::1", "2001:db8::1", "::1", "240.0.0.1"} {
		if got := c.Name(netip.MustParseAddr(a)); got != "" {
			t.Errorf("%s: got %q", a, got)
		}
	}
	if want := []string{"8.8.8.0\r\n"}; !slices.Equal(asked, want) {
		t.Errorf("asked %q, want %q", asked, want)
	}
}

// TestOriginsSilentServer: a registry that takes the question and says nothing holds nobody up beyond the bound, and its connection is closed.
func TestOriginsSilentServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		closed := make(chan struct{})
		c := Origins(t.Context(), func(context.Context, string, string) (net.Conn, error) {
			here, there := net.Pipe()
			go func() {
				io.Copy(io.Discard, there)
				close(closed)
			}()
			return here, nil
		}, "registry.example:43")
		start := time.Now()
		if got := c.Name(netip.MustParseAddr("8.8.8.8")); got != "" {
			t.Errorf("got %q", got)
		}
		if err := c.Err(); err == nil || err.Error() != "no answer within 2s" {
			t.Errorf("error %v", err)
		}
		if d := time.Since(start); d != originBound {
			t.Errorf("waited %v, want %v", d, originBound)
		}
		<-closed
	})
}

// TestOriginsUnreachable: the first error is kept, and the end of the run is none.
func TestOriginsUnreachable(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	refused := errors.New("refused")
	c := Origins(ctx, func(context.Context, string, string) (net.Conn, error) { return nil, refused }, "registry.example:43")
	if err := c.Err(); err != nil {
		t.Errorf("error %v before anything was asked", err)
	}
	c.Name(netip.MustParseAddr("8.8.8.8"))
	if err := c.Err(); err != refused {
		t.Errorf("error %v, want %v", err, refused)
	}
	cancel()
	c = Origins(ctx, func(ctx context.Context, _, _ string) (net.Conn, error) { return nil, ctx.Err() }, "registry.example:43")
	c.Name(netip.MustParseAddr("8.8.8.8"))
	if err := c.Err(); err != nil {
		t.Errorf("error %v at the end of the run", err)
	}
}
