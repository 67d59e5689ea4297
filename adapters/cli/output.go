package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"
	"time"
)

// print writes a result: v as JSON, or what human writes.
func (c *command) print(v any, human func(w io.Writer)) error {
	if c.format == formatJSON {
		enc := json.NewEncoder(c.deps.Stdout)
		enc.SetIndent("", "  ")
		return enc.Encode(v)
	}
	w := tabwriter.NewWriter(c.deps.Stdout, 0, 8, 2, ' ', 0)
	human(w)
	return w.Flush()
}

// line writes one JSON line, for streams.
func (c *command) line(v any) error { return json.NewEncoder(c.deps.Stdout).Encode(v) }

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
