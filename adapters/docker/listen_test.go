package docker

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"arcbox/domain"
)

func TestListenRefuses(t *testing.T) {
	require.ErrorIs(t, NewServer(Options{}, &fakeEngines{}).Listen(), domain.ErrInvalid)
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, []byte("precious"), 0o600))
	require.ErrorIs(t, NewServer(Options{Path: file}, &fakeEngines{}).Listen(), domain.ErrAlreadyExists)
	require.FileExists(t, file)

	s := serve(t, &fakeEngines{}, Options{})
	require.ErrorIs(t, NewServer(Options{Path: s.opts.Path}, &fakeEngines{}).Listen(), domain.ErrAlreadyRunning)
	require.ErrorIs(t, s.Listen(), domain.ErrAlreadyRunning)
	_ = dial(t, s).Close()
}
