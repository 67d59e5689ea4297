package domain

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// WorkloadPlatform is what a container or a build asks to run on, as far as it
// matters for routing. Whatever ArcBox does not route by (linux/arm/v7,
// linux/386, a list of several) is PlatformUnspecified: the engine decides.
type WorkloadPlatform string

// Platforms.
const (
	PlatformUnspecified WorkloadPlatform = ""
	PlatformLinuxARM64  WorkloadPlatform = "linux/arm64"
	PlatformLinuxAMD64  WorkloadPlatform = "linux/amd64"
)

// ParsePlatform reads a platform in any case and spelling that clients use.
func ParsePlatform(s string) WorkloadPlatform {
	s = strings.ToLower(strings.TrimSpace(s))
	// Some clients escape the slash twice, so one layer of escaping is still
	// there after the query was decoded.
	s = strings.ReplaceAll(s, "%2f", "/")
	switch s {
	case "linux/amd64", "linux/x86_64", "amd64", "x86_64":
		return PlatformLinuxAMD64
	case "linux/arm64", "linux/aarch64", "arm64", "aarch64":
		return PlatformLinuxARM64
	}
	return PlatformUnspecified
}

// CreatePlatform finds the platform that a POST /containers/create asks for:
// the first non-empty query value of the key "platform" in any case, else the
// body's JSON field "Platform". A body that is not JSON asks for nothing; the
// engine will refuse it. asked is the text as the client wrote it.
func CreatePlatform(query map[string][]string, body []byte) (p WorkloadPlatform, asked string) {
	if asked = queryPlatform(query); asked == "" {
		var b struct{ Platform string }
		if json.Unmarshal(body, &b) == nil {
			asked = b.Platform
		}
	}
	return ParsePlatform(asked), asked
}

// BuildPlatform finds the platform that a POST /build asks for. A build for
// several platforms at once is unspecified.
func BuildPlatform(query map[string][]string) (p WorkloadPlatform, asked string) {
	asked = queryPlatform(query)
	return ParsePlatform(asked), asked
}

// queryPlatform prefers the spelling that the engine itself reads, then the
// others in a fixed order, so that the same request always goes the same way.
func queryPlatform(query map[string][]string) string {
	var others []string
	for k := range query {
		if k != "platform" && strings.EqualFold(k, "platform") {
			others = append(others, k)
		}
	}
	slices.Sort(others)
	for _, k := range append([]string{"platform"}, others...) {
		for _, v := range query[k] {
			if strings.TrimSpace(v) != "" {
				return v
			}
		}
	}
	return ""
}

// Translator is what runs code of a foreign architecture in a guest.
type Translator string

// Translators.
const (
	TranslatorNone    Translator = ""
	TranslatorFEX     Translator = "fex"
	TranslatorRosetta Translator = "rosetta"
)

// FEXBinary is the name of the amd64 translator in the runtime directory, and
// GuestFEXPath where the guest finds it.
const (
	FEXBinary    = "FEX"
	GuestFEXPath = "/arcbox/runtime/bin/" + FEXBinary
)

// RoutingFacts is what the choice of a virtual machine depends on.
type RoutingFacts struct {
	Guest Arch // of the native virtual machine
	// FEX says that FEXBinary is a regular file in the runtime directory.
	FEX bool
	// Rosetta says that this host has a virtual machine for RoleRosetta.
	Rosetta bool
}

// RoutingDecision says where a workload runs and what translates its code.
type RoutingDecision struct {
	Platform   WorkloadPlatform
	Role       Role
	Translator Translator
}

// Route decides where a workload runs. Code for amd64 on an arm64 guest needs
// FEX, which keeps it in the native machine beside everything else, or else
// the rosetta machine; with neither it fails closed with ErrUnsupported, and
// asked is quoted in the error. On an amd64 guest nothing is refused: there an
// arm64 image can be created without being run, or run by a handler that the
// user registered.
func Route(p WorkloadPlatform, asked string, f RoutingFacts) (RoutingDecision, error) {
	d := RoutingDecision{Platform: p, Role: RoleNative}
	if p != PlatformLinuxAMD64 || f.Guest != ArchARM64 {
		return d, nil
	}
	switch {
	case f.FEX:
		d.Translator = TranslatorFEX
	case f.Rosetta:
		d.Role, d.Translator = RoleRosetta, TranslatorRosetta
	default:
		err := fmt.Errorf("platform %q needs the translator %s, which is not installed: %w", asked, GuestFEXPath, ErrUnsupported)
		return RoutingDecision{}, WithHint(err, "install an asset set that contains FEX with `arcbox boot prefetch`, or use an image for linux/arm64")
	}
	return d, nil
}
