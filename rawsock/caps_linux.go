package rawsock

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// capSets are a thread's capability sets, one bit per capability
// (capabilities(7)).
type capSets struct{ effective, permitted, inheritable uint64 }

// words is c as capset(2) wants it, version 3: low words, then high words.
func (c capSets) words() *[2]unix.CapUserData {
	return &[2]unix.CapUserData{
		{Effective: uint32(c.effective), Permitted: uint32(c.permitted), Inheritable: uint32(c.inheritable)},
		{Effective: uint32(c.effective >> 32), Permitted: uint32(c.permitted >> 32), Inheritable: uint32(c.inheritable >> 32)},
	}
}

// threadCaps reads the calling thread's sets.
func threadCaps() (capSets, error) {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var w [2]unix.CapUserData
	if err := unix.Capget(&hdr, &w[0]); err != nil {
		return capSets{}, opError("read capabilities", err)
	}
	return capSets{
		effective:   uint64(w[1].Effective)<<32 | uint64(w[0].Effective),
		permitted:   uint64(w[1].Permitted)<<32 | uint64(w[0].Permitted),
		inheritable: uint64(w[1].Inheritable)<<32 | uint64(w[0].Inheritable),
	}, nil
}

// setThreadCaps sets the calling thread's sets.
func setThreadCaps(c capSets) error {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	return unix.Capset(&hdr, &c.words()[0])
}

// raiseNetRaw makes CAP_NET_RAW effective where it is permitted but not in
// use, as in a program installed with cap_net_raw+p. It holds in one thread,
// to which the calling goroutine is tied until lower takes it back; both
// must be called from the same goroutine. Without the capability nothing
// happens: what is then tried fails by itself and says why.
//
// Threads that start in between do not inherit it: the runtime starts none
// from a thread that a goroutine is tied to.
func raiseNetRaw() (lower func() error, err error) {
	const netRaw = uint64(1) << unix.CAP_NET_RAW
	was, err := threadCaps() // all threads have the same so far
	if err != nil {
		return nil, err
	}
	if was.permitted&netRaw == 0 || was.effective&netRaw != 0 {
		return func() error { return nil }, nil
	}
	runtime.LockOSThread() // for which the runtime starts one more
	raised := was
	raised.effective |= netRaw
	if err := setThreadCaps(raised); err != nil {
		runtime.UnlockOSThread()
		return nil, opError("raise CAP_NET_RAW", err)
	}
	return func() error {
		// On error the goroutine stays tied, so that no other one runs
		// with the capability.
		if err := setThreadCaps(was); err != nil {
			return opError("lower CAP_NET_RAW", err)
		}
		runtime.UnlockOSThread()
		return nil
	}, nil
}
