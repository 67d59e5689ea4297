package tomledit

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSetChangesOneValueAndKeepsTheRest(t *testing.T) {
	for name, c := range map[string]struct{ before, key, value, after string }{
		"in place, comment kept":        {"# head\n[vm]\n# why\ncpus = 4 # four\nboot = \"eager\"\n", "vm.cpus", "8", "# head\n[vm]\n# why\ncpus = 8 # four\nboot = \"eager\"\n"},
		"end of its table":              {"[vm]\n  cpus = 4\n\n# net\n[network]\nmtu = 1500\n", "vm.disk_gb", "9", "[vm]\n  cpus = 4\n  disk_gb = 9\n\n# net\n[network]\nmtu = 1500\n"},
		"empty table":                   {"[vm]\n[network]\n", "vm.cpus", "1", "[vm]\ncpus = 1\n[network]\n"},
		"new table":                     {"[vm]\ncpus = 1\n", "network.mtu", "1500", "[vm]\ncpus = 1\n\n[network]\nmtu = 1500\n"},
		"empty file":                    {"", "vm.cpus", "1", "[vm]\ncpus = 1\n"},
		"only comments":                 {"# mine\n", "data_dir", `"/d"`, "# mine\ndata_dir = \"/d\"\n"},
		"no newline at the end":         {"[vm]\ncpus = 1", "vm.boot", `"eager"`, "[vm]\ncpus = 1\nboot = \"eager\"\n"},
		"root key before tables":        {"# file\n\n# the vm\n[vm]\ncpus = 1\n", "data_dir", `"/d"`, "# file\n\ndata_dir = \"/d\"\n# the vm\n[vm]\ncpus = 1\n"},
		"root key after root keys":      {"a = 1\n\n[vm]\n", "data_dir", `"/d"`, "a = 1\ndata_dir = \"/d\"\n\n[vm]\n"},
		"dotted":                        {"vm.cpus = 1\nvm.disk_gb = 3\nother = 1\n", "vm.boot", `"eager"`, "vm.cpus = 1\nvm.disk_gb = 3\nvm.boot = \"eager\"\nother = 1\n"},
		"dotted in place":               {"vm . cpus=1#x\n", "vm.cpus", "2", "vm . cpus=2#x\n"},
		"quoted keys":                   {"[\"vm\"]\n'cpus' = 1\n", "vm.cpus", "2", "[\"vm\"]\n'cpus' = 2\n"},
		"array over lines":              {"[network]\ndns = [ # two\n  \"1.1.1.1\", # a ] b\n  \"9.9.9.9\",\n] # end\nmtu = 1\n", "network.dns", "[]", "[network]\ndns = [] # end\nmtu = 1\n"},
		"lines end with CR LF":          {"[vm]\r\ncpus = 1\r\n", "vm.boot", `"eager"`, "[vm]\r\ncpus = 1\r\nboot = \"eager\"\r\n"},
		"CR LF in place":                {"[vm]\r\ncpus = 1\r\n", "vm.cpus", "2", "[vm]\r\ncpus = 2\r\n"},
		"hash and quotes in strings":    {"[proxy]\nhttp = \"a # \\\" b\" # c\nhttps = 'x'\n", "proxy.http", `"y"`, "[proxy]\nhttp = \"y\" # c\nhttps = 'x'\n"},
		"strings over lines":            {"a = \"\"\"\n[vm]\ncpus = 1\n\"\"\"\n[vm]\ncpus = 2\n", "vm.cpus", "3", "a = \"\"\"\n[vm]\ncpus = 1\n\"\"\"\n[vm]\ncpus = 3\n"},
		"the same name in other tables": {"[a]\ncpus = 1\n[vm]\ncpus = 2\n[b]\ncpus = 3\n", "vm.cpus", "9", "[a]\ncpus = 1\n[vm]\ncpus = 9\n[b]\ncpus = 3\n"},
		"subtable before the table":     {"[vm.sub]\nx = 1\n", "vm.cpus", "2", "[vm.sub]\nx = 1\n\n[vm]\ncpus = 2\n"},
	} {
		d, err := Parse([]byte(c.before))
		require.NoError(t, err, name)
		got, err := d.Set(c.key, c.value)
		require.NoError(t, err, name)
		require.Equal(t, c.after, string(got), name)
	}
}

func TestUnsetRemovesItsLinesOnly(t *testing.T) {
	d, err := Parse([]byte("# head\n[vm]\ncpus = 1 # one\nmounts = [\n  \"a\",\n]\nboot = \"eager\"\n"))
	require.NoError(t, err)
	got, found, err := d.Unset("vm.mounts")
	require.NoError(t, err)
	require.True(t, found)
	require.Equal(t, "# head\n[vm]\ncpus = 1 # one\nboot = \"eager\"\n", string(got))
	got, found, err = d.Unset("vm.disk_gb")
	require.NoError(t, err)
	require.False(t, found)
	require.Equal(t, d.text, string(got))
}

func TestInlineTablesAreLeftToTheUser(t *testing.T) {
	d, err := Parse([]byte("# x\nvm = { cpus = 1, boot = \"eager\" }\n"))
	require.NoError(t, err)
	_, err = d.Set("vm.cpus", "2")
	require.ErrorIs(t, err, ErrByHand)
	require.ErrorContains(t, err, "vm on line 2")
	_, err = d.Set("vm.disk_gb", "2")
	require.ErrorIs(t, err, ErrByHand)
	_, _, err = d.Unset("vm.cpus")
	require.ErrorIs(t, err, ErrByHand)
	_, found, err := d.Unset("vm.disk_gb")
	require.NoError(t, err)
	require.False(t, found)
}

func TestLines(t *testing.T) {
	d, err := Parse([]byte("data_dir = \"\"\"\na\n\"\"\"\n\n[vm]\ncpus = 1\nmounts = [\n\"a\",\n]\nboot = \"x\"\nproxy = { http = 1 }\n[[x]]\ny = 1\n"))
	require.NoError(t, err)
	for key, want := range map[string]int{"data_dir": 1, "vm.cpus": 6, "vm.mounts": 7, "vm.boot": 10, "vm.proxy.http": 11, "vm.absent": 5, "absent": 0, "x": 12} {
		require.Equal(t, want, d.Line(key), key)
	}
}

func TestSyntaxErrorsSayWhere(t *testing.T) {
	_, err := Parse([]byte("[vm]\ncpus = = 1\n"))
	var bad *SyntaxError
	require.ErrorAs(t, err, &bad)
	require.Equal(t, 2, bad.Line)
	d, err := Parse([]byte("a = 1\n"))
	require.NoError(t, err)
	_, err = d.Set("a", "1\nb = 2")
	require.ErrorIs(t, err, ErrByHand, "a literal cannot bring other keys along")
	_, err = d.Set("a", "")
	require.Error(t, err)
}

// Whatever valid text there is: either one key changes and every line that does
// not set it stays, or nothing does.
func FuzzSet(f *testing.F) {
	f.Add("[vm]\ncpus = 1 # x\n", "v")
	f.Add("vm.cpus = 1\n[network]\n", "a\"b\\")
	f.Add("a = '''\n[vm]\n'''\r\n[[vm.x]]\ny=1", "\n")
	f.Add("vm = {a=1}\n", "")
	f.Fuzz(func(t *testing.T, text, value string) {
		d, err := Parse([]byte(text))
		if err != nil {
			return
		}
		literal, err := Literal(value)
		if err != nil {
			return
		}
		got, err := d.Set("vm.cpus", literal)
		if err != nil {
			return
		}
		again, err := Parse(got)
		require.NoError(t, err)
		require.Equal(t, value, again.Values()["vm"].(map[string]any)["cpus"])
		require.NotZero(t, again.Line("vm.cpus"))
		if !has(d.Values(), []string{"vm", "cpus"}) {
			require.True(t, keeps(text, string(got)), "%q has lost a line of %q", got, text)
		}
		without, found, err := again.Unset("vm.cpus")
		require.NoError(t, err)
		require.True(t, found)
		require.True(t, keeps(string(without), string(got)), "%q has more than %q", without, got)
	})
}

// keeps says whether the lines of text are among those of longer, in order.
func keeps(text, longer string) bool {
	rest := strings.Split(longer, "\n")
	for _, line := range strings.Split(strings.TrimRight(text, "\r\n"), "\n") {
		i := slices.IndexFunc(rest, func(l string) bool { return strings.TrimRight(l, "\r") == strings.TrimRight(line, "\r") })
		if i < 0 {
			return false
		}
		rest = rest[i+1:]
	}
	return true
}
