package hostconfig

import (
	"bytes"
	"os"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// zone is a file of RFC 8536, version 1: one type of local time with an offset
// and a name of three letters.
func zone(offset byte, name string) []byte {
	b := append([]byte("TZif"), make([]byte, 16)...)
	for _, n := range []byte{0, 0, 0, 0, 1, 4} { // isut, isstd, leap, transitions, types, characters
		b = append(b, 0, 0, 0, n)
	}
	b = append(b, 0, 0, 0, offset, 0, 0)
	return append(append(b, name...), 0)
}

func TestTimeZone(t *testing.T) {
	dir := t.TempDir()
	local, named, second := zone(1, "LOC"), zone(2, "NAM"), zone(3, "SEC")
	h := host{localtime: dir + "/localtime", zoneinfo: []string{dir + "/absent", dir + "/one", dir + "/two"}}
	write(t, dir+"/actual", local)
	require.NoError(t, os.Symlink("actual", h.localtime))
	write(t, dir+"/one/Europe/Berlin", named)
	write(t, dir+"/two/Etc/GMT+5", second)
	write(t, dir+"/one/junk", []byte("TZif and nothing"))
	write(t, dir+"/one/large", append(bytes.Clone(named), make([]byte, maxTimeZone)...))
	write(t, dir+"/secret", zone(9, "SEC"))
	require.NoError(t, syscall.Mkfifo(dir+"/one/fifo", 0o600))

	for tz, c := range map[string]struct {
		want []byte
		log  bool
	}{
		"unset":                             {want: local},
		"TZ=":                               {},
		"TZ=:":                              {},
		"TZ=UTC":                            {},
		"TZ=Europe/Berlin":                  {want: named},
		"TZ=:Europe/Berlin":                 {want: named},
		"TZ=Etc/GMT+5":                      {want: second},
		"TZ=" + dir + "/actual":             {want: local},
		"TZ=:" + dir + "/one/Europe/Berlin": {want: named},
		"TZ=CET-1CEST,M3.5.0,M10.5.0":       {want: local, log: true},
		"TZ=Mars/Olympus":                   {want: local, log: true},
		"TZ=../secret":                      {want: local, log: true},
		"TZ=Europe/../../secret":            {want: local, log: true},
		"TZ=Europe//Berlin":                 {want: local, log: true},
		"TZ=Europe":                         {want: local, log: true},
		"TZ=junk":                           {want: local, log: true},
		"TZ=large":                          {want: local, log: true},
		"TZ=fifo":                           {want: local, log: true},
		"TZ=a b":                            {want: local, log: true},
	} {
		t.Run(tz, func(t *testing.T) {
			s, log := source(t, Options{Environ: []string{tz}}, h)
			require.Equal(t, c.want, config(t, s).TimeZone)
			require.Equal(t, c.log, log.Len() > 0, log.String())
		})
	}
}
