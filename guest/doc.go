// Package guest is the agent that runs inside the virtual machine: the duties
// of process 1, the data disk, the supervisor of the container engine, and the
// vsock services that the daemon on the host uses.
//
// Its parts are packages of their own; this one puts them together. Everything
// except what needs to be process 1 of a machine runs, and is tested, on any
// Linux host without privileges.
package guest
