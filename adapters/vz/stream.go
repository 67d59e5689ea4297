package vz

import (
	"fmt"
	"net"
	"reflect"
	"unsafe"

	"arcbox/application/port"
	"arcbox/domain"
)

// connField is where the library's VirtioSocketConnection keeps the connection
// that it made with net.FileConn from a duplicate of the framework's descriptor.
const connField = "rawConn"

// halfCloser returns the socket inside a connection of the library. The framework's
// descriptor is one end of a pair of Unix stream sockets, which can end one
// direction; the library's type hides that, and a protocol that ends its requests
// with a half-close cannot do without. The library is pinned to one version, and
// test/darwin checks that the field is there.
//
// Errors: domain.ErrUnsupported when conn is made differently; it is then still
// the caller's.
func halfCloser(conn any) (port.Stream, error) {
	v := reflect.ValueOf(conn)
	if v.Kind() != reflect.Pointer || v.IsNil() || v.Elem().Kind() != reflect.Struct {
		return nil, fmt.Errorf("connection of type %T: %w", conn, domain.ErrUnsupported)
	}
	f := v.Elem().FieldByName(connField)
	if !f.IsValid() || f.Type() != reflect.TypeFor[net.Conn]() {
		return nil, fmt.Errorf("connection of type %T without a socket: %w", conn, domain.ErrUnsupported)
	}
	// The field is not exported: read it by its address, which is valid while v lives.
	inner := *(*net.Conn)(unsafe.Pointer(f.UnsafeAddr()))
	s, ok := inner.(*net.UnixConn)
	if !ok || s == nil {
		return nil, fmt.Errorf("connection over %T, want a Unix socket: %w", inner, domain.ErrUnsupported)
	}
	return s, nil
}
