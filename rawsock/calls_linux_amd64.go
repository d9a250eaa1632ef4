package rawsock

import "golang.org/x/sys/unix"

// Calls of other ABIs are others: those of 32-bit programs come with another architecture, and
// those of x32 have a bit in their number that none here has.
const auditArch = unix.AUDIT_ARCH_X86_64

var (
	mmap  = []uint32{unix.SYS_MMAP}
	fcntl = []uint32{unix.SYS_FCNTL}

	archRules = []rule{
		{nr: unix.SYS_NEWFSTATAT},
		{unix.SYS_ARCH_PRCTL, []test{oneOf(0, 0x1002)}}, // ARCH_SET_FS of asm/prctl.h: a new thread's local storage
	}
)
