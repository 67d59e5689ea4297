package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/google/renameio/v2"
	"github.com/spf13/cobra"

	"arcbox/domain"
)

// Bounds of a bundle: what a bug report needs, and can be attached to one.
const (
	bundleLogLines = 2000
	bundleLogBytes = 1 << 20 // of one log, before compression
	hostTimeout    = 10 * time.Second
	engineTimeout  = 3 * time.Second
)

// Fact is one thing that is known of the host. Problem says what is wrong with
// it; "" is nothing.
type Fact struct {
	Name    string `json:"name"`
	Value   string `json:"value"`
	Problem string `json:"problem,omitempty"`
}

// Host is the computer.
type Host interface {
	// Facts bounds its own time and leaves out what it cannot find.
	Facts(ctx context.Context) []Fact
	// Home is the user's directory, "" for none.
	Home() string
}

// Results of checks.
const (
	checkPass = "pass"
	checkWarn = "warn"
	checkFail = "fail"
)

// check is one line of the report.
type check struct {
	Name   string `json:"name"`
	Result string `json:"result"`
	Detail string `json:"detail"`
}

// diagnosis is the report of a bundle, and the JSON of arcbox diagnose.
type diagnosis struct {
	File    string    `json:"file,omitempty"` // of the bundle; "" on standard output
	Created time.Time `json:"created"`
	Build   Build     `json:"build"`
	OS      string    `json:"os"`
	Arch    string    `json:"arch"`
	Daemon  *Build    `json:"daemon,omitempty"`
	Checks  []check   `json:"checks"`
	Host    []Fact    `json:"host"`
	Entries []string  `json:"entries"` // names of the files in the bundle
}

func (c *command) diagnose() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use: "diagnose", Short: "Check this installation and pack what a bug report needs", Args: noArgs,
		Long: `Check this installation and pack what a bug report needs into a .tar.gz: the report, status,
versions, configuration, and the last lines of each log. Passwords, tokens, keys and
your home directory are taken out of all of it; look through it before you send it.
It works with and without a daemon, and changes nothing.`,
		Example: "  arcbox diagnose\n  arcbox diagnose --output report.tar.gz\n  arcbox diagnose --output - | tar tzv",
		RunE: func(cmd *cobra.Command, _ []string) error {
			now := time.Now().UTC().Truncate(time.Second)
			if output == "" {
				output = "arcbox-diagnose-" + now.Format("20060102-150405") + ".tar.gz"
			}
			d, data, err := c.bundle(cmd.Context(), now, output)
			if err != nil {
				return err
			}
			if output == "-" {
				_, err := c.deps.Stdout.Write(data)
				return err
			}
			// Only for the user: no redaction is perfect.
			if err := renameio.WriteFile(output, data, 0o600); err != nil {
				return fmt.Errorf("write the bundle: %w", err)
			}
			return c.print(d, func(w io.Writer) {
				d.table(w)
				fmt.Fprintf(w, "\n%s (%s): look through it before you send it\n", output, bytesText(int64(len(data))))
			}, output)
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "", "the file to write (default arcbox-diagnose-TIME.tar.gz here); - is standard output")
	return cmd
}

func (d *diagnosis) table(w io.Writer) {
	for _, k := range d.Checks {
		fmt.Fprintf(w, "[%s]\t%s\t%s\n", strings.ToUpper(k.Result), k.Name, k.Detail)
	}
}

// bundle makes the report and packs it. What cannot be found is said in the
// report and is no error.
func (c *command) bundle(ctx context.Context, now time.Time, output string) (*diagnosis, []byte, error) {
	d := &diagnosis{Created: now, Build: c.deps.Build, OS: runtime.GOOS, Arch: runtime.GOARCH}
	if output != "-" {
		d.File = filepath.Base(output)
	}
	home := ""
	if host, err := c.deps.Host(c.overrides()); err != nil {
		d.add("host", checkWarn, err.Error())
	} else {
		home = host.Home()
		hostCtx, cancel := context.WithTimeout(ctx, hostTimeout)
		d.Host = host.Facts(hostCtx)
		cancel()
		for _, f := range d.Host {
			if f.Problem != "" {
				d.add(f.Name, checkWarn, f.Value+": "+f.Problem)
			}
		}
	}
	var files []bundleFile
	add := func(name string, data []byte) {
		if len(data) > 0 {
			files = append(files, bundleFile{name, []byte(redact(string(data), home))})
		}
	}
	add("config.json", c.bundleConfig(d))
	for i, f := range c.deps.Config(c.overrides()).Files() {
		if data, err := os.ReadFile(f.Path); err == nil {
			add(fmt.Sprintf("config/%d-%s", i+1, filepath.Base(f.Path)), tailBytes(data, bundleLogBytes))
		}
	}
	add("status.json", c.bundleStatus(ctx, d))
	if l, err := c.deps.Logs(c.overrides()); err == nil {
		for _, component := range logComponents {
			lines, err := l.Tail(component, bundleLogLines)
			if err != nil {
				d.add("log of "+component, checkWarn, err.Error())
				continue
			}
			if len(lines) > 0 {
				add("logs/"+component+".log", tailBytes([]byte(strings.Join(lines, "\n")+"\n"), bundleLogBytes))
			}
		}
	}
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	d.Entries = []string{"report.txt", "report.json"}
	for _, f := range files {
		d.Entries = append(d.Entries, f.name)
	}
	d.redact(home)
	var text bytes.Buffer
	d.text(&text)
	files = append([]bundleFile{{"report.txt", text.Bytes()}, {"report.json", indented(d)}}, files...)
	data, err := pack("arcbox-diagnose", files, now)
	return d, data, err
}

func (d *diagnosis) add(name, result, detail string) {
	d.Checks = append(d.Checks, check{name, result, detail})
}

func (d *diagnosis) redact(home string) {
	for i := range d.Checks {
		d.Checks[i].Detail = redact(d.Checks[i].Detail, home)
	}
	for i := range d.Host {
		d.Host[i].Value = redact(d.Host[i].Value, home)
	}
}

// bundleConfig is what holds for each key, and a check of the configuration.
func (c *command) bundleConfig(d *diagnosis) []byte {
	values, err := c.deps.Config(c.overrides()).Values()
	if err != nil {
		d.add("configuration", checkFail, err.Error())
		return nil
	}
	changed := 0
	for i := range values {
		if values[i].Redacted {
			values[i].Value = values[i].Shown
		}
		if values[i].Source != "default" {
			changed++
		}
	}
	d.add("configuration", checkPass, fmt.Sprintf("valid, %d keys are not at their default", changed))
	return indented(configListOutput{values})
}

// bundleStatus is what the daemon says of itself, and checks of daemon, machine
// and engine.
func (c *command) bundleStatus(ctx context.Context, d *diagnosis) []byte {
	s, pid, running, err := c.probe()
	switch {
	case err != nil:
		d.add("daemon", checkFail, err.Error())
		return nil
	case !running:
		d.add("daemon", checkWarn, "not running")
		return nil
	}
	d.add("daemon", checkPass, fmt.Sprintf("runs as process %d", pid))
	in, err := info(ctx, s)
	if err != nil {
		d.add("API", checkFail, "does not answer: "+err.Error())
		return nil
	}
	d.add("API", checkPass, "answers")
	if client, done, err := dial(s); err == nil {
		if v := daemonVersion(ctx, client); v != nil {
			d.Daemon = &Build{Version: v.Version, Commit: v.GitCommit, Time: v.BuildTime}
			if text := skew(c.deps.Build, *d.Daemon); text != "" {
				d.add("versions", checkWarn, text)
			} else {
				d.add("versions", checkPass, "command and daemon are of one build")
			}
		}
		done()
	}
	if e := in.Setup.GetError(); e != "" {
		d.add("start", checkFail, e)
	}
	up := false
	for _, vm := range in.Vms {
		result, detail := checkPass, vm.State
		if vm.Reason != "" {
			detail += ": " + vm.Reason
		}
		if vm.State == string(domain.StateFailed) {
			result = checkFail
		}
		up = up || vm.State == string(domain.StateRunning) || vm.State == string(domain.StateIdle)
		d.add("machine "+vm.Machine, result, detail)
		for _, p := range vm.Disk.GetProblems() {
			d.add("disk of "+vm.Machine, checkWarn, p)
		}
	}
	// A request would boot a machine that is down; nothing is to change here.
	if up {
		d.engine(ctx, s)
	}
	return indented(toStatus(in))
}

func indented(v any) []byte {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil { // structs of this package
		return nil
	}
	return append(data, '\n')
}
