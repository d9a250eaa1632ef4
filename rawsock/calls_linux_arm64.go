package rawsock

import "golang.org/x/sys/unix"

const auditArch = unix.AUDIT_ARCH_AARCH64

var (
	mmap  = []uint32{unix.SYS_MMAP}
	fcntl = []uint32{unix.SYS_FCNTL}

	archRules = []rule{
		{nr: unix.SYS_NEWFSTATAT},
	}
)
