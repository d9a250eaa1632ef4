package rawsock

// A Confinement is what Confine could take away from the program, and why it could not take the rest.
type Confinement struct {
	Calls    bool  // every thread has a filter of system calls
	CallsErr error // why none has

	Landlock int   // version of the kernel's Landlock that holds the files; 0: nothing does
	FilesErr error // why nothing does
	Devices  bool  // no device that is opened takes commands (ioctl(2)); from version 5 on
	Signals  bool  // no signal reaches another process; from version 6 on
	Sockets  bool  // no abstract Unix socket of another program can be called; from version 6 on
}

// Confine takes from the program what it does not need once Drop has returned: to start programs, to look into others
// or signal them, to open sockets of other kinds, to make memory executable, to change anything in the file
// system. It holds in every thread, and for good.
//
// It is a second line behind Drop, for the case that something which the network or a file sent could make the
// program do what it was not written for. So it never fails: where a kernel is too old, or does not let it, the Confinement
// says what is missing and why.
func Confine() Confinement { return confine() }

// ConfineReading takes from the program, confined already, the reading of files as well, but for those that name
// resolution and the settings of the network are in. It is for when the program has read whatever files
// it was told to. What is open stays so.
//
// The error says why Landlock could not do it. It wraps errors.ErrUnsupported where Landlock holds nothing at all.
func (c *Confinement) ConfineReading() error { return c.confineReading() }
