package main

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"syscall"
)

// frames sends count malformed Ethernet frames out of an interface: cut headers,
// lengths that lie, addresses that are nobody's. The same seed sends the same.
func frames(device string, count int, seed uint64) error {
	dev, err := net.InterfaceByName(device)
	if err != nil {
		return err
	}
	fd, err := syscall.Socket(syscall.AF_PACKET, syscall.SOCK_RAW, 0)
	if err != nil {
		return fmt.Errorf("packet socket: %w", err)
	}
	defer syscall.Close(fd)
	to := &syscall.SockaddrLinklayer{Ifindex: dev.Index, Halen: 6}
	rnd := rand.New(rand.NewPCG(seed, seed))
	sent := 0
	for range count {
		if syscall.Sendto(fd, malformed(rnd, dev.HardwareAddr), 0, to) == nil {
			sent++
		}
	}
	fmt.Println(sent)
	return nil
}

func malformed(rnd *rand.Rand, from net.HardwareAddr) []byte {
	frame := make([]byte, 14+rnd.IntN(200))
	for i := range frame {
		frame[i] = byte(rnd.Uint32())
	}
	if rnd.IntN(4) > 0 { // most have addresses that get them further
		copy(frame, []byte{0x52, 0x54, 0, 0, 2, 1})
		copy(frame[6:], from)
	}
	types := []uint16{0x0800, 0x86dd, 0x0806, 0x8100, 0x0000, 0xffff}
	binary.BigEndian.PutUint16(frame[12:], types[rnd.IntN(len(types))])
	if ip := frame[14:]; len(ip) > 20 && rnd.IntN(2) == 0 {
		ip[0] = 0x40 | byte(rnd.IntN(16))
		binary.BigEndian.PutUint16(ip[2:], uint16(rnd.IntN(70000)))
		ip[9] = []byte{1, 6, 17, 58, 0}[rnd.IntN(5)]
		copy(ip[12:], []byte{10, 0, 2, 2})
	}
	return frame
}
