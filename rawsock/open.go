package rawsock

// Options say what Open opens.
type Options struct {
	Unprivileged bool // do not even try raw sockets
}

// Open opens raw sockets for both families, as far as the host has them, or,
// where the kernel refuses those for want of privilege, what an ordinary user
// may have; Caps tells which. A program that was privileged calls Drop next.
//
// The error wraps errors.ErrUnsupported where this system cannot do it at all,
// and ErrPrivilege where neither kind was allowed.
func Open(o Options) (Conn, error) { return open(o) }
