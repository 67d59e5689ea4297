package domain

import "net/netip"

// ContainerChange is news of an engine's containers. The first one of a watch,
// and the first after events may have been lost, is Full.
type ContainerChange struct {
	// Full says that Present is every container that runs and Networks every
	// network; whoever is not in them is gone.
	Full bool
	// Present are containers that are new or changed, as they are now. One that
	// was created and does not run is among them: Running tells.
	Present []ContainerFacts
	// Gone are the full ids of containers that do not exist any more.
	Gone []string
	// Networks, when it is not nil, replaces the subnets of all networks of the
	// engine; they lie behind the guest.
	Networks []netip.Prefix
}
