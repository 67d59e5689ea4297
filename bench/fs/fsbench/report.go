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

// value is one figure as fswork says it.
type value struct {
	Name  string  `json:"name"`
	Unit  string  `json:"unit"`
	Value float64 `json:"value"`
}

// figure is what was measured of one subject, once a round.
type figure struct {
	Name string    `json:"name"`
	Unit string    `json:"unit"`
	Of   string    `json:"of"`
	All  []float64 `json:"all"`
}

// goal is what a ratio is to be.
type goal struct {
	What    string  `json:"what"`
	Value   float64 `json:"value"`
	AtLeast float64 `json:"at_least"`
	Met     bool    `json:"met"`
}

type report struct {
	Machine  map[string]string `json:"machine"`
	Subjects []string          `json:"subjects"`
	Figures  []*figure         `json:"figures"`
	Absent   map[string]string `json:"absent,omitempty"`
	Goals    []goal            `json:"goals,omitempty"`
	Failed   string            `json:"failed,omitempty"`
}

func newReport() *report {
	return &report{Absent: map[string]string{}, Machine: map[string]string{
		"began": time.Now().UTC().Format(time.RFC3339), "load at the start": load(), "cores": fmt.Sprint(runtime.NumCPU()),
	}}
}

func load() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	return strings.Join(strings.Fields(string(text))[:3], " ")
}

// take adds the figures of one run of fswork.
func (r *report) take(of, output string) {
	for line := range strings.Lines(output) {
		line = strings.TrimSpace(line)
		if text, ok := strings.CutPrefix(line, "figure "); ok {
			var v value
			if err := json.Unmarshal([]byte(text), &v); err != nil {
				r.Absent[of+", a line"] = fmt.Sprintf("%q: %v", text, err)
				continue
			}
			r.add(v, of)
		} else if text, ok := strings.CutPrefix(line, "absent "); ok {
			part, reason, _ := strings.Cut(text, ": ")
			r.Absent[of+", "+part] = reason
		}
	}
}

func (r *report) add(v value, of string) {
	f := r.figure(v.Name, of)
	if f == nil {
		f = &figure{Name: v.Name, Unit: v.Unit, Of: of}
		r.Figures = append(r.Figures, f)
	}
	f.All = append(f.All, v.Value)
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

// faster is how many times as fast as to a subject is: the median of the rounds.
func (r *report) faster(name, of, to string) (float64, bool) {
	a, b := r.figure(name, of), r.figure(name, to)
	if a == nil || b == nil || len(a.All) == 0 || len(a.All) != len(b.All) {
		return 0, false
	}
	var all []float64
	for i := range a.All {
		one, other := a.All[i], b.All[i]
		if a.Unit == "s" { // less is faster
			one, other = other, one
		}
		if other == 0 {
			return 0, false
		}
		all = append(all, one/other)
	}
	return median(all), true
}

func median(all []float64) float64 {
	sorted := slices.Sorted(slices.Values(all))
	n := len(sorted)
	if n == 0 {
		return math.NaN()
	}
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// goals judges what the share is to reach: twice 9p on metadata and small
// files, and within 40 % of the machine's own disk in sequence.
func (r *report) goals() {
	for _, name := range []string{"create", "stat, cold", "stat again", "read whole files, cold", "readdir, cold, entries", "delete",
		"git status, cold", "git status again", "npm ci, 72 packages, warm cache"} {
		r.atLeast(name, ninePLima, 2)
	}
	for _, name := range []string{"sequential write", "sequential read"} {
		r.atLeast(name, ownDisk, 0.6)
	}
}

func (r *report) atLeast(name, to string, least float64) {
	if got, ok := r.faster(name, ownShare, to); ok {
		r.Goals = append(r.Goals, goal{What: fmt.Sprintf("%s, %s against %s", name, ownShare, to), Value: got, AtLeast: least, Met: got >= least})
	}
}

func (r *report) rows() []string {
	var rows []string
	for _, f := range r.Figures {
		if !slices.Contains(rows, f.Name) {
			rows = append(rows, f.Name)
		}
	}
	return rows
}

// markdown has how much faster the share is than each peer, then all medians.
func (r *report) markdown() string {
	var w strings.Builder
	w.WriteString("\n## Files\n\n")
	peers := slices.DeleteFunc(slices.Clone(r.Subjects), func(s string) bool { return s == ownShare })
	line(&w, append([]string{"the share is so many times as fast as"}, peers...))
	line(&w, slices.Repeat([]string{"---"}, len(peers)+1))
	for _, row := range r.rows() {
		cells := []string{row}
		for _, c := range peers {
			cell := ""
			if ratio, ok := r.faster(row, ownShare, c); ok {
				cell = number(ratio)
			}
			cells = append(cells, cell)
		}
		line(&w, cells)
	}
	w.WriteByte('\n')
	line(&w, append([]string{"median (least to most)"}, r.Subjects...))
	line(&w, slices.Repeat([]string{"---"}, len(r.Subjects)+1))
	for _, row := range r.rows() {
		cells := []string{row}
		for _, c := range r.Subjects {
			cells = append(cells, r.cell(row, c))
		}
		line(&w, cells)
	}
	w.WriteByte('\n')
	for _, name := range slices.Sorted(maps.Keys(r.Absent)) {
		fmt.Fprintf(&w, "- absent: %s: %s\n", name, r.Absent[name])
	}
	for _, g := range r.Goals {
		met := "missed"
		if g.Met {
			met = "met"
		}
		fmt.Fprintf(&w, "- goal %s: %s: %s, to be at least %s\n", met, g.What, number(g.Value), number(g.AtLeast))
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
	cell := number(median(f.All)) + " " + f.Unit
	if f.Unit == "/s" {
		cell = number(median(f.All)) + f.Unit
	}
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

// write leaves files.json and files.md in dir.
func (r *report) write(dir string) error {
	r.Machine["ended"], r.Machine["load at the end"] = time.Now().UTC().Format(time.RFC3339), load()
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(filepath.Join(dir, "files.json"), append(data, '\n'), 0o644), //nolint:gosec // results are no secret
		os.WriteFile(filepath.Join(dir, "files.md"), []byte(r.markdown()), 0o644)) //nolint:gosec // results are no secret
}
