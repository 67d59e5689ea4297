// Package vz runs virtual machines on macOS 13 and newer with Apple's
// Virtualization.framework, through Code-Hex/vz.
//
// What a machine is made of is a pure function of a plan (Configure), and all
// that waits, watches and ends is written against the small interfaces framework
// and guest. Both are built and tested on every system. The files for darwin only
// translate between those and the library.
package vz
