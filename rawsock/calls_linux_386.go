package rawsock

import "golang.org/x/sys/unix"

const auditArch = unix.AUDIT_ARCH_I386

var (
	mmap  = []uint32{unix.SYS_MMAP2} // the arguments of the old one are in memory
	fcntl = []uint32{unix.SYS_FCNTL, unix.SYS_FCNTL64}

	archRules = []rule{
		// All that is done with sockets is one call here, whose arguments are in memory where no filter
		// can see them. So this architecture's programs may ask for sockets of any kind.
		{nr: unix.SYS_SOCKETCALL},
		{nr: unix.SYS_SET_THREAD_AREA},              // a new thread's local storage
		{unix.SYS_OPEN, []test{only(1, readFlags)}}, // Go's runtime
		{nr: unix.SYS_STAT64}, {nr: unix.SYS_LSTAT64}, {nr: unix.SYS_FSTAT64}, {nr: unix.SYS_FSTATAT64}, {nr: unix.SYS_STATFS64}, {nr: unix.SYS__LLSEEK},
		{nr: unix.SYS_FUTEX_TIME64}, {nr: unix.SYS_CLOCK_GETTIME64}, {nr: unix.SYS_SIGRETURN},
		{nr: unix.SYS_GETUID32}, {nr: unix.SYS_GETEUID32}, {nr: unix.SYS_GETGID32}, {nr: unix.SYS_GETEGID32}, {nr: unix.SYS_GETGROUPS32},
	}
)
