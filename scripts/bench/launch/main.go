//go:build unix

// Command launch runs a program and writes to descriptor 3 what that took:
//
//	launch PROGRAM [ARGUMENT]...
//
// The kernel counts what the starter had in memory as the started one's (exec_mmap in fs/exec.c). So the starter is this program,
// which has next to none.
package main

import (
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"
)

func main() {
	os.Exit(run(os.Args[1], os.Args[1:]))
}

// run returns the program's exit status, or 127 where there is none.
func run(name string, args []string) int {
	path, err := exec.LookPath(name)
	if err != nil {
		return fail(err)
	}
	start := time.Now()
	p, err := os.StartProcess(path, args, &os.ProcAttr{Files: []*os.File{os.Stdin, os.Stdout, os.Stderr}})
	if err != nil {
		return fail(err)
	}
	s, err := p.Wait()
	wall := time.Since(start)
	if err != nil {
		return fail(err)
	}
	used := s.SysUsage().(*syscall.Rusage)
	var b []byte
	for _, n := range []int64{wall.Nanoseconds(), (s.UserTime() + s.SystemTime()).Nanoseconds(), int64(used.Maxrss)} {
		b = append(strconv.AppendInt(b, n, 10), ' ')
	}
	if _, err := os.NewFile(3, "report").Write(b); err != nil {
		return fail(err)
	}
	if s.ExitCode() < 0 {
		os.Stderr.WriteString("launch: " + s.String() + "\n")
		return 127
	}
	return s.ExitCode()
}

func fail(err error) int {
	os.Stderr.WriteString("launch: " + err.Error() + "\n")
	return 127
}
