package rawsock

import (
	"errors"
	"fmt"
	"net"

	"golang.org/x/sys/unix"
)

// setting is an integer option of a socket.
type setting struct {
	name              string // as the user knows it, and the system
	level, opt, value int
}

func (o setting) apply(fd int) error {
	if err := unix.SetsockoptInt(fd, o.level, o.opt, o.value); err != nil {
		return fmt.Errorf("%s: %w", o.name, err)
	}
	return nil
}

// choosesBy makes a socket choose its way as s says. An interface is chosen before
// connect(2) or not at all.
func choosesBy(fd int, v6 bool, s Settings) error {
	if s.Device != "" {
		// Without privilege since Linux 5.7, on a socket that is bound to none.
		if err := unix.BindToDevice(fd, s.Device); err != nil {
			return deviceError(s.Device, err)
		}
	}
	if s.Direct && !v6 { // IPv6 does not look at it; see ways.check
		return setting{"past the routing table (SO_DONTROUTE)", unix.SOL_SOCKET, unix.SO_DONTROUTE, 1}.apply(fd)
	}
	return nil
}

func deviceError(device string, err error) error {
	if errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("device %q: there is no such interface: %w", device, err)
	}
	return fmt.Errorf("device %q (SO_BINDTODEVICE; without privilege it takes Linux 5.7): %w", device, err)
}

// known refuses a device that is not there, before any socket is asked.
func (s Settings) known() error {
	if s.Device == "" {
		return nil
	}
	if len(s.Device) >= unix.IFNAMSIZ {
		return fmt.Errorf("device %q: names of interfaces have at most %d bytes: %w", s.Device, unix.IFNAMSIZ-1, unix.ENODEV)
	}
	if _, err := net.InterfaceByName(s.Device); err != nil {
		return deviceError(s.Device, unix.ENODEV)
	}
	return nil
}

// apply sets what a socket that sends needs, but for the way it chooses.
func (s Settings) apply(fd int, v6 bool) error {
	var all []setting
	if s.Broadcast && !v6 {
		all = append(all, setting{"broadcast (SO_BROADCAST)", unix.SOL_SOCKET, unix.SO_BROADCAST, 1})
	}
	switch {
	case s.NoLoop && v6:
		all = append(all, setting{"no loop of multicast (IPV6_MULTICAST_LOOP)", unix.SOL_IPV6, unix.IPV6_MULTICAST_LOOP, 0})
	case s.NoLoop:
		all = append(all, setting{"no loop of multicast (IP_MULTICAST_LOOP)", unix.SOL_IP, unix.IP_MULTICAST_LOOP, 0})
	}
	if s.SendBuffer > 0 {
		// The kernel doubles it and keeps it within net.core.wmem_max.
		all = append(all, setting{"send buffer (SO_SNDBUF)", unix.SOL_SOCKET, unix.SO_SNDBUF, s.SendBuffer})
	}
	for _, o := range all {
		if err := o.apply(fd); err != nil {
			return err
		}
	}
	if s.Debug {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DEBUG, 1); errors.Is(err, unix.EACCES) {
			return fmt.Errorf("debug (SO_DEBUG): the kernel allows it with CAP_NET_ADMIN alone: %w", err)
		} else if err != nil {
			return fmt.Errorf("debug (SO_DEBUG): %w", err)
		}
	}
	return nil
}

// setError is what Set returns. A refused setting is no matter of raw sockets, so that is not said.
func setError(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("set %w", err)
}
