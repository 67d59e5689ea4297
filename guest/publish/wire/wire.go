// Package wire is what the userland proxy and the agent say to each other over
// a Unix socket that keeps messages apart (SOCK_SEQPACKET). It imports next to
// nothing, for the proxy is started twice for each published port.
//
// The proxy sends one bind, with the socket that dockerd bound (if it has one)
// as SCM_RIGHTS, and waits for Granted or Refused. What was granted lasts as
// long as the connection, or until Release, which is answered with Released when
// the host's port is free.
package wire

// SocketEnv names the environment variable with the path of the agent's
// socket. dockerd hands it down to the proxies.
const SocketEnv = "ARCBOX_PUBLISH_SOCKET"

// Limits of messages, bytes.
const (
	MaxRequest = 512
	MaxAnswer  = 2048
)

// The messages; a bind and a refusal have more after the word.
const (
	Bind     = "bind"
	Granted  = "granted"
	Refused  = "refused "
	Release  = "release"
	Released = "released"
)

// Request is what dockerd tells a proxy, word for word.
type Request struct {
	Protocol                   string
	HostIP, HostPort           string
	ContainerIP, ContainerPort string
}

// Fields is how many words a bind has, the first included.
const Fields = 6

// Message returns the bind of a request.
func (r Request) Message() string {
	return Bind + " " + r.Protocol + " " + r.HostIP + " " + r.HostPort + " " + r.ContainerIP + " " + r.ContainerPort
}
