package cli

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// dscps are the names of differentiated services code points (RFC 2474, 2597, 3246, 5865, 8622).
var dscps = map[string]uint8{
	"be": 0, "df": 0, "le": 1, "ef": 46, "va": 44,
	"cs0": 0, "cs1": 8, "cs2": 16, "cs3": 24, "cs4": 32, "cs5": 40, "cs6": 48, "cs7": 56,
	"af11": 10, "af12": 12, "af13": 14, "af21": 18, "af22": 20, "af23": 22,
	"af31": 26, "af32": 28, "af33": 30, "af41": 34, "af42": 36, "af43": 38,
}

// ecns are the names of what the ECN field says (RFC 3168 section 5), by value.
var ecns = []string{"not-ect", "ect1", "ect0", "ce"}

// classOptions are the two halves of --tos by themselves; none under the name of another tool.
func (s *session) classOptions() []option {
	if s.tool.verbatim() {
		return nil
	}
	return []option{
		{long: "dscp", value: "CLASS", set: s.setDSCP,
			help: "the upper six bits of it, by number, 0 to 63, or by name: ef, af41,\ncs1, le"},
		{long: "ecn", value: "NAME", words: ecns, set: s.setECN,
			help: "the lower two bits, " + strings.Join(ecns, ", ")},
	}
}

func (s *session) setDSCP(v string) error {
	n, known := dscps[strings.ToLower(v)]
	if !known {
		u, err := strconv.ParseUint(v, 0, 6)
		if err != nil {
			return errors.New("want 0 to 63, or a name such as ef, af41, cs1 or le")
		}
		n = uint8(u)
	}
	s.tos, s.halfTOS = s.tos&3|n<<2, "dscp"
	return nil
}

func (s *session) setECN(v string) error {
	n := slices.Index(ecns, strings.ToLower(v))
	if n < 0 {
		return fmt.Errorf("want %s", strings.Join(ecns, ", "))
	}
	s.tos, s.halfTOS = s.tos&^3|uint8(n), "ecn"
	return nil
}

// setTOS reads the whole.
func (s *session) setTOS(v string) error {
	s.tosGiven = true
	return bits(&s.tos, uint8(255))(v)
}

// checkTOS is whether the whole and its halves are both given.
func (s *session) checkTOS() error {
	if s.tosGiven && s.halfTOS != "" {
		return fmt.Errorf("--%s: not with --tos, which says all of it", s.halfTOS)
	}
	return nil
}
