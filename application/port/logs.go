package port

import (
	"io"

	"arcbox/domain"
)

// LogFiles are the bounded log files of the host, one per component.
type LogFiles interface {
	// Writer returns the file of a component ("agent", "dockerd", "containerd",
	// "kernel") of a machine. Writes append whole lines; the file is rotated and bounded.
	// The caller closes it.
	Writer(machine domain.MachineName, component string) (io.WriteCloser, error)
	// Tail returns up to n of the component's last lines, oldest first; none
	// when there is no file.
	Tail(machine domain.MachineName, component string, n int) ([]string, error)
	// Path is where the component's current file is, whether or not it exists.
	Path(machine domain.MachineName, component string) string
}
