//go:build linux

package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// schemas are the published ones, by what a document's "schema" says.
var schemas = sync.OnceValues(func() (map[string]*jsonschema.Schema, error) {
	out := make(map[string]*jsonschema.Schema)
	for name, file := range map[string]string{
		"gtrace/trace/v1":  "gtrace-trace-v1.json",
		"gtrace/matrix/v1": "gtrace-matrix-v1.json",
		"gping/ping/v1":    "gping-ping-v1.json",
		"gtrace/doctor/v1": "gtrace-doctor-v1.json",
	} {
		path := filepath.Join("..", "..", "report", "schema", file)
		s, err := jsonschema.NewCompiler().Compile(path)
		if err != nil {
			return nil, fmt.Errorf("schema of %s: %w", name, err)
		}
		out[name] = s
	}
	return out, nil
})

// valid holds a document against the schema it names.
func valid(doc string) error {
	all, err := schemas()
	if err != nil {
		return err
	}
	v, err := jsonschema.UnmarshalJSON(strings.NewReader(doc))
	if err != nil {
		return err
	}
	var head struct {
		Schema string `json:"schema"`
	}
	if err := json.Unmarshal([]byte(doc), &head); err != nil {
		return err
	}
	s := all[head.Schema]
	if s == nil {
		return errors.New("no schema called " + head.Schema)
	}
	if err := s.Validate(v); err != nil {
		return fmt.Errorf("does not keep to its schema: %w", err)
	}
	return nil
}
