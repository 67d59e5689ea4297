// Package stream is the wire format of the guest's stream port: the header
// with which each connection begins, and the byte that answers it. After the
// answer OK the connection carries raw bytes in both directions.
package stream

import (
	"encoding/binary"
	"fmt"
	"io"
)

// Version is the first byte of every header.
const Version byte = 1

// MaxAddress is the longest address in bytes: room for "[IPv6%zone]:port".
const MaxAddress = 256

// Network is what kind of address follows.
type Network byte

// The networks.
const (
	// NetworkTCP is a TCP connection to "ip:port". Names are not resolved.
	NetworkTCP Network = 1
	// NetworkAccept is a connection that waits in the guest for the host: the
	// address is the id under which the agent announced it.
	NetworkAccept Network = 2
)

// Status is the agent's one-byte answer to a header.
type Status byte

// The answers. After anything but StatusOK the agent closes the connection.
const (
	StatusOK          Status = 0
	StatusMalformed   Status = 1 // header or address not understood
	StatusUnsupported Status = 2 // version or network not known
	StatusForbidden   Status = 3 // address is not of this guest or its containers
	StatusRefused     Status = 4 // nobody listens there, or waits under this id
	StatusUnreachable Status = 5 // no answer, or no route
	StatusBusy        Status = 6 // too many connections
)

func (s Status) String() string {
	switch s {
	case StatusOK:
		return "ok"
	case StatusMalformed:
		return "malformed header"
	case StatusUnsupported:
		return "unsupported version or network"
	case StatusForbidden:
		return "address not allowed"
	case StatusRefused:
		return "connection refused"
	case StatusUnreachable:
		return "unreachable"
	case StatusBusy:
		return "too many connections"
	default:
		return fmt.Sprintf("status %d", byte(s))
	}
}

// Header says where a connection wants to go.
type Header struct {
	Network Network
	Address string
}

// Append appends the wire form of h: version, network, length of the address
// as two bytes in network order, address. It fails when the address is empty
// or longer than MaxAddress.
func (h Header) Append(b []byte) ([]byte, error) {
	if len(h.Address) == 0 || len(h.Address) > MaxAddress {
		return nil, fmt.Errorf("address of %d bytes: want 1 to %d", len(h.Address), MaxAddress)
	}
	b = append(b, Version, byte(h.Network))
	b = binary.BigEndian.AppendUint16(b, uint16(len(h.Address)))
	return append(b, h.Address...), nil
}

// Read reads exactly one header and nothing behind it. The status is what to
// answer when err is not nil; the network is not checked.
func Read(r io.Reader) (Header, Status, error) {
	var fixed [4]byte
	if _, err := io.ReadFull(r, fixed[:]); err != nil {
		return Header{}, StatusMalformed, fmt.Errorf("read the stream header: %w", err)
	}
	if fixed[0] != Version {
		return Header{}, StatusUnsupported, fmt.Errorf("stream header of version %d: want %d", fixed[0], Version)
	}
	n := int(binary.BigEndian.Uint16(fixed[2:]))
	if n == 0 || n > MaxAddress {
		return Header{}, StatusMalformed, fmt.Errorf("stream header with an address of %d bytes: want 1 to %d", n, MaxAddress)
	}
	address := make([]byte, n)
	if _, err := io.ReadFull(r, address); err != nil {
		return Header{}, StatusMalformed, fmt.Errorf("read the address of the stream header: %w", err)
	}
	return Header{Network: Network(fixed[1]), Address: string(address)}, StatusOK, nil
}
