package domain

// SetupPhase is a step of the daemon's start. The numbers are those of the
// wire (arcbox.v1.SetupPhase); their order is not the order of the phases.
type SetupPhase int

// Setup phases.
const (
	PhaseUnspecified       SetupPhase = 0
	PhaseInitializing      SetupPhase = 1
	PhaseAssetsReady       SetupPhase = 2
	PhaseVMStarting        SetupPhase = 3
	PhaseVMReady           SetupPhase = 4
	PhaseNetworkReady      SetupPhase = 5
	PhaseReady             SetupPhase = 6
	PhaseDegraded          SetupPhase = 7
	PhaseDownloadingAssets SetupPhase = 8
	PhaseCleaningUp        SetupPhase = 9
	PhaseFailed            SetupPhase = 10
)

var phaseNames = map[SetupPhase]string{
	PhaseUnspecified: "UNSPECIFIED", PhaseInitializing: "INITIALIZING", PhaseAssetsReady: "ASSETS_READY",
	PhaseVMStarting: "VM_STARTING", PhaseVMReady: "VM_READY", PhaseNetworkReady: "NETWORK_READY",
	PhaseReady: "READY", PhaseDegraded: "DEGRADED", PhaseDownloadingAssets: "DOWNLOADING_ASSETS",
	PhaseCleaningUp: "CLEANING_UP", PhaseFailed: "FAILED",
}

// String returns the wire name, such as "VM_STARTING".
func (p SetupPhase) String() string {
	if n, ok := phaseNames[p]; ok {
		return n
	}
	return phaseNames[PhaseUnspecified]
}

// Terminal says whether the start ends in this phase.
func (p SetupPhase) Terminal() bool {
	return p == PhaseReady || p == PhaseDegraded || p == PhaseFailed
}

// SetupStatus is one update of the daemon's start, and of the facts that
// outlive it.
type SetupStatus struct {
	Phase   SetupPhase
	Message string
	Error   string // set in PhaseFailed and PhaseDegraded

	VMRunning            bool
	DNSResolverInstalled bool
	DockerSocketLinked   bool
	RouteInstalled       bool
	DockerToolsInstalled bool
}
