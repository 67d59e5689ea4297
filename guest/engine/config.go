package engine

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"path/filepath"
	"strconv"

	"arcbox/guest/firewall"
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

// pool is a range from which dockerd takes the subnets of networks that do not
// say which.
type pool struct {
	Base netip.Prefix `json:"base"`
	Size int          `json:"size"` // prefix length of one subnet
}

// subnetSize is the prefix length of a network: room for 4094 containers.
const subnetSize = 20

// bridgeAddress is the default network's, as everywhere.
const bridgeAddress = "172.17.0.1/16"

// pools lie within 172.16.0.0/12, which the host's network routes to the guest,
// and have room for 224 networks. dockerd takes the lowest first: that is
// 172.18, as everywhere, because nothing below is here.
func pools() []pool {
	var p []pool
	for _, base := range []string{"172.18.0.0/15", "172.20.0.0/14", "172.24.0.0/13"} {
		p = append(p, pool{Base: netip.MustParsePrefix(base), Size: subnetSize})
	}
	return p
}

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
	UserlandProxyPath  string                       `json:"userland-proxy-path"`
	BridgeAddress      string                       `json:"bip"`
	AddressPools       []pool                       `json:"default-address-pools"`
	AcceptMark         string                       `json:"bridge-accept-fwmark"`
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
		// It is how the host opens a port before the container starts.
		UserlandProxy:     true,
		UserlandProxyPath: filepath.Join(BinDir, proxy),
		BridgeAddress:     bridgeAddress,
		AddressPools:      pools(),
		// What the agent's own table marks: packets of the host.
		AcceptMark: firewall.AcceptMark(),
		MTU:        n.MTU,
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
