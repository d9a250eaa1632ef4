package report

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"gtrace/probe"
)

// A schemaFile is one of schema/.
type schemaFile string

const (
	traceSchemaFile  schemaFile = "gtrace-trace-v1.json"
	matrixSchemaFile schemaFile = "gtrace-matrix-v1.json"
	traceEventsFile  schemaFile = "gtrace-events-v1.json"
	pingSchemaFile   schemaFile = "gping-ping-v1.json"
	pingEventsFile   schemaFile = "gping-events-v1.json"
)

var compiled = make(map[schemaFile]*jsonschema.Schema) // one goroutine: no test here is parallel

// validate holds a line of JSON against the schema.
func (f schemaFile) validate(t *testing.T, line string) error {
	t.Helper()
	s := compiled[f]
	if s == nil {
		var err error
		if s, err = jsonschema.NewCompiler().Compile(filepath.Join("schema", string(f))); err != nil {
			t.Fatal(err)
		}
		compiled[f] = s
	}
	v, err := jsonschema.UnmarshalJSON(strings.NewReader(line))
	if err != nil {
		t.Fatalf("not JSON: %v: %s", err, line)
	}
	return s.Validate(v)
}

func (f schemaFile) accepts(t *testing.T, line string) {
	t.Helper()
	if err := f.validate(t, line); err != nil {
		t.Errorf("%v\n%s", err, line)
	}
}

// TestSchemaRefuses breaks a good document in one place at a time: a schema that took everything would
// prove nothing.
func TestSchemaRefuses(t *testing.T) {
	trace := run(t, NewTrace, "json", Options{Version: "1"}, traceRun...)
	ping := run(t, NewPing, "json", Options{Version: "1"}, pingRun...)
	shared := run(t, NewTrace, "json", Options{Version: "1"}, sharedRun(true)...)
	multipath := run(t, NewTrace, "json", Options{Version: "1"}, multipathRun...)
	aside := run(t, NewTrace, "json", Options{Version: "1"}, asideRun...)
	swept := run(t, NewPing, "json", Options{Version: "1"}, sweepStart(), probe.Swept{Settled: true, Answered: 1400, Unanswered: 1401, Because: tooLong(1400)}, answered)
	silent := run(t, NewPing, "json", Options{Version: "1"}, sweepStart(), probe.Swept{Settled: true, Answered: 1400, Unanswered: 1401, Lost: 7, Beside: 6}, answered)
	const flowEvent = `{"event":"probed","result":"reply","from":"10.0.0.1","match":"flow-only","corrupted":false,"late":false}`
	tests := []struct {
		name     string
		file     schemaFile
		doc      string
		old, new string
	}{
		{"another schema", traceSchemaFile, trace, "gtrace/trace/v1", "gtrace/trace/v2"},
		{"an unknown key", traceSchemaFile, trace, `"version"`, `"colour":1,"version"`},
		{"an unknown key of a probe", traceSchemaFile, trace, `"attempt":1`, `"attempt":1,"colour":1`},
		{"an unknown key of a hop", traceSchemaFile, trace, `"ttl":1,`, `"ttl":1,"colour":1,`},
		{"an unknown key of a finding", traceSchemaFile, trace, `"confidence"`, `"colour":1,"confidence"`},
		{"an unknown key of the summary", traceSchemaFile, trace, `"probes_sent"`, `"colour":1,"probes_sent"`},
		{"shared hops of which nobody says whether they are confirmed", traceSchemaFile, shared, `"shared_hops_confirmed":true,`, ``},
		{"shared hops that are not counted", traceSchemaFile, shared, `"shared_hop_count":3,`, ``},
		{"no shared hops, but counted", traceSchemaFile, trace, `"probes_sent"`, `"shared_hop_count":0,"probes_sent"`},
		{"a shared hop that was never heard", traceSchemaFile, shared, `,"last_at":"2026-03-01T12:00:01.000000500Z"`, ``},
		{"a shared hop of no traces", traceSchemaFile, shared, `"traces":16`, `"traces":0`},
		{"a shared hop with a time", traceSchemaFile, shared, `"traces":16`, `"traces":16,"rtt_ms":1`},
		{"a link without flows", traceSchemaFile, multipath, `"flows":[0,2,4]`, `"flows":[]`},
		{"a link of a flow twice", traceSchemaFile, multipath, `"flows":[0,2,4]`, `"flows":[0,2,2]`},
		{"a link to nobody", traceSchemaFile, multipath, `"to":"10.0.2.1",`, ``},
		{"a link at TTL 0", traceSchemaFile, multipath, `"links":[{"ttl":1`, `"links":[{"ttl":0`},
		{"an unknown key of a link", traceSchemaFile, multipath, `"links":[{`, `"links":[{"colour":1,`},
		{"a whole multipath trace without links", traceSchemaFile, run(t, NewTrace, "json", Options{Version: "1"}, started(multipathMethod), probe.Links{}, reached(1)), `"links":[],`, ``},
		{"flows by another field", traceSchemaFile, aside, `"flow_field":"destination"`, `"flow_field":"ports"`},
		{"destinations of flows that do not differ in these", traceSchemaFile, aside, `"flow_field":"destination",`, ``},
		{"a destination that is none", traceSchemaFile, aside, `"to":"192.0.2.166"`, `"to":"gw"`},
		{"one way by destination", traceSchemaFile, trace, `"flow":"paris"`, `"flow":"paris","flow_field":"destination"`},
		{"links of one way", traceSchemaFile, multipath, `"flow":"multipath"`, `"flow":"paris"`},
		{"no links, of one way", traceSchemaFile, trace, `"findings":`, `"links":[],"findings":`},
		{"nodes of one way", traceSchemaFile, trace, `"ttl":1,`, `"ttl":1,"nodes":[{"flows":[0],"sent":1,"received":0}],`},
		{"no nodes", traceSchemaFile, run(t, NewTrace, "json", Options{Version: "1"}, started(multipathMethod), sent(hopAnswer()), probe.Links{}, reached(1)), `"probes":[]`, `"probes":[],"nodes":[]`},
		{"a node without flows", traceSchemaFile, multipath, `"address":"10.0.2.1","flows":[0,2,4]`, `"address":"10.0.2.1","flows":[]`},
		{"a node of a flow twice", traceSchemaFile, multipath, `"address":"10.0.2.1","flows":[0,2,4]`, `"address":"10.0.2.1","flows":[0,2,2]`},
		{"a node that answers nothing", traceSchemaFile, multipath, `"sent":3,"received":3`, `"sent":3,"received":0`},
		{"nobody, who answers", traceSchemaFile, multipath, `"sent":1,"received":0`, `"sent":1,"received":1`},
		{"nobody, asked who knows how often", traceSchemaFile, multipath, `"sent":1,"received":0`, `"received":0`},
		{"nobody's loss", traceSchemaFile, multipath, `"sent":1,"received":0`, `"sent":1,"received":0,"loss_percent":100,"loss_interval_percent":[20.654945,100]`},
		{"a node's loss without its interval", traceSchemaFile, multipath, `"sent":3,"received":3,"loss_percent":0,"loss_interval_percent":[0,56.150608]`, `"sent":3,"received":3,"loss_percent":0`},
		{"a node's loss of nobody knows how many", traceSchemaFile, multipath, `"sent":3,"received":3`, `"received":3`},
		{"an unknown key of a node", traceSchemaFile, multipath, `"nodes":[{`, `"nodes":[{"colour":1,`},
		{"an empty version", traceSchemaFile, trace, `"version":"1"`, `"version":""`},
		{"no hops", traceSchemaFile, trace, `"hops"`, `"Hops"`},
		{"a time as text", traceSchemaFile, trace, `"rtt_ms":0.412871`, `"rtt_ms":"0.412871"`},
		{"a negative time", traceSchemaFile, trace, `"rtt_ms":0.412871`, `"rtt_ms":-0.1`},
		{"a time without its clock", traceSchemaFile, trace, `"clock":"kernel",`, ``},
		{"a reply from nobody", traceSchemaFile, trace, `"from":"198.51.100.1",`, ``},
		{"a reply of which nobody says how it matched", traceSchemaFile, trace, `"match":"strict",`, ``},
		{"a time for an answer to the flow", traceSchemaFile, trace, `"match":"strict"`, `"match":"flow-only"`},
		{"an address that is none", traceSchemaFile, trace, `"from":"198.51.100.1"`, `"from":"gw.example.org"`},
		{"a timeout with an answer", traceSchemaFile, trace, `"result":"reply"`, `"result":"timeout"`},
		{"local time", traceSchemaFile, trace, `00.000000500Z`, `00.000000500+01:00`},
		{"seconds alone", traceSchemaFile, trace, `00.000000500Z`, `00Z`},
		{"late false", traceSchemaFile, trace, `"attempt":1`, `"attempt":1,"late":false`},
		{"a reply TTL of 0", traceSchemaFile, trace, `"reply_ttl":64`, `"reply_ttl":0`},
		{"an MTU of 0", traceSchemaFile, trace, `"attempt":1`, `"attempt":1,"mtu":0`},
		{"two kinds of answer", traceSchemaFile, trace, `"icmp"`, `"tcp":{"flags":"SA"},"icmp"`},
		{"an annotation nobody prints", traceSchemaFile, trace, `"attempt":1`, `"attempt":1,"annotation":"!A"`},
		{"an outcome of ping", traceSchemaFile, trace, `"outcome":"reached"`, `"outcome":"answered"`},
		{"reached, but not where", traceSchemaFile, trace, `"hop_count":1,`, ``},
		{"not reached, but where", traceSchemaFile, trace, `"outcome":"reached"`, `"outcome":"max-hops"`},
		{"an error without one", traceSchemaFile, trace, `"complete"`, `"error":"x","complete"`},
		{"ports of ICMP", traceSchemaFile, trace, `"protocol":"udp"`, `"protocol":"icmp"`},

		{"a name that is none", traceSchemaFile, trace, `"from":"198.51.100.1"`, `"from":"198.51.100.1","name":"a b"`},
		{"an empty name", traceSchemaFile, trace, `"from":"198.51.100.1"`, `"from":"198.51.100.1","name":""`},
		{"autonomous systems as text", traceSchemaFile, trace, `"from":"198.51.100.1"`, `"from":"198.51.100.1","as":["AS1"]`},
		{"no autonomous systems", traceSchemaFile, trace, `"from":"198.51.100.1"`, `"from":"198.51.100.1","as":[]`},
		{"no objects", traceSchemaFile, trace, `"attempt":1`, `"attempt":1,"objects":[]`},
		{"an interface of no role", traceSchemaFile, trace, `"attempt":1`, `"attempt":1,"interfaces":[{"index":1}]`},
		{"an interface's name with a terminal's commands", traceSchemaFile, trace, `"attempt":1`, `"attempt":1,"interfaces":[{"role":"incoming","name":"a\u001b"}]`},
		{"an interface that is not partial", traceSchemaFile, trace, `"attempt":1`, `"attempt":1,"interfaces":[{"role":"incoming","partial":false}]`},
		{"an object without a class", traceSchemaFile, trace, `"attempt":1`, `"attempt":1,"objects":[{"type":1}]`},
		{"half a byte", traceSchemaFile, trace, `"attempt":1`, `"attempt":1,"objects":[{"class":2,"type":1,"data":"0"}]`},
		{"a reason nobody knows", traceSchemaFile, trace, `"advisories":0`, `"advisories":0,"rejected":{"colour":1}`},
		{"a reason that did not occur", traceSchemaFile, trace, `"advisories":0`, `"advisories":0,"rejected":{"token":0}`},
		{"no reasons", traceSchemaFile, trace, `"advisories":0`, `"advisories":0,"rejected":{}`},
		{"a TOS of nobody", traceSchemaFile, trace, `"reply_ttl":64,`, ``},
		{"a packet and a message", traceSchemaFile, trace, `"attempt":1`, `"attempt":1,"ip":{"protocol":33}`},
		{"a path MTU of 0", traceSchemaFile, trace, `"hop_count":1`, `"hop_count":1,"path_mtu_bytes":0`},
		{"raw without a number", traceSchemaFile, trace, `"protocol":"udp","flow":"paris","destination_port":33434,"source_port":40001`, `"protocol":"raw","flow":"paris"`},
		{"a number that goes without saying", traceSchemaFile, trace, `"protocol":"udp"`, `"protocol":"udp","protocol_number":17`},
		{"TCP flags of UDP", traceSchemaFile, trace, `"protocol":"udp"`, `"protocol":"udp","tcp_flags":"A"`},
		{"a source route of no gateways", traceSchemaFile, trace, `"protocol":"udp"`, `"protocol":"udp","source_route":[]`},
		{"a ping's protocol", traceSchemaFile, trace, `"protocol":"udp"`, `"protocol":"icmp-mask"`},

		{"a name in an event", traceEventsFile, `{"event":"probed","serial":1,"ttl":1,"attempt":1,"flow":0,"result":"reply","from":"10.0.0.1","match":"strict"}`,
			`"match"`, `"name":"a","match"`},
		{"advice without a message", traceEventsFile, `{"event":"advised","flow":0,"icmp":{"type":5,"code":1}}`, `,"icmp":{"type":5,"code":1}`, ``},
		{"advice about half a probe", traceEventsFile, `{"event":"advised","serial":1,"ttl":1,"attempt":1,"flow":0,"icmp":{"type":5,"code":1}}`, `"ttl":1,`, ``},
		{"a path MTU at TTL 0", traceEventsFile, `{"event":"path-mtu","ttl":1,"path_mtu_bytes":1400}`, `"ttl":1`, `"ttl":0`},
		{"a path MTU of nothing", traceEventsFile, `{"event":"path-mtu","path_mtu_bytes":1400}`, `,"path_mtu_bytes":1400`, ``},
		{"links of nothing", traceEventsFile, `{"event":"links","links":[]}`, `,"links":[]`, ``},
		{"an event nobody knows", traceEventsFile, `{"event":"hop","ttl":1,"serials":[]}`, "hop", "leap"},
		{"a hop without a TTL", traceEventsFile, `{"event":"hop","ttl":1,"serials":[]}`, `"ttl":1,`, ``},
		{"duplicates counted in an event", traceEventsFile,
			`{"event":"probed","serial":1,"ttl":1,"attempt":1,"flow":0,"result":"timeout"}`, `"flow":0`, `"flow":0,"duplicates":1`},
		{"a probe without a TTL", traceEventsFile, `{"event":"probed","serial":1,"ttl":1,"attempt":1,"flow":0,"result":"timeout"}`, `"ttl":1,`, ``},
		{"a broken document", traceEventsFile, strings.TrimSpace(trace), `"probes_sent"`, `"colour":1,"probes_sent"`},

		{"an unknown key of a reply", pingSchemaFile, ping, `"seq":1`, `"seq":1,"colour":1`},
		{"an unknown key of a ping's summary", pingSchemaFile, ping, `"sent":1`, `"sent":1,"colour":1`},
		{"a loss of more than all", pingSchemaFile, ping, `"loss_percent":0`, `"loss_percent":100.5`},
		{"a loss as text", pingSchemaFile, ping, `"loss_percent":0`, `"loss_percent":"0%"`},
		{"times without a loss", pingSchemaFile, ping, `"loss_percent":0,`, ``},
		{"a deviation of one time", pingSchemaFile, ping, `"p50_ms"`, `"stddev_ms":0,"p50_ms"`},
		{"a corrupted timeout", pingSchemaFile, ping, `"result":"reply"`, `"result":"timeout"`},
		{"an outcome of trace", pingSchemaFile, ping, `"outcome":"answered"`, `"outcome":"reached"`},
		{"no summary", pingSchemaFile, ping, `"summary"`, `"total"`},
		{"a number without its serial", pingEventsFile, `{"event":"probed","serial":1,"seq":1,"result":"timeout","late":false}`, `"serial":1,`, ``},
		{"a timeout of the flow", pingEventsFile, flowEvent, `"result":"reply","from":"10.0.0.1","match":"flow-only","corrupted":false`, `"result":"timeout"`},
		{"an answer of the flow to one probe", pingEventsFile, flowEvent, `"result"`, `"serial":1,"seq":1,"result"`},
		{"somebody's answer, but not whose", pingEventsFile, flowEvent, `flow-only`, `alone`},
		{"an answer of the flow in a probe's place", pingSchemaFile, ping, `"rtt_ms":0.0421,"clock":"kernel","match":"strict"`, `"match":"flow-only"`},
		{"a reply of no probe", pingSchemaFile, ping, `"seq":1,`, ``},
		{"no answers of the flow", pingSchemaFile, ping, `"sent":1`, `"sent":1,"flow_only":0`},
		{"stamps that an error misses", pingSchemaFile, run(t, NewPing, "json", Options{Version: "1"}, append(series(nth(1, 1, unreachable(3, 1))), answered)...),
			`"seq":1`, `"seq":1,"unrecorded_hops":1`},
		{"an unknown key of a sweep", pingSchemaFile, swept, `"settled"`, `"colour":1,"settled"`},
		{"a size of 0", pingSchemaFile, swept, `"answered_bytes":1400`, `"answered_bytes":0`},
		{"a sweep of which nobody says whether it is settled", pingSchemaFile, swept, `"settled":true,`, ``},
		{"a settled sweep of no size", pingSchemaFile, swept, `"answered_bytes":1400,"unanswered_bytes":1401,"reason":"refused-by-router","from":"198.51.100.1","icmp":{"type":3,"code":4},"mtu":1400`, `"settled":true`},
		{"a limit without a reason", pingSchemaFile, swept, `"reason":"refused-by-router","from":"198.51.100.1","icmp":{"type":3,"code":4},"mtu":1400`, `"answered_bytes":1400`},
		{"a router that is nobody", pingSchemaFile, swept, `"from":"198.51.100.1","icmp":{"type":3,"code":4}`, `"settled":true`},
		{"a reason nobody knows", pingSchemaFile, swept, `"reason":"refused-by-router"`, `"reason":"size"`},
		{"silence that was not counted", pingSchemaFile, silent, `,"lost":7,"beside":6,"beside_lost":0`, ``},
		{"lost, and not beside what", pingSchemaFile, silent, `,"beside":6,"beside_lost":0`, ``},
		{"loss that settles something", pingSchemaFile, silent, `"reason":"silence"`, `"reason":"loss"`},
		{"a reply without a number", pingEventsFile, `{"event":"probed","serial":1,"seq":1,"result":"timeout","late":false}`, `"seq":1,`, ``},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.file.accepts(t, tt.doc)
			broken := strings.Replace(tt.doc, tt.old, tt.new, 1)
			if broken == tt.doc {
				t.Fatalf("%q is not in %s", tt.old, tt.doc)
			}
			if tt.file.validate(t, broken) == nil {
				t.Errorf("%s takes %s", tt.file, broken)
			}
		})
	}
}

// TestEveryEventNamesItsTarget: where several targets' lines are mixed each says whose it is, and the schema knows that of
// all kinds of events it has.
func TestEveryEventNamesItsTarget(t *testing.T) {
	advised := probe.Advised{Outcome: hopAnswer(func(o *probe.Outcome) {
		o.Status, o.Answer, o.Match, o.Type, o.Gateway = 0, probe.NoAnswer, probe.NoMatch, 5, dest
	})}
	insert := func(run []probe.Event, more ...probe.Event) []probe.Event {
		return slices.Insert(slices.Clone(run), 2, more...)
	}
	for _, tt := range []struct {
		file   schemaFile
		open   opener
		events []probe.Event
	}{
		{traceEventsFile, NewTrace, insert(append([]probe.Event{started(multipathMethod)}, traceRun[1:]...), advised, probe.PathMTU{TTL: 1, Bytes: 1400, From: hopAnswer().From}, sharedRun(true)[1], probe.Links{})},
		{pingEventsFile, NewPing, insert(pingRun, advised, probe.Waiting{At: after(2), Serial: 1, Spec: echoReply().Spec}, probe.Interim{At: after(3)})},
	} {
		told := make(map[string]bool)
		for _, l := range lines(run(t, tt.open, "events", Options{Version: "1", Targets: true}, tt.events...)) {
			tt.file.accepts(t, l)
			var line struct{ Event, Target string }
			if err := json.Unmarshal([]byte(l), &line); err != nil {
				t.Fatal(err)
			}
			if line.Target != "example.org" {
				t.Errorf("%s does not say whose it is", l)
			}
			told[line.Event] = true
		}
		var schema struct {
			Then struct {
				OneOf []struct {
					Properties struct {
						Event struct {
							Const string
							Enum  []string
						}
					}
				}
			}
		}
		b, err := os.ReadFile(filepath.Join("schema", string(tt.file)))
		if err == nil {
			err = json.Unmarshal(b, &schema)
		}
		if err != nil || len(schema.Then.OneOf) == 0 {
			t.Fatalf("%s: %v, %d kinds of events", tt.file, err, len(schema.Then.OneOf))
		}
		for _, kind := range schema.Then.OneOf {
			for _, name := range append(kind.Properties.Event.Enum, kind.Properties.Event.Const) {
				if name != "" && !told[name] {
					t.Errorf("%s: no %q among these events", tt.file, name)
				}
			}
		}
	}
}

// TestSchemaIDs loads the schemas as a program does that has them from no directory: by what each calls itself they find one another.
func TestSchemaIDs(t *testing.T) {
	files, err := filepath.Glob("schema/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no schemas: %v", err)
	}
	c := jsonschema.NewCompiler()
	c.UseLoader(jsonschema.SchemeURLLoader{}) // nothing is fetched
	const base = "https://schemas.example/"
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		doc, err := jsonschema.UnmarshalJSON(strings.NewReader(string(b)))
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		id, _ := doc.(map[string]any)["$id"].(string)
		if id != filepath.Base(file) {
			t.Errorf("%s calls itself %q", file, id)
		}
		if err := c.AddResource(base+id, doc); err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range files {
		if _, err := c.Compile(base + filepath.Base(file)); err != nil {
			t.Error(err)
		}
	}
}
