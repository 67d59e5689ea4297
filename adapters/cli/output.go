package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"text/template"
	"time"
)

// Values of --format besides a template.
const (
	formatTable    = "table"
	formatJSON     = "json"
	formatQuiet    = "quiet"
	formatTemplate = "go-template"
)

var formats = []string{formatTable, formatJSON, formatQuiet, formatTemplate + "="}

// setFormat takes --format, which is a name or a template: "go-template=TEXT",
// or any text with "{{".
func (c *command) setFormat(value string) error {
	text, named := strings.CutPrefix(value, formatTemplate+"=")
	switch {
	case value == formatTable || value == formatJSON || value == formatQuiet:
		c.format = value
		return nil
	case !named && !strings.Contains(value, "{{"):
		return usageError{fmt.Errorf("--format %q: want table, json, quiet or go-template=TEMPLATE", value)}
	}
	t, err := template.New("--format").Funcs(template.FuncMap{"json": templateJSON, "join": templateJoin}).Option("missingkey=error").Parse(text)
	if err != nil {
		return usageError{fmt.Errorf("--format: %s", strings.TrimPrefix(err.Error(), "template: --format:"))}
	}
	c.format, c.template = formatTemplate, t
	return nil
}

func templateJSON(v any) (string, error) {
	data, err := json.Marshal(v)
	return string(data), err
}

func templateJoin(list []any, separator string) string {
	parts := make([]string, len(list))
	for i, e := range list {
		parts[i] = fmt.Sprint(e)
	}
	return strings.Join(parts, separator)
}

// print writes a result in the user's format: v as JSON or to the template,
// what human writes, or the lines of quiet, which are what a script would ask for.
func (c *command) print(v any, human func(w io.Writer), quiet ...string) error {
	if c.format == formatJSON {
		enc := json.NewEncoder(c.deps.Stdout)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		return enc.Encode(v)
	}
	return c.emit(v, human, quiet...)
}

// emit writes one item of a stream: JSON is on one line.
func (c *command) emit(v any, human func(w io.Writer), quiet ...string) error {
	switch c.format {
	case formatJSON:
		enc := json.NewEncoder(c.deps.Stdout)
		enc.SetEscapeHTML(false)
		return enc.Encode(v)
	case formatTemplate:
		return c.fill(v)
	case formatQuiet:
		for _, line := range quiet {
			if _, err := fmt.Fprintln(c.deps.Stdout, line); err != nil {
				return err
			}
		}
		return nil
	}
	w := tabwriter.NewWriter(c.deps.Stdout, 0, 8, 2, ' ', 0)
	human(w)
	return w.Flush()
}

// fill writes the template with the fields by their names in JSON.
func (c *command) fill(v any) error {
	fields := templateFields(v)
	var b strings.Builder
	if err := c.template.Execute(&b, fields); err != nil {
		var at template.ExecError
		if errors.As(err, &at) {
			err = at.Err
		}
		text := strings.TrimPrefix(err.Error(), "template: ")
		if m, ok := fields.(map[string]any); ok {
			text += "; the fields are " + strings.Join(sortedKeys(m), ", ")
		}
		return usageError{errors.New(text)}
	}
	out := b.String()
	if !strings.HasSuffix(out, "\n") {
		out += "\n"
	}
	_, err := io.WriteString(c.deps.Stdout, out)
	return err
}

func row(w io.Writer, name string, value any) { fmt.Fprintf(w, "%s\t%v\n", name, value) }

func seconds(d time.Duration) string { return d.Round(time.Second).String() }

func bytesText(n int64) string {
	switch {
	case n < 0:
		return "?"
	case n < 1<<20:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	case n < 1<<30:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	default:
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	}
}
