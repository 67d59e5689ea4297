package tomledit

import "strings"

// statement is one "key = value", or the header of a table.
type statement struct {
	path   []string // of the key, its table's before it; of a header, the table's
	table  []string // the table in which it stands
	header bool
	array  bool // a header of the form [[table]]
	line   int  // of its first byte, from 1
	// start and end are the bytes of its whole lines, indentation and line end
	// included; value and after are those of the value alone.
	start, end   int
	value, after int
}

// scanner finds the statements of a text that is valid TOML: what a decoder
// has accepted needs no second opinion here, only the places.
type scanner struct {
	text string
	at   int
	line int
}

func scan(text string) []statement {
	s := scanner{text: text, line: 1}
	var out []statement
	var table []string
	for s.at < len(s.text) {
		start := s.at
		s.blanks()
		switch s.peek() {
		case 0, '\n', '\r', '#':
			s.restOfLine()
			continue
		case '[':
			st := statement{header: true, line: s.line, start: start}
			s.at++
			if s.peek() == '[' {
				st.array = true
				s.at++
			}
			st.path = s.key()
			table = st.path
			s.restOfLine()
			st.end = s.at
			out = append(out, st)
		default:
			st := statement{table: table, line: s.line, start: start}
			st.path = append(append([]string{}, table...), s.key()...)
			s.blanks()
			s.at++ // "="
			s.blanks()
			st.value = s.at
			s.skipValue()
			st.after = s.at
			s.restOfLine()
			st.end = s.at
			out = append(out, st)
		}
	}
	return out
}

func (s *scanner) peek() byte {
	if s.at >= len(s.text) {
		return 0
	}
	return s.text[s.at]
}

func (s *scanner) blanks() {
	for s.peek() == ' ' || s.peek() == '\t' {
		s.at++
	}
}

// restOfLine goes to the first byte of the next line.
func (s *scanner) restOfLine() {
	i := strings.IndexByte(s.text[s.at:], '\n')
	if i < 0 {
		s.at = len(s.text)
		return
	}
	s.at += i + 1
	s.line++
}

// key reads a dotted key, up to "=" or "]".
func (s *scanner) key() []string {
	var parts []string
	for s.at < len(s.text) {
		s.blanks()
		begin := s.at
		switch c := s.peek(); c {
		case '"', '\'':
			s.skipString()
			parts = append(parts, unquote(s.text[begin:s.at]))
		default:
			for s.at < len(s.text) && !strings.ContainsRune(" \t.=]\n", rune(s.text[s.at])) {
				s.at++
			}
			parts = append(parts, s.text[begin:s.at])
		}
		s.blanks()
		if s.peek() != '.' {
			break
		}
		s.at++
	}
	return parts
}

// skipValue goes behind a value.
func (s *scanner) skipValue() {
	switch s.peek() {
	case '"', '\'':
		s.skipString()
	case '[', '{':
		s.skipBrackets()
	default:
		begin := s.at
		for s.at < len(s.text) && s.text[s.at] != '\n' && s.text[s.at] != '#' {
			s.at++
		}
		s.at = begin + len(strings.TrimRight(s.text[begin:s.at], " \t\r"))
	}
}

func (s *scanner) skipBrackets() {
	depth := 0
	for s.at < len(s.text) {
		switch s.peek() {
		case '[', '{':
			depth++
		case ']', '}':
			depth--
			if depth == 0 {
				s.at++
				return
			}
		case '"', '\'':
			s.skipString()
			continue
		case '#':
			s.restOfLine()
			continue
		case '\n':
			s.line++
		}
		s.at++
	}
}

// skipString goes behind a string of any of the four kinds.
func (s *scanner) skipString() {
	quote := s.text[s.at : s.at+1]
	if triple := strings.Repeat(quote, 3); strings.HasPrefix(s.text[s.at:], triple) {
		s.at += len(triple)
		for s.at < len(s.text) && !strings.HasPrefix(s.text[s.at:], triple) {
			s.step(quote)
		}
		s.at = min(s.at+len(triple), len(s.text))
		for strings.HasPrefix(s.text[s.at:], quote) { // up to two quotes may end the text itself
			s.at++
		}
		return
	}
	s.at++
	for s.at < len(s.text) && !strings.HasPrefix(s.text[s.at:], quote) {
		s.step(quote)
	}
	s.at = min(s.at+1, len(s.text))
}

// step goes over one byte of a string, or over an escaped one with its escape.
func (s *scanner) step(quote string) {
	if s.text[s.at] == '\\' && quote == `"` && s.at+1 < len(s.text) {
		s.at++
	}
	if s.text[s.at] == '\n' {
		s.line++
	}
	s.at++
}
