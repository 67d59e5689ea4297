// Command arcbox-bench measures ArcBox on this machine.
package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

func main() {
	if len(os.Args) == 3 && os.Args[1] == "inside" {
		exit(inside(os.Args[2]))
	}
	bin := flag.String("bin", "", "directory of arcbox and docker")
	out := flag.String("out", "", "directory for the raw figures")
	flag.Parse()
	exit(run(*bin, *out))
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "arcbox-bench:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// bench is one daemon and what was measured of it.
type bench struct {
	bin, dir string
	env      []string
	figures  map[string]any
}

func (b *bench) command(program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(context.Background(), filepath.Join(b.bin, program), args...)
	cmd.Env = b.env
	return cmd
}

func (b *bench) do(program string, args ...string) (string, error) {
	var stdout, stderr strings.Builder
	cmd := b.command(program, args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", program, strings.Join(args, " "), err, stderr.String())
	}
	return stdout.String(), nil
}

func (b *bench) set(name string, value any) {
	b.figures[name] = value
	fmt.Printf("%-44s %v\n", name, value)
}

func (b *bench) socket() string { return filepath.Join(b.dir, "d", "run", "docker.sock") }

func run(bin, out string) error {
	dir, err := os.MkdirTemp("", "arcbox-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	b := &bench{bin: bin, dir: dir, figures: map[string]any{}}
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "ARCBOX_") && !strings.HasPrefix(kv, "DOCKER_") {
			b.env = append(b.env, kv)
		}
	}
	b.env = append(b.env, "ARCBOX_DATA_DIR="+filepath.Join(dir, "d"), "DOCKER_HOST=unix://"+b.socket(), "DOCKER_CONFIG="+filepath.Join(dir, "docker"))
	defer func() { _, _ = b.do("arcbox", "daemon", "stop", "--force") }()
	for _, step := range []func(*bench) error{binaries, coldStart, overhead, bulk, idle} {
		if err := step(b); err != nil {
			return err
		}
	}
	data, err := json.MarshalIndent(b.figures, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(out, "figures.json"), append(data, '\n'), 0o644)
}

func seconds(d time.Duration) float64 { return float64(d.Milliseconds()) / 1000 }

func binaries(b *bench) error {
	for _, name := range []string{"arcbox", "arcbox-agent"} {
		st, err := os.Stat(filepath.Join(b.bin, name))
		if err != nil {
			return err
		}
		b.set("size of "+name+", MB", float64(st.Size()/100_000)/10)
	}
	best := time.Hour
	for range 20 {
		began := time.Now()
		if _, err := b.do("arcbox", "version"); err != nil {
			return err
		}
		best = min(best, time.Since(began))
	}
	b.set("arcbox version, ms (best of 20)", float64(best.Microseconds())/1000)
	return nil
}

var milestone = regexp.MustCompile(`arcbox-agent: +(\d+) ms: (.*)`)

// coldStart boots three times by a request, and splits the last boot.
func coldStart(b *bench) error {
	if _, err := b.do("arcbox", "daemon", "start", "--boot", "on_demand"); err != nil {
		return err
	}
	for i := range 3 {
		began := time.Now()
		if _, err := b.do("docker", "version"); err != nil {
			return err
		}
		b.set(fmt.Sprintf("cold docker version %d, s", i+1), seconds(time.Since(began)))
		if i == 2 {
			break
		}
		began = time.Now()
		if _, err := b.do("arcbox", "daemon", "stop"); err != nil {
			return err
		}
		b.set(fmt.Sprintf("stop %d, s", i+1), seconds(time.Since(began)))
		if _, err := b.do("arcbox", "daemon", "start", "--boot", "on_demand"); err != nil {
			return err
		}
	}
	console, err := b.do("arcbox", "logs", "-c", "kernel", "-n", "100000")
	if err != nil {
		return err
	}
	for lines := bufio.NewScanner(strings.NewReader(console)); lines.Scan(); {
		if m := milestone.FindStringSubmatch(lines.Text()); m != nil {
			if ms, err := strconv.Atoi(m[1]); err == nil {
				b.set("guest clock, ms: "+strings.TrimSpace(m[2]), ms)
			}
		}
	}
	return nil
}

// overhead compares requests through the socket with the same ones made in the guest.
func overhead(b *bench) error {
	if _, err := b.do("docker", "load", "-i", filepath.Join(filepath.Dir(b.bin), "build", "images", "demo.tar")); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if _, err := b.do("docker", "create", "--name", "inside", "-v", "/var/run/docker.sock:/docker.sock", "arcbox/demo", "/bench", "inside", "/docker.sock"); err != nil {
		return err
	}
	if _, err := b.do("docker", "cp", self, "inside:/bench"); err != nil {
		return err
	}
	text, err := b.do("docker", "start", "-a", "inside")
	if err != nil {
		return err
	}
	var peer map[string]latency
	if err := json.Unmarshal([]byte(text), &peer); err != nil {
		return err
	}
	before, err := b.daemon()
	if err != nil {
		return err
	}
	for _, path := range []string{"/_ping", "/containers/json"} {
		l, err := measure(b.socket(), path, requests)
		if err != nil {
			return err
		}
		b.set("GET "+path+" through the socket, ms", l)
		b.set("GET "+path+" inside the guest, ms", peer[path])
		b.set("GET "+path+" ratio of the medians", float64(int(100*l.P50/peer[path].P50))/100)
	}
	took, err := parallel(b.socket(), "/containers/json", 1000, 100)
	if err != nil {
		return err
	}
	b.set("1000 GET /containers/json, 100 at once, s", seconds(took))
	if took, err = parallel(b.socket(), "/_ping", 10000, 50); err != nil {
		return err
	}
	b.set("10000 GET /_ping, 50 at once, s", seconds(took))
	time.Sleep(2 * time.Second)
	after, err := b.daemon()
	if err != nil {
		return err
	}
	b.set("descriptors before and after", []int{before.descriptors, after.descriptors})
	b.set("daemon's RSS before and after, MB", []float64{before.rss, after.rss})
	return nil
}

const bulkSize = 256 << 20

// bulk moves an image of random bytes, and the same bytes through a container's
// standard streams as the peer.
func bulk(b *bench) error {
	file := filepath.Join(b.dir, "random")
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	if _, err := io.CopyN(f, rand.Reader, bulkSize); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	tar := filepath.Join(b.dir, "random.tar")
	if out, err := exec.CommandContext(context.Background(), "tar", "-cf", tar, "-C", b.dir, "random").CombinedOutput(); err != nil {
		return fmt.Errorf("tar: %w: %s", err, out)
	}
	rate := func(name string, f func() error) error {
		began := time.Now()
		if err := f(); err != nil {
			return err
		}
		b.set(name+", MiB/s", float64(int(10*float64(bulkSize>>20)/time.Since(began).Seconds()))/10)
		return nil
	}
	if _, err := b.do("docker", "import", tar, "bulk"); err != nil {
		return err
	}
	saved := filepath.Join(b.dir, "saved.tar")
	if err := rate("docker save", func() error { _, err := b.do("docker", "save", "-o", saved, "bulk"); return err }); err != nil {
		return err
	}
	if _, err := b.do("docker", "rmi", "bulk"); err != nil {
		return err
	}
	if err := rate("docker load", func() error { _, err := b.do("docker", "load", "-i", saved); return err }); err != nil {
		return err
	}
	if err := rate("peer: into cat of a container", func() error {
		in, err := os.Open(file)
		if err != nil {
			return err
		}
		defer in.Close()
		cmd := b.command("docker", "run", "--rm", "-i", "arcbox/demo", "sh", "-c", "cat > /dev/null")
		cmd.Stdin = in
		return cmd.Run()
	}); err != nil {
		return err
	}
	return rate("peer: out of head of a container", func() error {
		_, err := b.do("docker", "run", "--rm", "arcbox/demo", "sh", "-c", fmt.Sprintf("head -c %d /dev/zero | tr '\\0' x > /tmp/x; wc -c < /tmp/x", bulkSize))
		return err
	})
}

// idle watches a machine without containers for a minute.
func idle(b *bench) error {
	before, err := b.daemon()
	if err != nil {
		return err
	}
	time.Sleep(time.Minute)
	after, err := b.daemon()
	if err != nil {
		return err
	}
	b.set("idle minute: daemon's CPU, % of a core", float64(int(1000*(after.cpu-before.cpu).Seconds()/60*100))/1000)
	b.set("idle: daemon's RSS, MB", after.rss)
	return nil
}
