//go:build linux

package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"gtrace/internal/lab"
)

// patience bounds every wait of these tests. Nothing that works comes near it.
const patience = 60 * time.Second

var (
	bin    string         // where the programs are
	shared []*lab.Network // that all tests have, until the end
	once   struct {
		build, network sync.Once
		buildErr, err  error
		std            *lab.Standard
	}
)

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) (status int) {
	// Other users run the programs too.
	syscall.Umask(0o022)
	dir, err := os.MkdirTemp("", "gtrace-e2e-")
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "e2e: make a directory for the programs: %v\n", err)
		return 1
	}
	bin = dir
	defer os.RemoveAll(dir)
	defer func() {
		var err error
		for _, n := range shared {
			err = errors.Join(err, n.Close())
		}
		if crowd.odd != nil {
			err = errors.Join(err, crowd.odd.Close())
		}
		if err != nil {
			fmt.Fprintf(os.Stderr, "e2e: close the network: %v\n", err)
			status = 1
		}
	}()
	return m.Run()
}

// programs builds both programs as they ship, once.
func programs(t *testing.T) {
	t.Helper()
	lab.Need(t)
	once.build.Do(func() {
		c := exec.Command("go", "build", "-trimpath",
			"-o", bin+"/", "gtrace/cmd/gtrace", "gtrace/cmd/gping")
		c.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := c.CombinedOutput(); err != nil {
			once.buildErr = fmt.Errorf("build the programs: %w\n%s", err, out)
		}
	})
	if once.buildErr != nil {
		t.Fatal(once.buildErr)
	}
}

// standard is the standard network, which all tests share that change nothing
// in it.
func standard(t *testing.T) *lab.Standard {
	t.Helper()
	programs(t)
	once.network.Do(func() {
		if once.std, once.err = lab.BuildStandard(); once.err == nil {
			shared = append(shared, once.std.Network)
		}
	})
	if once.err != nil {
		t.Fatal(once.err)
	}
	return once.std
}

func program(name string) string { return filepath.Join(bin, name) }

// A run is a program under way.
type run struct {
	t      *testing.T
	cmd    *exec.Cmd
	stdout *bufio.Reader
	read   bytes.Buffer // what lines and rest have read
	stderr bytes.Buffer
	ctx    context.Context
}

// start runs args[0] in a node. The test's end kills it.
func start(t *testing.T, n *lab.Node, change func(*exec.Cmd), args ...string) *run {
	t.Helper()
	r, err := begin(t, n, change, args...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func begin(t *testing.T, n *lab.Node, change func(*exec.Cmd), args ...string) (*run, error) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	r := &run{t: t, ctx: ctx}
	path := args[0]
	if !strings.Contains(path, "/") {
		path = program(path)
	}
	r.cmd = exec.CommandContext(ctx, path, args[1:]...)
	r.cmd.Stderr = &r.stderr
	if change != nil {
		change(r.cmd)
	}
	if r.cmd.Stdout == nil {
		out, err := r.cmd.StdoutPipe()
		if err != nil {
			return nil, err
		}
		r.stdout = bufio.NewReader(out)
	}
	if err := n.Start(r.cmd); err != nil {
		return nil, fmt.Errorf("start %v: %w", args, err)
	}
	return r, nil
}

// line reads the next line of standard output, without its end.
func (r *run) line() string {
	r.t.Helper()
	s, err := r.stdout.ReadString('\n')
	r.read.WriteString(s)
	if err != nil {
		r.t.Fatalf("%v: standard output ended after %q: %v\n%s", r.cmd.Args, r.read.String(), err, &r.stderr)
	}
	return s[:len(s)-1]
}

func (r *run) signal(s os.Signal) {
	r.t.Helper()
	if err := r.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		r.t.Fatal(err)
	}
}

// A result is what a program left.
type result struct {
	args           []string
	stdout, stderr string
	status         int // -1: ended by a signal
}

func (r result) String() string {
	return fmt.Sprintf("%s %s: status %d\nstdout: %s\nstderr: %s", filepath.Base(r.args[0]), strings.Join(r.args[1:], " "), r.status, r.stdout, r.stderr)
}

func (r *run) wait() (result, error) {
	if r.stdout != nil {
		if _, err := io.Copy(&r.read, r.stdout); err != nil && !errors.Is(err, os.ErrClosed) {
			return result{}, fmt.Errorf("%v: read standard output: %w", r.cmd.Args, err)
		}
	}
	err := r.cmd.Wait()
	if r.ctx.Err() != nil {
		return result{}, fmt.Errorf("%v: had not ended within %v\nstdout: %s\nstderr: %s", r.cmd.Args, patience, &r.read, &r.stderr)
	}
	if err != nil && !errors.As(err, new(*exec.ExitError)) {
		return result{}, fmt.Errorf("%v: %w", r.cmd.Args, err)
	}
	return result{r.cmd.Args, r.read.String(), r.stderr.String(), r.cmd.ProcessState.ExitCode()}, nil
}

// end waits for the program's end.
func (r *run) end() result {
	r.t.Helper()
	res, err := r.wait()
	if err != nil {
		r.t.Fatal(err)
	}
	return res
}

// do runs a program to its end.
func do(t *testing.T, n *lab.Node, args ...string) result {
	t.Helper()
	return start(t, n, nil, args...).end()
}

// as makes a command run as another user, without capabilities.
func as(uid uint32) func(*exec.Cmd) {
	return func(c *exec.Cmd) {
		c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
		c.Dir = "/"
	}
}

const nobody = 65534

// The documents, as far as the tests look at them.

type traceDoc struct {
	Schema      string      `json:"schema"`
	Target      string      `json:"target"`
	Destination netip.Addr  `json:"destination"`
	Source      netip.Addr  `json:"source"`
	Family      int         `json:"family"`
	Method      method      `json:"method"`
	StartedAt   time.Time   `json:"started_at"`
	Duration    *float64    `json:"duration_ms"`
	Complete    *bool       `json:"complete"`
	Outcome     string      `json:"outcome"`
	Stop        string      `json:"stop_reason"`
	Error       string      `json:"error"`
	Hops        []hop       `json:"hops"`
	Narrowings  []narrowing `json:"narrowings"`
	Findings    []finding   `json:"findings"`
	SelfCheck   *selfCheck  `json:"self_check"`
	Summary     struct {
		HopCount int `json:"hop_count"`
		Sent     int `json:"probes_sent"`
		Replies  int `json:"replies"`
		MTU      int `json:"path_mtu_bytes"`
	} `json:"summary"`
}

type narrowing struct {
	TTL  int        `json:"ttl"`
	From netip.Addr `json:"from"`
	MTU  int        `json:"path_mtu_bytes"`
}

type method struct {
	Matrix   string  `json:"matrix"`
	Protocol string  `json:"protocol"`
	EchoID   uint16  `json:"identifier"`
	Flow     string  `json:"flow"`
	DstPort  uint16  `json:"destination_port"`
	SrcPort  uint16  `json:"source_port"`
	Label    *uint32 `json:"flow_label"`
	Size     int     `json:"size_bytes"`
	Socket   string  `json:"socket"`
}

type hop struct {
	TTL     int         `json:"ttl"`
	Probes  []probeDoc  `json:"probes"`
	Summary *hopSummary `json:"summary"`
}

type hopSummary struct {
	Sent     int      `json:"sent"`
	Received int      `json:"received"`
	Path     *float64 `json:"path_loss_percent"`
	Limit    *struct {
		Burst    int     `json:"burst"`
		Interval float64 `json:"interval_ms"`
	} `json:"rate_limit"`
}

type probeDoc struct {
	Attempt    int        `json:"attempt"`
	SentAt     time.Time  `json:"sent_at"`
	Result     string     `json:"result"`
	Error      string     `json:"error"`
	From       netip.Addr `json:"from"`
	RTT        *float64   `json:"rtt_ms"`
	Clock      string     `json:"clock"`
	Match      string     `json:"match"`
	ICMP       *icmpDoc   `json:"icmp"`
	TCP        *tcpDoc    `json:"tcp"`
	UDP        *struct{}  `json:"udp"`
	Annotation string     `json:"annotation"`
	ReplyTTL   int        `json:"reply_ttl"`
	QuotedTTL  *int       `json:"quoted_ttl"`
	MTU        int        `json:"mtu"`
	Late       bool       `json:"late"`
	Duplicates int        `json:"duplicates"`
}

type icmpDoc struct {
	Type int `json:"type"`
	Code int `json:"code"`
}

type tcpDoc struct {
	Flags string `json:"flags"`
}

type finding struct {
	Code       string `json:"code"`
	TTL        int    `json:"ttl"`
	Between    []int  `json:"between"`
	Confidence string `json:"confidence"`
	Text       string `json:"text"`
	Evidence   []struct {
		TTL       int        `json:"ttl"`
		From      netip.Addr `json:"from"`
		Answers   int        `json:"answers"`
		ReplyTTL  int        `json:"reply_ttl"`
		QuotedTTL *int       `json:"quoted_ttl"`
	} `json:"evidence"`
}

type selfCheck struct {
	ReceiveDrops int `json:"receive_drops"`
	SendErrors   int `json:"send_errors"`
	Late         int `json:"late"`
	Duplicates   int `json:"duplicates"`
	Unmatched    int `json:"unmatched"`
	Malformed    int `json:"malformed"`
	ClockSteps   int `json:"clock_steps"`
	Advisories   int `json:"advisories"`
}

type pingDoc struct {
	Schema      string     `json:"schema"`
	Target      string     `json:"target"`
	Destination netip.Addr `json:"destination"`
	Source      netip.Addr `json:"source"`
	Family      int        `json:"family"`
	Method      method     `json:"method"`
	Complete    *bool      `json:"complete"`
	Outcome     string     `json:"outcome"`
	Stop        string     `json:"stop_reason"`
	Error       string     `json:"error"`
	Replies     []reply    `json:"replies"`
	Sweep       *sweep     `json:"sweep"`
	Summary     struct {
		Sent       int      `json:"sent"`
		Received   int      `json:"received"`
		Duplicates int      `json:"duplicates"`
		Corrupted  int      `json:"corrupted"`
		Errors     int      `json:"errors"`
		Loss       *float64 `json:"loss_percent"`
	} `json:"summary"`
	SelfCheck *selfCheck `json:"self_check"`
}

type sweep struct {
	Header     int        `json:"header_bytes"`
	Settled    bool       `json:"settled"`
	Answered   int        `json:"answered_bytes"`
	Unanswered int        `json:"unanswered_bytes"`
	Reason     string     `json:"reason"`
	From       netip.Addr `json:"from"`
	MTU        int        `json:"mtu"`
}

type reply struct {
	Seq       int        `json:"seq"`
	Size      int        `json:"size_bytes"`
	Result    string     `json:"result"`
	Error     string     `json:"error"`
	From      netip.Addr `json:"from"`
	RTT       *float64   `json:"rtt_ms"`
	Clock     string     `json:"clock"`
	ReplyTTL  int        `json:"reply_ttl"`
	Bytes     int        `json:"bytes"`
	Late      bool       `json:"late"`
	Corrupted bool       `json:"corrupted"`
	ICMP      *icmpDoc   `json:"icmp"`
}

// decode reads exactly one document from a line of its own, and holds it
// against its schema.
func decode(line string, doc any) error {
	if !strings.HasSuffix(line, "\n") {
		return fmt.Errorf("the document does not end with a line feed: %q", line)
	}
	if strings.Count(line, "\n") != 1 {
		return fmt.Errorf("the document takes more than a line: %q", line)
	}
	if err := json.Unmarshal([]byte(line), doc); err != nil { // also where something follows
		return fmt.Errorf("not one document: %w: %q", err, line)
	}
	return valid(line)
}

// readTrace takes a finished gtrace --json of one host apart.
func readTrace(r result) (traceDoc, error) {
	var d traceDoc
	if err := decode(r.stdout, &d); err != nil {
		return d, fmt.Errorf("%w\n%v", err, r)
	}
	if d.Schema != "gtrace/trace/v1" || d.Complete == nil {
		return d, fmt.Errorf("schema %q, complete there %v, want a trace\n%v", d.Schema, d.Complete != nil, r)
	}
	return d, nil
}

func readPing(r result) (pingDoc, error) {
	var d pingDoc
	if err := decode(r.stdout, &d); err != nil {
		return d, fmt.Errorf("%w\n%v", err, r)
	}
	if d.Schema != "gping/ping/v1" || d.Complete == nil {
		return d, fmt.Errorf("schema %q, complete there %v, want a ping\n%v", d.Schema, d.Complete != nil, r)
	}
	return d, nil
}

// patiently makes gtrace wait for answers however busy this host is: its
// default waits a few times as long as the first answer took.
const patiently = "-w20,0,0"

// trace runs gtrace --json to its end. Its options may set another wait.
func trace(t *testing.T, n *lab.Node, args ...string) (traceDoc, result) {
	t.Helper()
	r := do(t, n, append([]string{"gtrace", "-n", "--json", patiently}, args...)...)
	d, err := readTrace(r)
	if err != nil {
		t.Fatal(err)
	}
	return d, r
}

// ping runs gping --json to its end.
func ping(t *testing.T, n *lab.Node, args ...string) (pingDoc, result) {
	t.Helper()
	r := do(t, n, append([]string{"gping", "-n", "--json"}, args...)...)
	d, err := readPing(r)
	if err != nil {
		t.Fatal(err)
	}
	return d, r
}
