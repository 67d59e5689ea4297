package engine

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strconv"
)

// Network is what dockerd has to know of the guest's network.
type Network struct {
	MTU     int          // bytes; of the bridges as of the uplink
	DNS     []netip.Addr // resolvers of containers
	Gateway []netip.Addr // what host-gateway stands for; it reaches the host
}

// nofile is the limit of open files: databases in containers need far more
// than the kernel's 1024.
const nofile = 1 << 20

// shutdownTimeout is what dockerd gives containers to end, in seconds; the
// agent's own grace is longer.
const shutdownTimeout = 15

type ulimit struct {
	Name       string
	Hard, Soft int
}

// daemonConfig is daemon.json. Source of the keys: moby, daemon/config.
type daemonConfig struct {
	Hosts              []string                     `json:"hosts"`
	Containerd         string                       `json:"containerd"`
	ExecRoot           string                       `json:"exec-root"`
	DataRoot           string                       `json:"data-root"`
	Pidfile            string                       `json:"pidfile"`
	FirewallBackend    string                       `json:"firewall-backend"`
	AllowDirectRouting bool                         `json:"allow-direct-routing"`
	UserlandProxy      bool                         `json:"userland-proxy"`
	MTU                int                          `json:"mtu"`
	DefaultNetworkOpts map[string]map[string]string `json:"default-network-opts"`
	DNS                []netip.Addr                 `json:"dns,omitempty"`
	HostGatewayIPs     []netip.Addr                 `json:"host-gateway-ips,omitempty"`
	InsecureRegistries []netip.Prefix               `json:"insecure-registries,omitempty"`
	DefaultUlimits     map[string]ulimit            `json:"default-ulimits"`
	Features           map[string]bool              `json:"features"`
	LiveRestore        bool                         `json:"live-restore"`
	LogDriver          string                       `json:"log-driver"`
	LogOpts            map[string]string            `json:"log-opts"`
	ShutdownTimeout    int                          `json:"shutdown-timeout"`
}

// DaemonJSON returns dockerd's configuration.
func DaemonJSON(n Network) ([]byte, error) {
	b, err := json.MarshalIndent(daemonConfig{
		// The one socket: TCP sockets make dockerd wait a second and more.
		Hosts:      []string{"unix://" + DockerSocket},
		Containerd: ContainerdSocket,
		ExecRoot:   "/run/docker",
		DataRoot:   "/var/lib/docker",
		Pidfile:    "/run/docker.pid",
		// Two processes for all rules instead of one per rule.
		FirewallBackend: "nftables",
		// The host dials the containers' own addresses.
		AllowDirectRouting: true,
		UserlandProxy:      false,
		MTU:                n.MTU,
		DefaultNetworkOpts: map[string]map[string]string{
			// mtu above is for the default network only.
			"bridge": {"com.docker.network.driver.mtu": strconv.Itoa(n.MTU)},
		},
		DNS:            n.DNS,
		HostGatewayIPs: n.Gateway,
		// The gateway is the host's own loopback, for which dockerd asks no TLS either.
		InsecureRegistries: single(n.Gateway),
		DefaultUlimits:     map[string]ulimit{"nofile": {Name: "nofile", Hard: nofile, Soft: nofile}},
		Features: map[string]bool{
			"cdi": false, // no devices to describe, and a cache less to build
		},
		// The machine goes down with the daemon.
		LiveRestore:     false,
		LogDriver:       "json-file",
		LogOpts:         map[string]string{"max-size": "10m", "max-file": "3"},
		ShutdownTimeout: shutdownTimeout,
	}, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("make daemon.json: %w", err)
	}
	return append(b, '\n'), nil
}

// single returns the prefixes that hold one address each.
func single(addrs []netip.Addr) []netip.Prefix {
	var p []netip.Prefix
	for _, a := range addrs {
		p = append(p, netip.PrefixFrom(a, a.BitLen()))
	}
	return p
}

// ContainerdTOML returns containerd's configuration. Plugins that nothing in
// the guest uses are off: they cost time at every start.
func ContainerdTOML() []byte {
	return []byte(`version = 3
root = "/var/lib/containerd"
state = "/run/containerd"
disabled_plugins = [
  "io.containerd.grpc.v1.cri",
  "io.containerd.cri.v1.images",
  "io.containerd.cri.v1.runtime",
  "io.containerd.podsandbox.controller.v1.podsandbox",
  "io.containerd.nri.v1.nri",
  "io.containerd.image-verifier.v1.bindir",
  "io.containerd.internal.v1.tracing",
  "io.containerd.internal.v1.opt",
  "io.containerd.snapshotter.v1.blockfile",
  "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.erofs",
  "io.containerd.snapshotter.v1.zfs",
  "io.containerd.differ.v1.erofs",
  "io.containerd.tracing.processor.v1.otlp",
]

[grpc]
  address = "` + ContainerdSocket + `"

[metrics]
  address = ""
`)
}
