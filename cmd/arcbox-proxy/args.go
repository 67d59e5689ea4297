//go:build linux

package main

import (
	"strings"

	"arcbox/guest/publish/wire"
)

// parse takes what it knows from dockerd's arguments and passes over the rest:
// other versions of dockerd may say more. What is missing is empty; the agent
// checks the values.
func parse(args []string) wire.Request {
	var r wire.Request
	for i := 0; i < len(args); i++ {
		name, ok := strings.CutPrefix(args[i], "-")
		if !ok {
			continue // the value of a flag that is not known
		}
		name, value, inline := strings.Cut(strings.TrimPrefix(name, "-"), "=")
		var into *string
		switch name {
		case "proto":
			into = &r.Protocol
		case "host-ip":
			into = &r.HostIP
		case "host-port":
			into = &r.HostPort
		case "container-ip":
			into = &r.ContainerIP
		case "container-port":
			into = &r.ContainerPort
		default:
			continue
		}
		if !inline && i+1 < len(args) {
			i++
			value = args[i]
		}
		*into = value
	}
	return r
}
