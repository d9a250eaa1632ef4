package report

import (
	"net/netip"
	"strconv"
)

// An appender writes its own JSON, byte for byte what encoding/json makes of it: the document of each of many hosts has no time for
// reflection.
type appender interface {
	appendJSON(b []byte) ([]byte, error)
}

// Members are those of a JSON object in the making. They are left out as their tags have it: add is for those that never are.
type members struct {
	b   []byte
	err error // of the first member that could not be encoded
}

// key begins a member. Keys are plain ASCII.
func (o *members) key(k string) {
	if o.b[len(o.b)-1] != '{' {
		o.b = append(o.b, ',')
	}
	o.b = append(append(append(o.b, '"'), k...), `":`...)
}

// within writes an object as a member, all of it.
func (o *members) within(k string, members func()) {
	o.key(k)
	o.b = append(o.b, '{')
	members()
	o.b = append(o.b, '}')
}

// any writes a member that is rare.
func (o *members) any(k string, v any) {
	b, err := marshal(v)
	if err != nil && o.err == nil {
		o.err = err
	}
	o.key(k)
	o.b = append(o.b, b...)
}

func (o *members) add(k, v string) {
	for i := range len(v) {
		if c := v[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			o.any(k, v)
			return
		}
	}
	o.key(k)
	o.b = append(append(append(o.b, '"'), v...), '"')
}

func (o *members) text(k, v string) {
	if v != "" {
		o.add(k, v)
	}
}

func (o *members) addNumber(k string, v uint64) {
	o.key(k)
	o.b = strconv.AppendUint(o.b, v, 10)
}

func (o *members) number(k string, v uint64) {
	if v != 0 {
		o.addNumber(k, v)
	}
}

func (o *members) integer(k string, v int) {
	if v != 0 {
		o.key(k)
		o.b = strconv.AppendInt(o.b, int64(v), 10)
	}
}

func (o *members) addBool(k string, v bool) {
	o.key(k)
	o.b = strconv.AppendBool(o.b, v)
}

func (o *members) address(k string, a netip.Addr) {
	switch {
	case !a.IsValid():
	case a.Zone() != "":
		o.any(k, a)
	default:
		o.key(k)
		o.b = append(a.AppendTo(append(o.b, '"')), '"')
	}
}

func (o *members) addMillis(k string, m millis) {
	o.key(k)
	o.b = appendMillionths(o.b, int64(m))
}

func (o *members) millis(k string, m *millis) {
	if m != nil {
		o.addMillis(k, *m)
	}
}

func (o *members) addPercent(k string, p percent) {
	o.key(k)
	o.b = p.append(o.b)
}

func (o *members) instant(k string, t instant) {
	if !t.IsZero() {
		o.key(k)
		o.b = t.append(o.b)
	}
}

// append appends t as MarshalJSON has it. A layout would be read anew each time.
func (t instant) append(b []byte) []byte {
	u := t.UTC()
	year, month, day := u.Date()
	if year < 0 || year > 9999 {
		return u.AppendFormat(b, `"2006-01-02T15:04:05.000000000Z"`)
	}
	digits := func(n, width int, behind byte) {
		at := len(b)
		b = append(b, "000000000"[:width]...)
		for i := at + width - 1; i >= at; i-- {
			b[i] = byte('0' + n%10)
			n /= 10
		}
		b = append(b, behind)
	}
	hour, minute, second := u.Clock()
	b = append(b, '"')
	digits(year, 4, '-')
	digits(int(month), 2, '-')
	digits(day, 2, 'T')
	digits(hour, 2, ':')
	digits(minute, 2, ':')
	digits(second, 2, '.')
	digits(u.Nanosecond(), 9, 'Z')
	return append(b, '"')
}
