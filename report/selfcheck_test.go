package report

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	"gtrace/probe"
)

// TestReasonsAreDocumented: every reason has a key of its own, which the schema and docs/self-check.md know, and no others.
func TestReasonsAreDocumented(t *testing.T) {
	var all probe.Rejections
	want := make(map[string]bool) // that it is malformed
	for i := range all {
		r := probe.Reason(i)
		want[r.String()] = r.Malformed()
		all[i] = uint64(i + 1)
	}
	if len(want) != len(all) {
		t.Fatalf("%d keys for %d reasons", len(want), len(all))
	}
	var schema struct {
		Defs struct {
			SelfCheck struct {
				Properties struct {
					Rejected struct {
						Properties map[string]struct{ Description string }
					}
				}
			}
		} `json:"$defs"`
	}
	b, err := os.ReadFile(filepath.Join("schema", string(traceSchemaFile)))
	if err == nil {
		err = json.Unmarshal(b, &schema)
	}
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]bool)
	for key, p := range schema.Defs.SelfCheck.Properties.Rejected.Properties {
		got[key] = len(p.Description) > 9 && p.Description[:9] == "malformed"
	}
	if !maps.Equal(got, want) {
		t.Errorf("schema %v, want %v", got, want)
	}
	doc, err := os.ReadFile("../docs/self-check.md")
	if err != nil {
		t.Fatal(err)
	}
	clear(got)
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z-]+)` \\| (malformed|unmatched) \\|").FindAllSubmatch(doc, -1) {
		got[string(m[1])] = string(m[2]) == "malformed"
	}
	if !maps.Equal(got, want) {
		t.Errorf("docs/self-check.md %v, want %v", got, want)
	}
	s := newSelfCheck(probe.Checked{Rejected: all})
	if !slices.Equal(slices.Sorted(maps.Keys(s.Rejected)), slices.Sorted(maps.Keys(want))) {
		t.Errorf("told: %v", s.Rejected)
	}
}
