//go:build linux

package interop

// A difference is where our programs print or end otherwise than those whose
// names they bear, and are right to.
type difference struct{ why, ours string }

// differences are few.
var differences = map[kase]difference{}
