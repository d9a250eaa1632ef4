package cli

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"gtrace/rawsock"
)

// privilegedTable has what Privileged looks for, and options of all shapes around it.
var privilegedTable = []option{
	{long: "mark", short: 'm', value: "N"}, {long: "fwmark", value: "N"}, {long: "protocol", short: 'P', value: "PROTO"},
	{long: "dccp", short: 'D'}, {long: "udplite"}, {long: "module", short: 'M', value: "NAME"}, {long: "options", short: 'O', value: "LIST"},
	{long: "numeric", short: 'n'}, {long: "pattern", short: 'p', value: "HEX"},
	{long: "sport", value: "PORT"},
}

func TestPrivileged(t *testing.T) {
	for _, tt := range []struct {
		args  string
		mark  uint32
		proto []uint8
		port  uint16
	}{
		{args: ""},
		{args: "--sport 53 host", port: 53},
		{args: "--sport=40000 host"}, // needs no privilege
		{args: "--sport=65536 host"}, // refused later
		{args: "host -m 7", mark: 7},
		{args: "-nm0x10 host", mark: 16},
		{args: "-n -m7 --mark=8 host", mark: 8},
		{args: "--fwmark 4294967295 host", mark: 1<<32 - 1},
		{args: "-- -m 7 --dccp"},
		{args: "-p -m7 host"},               // a value like any other
		{args: "-pm7 host"},                 // the same
		{args: "-m 4294967296 -P 256 host"}, // refused later
		{args: "-m x -P nothing host"},
		{args: "--nothing -m 7 host"}, // refused later
		{args: "host -m"},
		{args: "-D host", proto: []uint8{33}},
		{args: "-nD --udplite -P 47 -P gre host", proto: []uint8{33, 136, 47}},
		{args: "-M raw host", proto: []uint8{253}},
		{args: "-M udplite -O protocol=0x59,other host", proto: []uint8{136, 89}},
		{args: "-M dccp -P GRE host", proto: []uint8{33, 47}},
	} {
		got := privilegedBy(privilegedTable, strings.Fields(tt.args))
		if got.Mark != tt.mark || !slices.Equal(got.Protocols, tt.proto) || got.Port != tt.port || got.Unprivileged {
			t.Errorf("%s: %+v, want mark %d, protocols %v and port %d", tt.args, got, tt.mark, tt.proto, tt.port)
		}
	}
}

// TestPrivilegedOthers: of anyone but root not one argument is looked at.
func TestPrivilegedOthers(t *testing.T) {
	for _, program := range []string{"gtrace", "gping"} {
		// And of root's the program's own table is the one that is read.
		s, heeded := &session{tool: newTraceTool()}, 0
		if program == "gping" {
			s.tool = newPingTool()
		}
		for _, o := range s.table() {
			value := ""
			if o.value != "" {
				value = "=7"
			}
			args := []string{"--" + o.long + value, "host"}
			got := Privileged(program, program, args, true)
			if marks := o.long == "mark" || o.long == "fwmark"; marks != (got.Mark == 7) {
				t.Errorf("%s --%s: %+v", program, o.long, got)
			}
			if !reflect.DeepEqual(got, rawsock.Options{}) {
				heeded++
			}
			if got := Privileged(program, program, args, false); !reflect.DeepEqual(got, rawsock.Options{}) {
				t.Errorf("%s --%s of an ordinary user: %+v, want nothing", program, o.long, got)
			}
		}
		if heeded == 0 {
			t.Errorf("%s: root's arguments ask for nothing either: nothing to test", program)
		}
	}
}

// TestPrivilegedPackets: packet sockets are opened where root asks for them.
func TestPrivilegedPackets(t *testing.T) {
	for _, tt := range []struct {
		args string
		want bool
	}{
		{"host", false},
		{"--socket packet host", true},
		{"--socket=raw host", false},
		{"--socket packet --socket raw host", false},
		{"--socket=wet host", false}, // refused later
		{"-- --socket=packet", false},
	} {
		for _, program := range []string{"gtrace", "gping"} {
			args := strings.Fields(tt.args)
			if got := Privileged(program, program, args, true); got.Packet != tt.want {
				t.Errorf("%s %s: %v, want %v", program, tt.args, got.Packet, tt.want)
			}
			for _, name := range []string{"fping", "tracepath"} {
				if got := Privileged(program, name, args, true); got.Packet {
					t.Errorf("%s called %s %s: packet sockets", program, name, tt.args)
				}
			}
			if got := Privileged(program, program, args, false); got.Packet {
				t.Errorf("%s %s of an ordinary user: %v", program, tt.args, got.Packet)
			}
		}
	}
}

// TestSocketKind: who asks for a kind of sockets gets that or is told why not.
func TestSocketKind(t *testing.T) {
	for _, tt := range []struct {
		asked, has string
		root       bool
		want       string // "": as asked
	}{
		{"", "unprivileged", false, ""},
		{"raw", "raw", false, ""},
		{"raw", "unprivileged", false, "--socket raw: needs raw sockets; to allow them: sudo setcap"},
		{"raw", "packet", true, "--socket raw: there are packet sockets"},
		{"packet", "packet", true, ""},
		{"packet", "raw", false, "--socket packet: for root alone"},
		{"packet", "unprivileged", true, "--socket packet: needs raw sockets"},
		{"packet", "raw", true, "--socket packet: there are raw sockets"},
	} {
		s := &session{env: Env{Conn: capsConn{caps: rawsock.Caps{Socket: tt.has}}, Root: tt.root}, tool: newTraceTool(), socket: tt.asked}
		err := s.socketKind()
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: %v", tt, err)
		}
	}
}

func TestRootOnly(t *testing.T) {
	conn := func(socket string) rawsock.Conn { return capsConn{caps: rawsock.Caps{Socket: socket}} }
	for _, tt := range []struct {
		env  Env
		want string // "": it can be had
	}{
		{Env{Conn: conn("raw"), Root: true}, ""},
		{Env{Conn: conn("raw")}, "--fwmark: for root alone"},
		{Env{Conn: conn("unprivileged")}, "sudo gtrace"},
		{Env{Conn: conn("unprivileged"), Root: true}, "--fwmark: needs raw sockets; to allow them: sudo setcap"},
		{Env{}, ""}, // no sockets at all: that is said elsewhere
	} {
		s := &session{env: tt.env, tool: newTraceTool()}
		err := s.rootOnly("--fwmark")
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: %v, want %q", tt.env, err, tt.want)
		}
	}
}

// capsConn is a connection that is only asked what it can do.
type capsConn struct {
	rawsock.Conn
	caps rawsock.Caps
}

func (c capsConn) Caps() rawsock.Caps { return c.caps }
