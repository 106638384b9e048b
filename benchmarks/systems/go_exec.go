// Sessions by Go's os/exec, told what to do on stdin: see external.py.
package main

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
	"unsafe"
)

type session struct {
	command *exec.Cmd
	master  *os.File
}

func main() {
	var sessions []session
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		fields := strings.Split(lines.Text(), "\t")
		switch verb, last := fields[0], len(sessions)-1; verb {
		case "spawn":
			sessions = append(sessions, spawn(fields[1:]))
			fmt.Println(sessions[last+1].command.Process.Pid)
		case "read":
			fmt.Println(hex.EncodeToString(read(sessions[last].master, number(fields[1]))))
		case "end":
			end(sessions[last:], number(fields[1]))
			sessions = sessions[:last]
		case "endall":
			end(sessions, number(fields[1]))
			sessions = nil
		case "churn":
			churn(number(fields[1]), number(fields[2]), number(fields[3]), fields[4:])
		}
	}
}

func spawn(argv []string) session {
	master, slave := openTerminal()
	command := exec.Command(argv[0], argv[1:]...)
	command.Stdin, command.Stdout, command.Stderr = slave, slave, slave
	command.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	require(command.Start())
	slave.Close()
	return session{command, master}
}

func end(sessions []session, grace int64) {
	start := now()
	var all sync.WaitGroup
	for _, each := range sessions {
		all.Add(1)
		go func(command *exec.Cmd) {
			defer all.Done()
			endOne(command, grace)
		}(each.command)
	}
	all.Wait()
	fmt.Printf("%d\t%d\n", start, now())
	for _, each := range sessions {
		each.master.Close()
	}
}

func endOne(command *exec.Cmd, grace int64) {
	command.Process.Signal(syscall.SIGHUP)
	command.Process.Signal(syscall.SIGCONT)
	done := make(chan error, 1)
	go func() { done <- command.Wait() }()
	select {
	case <-done:
	case <-time.After(time.Duration(grace)):
		command.Process.Kill()
		<-done
	}
}

// Spawn sessions and end them for so long, in so many goroutines.
func churn(duration, atOnce, grace int64, argv []string) {
	var all sync.WaitGroup
	ended := make([][]string, atOnce)
	start := now()
	for at := range ended {
		all.Add(1)
		go func(mine *[]string) {
			defer all.Done()
			for begun := now(); begun < start+duration; begun = now() {
				one := spawn(argv)
				endOne(one.command, grace)
				one.master.Close()
				*mine = append(*mine, fmt.Sprintf("\t%d\t%d", one.command.Process.Pid, now()-begun))
			}
		}(&ended[at])
	}
	all.Wait()
	fmt.Printf("%d\t%d", start, now())
	for _, mine := range ended {
		fmt.Print(strings.Join(mine, ""))
	}
	fmt.Println()
}

func openTerminal() (master, slave *os.File) {
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	require(err)
	var index, unlock uint32
	ioctl(master, syscall.TIOCSPTLCK, unsafe.Pointer(&unlock))
	ioctl(master, syscall.TIOCGPTN, unsafe.Pointer(&index))
	size := [4]uint16{24, 80}
	ioctl(master, syscall.TIOCSWINSZ, unsafe.Pointer(&size))
	slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", index), os.O_RDWR|syscall.O_NOCTTY, 0)
	require(err)
	return master, slave
}

func read(master *os.File, milliseconds int64) []byte {
	raw, err := master.SyscallConn()
	require(err)
	data := make([]byte, 65536)
	length := 0
	raw.Control(func(fd uintptr) {
		waiting := struct {
			fd              int32
			events, revents int16
		}{int32(fd), 1, 0}
		ready, _, _ := syscall.Syscall(
			syscall.SYS_POLL, uintptr(unsafe.Pointer(&waiting)), 1, uintptr(milliseconds))
		if int(ready) == 1 {
			length, _ = syscall.Read(int(fd), data)
		}
	})
	if length < 0 {
		length = 0
	}
	return data[:length]
}

func ioctl(file *os.File, request uintptr, argument unsafe.Pointer) {
	_, _, failed := syscall.Syscall(syscall.SYS_IOCTL, file.Fd(), request, uintptr(argument))
	if failed != 0 {
		require(failed)
	}
}

func now() int64 {
	var clock syscall.Timespec
	const monotonic = 1
	syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, monotonic, uintptr(unsafe.Pointer(&clock)), 0)
	return clock.Nano()
}

func number(text string) int64 {
	value, err := strconv.ParseInt(text, 10, 64)
	require(err)
	return value
}

func require(err error) {
	if err != nil {
		panic(err)
	}
}
