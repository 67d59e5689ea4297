package domain

// Accelerator is how a hypervisor runs guest code.
type Accelerator string

// Accelerators. AcceleratorAuto is a wish only; a running machine has one of
// the others.
const (
	AcceleratorAuto Accelerator = "auto"
	AcceleratorKVM  Accelerator = "kvm"
	AcceleratorTCG  Accelerator = "tcg"
	AcceleratorHVF  Accelerator = "hvf"
)

// Disk is one block device of a virtual machine. The first of a plan is the
// guest's /dev/vda, the next /dev/vdb, and so on.
type Disk struct {
	Path     string // on the host, a raw image
	ReadOnly bool
	// Discard passes TRIM on to the host file.
	Discard bool
}

// VMPlan is what a hypervisor needs to know to start a virtual machine. It is
// data: the same plan gives the same machine.
type VMPlan struct {
	Name    MachineName
	CPUs    int
	Memory  MiB
	Kernel  string // host path
	Cmdline string // kernel command line
	Disks   []Disk
	Shares  []Share
	// MAC is the guest's only network interface, six bytes; MTU its largest packet, bytes.
	MAC [6]byte
	MTU int
	// ConsoleLog is the host file that receives the serial console from its
	// start; it is truncated at each start.
	ConsoleLog string
	// Accelerator is the wish; auto takes the best that works.
	Accelerator Accelerator
}

// HypervisorInfo is what the host can run, found by probing.
type HypervisorInfo struct {
	Driver      string // "qemu", "vz"
	Version     string
	Accelerator Accelerator // the one that a start would use
	// Reason says why a better accelerator is not used; empty when there is none.
	Reason string
}
