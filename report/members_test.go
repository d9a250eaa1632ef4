package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"testing"
	"time"
)

// fill sets all that v has to something that is not left out; some of it to what must be escaped.
func fill(v reflect.Value, n *int) {
	*n++
	switch x := v.Addr().Interface().(type) {
	case *netip.Addr:
		*x = netip.AddrFrom4([4]byte{192, 0, 2, byte(*n)})
		if *n%3 == 0 {
			*x = netip.MustParseAddr("fe80::1%eth0")
		}
		return
	case *time.Time:
		*x = time.Date(2026, 1, 2, 3, 4, 5, *n, time.FixedZone("", 3600))
		return
	case *percent:
		*x = percent(*n) / 7
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), n)
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Field(i).CanSet() {
				fill(v.Field(i), n)
			}
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		fill(v.Index(0), n)
		fill(v.Index(1), n)
	case reflect.Array:
		for i := range v.Len() {
			fill(v.Index(i), n)
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		value := reflect.New(v.Type().Elem()).Elem()
		fill(value, n)
		v.SetMapIndex(reflect.ValueOf(fmt.Sprint("key ", *n)), value)
	case reflect.String:
		v.SetString([]string{"plain", `"quoted\"`, "<html> & \u2028 ü", "\x00\xff"}[*n%4])
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(int64(*n) * 1_000_003)
	case reflect.Interface:
		v.Set(reflect.ValueOf(*n))
	case reflect.Float64:
		v.SetFloat(float64(*n) / 3)
	default:
		v.SetUint(uint64(*n) & 0x7f)
	}
}

// TestAppended: what documents write of themselves is what encoding/json makes of their tags, whatever is in them or left out.
func TestAppended(t *testing.T) {
	same := func(got []byte, err error, tagged any) {
		t.Helper()
		var b bytes.Buffer
		enc := json.NewEncoder(&b)
		enc.SetEscapeHTML(false)
		if err := errors.Join(err, enc.Encode(tagged)); err != nil {
			t.Fatal(err)
		}
		if want := bytes.TrimSpace(b.Bytes()); string(got) != string(want) {
			t.Fatalf("got\n%s\nwant\n%s", got, want)
		}
	}
	for n := range 40 {
		var full, empty pingJSON
		fill(reflect.ValueOf(&full.head).Elem(), &n)
		fill(reflect.ValueOf(&full.Method).Elem(), &n)
		fill(reflect.ValueOf(&full.ending).Elem(), &n)
		fill(reflect.ValueOf(&full.Replies).Elem(), &n)
		for _, r := range *full.Replies {
			fill(reflect.ValueOf(&r.answer).Elem(), &n)
		}
		fill(reflect.ValueOf(&full.Sweep).Elem(), &n)
		fill(reflect.ValueOf(&full.Summary).Elem(), &n)
		fill(reflect.ValueOf(&full.SelfCheck).Elem(), &n)
		*full.Replies = append(*full.Replies, &reply{})
		for _, p := range []*pingJSON{&full, &empty} {
			got, err := p.appendJSON(nil)
			same(got, err, p)
		}
		trace := traceJSON{head: full.head, ending: full.ending, Hops: []*hop{}}
		for _, t := range []*traceJSON{{Hops: []*hop{{Probes: []*traceProbe{}}}}, &trace} {
			got, err := t.appendJSON(nil)
			same(got, err, t)
			for _, m := range []any{&t.Method, &t.Hops, &t.Findings, &t.SelfCheck, &t.Summary} {
				fill(reflect.ValueOf(m).Elem(), &n)
			}
			for _, h := range t.Hops {
				for _, p := range h.Probes {
					fill(reflect.ValueOf(&p.answer).Elem(), &n)
				}
				h.Probes = append(h.Probes, &traceProbe{})
				for _, x := range h.Nodes {
					fill(reflect.ValueOf(&x.hopSummary).Elem(), &n)
				}
				h.Nodes = append(h.Nodes, &pathNode{})
			}
			t.Target = `"hops":[]`
			got, err = t.appendJSON(nil)
			same(got, err, t)
		}
	}
}
