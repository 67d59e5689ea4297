package domain

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"strings"
)

// ManifestFile is the manifest's own name in an asset set.
const ManifestFile = "manifest.json"

// MaxManifestSize bounds the manifest, bytes.
const MaxManifestSize = 1 << 20

// Bounds of what a manifest may say.
const (
	maxManifestBinaries = 256
	maxAssetName        = 128
	maxAssetPath        = 1024
	maxKernelCmdline    = 2048 // what every supported architecture's kernel accepts
)

// Manifest describes an asset set. Parse it with ParseManifest, which checks
// everything; a value of this type is trusted.
type Manifest struct {
	SchemaVersion uint32
	AssetVersion  string
	BuiltAt       string // as the build wrote it, RFC 3339
	SourceRepo    string
	SourceRef     string
	SourceSHA     string
	Targets       map[Arch]ManifestTarget
	Binaries      []ManifestBinary
}

// ManifestTarget is what one architecture boots.
type ManifestTarget struct {
	Kernel  ManifestFileRef
	Rootfs  ManifestFileRef
	Cmdline string
}

// ManifestFileRef pins one file of the set.
type ManifestFileRef struct {
	// Path is a URL reference relative to the manifest, or one that begins with
	// a slash: from the root of the server that the set comes from.
	Path    string
	SHA256  string // lower-case hex
	Version string
}

// ManifestBinary is a program of the guest's runtime.
type ManifestBinary struct {
	Name       string
	Version    string
	InstallDir string // beside runtime/bin; empty for runtime/bin itself
	Targets    map[Arch]ManifestFileRef
}

type jsonRef struct {
	Path    string `json:"path"`
	SHA256  string `json:"sha256"`
	Version string `json:"version"`
}

type jsonManifest struct {
	SchemaVersion *uint32 `json:"schema_version"`
	AssetVersion  string  `json:"asset_version"`
	BuiltAt       string  `json:"built_at"`
	SourceRepo    string  `json:"source_repo"`
	SourceRef     string  `json:"source_ref"`
	SourceSHA     string  `json:"source_sha"`
	Targets       map[Arch]struct {
		Kernel  *jsonRef `json:"kernel"`
		Rootfs  *jsonRef `json:"rootfs"`
		Cmdline string   `json:"kernel_cmdline"`
	} `json:"targets"`
	Binaries []struct {
		Name       string           `json:"name"`
		Version    string           `json:"version"`
		InstallDir string           `json:"install_dir"`
		Targets    map[Arch]jsonRef `json:"targets"`
	} `json:"binaries"`
}

// ParseManifest reads and checks a manifest. Unknown fields are left to newer
// versions; a schema whose number is not the major number of the asset version,
// an unsafe path or name and a malformed pin are ErrInvalid.
func ParseManifest(data []byte) (Manifest, error) {
	m, err := parseManifest(data)
	if err != nil {
		return Manifest{}, fmt.Errorf("asset manifest: %w", err)
	}
	return m, nil
}

func parseManifest(data []byte) (Manifest, error) {
	if len(data) > MaxManifestSize {
		return Manifest{}, fmt.Errorf("larger than %d bytes: %w", MaxManifestSize, ErrInvalid)
	}
	var j jsonManifest
	if err := json.Unmarshal(data, &j); err != nil {
		return Manifest{}, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if err := CheckAssetVersion(j.AssetVersion); err != nil {
		return Manifest{}, err
	}
	if err := checkSchema(j.SchemaVersion, j.AssetVersion); err != nil {
		return Manifest{}, err
	}
	m := Manifest{
		SchemaVersion: *j.SchemaVersion, AssetVersion: j.AssetVersion, BuiltAt: j.BuiltAt,
		SourceRepo: j.SourceRepo, SourceRef: j.SourceRef, SourceSHA: j.SourceSHA,
		Targets: map[Arch]ManifestTarget{},
	}
	for arch, t := range j.Targets {
		kernel, err := checkRef(t.Kernel)
		if err != nil {
			return Manifest{}, fmt.Errorf("kernel of %q: %w", arch, err)
		}
		rootfs, err := checkRef(t.Rootfs)
		if err != nil {
			return Manifest{}, fmt.Errorf("rootfs of %q: %w", arch, err)
		}
		if len(t.Cmdline) > maxKernelCmdline || !printable(t.Cmdline) {
			return Manifest{}, fmt.Errorf("kernel command line of %q must be at most %d printable characters: %w", arch, maxKernelCmdline, ErrInvalid)
		}
		m.Targets[arch] = ManifestTarget{Kernel: kernel, Rootfs: rootfs, Cmdline: t.Cmdline}
	}
	if len(j.Binaries) > maxManifestBinaries {
		return Manifest{}, fmt.Errorf("more than %d binaries: %w", maxManifestBinaries, ErrInvalid)
	}
	installed := map[string]bool{}
	for _, b := range j.Binaries {
		mb := ManifestBinary{Name: b.Name, Version: b.Version, InstallDir: b.InstallDir, Targets: map[Arch]ManifestFileRef{}}
		if !ValidAssetName(b.Name) {
			return Manifest{}, fmt.Errorf("binary name %q: %w", b.Name, ErrInvalid)
		}
		if b.InstallDir != "" && !ValidAssetName(b.InstallDir) {
			return Manifest{}, fmt.Errorf("install_dir %q of binary %q must be one directory name: %w", b.InstallDir, b.Name, ErrInvalid)
		}
		where := mb.installDir() + "/" + b.Name
		if installed[where] {
			return Manifest{}, fmt.Errorf("two binaries for %s: %w", where, ErrInvalid)
		}
		installed[where] = true
		for arch, ref := range b.Targets {
			r, err := checkRef(&ref)
			if err != nil {
				return Manifest{}, fmt.Errorf("binary %q of %q: %w", b.Name, arch, err)
			}
			mb.Targets[arch] = r
		}
		m.Binaries = append(m.Binaries, mb)
	}
	return m, nil
}

func checkSchema(schema *uint32, version string) error {
	major, _, _ := strings.Cut(version, ".")
	n, err := strconv.ParseUint(major, 10, 32)
	if err != nil {
		return fmt.Errorf("asset_version %q does not begin with a number: %w", version, ErrInvalid)
	}
	if schema == nil || uint64(*schema) != n {
		return fmt.Errorf("schema_version must be %d, the major number of asset_version %q: %w", n, version, ErrInvalid)
	}
	return nil
}

func checkRef(r *jsonRef) (ManifestFileRef, error) {
	if r == nil {
		return ManifestFileRef{}, fmt.Errorf("missing: %w", ErrInvalid)
	}
	if err := CheckAssetPath(r.Path); err != nil {
		return ManifestFileRef{}, err
	}
	sum, err := ParseSHA256(r.SHA256)
	if err != nil {
		return ManifestFileRef{}, err
	}
	return ManifestFileRef{Path: r.Path, SHA256: sum, Version: r.Version}, nil
}

// ParseSHA256 checks a checksum in hex and returns it in lower case.
func ParseSHA256(s string) (string, error) {
	if b, err := hex.DecodeString(s); err != nil || len(b) != 32 {
		return "", fmt.Errorf("sha256 %q must have 64 hex digits: %w", s, ErrInvalid)
	}
	return strings.ToLower(s), nil
}

// CheckAssetVersion checks that a version can be a directory name.
func CheckAssetVersion(v string) error {
	if !ValidAssetName(v) {
		return fmt.Errorf("asset version %q must be letters, digits and . _ + -, beginning with a letter or digit: %w", v, ErrInvalid)
	}
	return nil
}

// ValidAssetName says whether s is usable as one file name everywhere: letters,
// digits and "._+-", beginning with a letter or digit.
func ValidAssetName(s string) bool {
	for i := range len(s) {
		c := s[i]
		alnum := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !alnum && (i == 0 || !strings.ContainsRune("._+-", rune(c))) {
			return false
		}
	}
	return s != "" && len(s) <= maxAssetName
}

// CheckAssetPath checks a file's path in a set: a URL path that stays where it
// points, without scheme, host, query, fragment, or a step upwards in any
// escaping. A path that begins with a slash is accepted here; only a server
// has a root that it can be relative to (AbsoluteAssetPath).
func CheckAssetPath(p string) error {
	bad := func(why string) error { return fmt.Errorf("path %q %s: %w", p, why, ErrInvalid) }
	if p == "" || len(p) > maxAssetPath {
		return bad(fmt.Sprintf("must have 1 to %d characters", maxAssetPath))
	}
	u, err := url.Parse(p)
	if err != nil {
		return bad("is no URL reference")
	}
	if u.Scheme != "" || u.Opaque != "" || u.Host != "" || u.User != nil || strings.HasPrefix(p, "//") {
		return bad("must not name a server")
	}
	if strings.ContainsAny(p, "?#") {
		return bad("must not have a query or fragment")
	}
	plain := u.Path
	if !printable(plain) || strings.Contains(plain, `\`) || strings.Contains(plain, "%") {
		return bad("has characters that are not allowed")
	}
	for i, step := range strings.Split(plain, "/") {
		if step == ".." || step == "." || step == "" && i > 0 {
			return bad("must be a plain path without empty, . or .. steps")
		}
	}
	return nil
}

// AbsoluteAssetPath says whether a checked path starts at the server's root.
func AbsoluteAssetPath(p string) bool { return strings.HasPrefix(p, "/") }

func printable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] == 0x7f {
			return false
		}
	}
	return true
}
