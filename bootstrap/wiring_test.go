package bootstrap

import (
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/fx"

	"arcbox/domain"
)

// testBuild pins an asset set that nobody fetches.
func testBuild(t *testing.T) Build {
	return Build{Version: "0", AssetVersion: "1.0.0", AssetSource: "file://" + t.TempDir()}
}

func TestTheDaemonIsWiredForEveryDriverChoice(t *testing.T) {
	for _, accelerator := range []domain.Accelerator{domain.AcceleratorAuto, domain.AcceleratorKVM, domain.AcceleratorTCG} {
		for _, boot := range []string{BootEager, BootOnDemand} {
			c, err := LoadConfig(nil, nil, map[string]any{"data_dir": t.TempDir(), "vm.accelerator": string(accelerator), "vm.boot": boot})
			require.NoError(t, err)
			log := slog.New(slog.DiscardHandler)
			require.NoError(t, fx.ValidateApp(Options(c, testBuild(t), log), fx.Supply(newEnding())), "%s, %s", accelerator, boot)
		}
	}
}

func TestABuildWithoutAGuestSaysHowToGetOne(t *testing.T) {
	c, err := LoadConfig(nil, nil, map[string]any{"data_dir": t.TempDir()})
	require.NoError(t, err)
	err = RunDaemon(t.Context(), c, Build{Version: "0"}, nil, func() {})
	require.ErrorIs(t, err, domain.ErrNotFound)
	require.Contains(t, domain.Hint(err), "make guest")
	require.NotContains(t, err.Error(), "function", "fx's own words are of no use to a user")
}

func TestTheMachineFollowsTheConfiguration(t *testing.T) {
	c, err := LoadConfig(nil, nil, map[string]any{"data_dir": "/d", "vm.cpus": 3, "vm.memory_mb": 1024, "vm.disk_gb": 9,
		"network.subnet": "192.168.9.0/24", "network.mtu": 9000, "network.dns": []string{"9.9.9.9"}, "vm.idle_timeout": "1m",
		"vm.tcg_time_factor": 7, "vm.kernel_path": "/k", "container.guest_docker_vsock_port": 99})
	require.NoError(t, err)
	o := lifecycleOptions(c)
	require.Equal(t, 3, o.CPUs)
	require.Equal(t, domain.MiB(1024), o.Memory)
	require.Equal(t, domain.GiB(9), o.Disk)
	require.Equal(t, "/d/data/docker.img", o.DataDisk)
	require.Equal(t, "192.168.9.2/24", o.Network.Address.String())
	require.Equal(t, "192.168.9.1", o.Network.Gateway.String())
	require.Equal(t, 9000, o.Network.MTU)
	require.Equal(t, 7, o.TCGFactor)
	require.Equal(t, "/k", o.Kernel)
	require.Equal(t, uint32(99), o.DockerPort)
	require.Equal(t, "1m0s", o.Timing.Idle.String())
	n := networkOptions(c, nil, nil)
	require.Equal(t, o.Network.Gateway, n.Gateway)
	require.Equal(t, o.Network.Address.Addr(), n.Guest)
	require.Equal(t, o.Network.MTU, n.MTU, "both ends of the wire agree")
	require.Equal(t, framing, n.Framing)
	require.Equal(t, "9.9.9.9:53", guestNames(c, nil).Upstreams[0].String())
}
