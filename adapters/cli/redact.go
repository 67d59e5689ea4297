package cli

import (
	"regexp"
	"strings"
)

const hidden = "***"

// redact hides in a text what nobody should send to strangers: passwords in
// URLs, headers and variables that carry credentials, private keys, well-known
// kinds of tokens; and the user's home directory, which is their name. It hides
// rather too much than too little, and a second time changes nothing.
func redact(text, home string) string {
	for _, r := range redactions() {
		text = r.pattern.ReplaceAllStringFunc(text, func(found string) string {
			if r.not != "" && strings.Contains(found, r.not) {
				return found
			}
			return r.pattern.ReplaceAllString(found, r.with)
		})
	}
	if len(home) > 1 {
		text = strings.ReplaceAll(text, home, "~")
	}
	return text
}

type redaction struct {
	pattern *regexp.Regexp
	with    string
	not     string // leaves what contains it alone
}

// redactions are in order: what ends at the end of a line goes first.
func redactions() []redaction {
	const (
		secretName = `(?:password|passwd|passphrase|secret|token|api[_-]?key|access[_-]?key|private[_-]?key|credential|signature|auth)`
		name       = `[\w.-]*` + secretName + `[\w.-]*`
		// A value in quotes that are escaped, in quotes, or bare.
		value = `(?:\\+"[^"\\]*\\+"|"(?:\\.|[^"\\])*"?|'[^']*'?|[^\s,;&"'\\)}\]\[{(][^\s,;&"'\\)}\]]*)`
	)
	re := regexp.MustCompile
	return []redaction{
		{pattern: re(`(?s)-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)`), with: hidden},
		// The beginning may have been cut off.
		{pattern: re(`(?m)(?:^[A-Za-z0-9+/=]{16,}\r?\n)+-----END [A-Z ]*PRIVATE KEY-----`), with: hidden},
		{pattern: re(`(?i)\b((?:proxy-)?authorization|x-registry-(?:auth|config)|x-identity-token|(?:set-)?cookie)(\\*["']?\s*[:=]\s*\[?\\*["']?)[^\r\n"'\\\]]+`), with: "${1}${2}" + hidden},
		{pattern: re(`(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}`), with: "${1} " + hidden},
		// A password may itself hold "@", "/" and ":" where it was not encoded.
		{pattern: re(`(?i)\b([a-z][a-z0-9+.-]*://)[^\s"'<>\\]*@`), with: "${1}" + hidden + "@"},
		{pattern: re(`[^\s"'/:@=,\\]+:[^\s"'@\\/][^\s"'@\\]*@([\w.\[-]+)`), with: hidden + "@${1}", not: "@sha256"}, // name:tag@sha256 is an image
		{pattern: re(`(?i)(` + name + `)(\\*["']?\s*(?::=|=>|[:=])\s*[\[{(]?\s*)` + value), with: "${1}${2}" + hidden},
		{pattern: re(`(?i)(--?` + name + `\s+)` + value), with: "${1}" + hidden},
		{pattern: re(`\b(?:gh[pousr]_[A-Za-z0-9]{16,}|github_pat_\w{16,}|glpat-[\w-]{16,}|dckr_pat_[\w-]{16,}|npm_[A-Za-z0-9]{20,}|xox[baprs]-[\w-]{10,}|AKIA[0-9A-Z]{16}|eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*)`), with: hidden},
	}
}
