package bootstrap

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"arcbox/domain"
)

// configKey describes one key of the configuration. The checks, the error
// messages, the reference in docs/, the schema, the example file and the help
// of arcbox config all come from these rows.
type configKey struct {
	key     string
	meaning string // without a full stop
	allowed string // in words, for keys whose values are not a range or a list
	values  []string
	// min and max bound a number, both included; both 0 for no bounds. zero says
	// that 0 is allowed besides.
	min, max int64
	zero     bool
	// shown is the default in words where it depends on the host or the build.
	shown string
	// secret says that a value may hold a password.
	secret bool
	// live says that a running daemon takes a change up without a restart.
	live bool
}

const anyPath = "a path"

// configKeys are all keys, in the order in which a user meets them.
func configKeys() []configKey {
	return []configKey{
		{key: "data_dir", shown: "~/.arcbox", allowed: "a directory",
			meaning: "where everything is kept; also `--data-dir`"},
		{key: "vm.cpus", max: 255, meaning: "processors; 0 is as many as the host has"},
		{key: "vm.memory_mb", min: 512, max: 1 << 20, zero: true, meaning: "memory in MiB; 0 is half of the host's, 512 to 16384"},
		{key: "vm.disk_gb", min: 1, max: 16 << 10, meaning: "size of the data disk in GiB; sparse, grows when raised, never shrinks"},
		{key: "vm.boot", values: []string{BootEager, BootOnDemand}, meaning: "`eager` boots with the daemon, `on_demand` with the first request"},
		{key: "vm.accelerator", values: []string{string(domain.AcceleratorAuto), string(domain.AcceleratorKVM), string(domain.AcceleratorTCG)},
			meaning: "how the processor is virtualised: by the host's (`kvm`), emulated (`tcg`), or as the host can (`auto`)"},
		{key: "vm.tcg_time_factor", min: 1, max: 100, meaning: "how much longer everything may take where the processor is emulated"},
		{key: "vm.startup_timeout", allowed: "a positive duration such as 90s", meaning: "how long a boot may take, retries included"},
		{key: "vm.idle_timeout", allowed: "a duration such as 5m, or 0 for never", meaning: "how long unused before the machine idles; 0 is never"},
		{key: "vm.stop_timeout", allowed: "a duration such as 10m, or 0 for never", meaning: "how long idle before it is stopped; 0 is never"},
		{key: "vm.watch", meaning: "changes on the host wake programs that watch files in containers (hot reload). Followed is what running containers bind of the shares, but not what is in directories named `.git` and `node_modules`. Linux hosts"},
		{key: "vm.watch_limit", min: 1, max: 1 << 20, meaning: "how many directories of the host are watched for that; the kernel has its own limit, `fs.inotify.max_user_watches`"},
		{key: "vm.kernel_path", allowed: anyPath, meaning: "boots this kernel instead of the asset set's"},
		{key: "vm.mounts", shown: `["~"]`, allowed: "directories, each PATH, PATH:ro or PATH:rw",
			meaning: "directories of the host that the machine and its containers have, at the same paths: each `PATH`, `PATH:ro` or `PATH:rw`. `~` is the home directory. The environment variable is split at commas, so a path with a comma belongs in a file. Containers can bind only what is in these directories"},
		{key: "network.subnet", allowed: "an IPv4 network such as 10.0.2.0/24", meaning: "the guest's network; its first address is the host"},
		{key: "network.dns", allowed: "IP addresses", meaning: "resolvers for the guest; empty is the host's own"},
		{key: "network.mtu", min: 1280, max: 65520, meaning: "the largest packet between host and guest, in bytes"},
		{key: "network.domain", allowed: "a domain name", meaning: "what the names of containers are under; never asked of an upstream resolver; also `ARCBOX_DNS_DOMAIN`"},
		{key: "network.dns_port", max: 65535, meaning: "where the host is answered, on 127.0.0.1 by UDP and TCP; 0 is nowhere; also `ARCBOX_DNS_PORT`"},
		{key: "proxy.mode", values: []string{string(domain.ProxyAuto), string(domain.ProxyNone)},
			meaning: "`auto` gives the guest the proxies below, or the host's own; with `none` it has no proxy"},
		{key: "proxy.http", secret: true, allowed: "a URL such as http://host:3128",
			meaning: "proxy for http, such as `http://user:password@host:3128` (also `https`, `socks5`, `socks5h`); empty is the host's: `HTTP_PROXY` of the daemon, else `/etc/environment` or the settings of macOS. One on the host's loopback is reached as `host.docker.internal`"},
		{key: "proxy.https", secret: true, allowed: "a URL such as http://host:3128", meaning: "proxy for https; empty is the host's: `HTTPS_PROXY`, and so on"},
		{key: "proxy.no_proxy", allowed: "host names, addresses and networks, separated by commas",
			meaning: "what is reached directly, separated by commas; empty is the host's: `NO_PROXY`, and so on"},
		{key: "docker.socket_path", shown: "<data_dir>/run/docker.sock", allowed: anyPath, meaning: "the Docker API"},
		{key: "docker.context", meaning: "keep a Docker context named `arcbox`"},
		{key: "docker.ssh_agent", allowed: anyPath, meaning: "socket of the SSH agent that containers have at `/run/host-services/ssh-auth.sock`; empty is `SSH_AUTH_SOCK` of the daemon, as it was when the daemon began. Links are followed at each connection, so name a link here if the agent's socket changes with each login"},
		{key: "container.startup_timeout_ms", allowed: "a positive number of milliseconds", meaning: "how long the engine may take in a guest that is up"},
		{key: "container.guest_docker_vsock_port", allowed: "a vsock port that is not 1024, 1025 or 16443", meaning: "where the engine is reached in the guest"},
		{key: "container.ca_certificates", meaning: "give every new container the machine's certificate authorities, the host's among them, at `/run/arcbox/ca-certificates.crt`, and name them in `SSL_CERT_FILE`, `CURL_CA_BUNDLE`, `REQUESTS_CA_BUNDLE`, `NODE_EXTRA_CA_CERTS` and `GIT_SSL_CAINFO`"},
		{key: "container.proxies", meaning: "name the proxies in the environment of every new container"},
		{key: "assets.source", shown: "the build's", allowed: "a URL or a path", meaning: "where the guest comes from: `https://`, `file://`, or a bundle (`.tar`, `.tar.zst`)"},
		{key: "assets.version", shown: "the build's", allowed: "a version", meaning: "another version of the guest; its manifest is then not pinned"},
		{key: "logging.level", values: []string{"debug", "info", "warn", "error"}, meaning: "from which level on the daemon logs"},
	}
}

func findConfigKey(key string) (configKey, bool) {
	keys := configKeys()
	i := slices.IndexFunc(keys, func(k configKey) bool { return k.key == key })
	if i < 0 {
		return configKey{}, false
	}
	return keys[i], true
}

func configKeyNames() []string {
	var names []string
	for _, k := range configKeys() {
		names = append(names, k.key)
	}
	return names
}

// want says in words which values a key of type t may have.
func (k configKey) want(t reflect.Type) string {
	switch {
	case k.allowed != "":
		return k.allowed
	case len(k.values) > 1:
		return strings.Join(k.values[:len(k.values)-1], ", ") + " or " + k.values[len(k.values)-1]
	case k.min != 0 || k.max != 0:
		text := fmt.Sprintf("%d to %d", k.min, k.max)
		if k.zero {
			text = "0, or " + text
		}
		return text
	case t.Kind() == reflect.Bool:
		return "true or false"
	}
	return typeName(t)
}

// wantTyped says it for a value of another type.
func (k configKey) wantTyped(t reflect.Type) string {
	if len(k.values) == 0 && k.min == 0 && k.max == 0 {
		return typeName(t)
	}
	return typeName(t) + ", " + k.want(t)
}

// inBounds checks what the row alone says of a value.
func (k configKey) inBounds(v reflect.Value) bool {
	switch {
	case len(k.values) > 0:
		return slices.Contains(k.values, v.String())
	case k.min == 0 && k.max == 0:
		return true
	}
	var n int64
	if v.CanUint() {
		if v.Uint() > 1<<62 {
			return false
		}
		n = int64(v.Uint())
	} else {
		n = v.Int()
	}
	return k.zero && n == 0 || n >= k.min && n <= k.max
}
