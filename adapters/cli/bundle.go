package cli

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"text/tabwriter"
	"time"
)

// bundleFile is a file of a bundle.
type bundleFile struct {
	name string
	data []byte
}

// pack makes a .tar.gz of files in one directory.
func pack(dir string, files []bundleFile, at time.Time) ([]byte, error) {
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	t := tar.NewWriter(z)
	for _, f := range files {
		if err := t.WriteHeader(&tar.Header{Name: dir + "/" + f.name, Mode: 0o600, Size: int64(len(f.data)), ModTime: at, Format: tar.FormatPAX}); err != nil {
			return nil, fmt.Errorf("pack %s: %w", f.name, err)
		}
		if _, err := t.Write(f.data); err != nil {
			return nil, fmt.Errorf("pack %s: %w", f.name, err)
		}
	}
	if err := t.Close(); err != nil {
		return nil, fmt.Errorf("pack: %w", err)
	}
	if err := z.Close(); err != nil {
		return nil, fmt.Errorf("pack: %w", err)
	}
	return out.Bytes(), nil
}

// tailBytes are the last whole lines of data that fit.
func tailBytes(data []byte, most int) []byte {
	if len(data) <= most {
		return data
	}
	data = data[len(data)-most:]
	if i := bytes.IndexByte(data, '\n'); i >= 0 {
		data = data[i+1:]
	}
	return data
}

// text writes the report for people.
func (d *diagnosis) text(w io.Writer) {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	row(t, "arcbox", fmt.Sprintf("%s (%s) %s/%s", d.Build.Version, d.Build.Commit, d.OS, d.Arch))
	if d.Daemon != nil {
		row(t, "daemon", fmt.Sprintf("%s (%s)", d.Daemon.Version, d.Daemon.Commit))
	}
	row(t, "created", d.Created.Format(time.RFC3339))
	for _, f := range d.Host {
		row(t, f.Name, f.Value)
	}
	fmt.Fprintln(t)
	d.table(t)
	_ = t.Flush() // to memory
}

// engine checks whether the Docker API answers.
func (d *diagnosis) engine(ctx context.Context, s Settings) {
	ctx, cancel := context.WithTimeout(ctx, engineTimeout)
	defer cancel()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", s.DockerSocket)
	}}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://arcbox/_ping", nil)
	if err != nil {
		d.add("docker", checkFail, err.Error())
		return
	}
	resp, err := client.Do(req)
	if err != nil {
		d.add("docker", checkFail, "does not answer: "+err.Error())
		return
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		d.add("docker", checkFail, "answers "+resp.Status)
		return
	}
	d.add("docker", checkPass, "answers, API "+resp.Header.Get("Api-Version"))
}
