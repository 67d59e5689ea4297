package docker

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"arcbox/adapters/internal/localsocket/localsockettest"
)

func TestAnotherUserIsNotServed(t *testing.T) {
	s := serve(t, &fakeEngines{}, Options{})
	conn := localsockettest.Dial(t, s.opts.Path)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(5*time.Second)))
	requireEnd(t, conn)
	_ = dial(t, s).Close()
}
