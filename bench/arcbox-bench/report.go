package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// row is one figure of the table.
type row struct {
	Figure string    `json:"figure"`
	Unit   string    `json:"unit"`
	Value  float64   `json:"value"`
	All    []float64 `json:"all,omitempty"` // the repetitions behind a median
	// PeerName says what Peer was measured of; empty means that there is none.
	PeerName string    `json:"peer_name,omitempty"`
	Peer     float64   `json:"peer,omitempty"`
	PeerAll  []float64 `json:"peer_all,omitempty"`
	Goal     *goal     `json:"goal,omitempty"`
}

// goal is an upper bound of a value, or of its ratio to the peer.
type goal struct {
	AtMost float64 `json:"at_most"`
	Ratio  bool    `json:"ratio,omitempty"`
}

func (r row) ratio() float64 { return r.Value / r.Peer }

func (r row) met() bool {
	if r.Goal.Ratio {
		return r.ratio() <= r.Goal.AtMost
	}
	return r.Value <= r.Goal.AtMost
}

// report is everything that a run found.
type report struct {
	Machine map[string]string `json:"machine"`
	Rows    []row             `json:"rows"`
}

func newReport() *report {
	return &report{Machine: map[string]string{
		"began": time.Now().UTC().Format(time.RFC3339), "load at the start": load(), "cores": fmt.Sprint(runtime.NumCPU()),
	}}
}

func (r *report) add(row row) {
	r.Rows = append(r.Rows, row)
	fmt.Println(row.markdown())
}

func (r *report) value(figure, unit string, value float64) {
	r.add(row{Figure: figure, Unit: unit, Value: value})
}

func (r row) markdown() string {
	peer, ratio, goal, met := "", "", "", ""
	if r.PeerName != "" {
		peer, ratio = fmt.Sprintf("%s: %s", r.PeerName, strings.TrimSpace(number(r.Peer)+" "+r.Unit)), fmt.Sprintf("%.2f", r.ratio())
	}
	if r.Goal != nil {
		goal, met = strings.TrimSpace(fmt.Sprintf("at most %s %s", number(r.Goal.AtMost), r.Unit)), "missed"
		if r.Goal.Ratio {
			goal = fmt.Sprintf("ratio at most %s", number(r.Goal.AtMost))
		}
		if r.met() {
			met = "met"
		}
	}
	value := number(r.Value) + " " + r.Unit
	if len(r.All) > 1 {
		value += fmt.Sprintf(" (%s to %s)", number(slices.Min(r.All)), number(slices.Max(r.All)))
	}
	return "| " + strings.Join([]string{r.Figure, strings.TrimSpace(value), peer, ratio, goal, met}, " | ") + " |"
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

// write leaves figures.json and table.md in dir.
func (r *report) write(dir string) error {
	r.Machine["ended"], r.Machine["load at the end"] = time.Now().UTC().Format(time.RFC3339), load()
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	table := []string{"| figure | ArcBox | peer in the same run | ratio | goal | |", "|---|---|---|---|---|---|"}
	for _, row := range r.Rows {
		table = append(table, row.markdown())
	}
	return errors.Join(
		os.WriteFile(filepath.Join(dir, "figures.json"), append(data, '\n'), 0o644),
		os.WriteFile(filepath.Join(dir, "table.md"), []byte(strings.Join(table, "\n")+"\n"), 0o644),
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

// median of values, of which there is at least one.
func median(values []float64) float64 { return quantile(values, 0.5) }

// quantile is the smallest value that at least the share q does not exceed.
func quantile(values []float64, q float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[max(0, int(math.Ceil(q*float64(len(sorted))))-1)]
}
