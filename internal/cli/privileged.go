package cli

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"gtrace/rawsock"
)

// Privileged reads, with privilege still held, what the sockets of a program ("gtrace" or "gping", called by the
// given name) must be opened with. For anyone but root by the real user id it is the zero Options, and the arguments are not
// looked at: nothing that an ordinary user can steer is read with privilege.
//
// Only the table of options is asked, by the rules of normalise; no option acts, and no file is read.
// A value that makes no sense asks for nothing here, and is refused when the arguments are read for good.
func Privileged(program, name string, args []string, root bool) rawsock.Options {
	switch {
	case !root:
		return rawsock.Options{}
	case name == "fping", name == "fping6", name == "tracepath": // whose letters mean other things, none of these
		return rawsock.Options{}
	}
	var t tool = newTraceTool()
	if program == "gping" {
		t = newPingTool()
	}
	s := &session{env: Env{Name: name}, tool: t}
	return privilegedBy(s.table(), args)
}

// privilegedBy is Privileged with that table of options.
func privilegedBy(table []option, args []string) (o rawsock.Options) {
	options, _, _, err := normalise(table, args)
	if err != nil {
		return rawsock.Options{}
	}
	hear := func(p uint8) {
		if !slices.Contains(o.Protocols, p) {
			o.Protocols = append(o.Protocols, p)
		}
	}
	for _, option := range options {
		name, value, _ := strings.Cut(strings.TrimPrefix(option, "--"), "=")
		switch name {
		case "mark", "fwmark":
			if n, err := strconv.ParseUint(value, 0, 32); err == nil {
				o.Mark = uint32(n)
			}
		case "sport":
			// What is left of the ports needs no privilege, as a rule.
			if n, err := strconv.ParseUint(value, 0, 16); err == nil && n < 1024 {
				o.Port = uint16(n)
			}
		case "socket":
			o.Packet = value == "packet"
		case "udplite":
			hear(protoUDPLite)
		case "dccp":
			hear(protoDCCP)
		case "protocol":
			if p, ok := protocolNumber(value); ok {
				hear(p)
			}
		case "module": // traceroute's -M
			switch value {
			case "udplite":
				hear(protoUDPLite)
			case "dccp":
				hear(protoDCCP)
			case "raw":
				hear(protoRaw)
			}
		case "options": // and its -O, such as protocol=47,mark=1
			for _, o := range strings.Split(value, ",") {
				if what, p, _ := strings.Cut(o, "="); what == "protocol" {
					if p, ok := protocolNumber(p); ok {
						hear(p)
					}
				}
			}
		}
	}
	return o
}

const (
	protoDCCP    = 33
	protoUDPLite = 136
	protoRaw     = 253 // for experiments (RFC 3692): what traceroute takes where no other is given
)

// protocolNumbers are by names as in /etc/protocols, which is not read: of what is sent here at all, by traceroute -P as a rule.
var protocolNumbers = map[string]uint8{
	"igmp": 2, "ipip": 4, "egp": 8, "igp": 9, "rdp": 27, "dccp": 33, "ipv6": 41, "rsvp": 46, "gre": 47, "esp": 50, "ah": 51,
	"skip": 57, "eigrp": 88, "ospf": 89, "pim": 103, "ipcomp": 108, "vrrp": 112, "l2tp": 115, "isis": 124, "sctp": 132,
	"udplite": 136, "mpls-in-ip": 137,
}

// protocolNumber reads an IP protocol, a number or a name.
func protocolNumber(s string) (uint8, bool) {
	if n, err := strconv.ParseUint(s, 0, 8); err == nil {
		return uint8(n), true
	}
	p, ok := protocolNumbers[strings.ToLower(s)]
	return p, ok
}

// socketKind is why there is not the kind of sockets that --socket asks for, or nil.
func (s *session) socketKind() error {
	has := s.env.Conn.Caps().Socket
	if s.socket == "" || s.socket == has {
		return nil
	}
	option := "--socket " + s.socket
	if s.socket == "packet" {
		if err := s.rootOnly(option); err != nil {
			return err
		}
	} else if has == "unprivileged" {
		return fmt.Errorf("%s: needs raw sockets; %s", option, howToAllow())
	}
	return fmt.Errorf("%s: there are %s sockets", option, has)
}

// rootOnly is why an option cannot be had that Privileged must have seen, or nil.
func (s *session) rootOnly(option string) error {
	switch {
	case s.env.Conn == nil: // sockets says why
		return nil
	case !s.env.Root:
		return fmt.Errorf("%s: for root alone: privilege is given up before the arguments of other users are read; run it as root: sudo %s", option, s.tool.name())
	case s.env.Conn.Caps().Socket == "unprivileged":
		return fmt.Errorf("%s: needs raw sockets; %s", option, howToAllow())
	}
	return nil
}
