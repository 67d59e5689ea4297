package domain_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"arcbox/domain"
)

func TestParsePlatform(t *testing.T) {
	for in, want := range map[string]domain.WorkloadPlatform{
		"linux/amd64": domain.PlatformLinuxAMD64, "linux/x86_64": domain.PlatformLinuxAMD64,
		"amd64": domain.PlatformLinuxAMD64, "x86_64": domain.PlatformLinuxAMD64,
		" Linux/AMD64\n": domain.PlatformLinuxAMD64, "linux%2Famd64": domain.PlatformLinuxAMD64,
		"linux/arm64": domain.PlatformLinuxARM64, "linux/aarch64": domain.PlatformLinuxARM64,
		"arm64": domain.PlatformLinuxARM64, "AARCH64": domain.PlatformLinuxARM64,
		"": "", "linux": "", "linux/arm64/v8": "", "linux/arm/v7": "", "linux/386": "",
		"linux/amd64,linux/arm64": "", "windows/amd64": "",
	} {
		require.Equal(t, want, domain.ParsePlatform(in), "%q", in)
	}
}

func TestCreatePlatform(t *testing.T) {
	type q = map[string][]string
	for name, c := range map[string]struct {
		query q
		body  string
		asked string
		want  domain.WorkloadPlatform
	}{
		"nothing":              {want: ""},
		"query":                {query: q{"platform": {"linux/amd64"}}, asked: "linux/amd64", want: domain.PlatformLinuxAMD64},
		"key in any case":      {query: q{"PlatForm": {"arm64"}}, asked: "arm64", want: domain.PlatformLinuxARM64},
		"engine's key first":   {query: q{"Platform": {"arm64"}, "platform": {"amd64"}}, asked: "amd64", want: domain.PlatformLinuxAMD64},
		"first non-empty":      {query: q{"platform": {"", " ", "arm64", "amd64"}}, asked: "arm64", want: domain.PlatformLinuxARM64},
		"empty key then other": {query: q{"platform": {""}, "PLATFORM": {"amd64"}}, asked: "amd64", want: domain.PlatformLinuxAMD64},
		"body":                 {body: `{"Image":"x","Platform":"linux/amd64"}`, asked: "linux/amd64", want: domain.PlatformLinuxAMD64},
		"query wins over body": {query: q{"platform": {"arm64"}}, body: `{"Platform":"amd64"}`, asked: "arm64", want: domain.PlatformLinuxARM64},
		"unknown query wins":   {query: q{"platform": {"linux/386"}}, body: `{"Platform":"amd64"}`, asked: "linux/386", want: ""},
		"body is not JSON":     {body: `Platform=amd64`, want: ""},
		"body of another type": {body: `{"Platform":{"os":"linux"}}`, want: ""},
		"body is cut off":      {body: `{"Platform":"amd64"`, want: ""},
	} {
		t.Run(name, func(t *testing.T) {
			p, asked := domain.CreatePlatform(c.query, []byte(c.body))
			require.Equal(t, c.want, p)
			require.Equal(t, c.asked, asked)
		})
	}
}

func TestBuildPlatform(t *testing.T) {
	p, _ := domain.BuildPlatform(map[string][]string{"platform": {"linux/amd64"}})
	require.Equal(t, domain.PlatformLinuxAMD64, p)
	p, asked := domain.BuildPlatform(map[string][]string{"platform": {"linux/amd64,linux/arm64"}})
	require.Equal(t, domain.PlatformUnspecified, p)
	require.Equal(t, "linux/amd64,linux/arm64", asked)
}

func TestRoute(t *testing.T) {
	const amd, arm, none = domain.PlatformLinuxAMD64, domain.PlatformLinuxARM64, domain.PlatformUnspecified
	on := func(a domain.Arch, fex, rosetta bool) domain.RoutingFacts {
		return domain.RoutingFacts{Guest: a, FEX: fex, Rosetta: rosetta}
	}
	for _, c := range []struct {
		p          domain.WorkloadPlatform
		f          domain.RoutingFacts
		role       domain.Role
		translator domain.Translator
	}{
		{none, on(domain.ArchARM64, false, true), domain.RoleNative, domain.TranslatorNone},
		{arm, on(domain.ArchARM64, true, true), domain.RoleNative, domain.TranslatorNone},
		{amd, on(domain.ArchARM64, true, true), domain.RoleNative, domain.TranslatorFEX},
		{amd, on(domain.ArchARM64, true, false), domain.RoleNative, domain.TranslatorFEX},
		{amd, on(domain.ArchARM64, false, true), domain.RoleRosetta, domain.TranslatorRosetta},
		{amd, on(domain.ArchX86_64, false, false), domain.RoleNative, domain.TranslatorNone},
		{arm, on(domain.ArchX86_64, false, false), domain.RoleNative, domain.TranslatorNone},
	} {
		d, err := domain.Route(c.p, string(c.p), c.f)
		require.NoError(t, err)
		require.Equal(t, domain.RoutingDecision{Platform: c.p, Role: c.role, Translator: c.translator}, d)
	}
	d, err := domain.Route(amd, "linux/x86_64", on(domain.ArchARM64, false, false))
	require.Zero(t, d)
	require.ErrorIs(t, err, domain.ErrUnsupported)
	require.ErrorContains(t, err, "/arcbox/runtime/bin/FEX")
	require.ErrorContains(t, err, `"linux/x86_64"`)
	require.Contains(t, domain.Hint(err), "arcbox boot prefetch")
}

func TestArchFor(t *testing.T) {
	a, err := domain.ArchFor("amd64")
	require.NoError(t, err)
	require.Equal(t, domain.ArchX86_64, a)
	require.Equal(t, domain.PlatformLinuxAMD64, a.Platform())
	a, err = domain.ArchFor("arm64")
	require.NoError(t, err)
	require.Equal(t, domain.PlatformLinuxARM64, a.Platform())
	_, err = domain.ArchFor("riscv64")
	require.ErrorIs(t, err, domain.ErrUnsupported)
	require.Equal(t, domain.PlatformUnspecified, domain.Arch("riscv64").Platform())
}

func FuzzCreatePlatform(f *testing.F) {
	f.Add("platform", "linux/amd64", []byte(`{"Platform":"arm64"}`))
	f.Fuzz(func(t *testing.T, key, value string, body []byte) {
		query := map[string][]string{key: {value}}
		p, asked := domain.CreatePlatform(query, body)
		again, _ := domain.CreatePlatform(query, body)
		require.Equal(t, p, again)
		if asked == "" {
			require.Equal(t, domain.PlatformUnspecified, p)
		}
	})
}
