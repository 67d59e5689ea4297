package domain

import (
	"strings"
	"unicode"
)

const maxConsoleLine = 300

// ConsoleExcerpt makes the end of a guest's log fit to be shown in an error:
// the guest wrote it, so control characters (terminal escapes among them) are
// taken out and long lines are cut. It is "" when there is nothing to show,
// else it starts with a line break.
func ConsoleExcerpt(title string, lines []string) string {
	var b strings.Builder
	for _, l := range lines {
		l = Printable(l, maxConsoleLine)
		if strings.TrimSpace(l) == "" {
			continue
		}
		if b.Len() == 0 {
			b.WriteString("\n" + title + ":")
		}
		b.WriteString("\n  | " + l)
	}
	return b.String()
}

// Printable returns s on one line, without characters that are not printable,
// and at most limit runes long.
func Printable(s string, limit int) string {
	var b strings.Builder
	n := 0
	for _, r := range s {
		if n == limit {
			break
		}
		if r == '\t' || r == '\n' {
			r = ' '
		}
		if r == unicode.ReplacementChar || !unicode.IsPrint(r) {
			continue
		}
		b.WriteRune(r)
		n++
	}
	return strings.TrimRight(b.String(), " ")
}
