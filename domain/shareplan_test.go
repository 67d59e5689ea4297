package domain_test

import (
	"fmt"
	"path"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"arcbox/domain"
)

func rw(p string) domain.Share { return domain.Share{Path: p} }
func ro(p string) domain.Share { return domain.Share{Path: p, ReadOnly: true} }

func TestParseShares(t *testing.T) {
	for name, c := range map[string]struct {
		mounts []string
		want   []domain.Share
	}{
		"none":                         {nil, []domain.Share{}},
		"home":                         {[]string{"~"}, []domain.Share{rw("/home/me")}},
		"below home":                   {[]string{"~/src:ro"}, []domain.Share{ro("/home/me/src")}},
		"modes":                        {[]string{"/srv:rw", "/opt:ro"}, []domain.Share{ro("/opt"), rw("/srv")}},
		"not clean":                    {[]string{"/srv//a/../b/"}, []domain.Share{rw("/srv/b")}},
		"out of home and back":         {[]string{"~/../you"}, []domain.Share{rw("/home/you")}},
		"twice":                        {[]string{"/srv", "/srv/", "/srv:rw"}, []domain.Share{rw("/srv")}},
		"nested with one mode":         {[]string{"/srv/a/b", "/srv"}, []domain.Share{rw("/srv")}},
		"nested with another mode":     {[]string{"/srv/a:ro", "/srv"}, []domain.Share{rw("/srv"), ro("/srv/a")}},
		"nested in nested":             {[]string{"/s/a/b", "/s/a:ro", "/s", "/s/a/b/c", "/s/a/c:ro"}, []domain.Share{rw("/s"), ro("/s/a"), rw("/s/a/b")}},
		"a name that begins alike":     {[]string{"/srv", "/srv-b:ro", "/srv/a:ro"}, []domain.Share{rw("/srv"), ro("/srv-b"), ro("/srv/a")}},
		"colons":                       {[]string{"/a:b", "/c:rox", "/d:ro:rw", "/e:"}, []domain.Share{rw("/a:b"), rw("/c:rox"), rw("/d:ro"), rw("/e:")}},
		"spaces, commas and non-ASCII": {[]string{" /my files, all", "/größe/文"}, []domain.Share{rw("/größe/文"), rw("/my files, all")}},
		"what the guest can spare":     {[]string{"/tmp", "/var/www", "/etc/nginx", "/usr/local/src", "/Users/me", "/home/run", "/opt/lib"}, []domain.Share{rw("/Users/me"), rw("/etc/nginx"), rw("/home/run"), rw("/opt/lib"), rw("/tmp"), rw("/usr/local/src"), rw("/var/www")}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := domain.ParseShares(c.mounts, "/home/me")
			require.NoError(t, err)
			require.Equal(t, c.want, got)
		})
	}
}

func TestMountsThatCannotBeShared(t *testing.T) {
	for mount, says := range map[string]string{
		"":                                 `"" is not an absolute path`,
		"src":                              "src is not an absolute path",
		"./src":                            "./src is not an absolute path",
		":ro":                              "is not an absolute path",
		"~you":                             "~you begins with ~",
		"/a\x00b":                          `"/a\x00b" contains a zero byte`,
		"/a\xffb":                          "is not UTF-8",
		"/" + strings.Repeat("long/", 900): "is longer than 4095",
		"/":                                "/ cannot be shared",
		"/..":                              "/ cannot be shared",
		"/proc":                            "/proc cannot be shared",
		"/proc/1":                          "/proc/1 cannot be shared",
		"/sys/fs:ro":                       "/sys/fs cannot be shared",
		"/dev/shm":                         "/dev/shm cannot be shared",
		"/run/user/1000":                   "/run/user/1000 cannot be shared",
		"/var/run/x":                       "/var/run/x cannot be shared",
		"/arcbox":                          "/arcbox cannot be shared",
		"/bin":                             "/bin cannot be shared",
		"/sbin":                            "/sbin cannot be shared",
		"/lib":                             "/lib cannot be shared",
		"/lib64":                           "/lib64 cannot be shared",
		"/usr":                             "/usr cannot be shared",
		"/usr/bin":                         "/usr/bin cannot be shared",
		"/usr/lib64":                       "/usr/lib64 cannot be shared",
		"/etc":                             "/etc cannot be shared",
		"/etc/ssl":                         "/etc/ssl cannot be shared",
		"/var":                             "/var cannot be shared",
		"/var/lib":                         "/var/lib cannot be shared",
		"/var/lib/docker/x":                "/var/lib/docker/x cannot be shared",
		"/home/../var/lib//":               "/var/lib cannot be shared",
	} {
		_, err := domain.ParseShares([]string{"/srv", mount}, "/home/me")
		require.ErrorIs(t, err, domain.ErrInvalid, mount)
		require.ErrorContains(t, err, "configuration key vm.mounts: ", mount)
		require.ErrorContains(t, err, says)
	}
	_, err := domain.ParseShares([]string{"/srv", "/srv:ro"}, "/home/me")
	require.EqualError(t, err, "configuration key vm.mounts: /srv is there both with ro and with rw")
	_, err = domain.ParseShares([]string{"~/src"}, "")
	require.ErrorContains(t, err, "~/src cannot be expanded")
	_, err = domain.ParseShares([]string{"~"}, "/")
	require.ErrorIs(t, err, domain.ErrInvalid, "a user whose home is the root")

	var many []string
	for i := range domain.MaxShares + 1 {
		many = append(many, fmt.Sprintf("/srv/%d", i))
	}
	_, err = domain.ParseShares(many, "")
	require.ErrorContains(t, err, "65 directories are more than 64")
	_, err = domain.ParseShares(append(many, "/srv"), "")
	require.NoError(t, err, "they are one share")
}

func TestWithin(t *testing.T) {
	for _, c := range []struct {
		p, dir string
		want   bool
	}{{"/a", "/a", true}, {"/a/b", "/a", true}, {"/ab", "/a", false}, {"/a", "/a/b", false}, {"/a", "/", true}, {"/", "/", true}, {"/", "/a", false}} {
		require.Equal(t, c.want, domain.Within(c.p, c.dir), "%s in %s", c.p, c.dir)
	}
}

// Each path has the mode of the innermost value that it lies in, the order is one
// in which shares can be mounted, and none is more than needed.
func FuzzParseShares(f *testing.F) {
	f.Add("~\n/srv:ro\n/srv/a", "/home/me")
	f.Add("/a/b/c:ro\n/a/b\n/a:ro\n/a/b/c/d", "/")
	f.Add("/var/lib/docker/../x:rw\n/tmp: ro", "")
	f.Fuzz(func(t *testing.T, list, home string) {
		mounts := strings.Split(list, "\n")
		shares, err := domain.ParseShares(mounts, home)
		if err != nil {
			require.ErrorIs(t, err, domain.ErrInvalid)
			require.Contains(t, err.Error(), "vm.mounts")
			return
		}
		require.LessOrEqual(t, len(shares), domain.MaxShares)
		innermost := func(among []domain.Share, p string) (in domain.Share) {
			for _, s := range among {
				if domain.Within(p, s.Path) && len(s.Path) > len(in.Path) {
					in = s
				}
			}
			return in
		}
		for i, s := range shares {
			require.True(t, path.IsAbs(s.Path) && path.Clean(s.Path) == s.Path && s.Path != "/" && utf8.ValidString(s.Path), "%q", s.Path)
			for _, later := range shares[i+1:] {
				require.False(t, domain.Within(s.Path, later.Path), "%q has to be mounted before %q", later.Path, s.Path)
			}
			if around := innermost(shares[:i], s.Path); around.Path != "" {
				require.NotEqual(t, around.ReadOnly, s.ReadOnly, "%q gives %q already", around.Path, s.Path)
			}
		}
		var alone []domain.Share
		for _, m := range mounts {
			one, err := domain.ParseShares([]string{m}, home)
			require.NoError(t, err)
			alone = append(alone, one...)
		}
		for _, s := range alone {
			require.Equal(t, s.ReadOnly, innermost(shares, s.Path).ReadOnly, "%q", s.Path)
		}
	})
}
