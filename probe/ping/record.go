package ping

import (
	"encoding/binary"
	"time"
)

// A Record is what the nodes on the way of an IPv4 packet write into its options (RFC 791 section 3.1). What this host writes
// itself, being the first of them, is in it already when the packet leaves, as Linux has it.
type Record uint8

const (
	NoRecord        Record = iota
	Route                  // addresses, of nine nodes at most
	Stamps                 // times, of nine nodes at most
	StampsAddresses        // both, of four nodes at most
	StampsOf               // the times of the nodes Config.Hops alone
)

// Option types, and the flags of a timestamp option.
const (
	optionNop   = 1
	optionRoute = 7
	optionStamp = 68

	stampsOnly, stampsAddresses, stampsOf = 0, 1, 3
)

const maxHops = 4 // StampsOf has room for

func (c *Config) checkRecord(wrong func(format string, args ...any)) {
	if c.Record > StampsOf {
		wrong("record %d: want %d to %d", c.Record, NoRecord, StampsOf)
	}
	if c.Record != NoRecord && c.Options != "" {
		wrong("record and options: want one of the two")
	}
	if c.Record != NoRecord && c.Dst.Addr().Is6() {
		wrong("record: IPv6 has no such options")
	}
	if n := len(c.Hops); c.Record == StampsOf && (n == 0 || n > maxHops) || c.Record != StampsOf && n > 0 {
		wrong("%d hops: want 1 to %d for the times of certain nodes, else none", n, maxHops)
	}
	for _, a := range c.Hops {
		if !a.Is4() {
			wrong("hop %v: want an IPv4 address", a)
		}
	}
}

// RecordBytes is how much the options of a record take in a packet.
func (c *Config) RecordBytes() int {
	switch c.Record {
	case Route, Stamps:
		return 40
	case StampsAddresses:
		return 36
	case StampsOf:
		return 4 + 8*len(c.Hops)
	}
	return 0
}

// record is the options of a packet that leaves at now.
func (c *Config) record(now time.Time) string {
	b := make([]byte, c.RecordBytes())
	own, stamp := c.Src.Addr().As4(), b[4:]
	if c.Record == Route {
		b[0], b[1], b[2], b[3] = optionNop, optionRoute, 39, 8 // the pointer counts from the option's start, from 1
		copy(b[4:], own[:])
		return string(b)
	}
	b[0], b[1] = optionStamp, uint8(len(b))
	next := 5
	switch c.Record {
	case Stamps:
		b[3], next = stampsOnly, 9
	case StampsAddresses:
		b[3], next = stampsAddresses, 13
		copy(b[4:], own[:])
		stamp = b[8:]
	case StampsOf:
		b[3] = stampsOf
		for i, a := range c.Hops {
			four := a.As4()
			copy(b[4+8*i:], four[:])
		}
		stamp = nil
		if c.Hops[0] == c.Src.Addr() {
			stamp, next = b[8:], 13
		}
	}
	b[2] = uint8(next)
	if stamp != nil {
		binary.BigEndian.PutUint32(stamp, sinceMidnight(now))
	}
	return string(b)
}

// sinceMidnight is a time as the option has it: milliseconds since midnight UT.
func sinceMidnight(t time.Time) uint32 {
	const day = 24 * time.Hour
	return uint32((time.Duration(t.UnixNano()) % day).Milliseconds())
}
