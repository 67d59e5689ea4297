package install

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/google/renameio/v2"
	"github.com/miekg/dns"

	"arcbox/domain"
)

// Options describes an Installer; Target is required.
type Options struct {
	Target Target
	// Program and Arguments are this program and what it needs to find the same
	// target again, for the command that a user without privileges is shown.
	Program, Arguments string
	// Root is where the host's files are; "" is the file system's root.
	Root string
	// OS is the host's, as runtime.GOOS; "" is this one.
	OS string
	// Privileged says whether files of the system can be written; nil asks the
	// operating system.
	Privileged func() bool
	// Run runs a command and returns what it wrote; nil is os/exec.
	Run func(ctx context.Context, argv []string) (string, error)
	// Lookup asks the host's own resolver; nil is net.DefaultResolver.
	Lookup func(ctx context.Context, name string) ([]string, error)
}

// Installer changes the host's resolver. Its methods are not called at once.
type Installer struct{ o Options }

// New checks o; the error wraps domain.ErrInvalid. What it writes is read by
// services of the system, so nothing but a plain domain and address is taken.
func New(o Options) (*Installer, error) {
	name, err := domain.ParseDomain(o.Target.Domain)
	if err != nil {
		return nil, err
	}
	o.Target.Domain = name
	if a := o.Target.Addr; !a.Addr().IsLoopback() || !a.Addr().Is4() || a.Port() == 0 {
		return nil, domain.WithHint(fmt.Errorf("names are answered at %s: want a port of the host's loopback: %w", a, domain.ErrInvalid),
			"network.dns_port chooses the port")
	}
	if o.OS == "" {
		o.OS = runtime.GOOS
	}
	if o.Root == "" {
		o.Root = "/"
	}
	if o.Privileged == nil {
		o.Privileged = func() bool { return os.Geteuid() == 0 }
	}
	if o.Run == nil {
		o.Run = run
	}
	if o.Lookup == nil {
		o.Lookup = net.DefaultResolver.LookupHost
	}
	return &Installer{o}, nil
}

// Change is what was done, or would be.
type Change struct {
	Method Method `json:"method,omitempty"`
	// Steps is empty when there was nothing to do.
	Steps []Step `json:"steps"`
}

// Install tells the host's resolver. With dry it only says what it would do.
// The errors wrap domain.ErrUnsupported where no resolver is known that can be
// told, domain.ErrConflict where somebody else has the file, and
// domain.ErrPermission without privileges; then nothing was changed.
func (i *Installer) Install(ctx context.Context, dry bool) (Change, error) {
	s, err := i.inspect(ctx)
	if err != nil {
		return Change{}, err
	}
	m, steps, err := planInstall(s, i.o.Target)
	if err != nil {
		return Change{}, err
	}
	return i.change(ctx, m, steps, s, "install", dry)
}

// Uninstall takes back what Install did, whichever domain and port it was for.
func (i *Installer) Uninstall(ctx context.Context, dry bool) (Change, error) {
	s, err := i.inspect(ctx)
	if err != nil {
		return Change{}, err
	}
	return i.change(ctx, "", planUninstall(s), s, "uninstall", dry)
}

func (i *Installer) change(ctx context.Context, m Method, steps []Step, s State, verb string, dry bool) (Change, error) {
	c := Change{Method: m, Steps: steps}
	if dry || len(steps) == 0 {
		return c, nil
	}
	if !i.o.Privileged() {
		words := slices.DeleteFunc([]string{"sudo", i.o.Program, "dns", verb, i.o.Arguments}, func(w string) bool { return w == "" })
		return c, domain.WithHint(fmt.Errorf("the host's resolver is configured in files of root: %w", domain.ErrPermission),
			"run: "+strings.Join(words, " "))
	}
	for done, step := range steps {
		if err := i.execute(ctx, step); err != nil {
			if len(step.Command) > 0 && verb == "install" {
				err = errors.Join(err, i.restore(steps[:done], s)) // or the next install would take it for done
			}
			return c, err
		}
	}
	return c, nil
}

func (i *Installer) execute(ctx context.Context, s Step) error {
	switch {
	case s.Write != "":
		return i.write(s.Write, s.Content)
	case s.Remove != "":
		if err := os.Remove(i.path(s.Remove)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("take back the configuration of the host's resolver: %w", err)
		}
		return nil
	}
	out, err := i.o.Run(ctx, s.Command)
	if err != nil {
		lines := strings.Split(strings.TrimSpace(out), "\n")
		return fmt.Errorf("%s: %w: %s", strings.Join(s.Command, " "), err, strings.Join(lines[max(0, len(lines)-3):], " | "))
	}
	return nil
}

// write makes a file that the services' own users can read, whatever the umask.
func (i *Installer) write(path, content string) error {
	dir := filepath.Dir(i.path(path))
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("configure the host's resolver: %w", err)
		}
		if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // as distributions ship it
			return fmt.Errorf("configure the host's resolver: %w", err)
		}
	}
	if err := renameio.WriteFile(i.path(path), []byte(content), 0o644, renameio.WithStaticPermissions(0o644)); err != nil {
		return fmt.Errorf("configure the host's resolver: %w", err)
	}
	return nil
}

// restore gives the files of steps the content that they had.
func (i *Installer) restore(steps []Step, s State) error {
	var errs []error
	for _, step := range steps {
		path := step.Write + step.Remove
		if path == "" {
			continue
		}
		if was, ok := s.Files[path]; ok {
			errs = append(errs, i.write(path, was))
		} else if err := os.Remove(i.path(path)); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// Status says how things are.
type Status struct {
	// Method is the one that applies here, "" for none; Files are ours.
	Method Method
	Files  []string
	// Installed says that they are what Install would write.
	Installed bool
	// Answers says that the daemon answers at the target, Resolves that the
	// host's own resolver finds the domain.
	Answers, Resolves bool
	// Problem is what stands in the way of an installation.
	Problem error
}

// statusTimeout bounds each of the two questions of Status.
const statusTimeout = 2 * time.Second

// Status looks and asks; it changes nothing and needs no privileges.
func (i *Installer) Status(ctx context.Context) (Status, error) {
	s, err := i.inspect(ctx)
	if err != nil {
		return Status{}, err
	}
	var st Status
	for _, path := range slices.Sorted(maps.Keys(s.Files)) {
		if isOurs(s.Files[path]) {
			st.Files = append(st.Files, path)
		}
	}
	var steps []Step
	st.Method, steps, st.Problem = planInstall(s, i.o.Target)
	st.Installed = st.Problem == nil && len(steps) == 0
	ctx, cancel := context.WithTimeout(ctx, 2*statusTimeout)
	defer cancel()
	name := "host." + i.o.Target.Domain // the one name that is always there
	client := dns.Client{Timeout: statusTimeout}
	answer, _, err := client.ExchangeContext(ctx, new(dns.Msg).SetQuestion(name+".", dns.TypeA), i.o.Target.Addr.String())
	st.Answers = err == nil && answer.Rcode == dns.RcodeSuccess && len(answer.Answer) > 0
	found, err := i.o.Lookup(ctx, name)
	st.Resolves = err == nil && slices.ContainsFunc(found, func(a string) bool { ip, err := netip.ParseAddr(a); return err == nil && ip.IsLoopback() })
	return st, nil
}

// commandTimeout bounds a command; a restart of a service takes a second.
const commandTimeout = 30 * time.Second

func run(ctx context.Context, argv []string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...) //nolint:gosec // our own commands
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil && err != nil {
		err = fmt.Errorf("%w: %w", err, domain.ErrTimeout)
	}
	return string(out), err
}
