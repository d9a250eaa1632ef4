//go:build darwin || dragonfly || freebsd || netbsd || openbsd

package rawsock

import (
	"errors"
	"fmt"
	"syscall"
)

// drop goes back to the real user and group. They belong to the process
// here, not to each thread, and setting the real id with setreuid sets the
// saved one too, so that there is no way back.
func drop() error {
	uid, gid := syscall.Getuid(), syscall.Getgid()
	if uid == 0 {
		// There are no capabilities to take from root.
		return opError("drop root, which started the program", errors.ErrUnsupported)
	}
	if syscall.Geteuid() == 0 {
		if err := syscall.Setgroups([]int{gid}); err != nil {
			return opError("drop supplementary groups", err)
		}
	}
	if err := syscall.Setregid(gid, gid); err != nil {
		return opError("drop group", err)
	}
	if err := syscall.Setreuid(uid, uid); err != nil {
		return opError("drop user", err)
	}
	if e, g := syscall.Geteuid(), syscall.Getegid(); e != uid || g != gid {
		return opError("verify the drop", fmt.Errorf("user %d and group %d are left", e, g))
	}
	if syscall.Setuid(0) == nil || syscall.Seteuid(0) == nil {
		return opError("verify the drop", errors.New("user 0 could be had again"))
	}
	return nil
}
