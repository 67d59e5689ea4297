package e2e

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestDevelopmentServersReload edits a program on the host and asks its server
// in a container for the new page, over a published port.
func TestDevelopmentServersReload(t *testing.T) {
	d := own(t, "reload")
	dir := filepath.Join(filepath.Dir(d.data), "tree")
	require.NoError(t, os.Mkdir(dir, dirMode))
	d.extra = []string{"ARCBOX_VM__MOUNTS=" + dir}
	require.NoError(t, d.start("--wait"))
	d.loadDev(t)

	t.Run("Node.js with nodemon", func(t *testing.T) {
		tree := filepath.Join(dir, "node")
		require.NoError(t, os.Mkdir(tree, dirMode))
		program := func(page string) string {
			return fmt.Sprintf("require('http').createServer((q, a) => a.end(%q)).listen(80)\n", page)
		}
		write(t, filepath.Join(tree, "server.js"), program("first"))
		reloads(t, d, tree, []string{"nodemon", "server.js"}, filepath.Join(tree, "server.js"), program)
	})

	// The page is read when the server starts, so only a restart shows another.
	t.Run("Go with air", func(t *testing.T) {
		tree := filepath.Join(dir, "go")
		require.NoError(t, os.MkdirAll(filepath.Join(tree, "pages"), dirMode))
		write(t, filepath.Join(tree, "serve.sh"), "#!/bin/sh\nmkdir -p /run/www && cp pages/index.html /run/www/index.html && exec httpd -f -p 80 -h /run/www\n")
		require.NoError(t, os.Chmod(filepath.Join(tree, "serve.sh"), 0o755)) //nolint:gosec // a program
		write(t, filepath.Join(tree, ".air.toml"), strings.Join([]string{`root = "."`, `tmp_dir = "/tmp/air"`, `[build]`, `cmd = "true"`,
			`entrypoint = ["./serve.sh"]`, `include_ext = ["html"]`, `delay = 50`, `kill_delay = "100ms"`, ``}, "\n"))
		page := func(page string) string { return page }
		write(t, filepath.Join(tree, "pages", "index.html"), page("first"))
		reloads(t, d, tree, []string{"air"}, filepath.Join(tree, "pages", "index.html"), page)
	})
}

// reloads runs a development server on a tree and edits a file of it, in place
// and as editors do, by rename.
func reloads(t *testing.T, d *daemon, tree string, command []string, file string, content func(page string) string) {
	t.Helper()
	port := freePort(t)
	id := strings.TrimSpace(d.must(t, append([]string{"run", "-d", "--init", bind(tree, "/srv"), "-w", "/srv", "-p", "127.0.0.1:" + port + ":80", devImage}, command...)...))
	defer func() { _, _ = d.docker(t.Context(), "rm", "-f", id) }()
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	shows := func(page string, within time.Duration) time.Duration {
		t.Helper()
		began := time.Now()
		for {
			got, err := fetch(client, "http://127.0.0.1:"+port+"/")
			if err == nil && got == page {
				return time.Since(began)
			}
			if time.Since(began) > within {
				logs, _ := d.docker(t.Context(), "logs", id)
				t.Fatalf("after %s: %q, %v, and not %q; the server says:\n%s", within, got, err, page, logs)
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	shows("first", time.Minute)
	var took []time.Duration
	for n := range 5 {
		page := fmt.Sprintf("page number %d", n)
		if n%2 == 0 {
			write(t, file, content(page))
		} else {
			write(t, file+"~", content(page))
			require.NoError(t, os.Rename(file+"~", file))
		}
		took = append(took, shows(page, 30*time.Second))
	}
	slices.Sort(took)
	t.Logf("%s: a reload took %s at best, %s in the middle, %s at worst", command[0], took[0], took[len(took)/2], took[len(took)-1])
}

func fetch(client *http.Client, url string) (string, error) {
	resp, err := client.Get(url)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return string(body), err
}
