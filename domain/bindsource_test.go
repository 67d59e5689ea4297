package domain_test

import (
	"errors"
	"path"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"arcbox/domain"
)

// hostFiles is a host's file system: what paths are, or where they lead.
type hostFiles map[string]string

const (
	aFile   = "(file)"
	aSocket = "(socket)"
	locked  = "(locked)"
)

func (f hostFiles) inspect(p string) (domain.HostPath, error) {
	at := "/"
	for i, name := range strings.Split(strings.Trim(p, "/"), "/") {
		at = path.Join(at, name)
		switch to := f[at]; {
		case to == "":
		case to == aFile:
			return domain.HostPath{Resolved: at, Kind: domain.HostPathFile}, nil
		case to == aSocket:
			return domain.HostPath{Resolved: at, Kind: domain.HostPathSocket}, nil
		case to == locked:
			return domain.HostPath{}, errors.New("follow " + p + ": permission denied")
		default:
			rest := strings.Split(strings.Trim(p, "/"), "/")[i+1:]
			return f.inspect(path.Join(append([]string{to}, rest...)...))
		}
	}
	if strings.Contains(at, "missing") {
		return domain.HostPath{Resolved: at, Kind: domain.HostPathMissing}, nil
	}
	return domain.HostPath{Resolved: at, Kind: domain.HostPathDirectory}, nil
}

var aHost = hostFiles{
	"/home/me/file":                    aFile,
	"/home/me/link":                    "/home/me/src",
	"/home/me/out":                     "/srv/data",
	"/home/me/dangling":                "/srv/missing",
	"/home/me/app.sock":                aSocket,
	"/home/me/ref/ro.sock":             aSocket,
	"/home/me/sock-link":               "/home/me/app.sock",
	"/home/me/ro-link":                 "/home/me/ref/ro.sock",
	"/home/me/locked":                  locked,
	"/home/me/mine":                    "/home/me/.arcbox/vm",
	"/home/me/engine":                  "/home/me/.arcbox/run/docker.sock",
	"/home/me/.arcbox/run/docker.sock": aSocket,
	"/work":                            "/home/me/src",
	"/data":                            "/disks/1/data",
	"/tmp/agent/link":                  "/run/user/7/agent",
	"/run/user/7/agent":                aSocket,
	"/store":                           "/home/me/.arcbox",
}

var theRules = domain.BindRules{
	Shares:  []domain.Share{rw("/data"), rw("/home/me"), ro("/home/me/ref"), ro("/pics")},
	DataDir: "/home/me/.arcbox",
	Sockets: map[string]string{"/home/me/.arcbox/run/docker.sock": "/var/run/docker.sock", "/run/user/7/agent": domain.SSHAgentSocket},
}

func TestBindsThatPass(t *testing.T) {
	for source, want := range map[string]string{
		// shared
		"/home/me":              "/home/me",
		"/home/me/":             "/home/me/",
		"/home/me/src/../file":  "/home/me/src/../file",
		"/home/me/missing/deep": "/home/me/missing/deep",
		"/home/me/link/x":       "/home/me/link/x",
		"/home/me/a b, ü:文":     "/home/me/a b, ü:文",
		"/pics/x":               "/pics/x",
		"/data":                 "/data",
		"/data/x":               "/data/x",
		// shared under another name
		"/work":         "/home/me/src",
		"/work/a":       "/home/me/src/a",
		"/disks/1/data": "/data",
		// the guest's
		"/":                                "/",
		"/proc/":                           "/proc/",
		"/sys/fs/cgroup":                   "/sys/fs/cgroup",
		"/dev/fuse":                        "/dev/fuse",
		"/run/containerd/containerd.sock":  "/run/containerd/containerd.sock",
		"/var/run/docker.sock":             "/var/run/docker.sock",
		"/run/host-services/ssh-auth.sock": "/run/host-services/ssh-auth.sock",
		"/var/lib/docker/volumes":          "/var/lib/docker/volumes",
		"/lib/modules":                     "/lib/modules",
		"/etc/localtime":                   "/etc/localtime",
		"/etc/ssl/certs":                   "/etc/ssl/certs",
		// sockets that the guest has elsewhere
		"/home/me/.arcbox/run/docker.sock":        "/var/run/docker.sock",
		"/home/me/.arcbox/run/../run/docker.sock": "/var/run/docker.sock",
		"/home/me/engine":                         "/var/run/docker.sock",
		"/store/run/docker.sock":                  "/var/run/docker.sock",
		"/run/user/7/agent":                       domain.SSHAgentSocket,
		"/tmp/agent/link":                         domain.SSHAgentSocket,
	} {
		got, err := theRules.Judge(source, aHost.inspect)
		require.NoError(t, err, source)
		require.Equal(t, domain.Bind{Source: want}, got, source)
	}
	for source, want := range map[string]string{"/home/me/app.sock": "/home/me/app.sock", "/home/me/sock-link": "/home/me/app.sock"} {
		got, err := theRules.Judge(source, aHost.inspect)
		require.NoError(t, err, source)
		require.Equal(t, domain.Bind{Source: want, Offer: true}, got, source)
	}
}

func TestBindsThatAreRefused(t *testing.T) {
	const now = "now /data /home/me /home/me/ref:ro /pics:ro"
	for source, want := range map[string][2]string{
		"/srv/data":             {"bind source /srv/data is not shared with the virtual machine", "add it to vm.mounts, " + now + ", and restart the daemon"},
		"/srv//data/":           {"bind source /srv/data is not shared", now},
		"/home":                 {"bind source /home is not shared", now},
		"/home/me2":             {"bind source /home/me2 is not shared", now},
		"/home/me/../you":       {"bind source /home/you is not shared", now},
		"/etc":                  {"bind source /etc is not shared", "has its own in that place"},
		"/etc/hosts":            {"bind source /etc/hosts is not shared", now},
		"/run/user/7/pulse":     {"bind source /run/user/7/pulse is not shared", "has its own in that place"},
		"/home/me/out/x":        {"bind source /home/me/out/x leads to /srv/data/x, which is not shared", now},
		"/home/me/dangling":     {"bind source /home/me/dangling leads to /srv/missing, which is not shared", now},
		"/home/me/ref/ro.sock":  {"bind source /home/me/ref/ro.sock is a socket in a directory that is shared read-only", "without :ro"},
		"/home/me/ro-link":      {"is a socket in a directory that is shared read-only", "without :ro"},
		"/home/me/locked/x":     {"bind source: follow /home/me/locked/x: permission denied", ""},
		"/home/me/.arcbox":      {"bind source /home/me/.arcbox belongs to ArcBox", "/var/run/docker.sock"},
		"/home/me/.arcbox/vm/x": {"bind source /home/me/.arcbox/vm/x belongs to ArcBox", ""},
		"/home/me/mine/x":       {"bind source /home/me/mine/x belongs to ArcBox", ""},
		"/store":                {"bind source /store belongs to ArcBox", ""},
		"/srv/\n":               {`bind source "/srv/\n" is not shared`, now},
	} {
		_, err := theRules.Judge(source, aHost.inspect)
		require.ErrorIs(t, err, domain.ErrInvalid, source)
		require.ErrorContains(t, err, want[0])
		require.Contains(t, domain.Hint(err), want[1], source)
	}
	_, err := domain.BindRules{}.Judge("/home/me", aHost.inspect)
	require.Equal(t, "add it to vm.mounts, now empty, and restart the daemon", domain.Hint(err))
}

// Whatever passes is the guest's, or is in a share by its own path and by what
// it leads to.
func FuzzJudge(f *testing.F) {
	for p := range aHost {
		f.Add(p)
	}
	f.Add("/home/me/../../srv")
	f.Add("/run/user/../docker.sock")
	f.Fuzz(func(t *testing.T, source string) {
		if !path.IsAbs(source) {
			return
		}
		b, err := theRules.Judge(source, aHost.inspect)
		if err != nil {
			require.ErrorIs(t, err, domain.ErrInvalid)
			require.NotContains(t, err.Error(), "\n")
			return
		}
		p := path.Clean(b.Source)
		found, err := aHost.inspect(p)
		require.NoError(t, err)
		in := func(p string) bool {
			for _, dir := range []string{"/data", "/disks/1/data", "/home/me", "/pics"} {
				if domain.Within(p, dir) {
					return true
				}
			}
			return false
		}
		if in(p) {
			require.True(t, in(found.Resolved), "%q leads to %q", p, found.Resolved)
			require.False(t, domain.Within(found.Resolved, theRules.DataDir), "%q", p)
			require.Equal(t, found.Kind == domain.HostPathSocket, b.Offer)
			return
		}
		require.False(t, b.Offer)
		top, _, _ := strings.Cut(strings.TrimPrefix(p, "/"), "/")
		require.Contains(t, []string{"", "proc", "sys", "dev", "run", "var", "lib", "etc"}, top, "%q", p)
	})
}
