package qmp

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

// maxMessage bounds one message, bytes. The longest that QEMU is known to send
// are the schema and memory reports, below 2 MiB.
const maxMessage = 16 << 20

// Event is something that happened in the machine without being asked for.
type Event struct {
	Name string // "SHUTDOWN", "STOP", "DEVICE_DELETED", ...
	// Data is the event's own JSON object, nil when it has none.
	Data json.RawMessage
	Time time.Time // by QEMU's clock
}

// message is any line that a QMP server sends: a greeting, a reply or an event.
type message struct {
	Greeting  json.RawMessage `json:"QMP"`
	Return    json.RawMessage `json:"return"`
	Error     *replyError     `json:"error"`
	ID        json.RawMessage `json:"id"`
	Event     string          `json:"event"`
	Data      json.RawMessage `json:"data"`
	Timestamp struct {
		Seconds      int64 `json:"seconds"`
		Microseconds int64 `json:"microseconds"`
	} `json:"timestamp"`
}

type replyError struct {
	Class string `json:"class"`
	Desc  string `json:"desc"`
}

// id returns the number that a request of this client carried; ok is false for
// a message without one.
func (m *message) id() (n uint64, ok bool) {
	if len(m.ID) == 0 || json.Unmarshal(m.ID, &n) != nil || n == 0 {
		return 0, false
	}
	return n, true
}

func (m *message) event() Event {
	return Event{
		Name: m.Event,
		Data: m.Data,
		Time: time.Unix(m.Timestamp.Seconds, m.Timestamp.Microseconds*1000),
	}
}

// readMessage reads the next non-empty line as a message. The message owns its
// bytes. An error other than the reader's own means that the peer does not
// speak QMP.
func readMessage(r *bufio.Reader, limit int) (*message, error) {
	for {
		line, err := readLine(r, limit)
		if err != nil {
			return nil, err
		}
		line = bytes.TrimSpace(line)
		if len(line) == 0 {
			continue
		}
		m := new(message)
		if err := json.Unmarshal(line, m); err != nil || line[0] != '{' {
			return nil, fmt.Errorf("%w: %.80q", errGarbage, line)
		}
		return m, nil
	}
}

// readLine returns one line in memory of its own. Text after the last line
// feed is io.ErrUnexpectedEOF: QEMU ends every message with one.
func readLine(r *bufio.Reader, limit int) ([]byte, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		if len(line)+len(part) > limit {
			return nil, errMessageTooLong
		}
		line = append(line, part...)
		switch {
		case err == nil:
			return line, nil
		case errors.Is(err, bufio.ErrBufferFull):
		case errors.Is(err, io.EOF) && len(bytes.TrimSpace(line)) > 0:
			return nil, io.ErrUnexpectedEOF
		default:
			return nil, err
		}
	}
}
