package rawsock

import (
	"os"

	"golang.org/x/sys/unix"
)

// secure reads AT_SECURE from the auxiliary vector, as the kernel gave it
// to this process (getauxval(3)). It is set for file capabilities too, when
// the ids tell nothing. A process without a vector is taken to be secure.
func secure() bool {
	const atSecure = 23
	vec, err := unix.Auxv()
	if err != nil {
		return true
	}
	for _, e := range vec {
		if e[0] == atSecure {
			return e[1] != 0
		}
	}
	return true
}

// again starts this very file, whatever its name has come to mean, with the environment as it is now. It has the privilege
// of its file again then, as nothing has been given up yet. It returns only where that cannot be done.
func again() { _ = unix.Exec("/proc/self/exe", os.Args, os.Environ()) }
