package supervisor

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestAServiceIsHeldUntilWhatItNeedsIsThere(t *testing.T) {
	up := filepath.Join(t.TempDir(), "up")
	over := make(chan struct{})
	held := shell("held", "touch "+up+"; exec sleep 60", exists(up))
	held.Hold = &Hold{Over: over, What: "the host's configuration", Patience: 10 * time.Millisecond}
	s, r := build(quick, shell("free", "exec sleep 60", nil), held)
	s.Start()
	defer s.Stop(t.Context())
	r.await(t, "free ready 0")
	require.Equal(t, "waits for the host's configuration", r.await(t, "held starting 0").Detail)
	require.Never(t, func() bool { _, err := os.Stat(up); return err == nil }, 50*time.Millisecond, 10*time.Millisecond)
	close(over)
	r.await(t, "held ready 0")
}

func TestAHeldServiceCanBeStopped(t *testing.T) {
	held := shell("held", "exit 1", nil)
	held.Hold = &Hold{Over: make(chan struct{}), What: "nothing", Patience: time.Minute}
	s, r := build(quick, held)
	s.Start()
	r.await(t, "held starting 0")
	begin := time.Now()
	s.Stop(t.Context())
	require.Less(t, time.Since(begin), 5*time.Second)
	require.Equal(t, []string{"held starting 0", "held stopped 0"}, r.history())
}
