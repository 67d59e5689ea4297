package netfwd

import (
	"net"
	"os"

	"arcbox/adapters/internal/vhostuser"
)

// cardSocket is where the hypervisor connects to the network card.
func cardSocket() (*net.UnixListener, *os.File, error) { return vhostuser.Listen("network") }
