package main

import (
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var link = regexp.MustCompile(`\]\(([^)#]+)[^)]*\)`)

// TestDocuments: what the packages' documents link to is in the packages too.
func TestDocuments(t *testing.T) {
	const root = "../.."
	docs, err := documents(root)
	if err != nil {
		t.Fatal(err)
	}
	links := 0
	for _, doc := range docs {
		if !strings.HasSuffix(doc, ".md") {
			continue
		}
		text, err := os.ReadFile(path.Join(root, doc))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			links++
			to := path.Join(path.Dir(doc), m[1])
			if !slices.ContainsFunc(docs, func(d string) bool { return d == to || strings.HasPrefix(d, to+"/") }) {
				t.Errorf("%s links to %s, which no package has", doc, m[1])
			}
		}
	}
	if links == 0 {
		t.Error("no links were found")
	}
}
