package lifecycle_test

import (
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"arcbox/application/lifecycle/lifecycletest"
	"arcbox/domain"
)

func TestADiskThatFillsUpIsToldOncePerCrossing(t *testing.T) {
	world(t, func(t *testing.T, r *lifecycletest.Rig) {
		a := r.Actor(t, lifecycletest.Options())
		_, err := a.EnsureReady(t.Context())
		require.NoError(t, err)
		free := func(n uint64) {
			r.Guest().Push(domain.GuestStatus{Disk: domain.DiskUsage{Total: 100 << 30, Free: n << 30}})
			synctest.Wait()
		}
		disk := func() (kinds []domain.EventKind) {
			for _, k := range r.Events() {
				if k == domain.EventDiskLow || k == domain.EventDiskRecovered {
					kinds = append(kinds, k)
				}
			}
			return kinds
		}
		free(50)
		require.Empty(t, disk())
		free(4)
		free(3)
		free(6)
		require.Equal(t, []domain.EventKind{domain.EventDiskLow}, disk(), "6 of 100 is not yet room enough")
		require.Equal(t, uint64(6<<30), a.Status().Guest.Disk.Free)
		free(10)
		free(2)
		require.Equal(t, []domain.EventKind{domain.EventDiskLow, domain.EventDiskRecovered, domain.EventDiskLow}, disk())
	})
}

func TestAPausedMachineSaysWhyAndIsNotLost(t *testing.T) {
	world(t, func(t *testing.T, r *lifecycletest.Rig) {
		a := r.Actor(t, lifecycletest.Options())
		_, err := a.EnsureReady(t.Context())
		require.NoError(t, err)
		r.Guest().Pause("the host's disk is full")
		synctest.Wait()
		require.Equal(t, domain.StateRunning, a.Status().State)
		require.Equal(t, "the host's disk is full", a.Status().Paused)
		r.Guest().Pause("")
		synctest.Wait()
		require.Empty(t, a.Status().Paused)
		require.Subset(t, r.Events(), []domain.EventKind{domain.EventMachinePaused, domain.EventMachineResumed})

		r.Guest().Pause("the host's disk is full")
		require.NoError(t, a.ForceStop(t.Context()))
		require.Empty(t, a.Status().Paused)
	})
}
