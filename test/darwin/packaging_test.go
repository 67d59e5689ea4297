package darwin

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const packaging = "../../packaging/macos/"

func TestParsePlist(t *testing.T) {
	got, err := parsePlist([]byte(`<plist><!-- c --><dict><key>a</key><array><string>x&amp;</string><integer>3</integer><true/></array></dict></plist>` + "\n"))
	require.NoError(t, err)
	require.Equal(t, map[string]any{"a": []any{"x&", 3, true}}, got)
	for _, bad := range []string{
		"", "<dict/>", "<plist/>", "<plist><true/><true/></plist>", "<plist><dict><key>a</key></dict></plist>",
		"<plist><dict><string>a</string><true/></dict></plist>", "<plist><dict><key>a</key><key>b</key></dict></plist>",
		"<plist><dict><key>a</key><true/><key>a</key><true/></dict></plist>", "<plist><integer>x</integer></plist>",
		"<plist><dict>text</dict></plist>", "<plist><other/></plist>", "<plist><true/></plist><plist/>", "<plist><true>",
	} {
		_, err := parsePlist([]byte(bad))
		require.Error(t, err, "%q", bad)
	}
}

func TestEntitlements(t *testing.T) {
	data, err := os.ReadFile(packaging + "entitlements.plist")
	require.NoError(t, err)
	got, err := parsePlist(data)
	require.NoError(t, err)
	// Nothing besides: each further right is one that a hole in the daemon gives away.
	require.Equal(t, map[string]any{"com.apple.security.virtualization": true}, got)
}

func launchAgent(t *testing.T, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), packaging+"launchagent.sh", args...)
	out, err := cmd.Output()
	return string(out), err
}

func TestLaunchAgent(t *testing.T) {
	for name, test := range map[string]struct{ program, data string }{
		"plain":   {"/usr/local/bin/arcbox", "/Users/me/.arcbox"},
		"awkward": {`/a & b\1/<@DATA_DIR@>/arc"box'`, "/Users/Jörg & co/@PROGRAM@/&amp;"},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := launchAgent(t, "arcbox.daemon", test.program, test.data)
			require.NoError(t, err)
			got, err := parsePlist([]byte(out))
			require.NoError(t, err)
			require.Equal(t, map[string]any{
				"Label":             "arcbox.daemon",
				"ProgramArguments":  []any{test.program, "--data-dir", test.data, "daemon", "start", "--detached"},
				"RunAtLoad":         true,
				"KeepAlive":         map[string]any{"SuccessfulExit": false},
				"ThrottleInterval":  10,
				"ExitTimeOut":       150,
				"ProcessType":       "Interactive",
				"Umask":             0o77,
				"StandardErrorPath": test.data + "/log/launchd.log",
			}, got)
		})
	}
	for name, args := range map[string][]string{
		"too few":          {"arcbox.daemon", "/arcbox"},
		"relative program": {"arcbox.daemon", "bin/arcbox", "/data"},
		"relative data":    {"arcbox.daemon", "/arcbox", "~/.arcbox"},
		"no label":         {"", "/arcbox", "/data"},
		"label with path":  {"../x", "/arcbox", "/data"},
		"line break":       {"arcbox.daemon", "/arc\nbox", "/data"},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := launchAgent(t, args...)
			require.Error(t, err)
			require.Empty(t, out)
		})
	}
}

// The template itself is one, so that editors and plutil can read it.
func TestLaunchAgentTemplate(t *testing.T) {
	data, err := os.ReadFile(packaging + "launchagent.plist")
	require.NoError(t, err)
	_, err = parsePlist(data)
	require.NoError(t, err)
}

// What make would do on a Mac names what is there.
func TestMakeTargetsForMacOS(t *testing.T) {
	if _, err := exec.LookPath("make"); err != nil {
		t.Skip("make is not installed")
	}
	dry := func(args ...string) string {
		cmd := exec.CommandContext(t.Context(), "make", append([]string{"-n", "--no-print-directory"}, args...)...)
		cmd.Dir = "../.."
		cmd.Env = append(cmd.Environ(), "MAKEFLAGS=", "HOME=/Users/me")
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
		return strings.ReplaceAll(string(out), "\\\n", "")
	}
	build := dry("build-macos")
	require.Contains(t, build, "CGO_ENABLED=1 go build")
	require.Contains(t, build, `codesign --force --sign "-"`, "building signs")
	require.Contains(t, build, "--entitlements packaging/macos/entitlements.plist bin/arcbox")
	require.Contains(t, build, "--timestamp=none")
	require.NotContains(t, dry("sign-macos", "SIGN_IDENTITY=Developer ID Application: Me"), "--timestamp=none")
	agent := dry("launchagent")
	require.Contains(t, agent, "packaging/macos/launchagent.sh arcbox.daemon")
	require.Contains(t, agent, `"/Users/me/.arcbox"`)
	require.Contains(t, agent, "/Users/me/Library/LaunchAgents/arcbox.daemon.plist")
}

// The page on macOS names targets of make that exist, and the files that they use.
func TestDocumentedTargetsExist(t *testing.T) {
	page, err := os.ReadFile("../../docs/macos.md")
	require.NoError(t, err)
	makefile, err := os.ReadFile("../../Makefile")
	require.NoError(t, err)
	targets := regexp.MustCompile("(?m)(?:`|^    )make ([a-z-]+)").FindAllStringSubmatch(string(page), -1)
	require.Greater(t, len(targets), 5)
	for _, m := range targets {
		require.Regexp(t, "(?m)^"+m[1]+":", string(makefile))
	}
	require.Contains(t, string(page), "packaging/macos/entitlements.plist")
}
