package domain

import "testing"

func TestNearestFindsWhatWasMeant(t *testing.T) {
	keys := []string{"vm.cpus", "vm.memory_mb", "vm.disk_gb", "docker.context"}
	for word, want := range map[string]string{
		"vm.cpu": "vm.cpus", "vm.memroy_mb": "vm.memory_mb", "vm.disk": "vm.disk_gb", "docker.context": "docker.context", "unrelated": "",
	} {
		if got, ok := Nearest(word, keys); got != want || ok != (want != "") {
			t.Errorf("Nearest(%q) = %q, %v; want %q", word, got, ok, want)
		}
	}
}
