//go:build linux

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// figure is what was measured of one subject, once a round.
type figure struct {
	Name string    `json:"name"`
	Unit string    `json:"unit"`
	Of   string    `json:"of"`
	All  []float64 `json:"all"`
}

func (f figure) median() float64 { return quantile(f.All, 0.5) }

// goal is what a figure, or its ratio to another one's, is to be.
type goal struct {
	What    string  `json:"what"`
	Value   float64 `json:"value"`
	AtLeast float64 `json:"at_least,omitempty"`
	AtMost  float64 `json:"at_most,omitempty"`
	Met     bool    `json:"met"`
}

// report is what one part found.
type report struct {
	Part    string            `json:"part"`
	Machine map[string]string `json:"machine"`
	Figures []*figure         `json:"figures"`
	Absent  map[string]string `json:"absent,omitempty"`
	Goals   []goal            `json:"goals,omitempty"`
	Failed  string            `json:"failed,omitempty"`
	first   []string          // rows that the table begins with
}

func newReport(part string) *report {
	return &report{Part: part, Absent: map[string]string{}, Machine: map[string]string{
		"began": time.Now().UTC().Format(time.RFC3339), "load at the start": load(), "cores": fmt.Sprint(runtime.NumCPU()),
	}}
}

// add takes one more value of a figure.
func (r *report) add(name, unit, of string, value float64) {
	f := r.figure(name, of)
	if f == nil {
		f = &figure{Name: name, Unit: unit, Of: of}
		r.Figures = append(r.Figures, f)
	}
	f.All = append(f.All, value)
}

// figure is nil for one that was not measured.
func (r *report) figure(name, of string) *figure {
	for _, f := range r.Figures {
		if f.Name == name && f.Of == of {
			return f
		}
	}
	return nil
}

// ratio is the median of a figure's ratios round by round, in which the two
// were measured one after the other: what slows the machine slows both.
func (r *report) ratio(name, of, to string) (float64, bool) {
	a, b := r.figure(name, of), r.figure(name, to)
	if a == nil || b == nil || len(a.All) == 0 || len(a.All) != len(b.All) {
		return 0, false
	}
	var all []float64
	for i := range a.All {
		if b.All[i] == 0 {
			return 0, false
		}
		all = append(all, a.All[i]/b.All[i])
	}
	return quantile(all, 0.5), true
}

func (r *report) atLeast(what string, value, least float64) {
	r.Goals = append(r.Goals, goal{What: what, Value: value, AtLeast: least, Met: value >= least})
}

func (r *report) atMost(what string, value, most float64) {
	r.Goals = append(r.Goals, goal{What: what, Value: value, AtMost: most, Met: value <= most})
}

// rows are the names of figures, columns their subjects: those of first, the
// rest in the order in which they came.
func (r *report) rows() (rows, columns []string) {
	rows = slices.Clone(r.first)
	for _, f := range r.Figures {
		if !slices.Contains(rows, f.Name) {
			rows = append(rows, f.Name)
		}
		if !slices.Contains(columns, f.Of) {
			columns = append(columns, f.Of)
		}
	}
	return rows, columns
}

// markdown has the ratios to the first subject's peers, then all medians.
func (r *report) markdown() string {
	var w strings.Builder
	fmt.Fprintf(&w, "\n## %s\n\n", r.Part)
	rows, columns := r.rows()
	if len(columns) > 1 && columns[0] == "arcbox" {
		line(&w, append([]string{"arcbox / peer"}, columns[1:]...))
		line(&w, slices.Repeat([]string{"---"}, len(columns)))
		for _, row := range rows {
			cells := []string{row}
			for _, c := range columns[1:] {
				cell := ""
				if ratio, ok := r.ratio(row, "arcbox", c); ok {
					cell = number(ratio)
				}
				cells = append(cells, cell)
			}
			line(&w, cells)
		}
		w.WriteByte('\n')
	}
	line(&w, append([]string{"median (least to most)"}, columns...))
	line(&w, slices.Repeat([]string{"---"}, len(columns)+1))
	for _, row := range rows {
		cells := []string{row}
		for _, c := range columns {
			cells = append(cells, r.cell(row, c))
		}
		line(&w, cells)
	}
	w.WriteByte('\n')
	for _, name := range slices.Sorted(maps.Keys(r.Absent)) {
		fmt.Fprintf(&w, "- absent: %s: %s\n", name, r.Absent[name])
	}
	for _, g := range r.Goals {
		bound, met := "at least "+number(g.AtLeast), "missed"
		if g.AtMost != 0 || g.AtLeast == 0 {
			bound = "at most " + number(g.AtMost)
		}
		if g.Met {
			met = "met"
		}
		fmt.Fprintf(&w, "- goal %s: %s: %s, to be %s\n", met, g.What, number(g.Value), bound)
	}
	if r.Failed != "" {
		fmt.Fprintf(&w, "- failed: %s\n", r.Failed)
	}
	fmt.Fprintf(&w, "- load %s before, %s after\n", r.Machine["load at the start"], r.Machine["load at the end"])
	return w.String()
}

func (r *report) cell(name, of string) string {
	f := r.figure(name, of)
	if f == nil {
		return ""
	}
	cell := strings.TrimSpace(number(f.median()) + " " + f.Unit)
	if len(f.All) > 1 {
		cell += fmt.Sprintf(" (%s to %s)", number(slices.Min(f.All)), number(slices.Max(f.All)))
	}
	return cell
}

func line(w *strings.Builder, cells []string) {
	w.WriteString("| " + strings.Join(cells, " | ") + " |\n")
}

// number has three significant digits, and no more than its size deserves.
func number(v float64) string {
	switch a := math.Abs(v); {
	case a >= 100 || v == math.Trunc(v):
		return fmt.Sprintf("%.0f", v)
	case a >= 10:
		return fmt.Sprintf("%.1f", v)
	default:
		return fmt.Sprintf("%.2f", v)
	}
}

// write leaves <part>.json and <part>.md in dir.
func (r *report) write(dir string) error {
	r.Machine["ended"], r.Machine["load at the end"] = time.Now().UTC().Format(time.RFC3339), load()
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(filepath.Join(dir, r.Part+".json"), append(data, '\n'), 0o644),
		os.WriteFile(filepath.Join(dir, r.Part+".md"), []byte(r.markdown()), 0o644),
	)
}

// load is the machine's load of the last 1, 5 and 15 minutes.
func load() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	return strings.Join(strings.Fields(string(text))[:3], " ")
}

// quantile is the smallest value that at least the share q does not exceed; of
// no values it is 0.
func quantile(values []float64, q float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	return sorted[max(0, int(math.Ceil(q*float64(len(sorted))))-1)]
}
