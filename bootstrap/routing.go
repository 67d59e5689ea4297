package bootstrap

import (
	"net/url"
	"os"
	"path/filepath"
	"runtime"

	"arcbox/domain"
)

// routeCreate chooses the role of a container that is about to be created.
// Whether FEX is installed is looked up each time: it may come while the
// daemon runs.
func routeCreate(dataDir string) func(url.Values, []byte) (domain.Role, error) {
	fex := filepath.Join(dataDir, "runtime", "bin", domain.FEXBinary)
	return func(query url.Values, body []byte) (domain.Role, error) {
		arch, err := domain.ArchFor(runtime.GOARCH)
		if err != nil {
			return "", err
		}
		st, err := os.Stat(fex)
		platform, asked := domain.CreatePlatform(query, body)
		d, err := domain.Route(platform, asked, domain.RoutingFacts{Guest: arch, FEX: err == nil && st.Mode().IsRegular(), Rosetta: hasRosettaRole})
		return d.Role, err
	}
}
