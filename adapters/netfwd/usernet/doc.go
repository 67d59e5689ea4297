// Package usernet is the network of one virtual machine, made in the host's
// user space: Ethernet frames travel over one socket to the hypervisor, and a
// TCP/IP stack in this process (gVisor's netstack) is the gateway that the
// guest sees.
//
// What the guest opens towards the world leaves the host through ordinary
// sockets. The gateway's own address leads to the host's loopback, port 53 of
// it to a resolver. In the other direction DialTCP and DialUDP reach the guest
// and the prefixes behind it, its containers, at their own addresses.
//
// The guest is not trusted. A frame is checked before the stack sees it: its
// size, its MAC, a source that belongs to the guest. Every kind of flow has a
// limit, a deadline and a counter, and a guest that stops reading (a paused
// machine) blocks nobody.
package usernet
