//go:build !linux

package rawsock

import "errors"

// confine does nothing: this system's ways are not known here.
func confine() Confinement {
	return Confinement{CallsErr: errors.ErrUnsupported, FilesErr: errors.ErrUnsupported}
}

func (c *Confinement) confineReading() error { return errors.ErrUnsupported }
