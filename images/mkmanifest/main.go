// Command mkmanifest describes a folder of boot assets in its manifest.json.
// The folder's layout is the input:
//
//	<arch>/kernel, <arch>/rootfs.erofs    one pair per architecture
//	bin/<name>/<version>/<arch>/<name>    the guest's binaries
//
// The manifest is a function of that and of the flags: no clock, no host.
package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"time"
)

type (
	manifest struct {
		SchemaVersion uint32            `json:"schema_version"`
		AssetVersion  string            `json:"asset_version"`
		BuiltAt       string            `json:"built_at"`
		Targets       map[string]target `json:"targets"`
		Binaries      []binary          `json:"binaries"`
	}
	target struct {
		Kernel        file   `json:"kernel"`
		RootFS        file   `json:"rootfs"`
		KernelCmdline string `json:"kernel_cmdline"`
	}
	file struct {
		Path    string `json:"path"`
		SHA256  string `json:"sha256"`
		Version string `json:"version,omitempty"`
	}
	binary struct {
		Name       string          `json:"name"`
		Version    string          `json:"version"`
		Targets    map[string]file `json:"targets"`
		InstallDir string          `json:"install_dir,omitempty"`
	}
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "mkmanifest:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	flags := flag.NewFlagSet("mkmanifest", flag.ContinueOnError)
	var (
		assets  = flags.String("assets", "", "folder of the assets; manifest.json is written there")
		version = flags.String("version", "", "version of the asset set, such as 1.2.3")
		epoch   = flags.Int64("epoch", 0, "built_at, in seconds since 1970")
		kernel  = flags.String("kernel-version", "", "version of the kernels")
		cmdline = flags.String("cmdline", "", "kernel command line")
		install = flags.String("install-dirs", "", "binaries that are not installed in runtime/bin: name=folder, comma-separated")
	)
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *assets == "" || *cmdline == "" {
		return errors.New("-assets and -cmdline are required")
	}
	major, _, _ := strings.Cut(*version, ".")
	schema, err := strconv.ParseUint(major, 10, 32)
	if err != nil {
		return fmt.Errorf("-version %q does not begin with a major number", *version)
	}
	installDirs := map[string]string{}
	for _, pair := range strings.FieldsFunc(*install, func(r rune) bool { return r == ',' }) {
		name, dir, ok := strings.Cut(pair, "=")
		if !ok {
			return fmt.Errorf("-install-dirs: %q is not name=folder", pair)
		}
		installDirs[name] = dir
	}

	m := manifest{
		SchemaVersion: uint32(schema),
		AssetVersion:  *version,
		BuiltAt:       time.Unix(*epoch, 0).UTC().Format(time.RFC3339),
	}
	if m.Targets, err = targets(*assets, *kernel, *version, *cmdline); err != nil {
		return err
	}
	if m.Binaries, err = binaries(*assets, installDirs); err != nil {
		return err
	}
	data, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	tmp := filepath.Join(*assets, ".manifest.json.tmp")
	if err := os.WriteFile(tmp, append(data, '\n'), 0o644); err != nil {
		return err
	}
	return os.Rename(tmp, filepath.Join(*assets, "manifest.json"))
}

func targets(assets, kernelVersion, rootVersion, cmdline string) (map[string]target, error) {
	kernels, err := filepath.Glob(filepath.Join(assets, "*", "kernel"))
	if err != nil {
		return nil, err
	}
	if len(kernels) == 0 {
		return nil, fmt.Errorf("there is no <arch>/kernel in %s", assets)
	}
	found := map[string]target{}
	for _, path := range kernels {
		arch := filepath.Base(filepath.Dir(path))
		kernel, err := describe(assets, arch+"/kernel", kernelVersion)
		if err != nil {
			return nil, err
		}
		root, err := describe(assets, arch+"/rootfs.erofs", rootVersion)
		if err != nil {
			return nil, err
		}
		found[arch] = target{Kernel: kernel, RootFS: root, KernelCmdline: cmdline}
	}
	return found, nil
}

func binaries(assets string, installDirs map[string]string) ([]binary, error) {
	paths, err := filepath.Glob(filepath.Join(assets, "bin", "*", "*", "*", "*"))
	if err != nil {
		return nil, err
	}
	byName := map[string]*binary{}
	for _, path := range paths {
		rel, err := filepath.Rel(assets, path)
		if err != nil {
			return nil, err
		}
		parts := strings.Split(filepath.ToSlash(rel), "/")
		name, version, arch := parts[1], parts[2], parts[3]
		if parts[4] != name {
			return nil, fmt.Errorf("%s: the file should be called %s", rel, name)
		}
		b := byName[name]
		if b == nil {
			b = &binary{Name: name, Version: version, Targets: map[string]file{}, InstallDir: installDirs[name]}
			byName[name] = b
		}
		if b.Version != version {
			return nil, fmt.Errorf("%s is there in two versions, %s and %s", name, b.Version, version)
		}
		if b.Targets[arch], err = describe(assets, filepath.ToSlash(rel), ""); err != nil {
			return nil, err
		}
	}
	for name := range installDirs {
		if byName[name] == nil {
			return nil, fmt.Errorf("-install-dirs names %s, which is not there", name)
		}
	}
	list := make([]binary, 0, len(byName))
	for _, b := range byName {
		list = append(list, *b)
	}
	sort.Slice(list, func(i, j int) bool { return list[i].Name < list[j].Name })
	return list, nil
}

func describe(assets, path, version string) (file, error) {
	f, err := os.Open(filepath.Join(assets, filepath.FromSlash(path)))
	if err != nil {
		return file{}, err
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return file{}, err
	}
	return file{Path: path, SHA256: hex.EncodeToString(sum.Sum(nil)), Version: version}, nil
}
