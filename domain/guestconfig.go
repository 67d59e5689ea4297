package domain

// SSHAgentSocket is where a guest, and so its containers by a bind mount, finds
// the user's SSH agent: the path that Docker Desktop has established.
const SSHAgentSocket = "/run/host-services/ssh-auth.sock"

// SSHAgentService is the name of the SSH agent among the sockets of a GuestConfig.
const SSHAgentService = "ssh-agent"

// Proxy says how to reach other networks. Empty strings are "not set".
type Proxy struct {
	HTTP  string // URL, for http
	HTTPS string // URL, for https
	// None lists what is reached directly, separated by commas.
	None string
}

// GuestSocket is a Unix socket in the guest that leads to a service of the host.
type GuestSocket struct {
	Service string // SSHAgentService
	Path    string // in the guest
}

// GuestConfig is what a guest is told of the host before its engine starts. It
// is complete: what is not in it, is not.
type GuestConfig struct {
	// Shares are mounted in this order, each at its path.
	Shares []Share
	// Proxy is as the guest has to use it: a proxy on the host's loopback is named
	// by the gateway.
	Proxy Proxy
	// Certificates are the host's certificate authorities in PEM, beside the guest's own.
	Certificates []byte
	// TimeZone is the host's local time, in the format of RFC 8536; empty is UTC.
	TimeZone []byte
	Sockets  []GuestSocket
}
