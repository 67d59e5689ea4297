package assets

import (
	"context"
	"fmt"
	"strings"

	"arcbox/domain"
)

// CheckBoot says what keeps the guest from booting: the agent and the required
// runtime binaries must exist, be regular files and executable. The error names
// the first file that is not, and its hint the command that mends it.
func (s *Service) CheckBoot(ctx context.Context) error { return s.checkBoot(ctx) }

func (s *Service) checkBoot(ctx context.Context) error {
	agent := domain.Asset{Kind: domain.AssetBinary, Name: domain.AgentBinary, InstallDir: domain.AgentBinDir}
	if err := s.checkFile(ctx, "guest agent", agent); err != nil {
		return err
	}
	for _, name := range domain.RequiredRuntimeBinaries() {
		if err := s.checkFile(ctx, "runtime binary "+name, domain.Asset{Kind: domain.AssetBinary, Name: name}); err != nil {
			return err
		}
	}
	if s.opts.Kubernetes {
		return s.checkKubernetes(ctx)
	}
	return nil
}

// checkKubernetes accepts the first of the alternatives that exists, and then
// it must be usable.
func (s *Service) checkKubernetes(ctx context.Context) error {
	names := domain.KubernetesBinaries()
	for _, name := range names {
		a := domain.Asset{Kind: domain.AssetBinary, Name: name}
		path, f, err := s.files.Inspect(ctx, "", a)
		if err != nil {
			return fmt.Errorf("runtime binary %s: %w", name, err)
		}
		if f.Exists {
			return domain.CheckBootFile("runtime binary "+name, path, f)
		}
	}
	err := fmt.Errorf("Kubernetes needs one of the runtime binaries %s: %w", strings.Join(names, ", "), domain.ErrNotFound)
	return domain.WithHint(err, "run `arcbox boot prefetch` with an asset set that has Kubernetes")
}

func (s *Service) checkFile(ctx context.Context, what string, a domain.Asset) error {
	path, f, err := s.files.Inspect(ctx, "", a)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return domain.CheckBootFile(what, path, f)
}
