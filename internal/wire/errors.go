package wire

import (
	"errors"
	"fmt"
)

// What an *Error wraps.
var (
	ErrShort        = errors.New("message too short")
	ErrVersion      = errors.New("not an IP version known here")
	ErrLength       = errors.New("length field out of range")
	ErrHeaderLength = errors.New("IPv4 header length out of range")
	ErrChecksum     = errors.New("wrong checksum")
	ErrTooDeep      = errors.New("too many extension headers")
	ErrType         = errors.New("of another type")
)

// An Error locates what could not be read.
type Error struct {
	Layer string // such as "quoted IPv4"
	Off   int    // bytes from the start of the message
	Err   error
}

func (e *Error) Error() string {
	return fmt.Sprintf("wire: %s at byte %d: %v", e.Layer, e.Off, e.Err)
}

func (e *Error) Unwrap() error { return e.Err }
