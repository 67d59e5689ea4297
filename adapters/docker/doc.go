// Package docker is ArcBox's side of the Docker API: the socket that Docker
// clients talk to, and the Docker CLI context that points at it.
//
// The socket is a byte tunnel with a reader beside it. One accepted connection
// is one stream to the engine; bytes, ends of data and full closes pass as
// they come, so upgrades, WebSockets, raw streams and HTTP/2 with prior
// knowledge need no case of their own. The reader parses HTTP/1.1 heads in
// passing. It steps in to hold a request while the machine boots, to answer
// _ping while it is down, and to have the creation of a container judged: where
// it runs and what it binds of the host. Whatever it does not understand it
// leaves alone, but for the body of such a request: the connection turns opaque
// and is only tunnelled.
package docker
