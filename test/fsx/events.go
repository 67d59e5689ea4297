package main

import (
	"bytes"
	"encoding/binary"
	"strings"

	"golang.org/x/sys/unix"
)

// eventNames are the bits of an inotify event's mask. Source: inotify(7).
var eventNames = []struct {
	bit  uint32
	name string
}{
	{unix.IN_MODIFY, "MODIFY"}, {unix.IN_ATTRIB, "ATTRIB"}, {unix.IN_CLOSE_WRITE, "CLOSE_WRITE"}, {unix.IN_CREATE, "CREATE"},
	{unix.IN_DELETE, "DELETE"}, {unix.IN_DELETE_SELF, "DELETE_SELF"}, {unix.IN_MOVED_FROM, "MOVED_FROM"},
	{unix.IN_MOVED_TO, "MOVED_TO"}, {unix.IN_IGNORED, "IGNORED"}, {unix.IN_Q_OVERFLOW, "OVERFLOW"},
}

// eventsIn reads what inotify wrote: "MODIFY name", a line for each event.
func eventsIn(buf []byte) string {
	var text strings.Builder
	for len(buf) >= unix.SizeofInotifyEvent {
		mask, size := binary.NativeEndian.Uint32(buf[4:]), int(binary.NativeEndian.Uint32(buf[12:]))
		buf = buf[unix.SizeofInotifyEvent:]
		if size > len(buf) {
			break
		}
		var words []string
		for _, e := range eventNames {
			if mask&e.bit != 0 {
				words = append(words, e.name)
			}
		}
		text.WriteString(strings.Join(words, "|") + " " + string(bytes.TrimRight(buf[:size], "\x00")) + "\n")
		buf = buf[size:]
	}
	return text.String()
}
