package rawsock

// Drop gives up every privilege, in all threads, for good: the user and
// group become the real ones (those of whoever started the program), and no
// capability is left to use, to raise or to gain by starting another
// program. Call it once, right after Open and before anything that an
// argument, a file or the network can steer.
//
// Sockets already open keep working. A nil error means that the system was
// asked afterwards, thread by thread, and said that nothing is left. After
// any other some privilege may be left, and the caller must exit; it wraps
// errors.ErrUnsupported where this system or this build cannot do it.
func Drop() error { return drop() }
