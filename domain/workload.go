package domain

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

const (
	containerIDLen = 64
	minIDPrefix    = 4
	// maxExecs bounds what a loop of `docker exec` can make the registry hold;
	// engines forget finished execs after minutes.
	maxExecs = 8192
)

// WorkloadRegistry remembers in which role's engine containers, execs and
// build sessions live, so that follow-up requests go to the same one. The zero
// value is empty and ready. It is a plain value: whoever shares it serialises
// access.
//
// Invariant: every alias and every exec belongs to a recorded container.
type WorkloadRegistry struct {
	containers map[string]*workload // by 64-digit id
	aliases    map[string][]string  // name -> ids: each engine has its own names, so two may share one
	execs      map[string]string    // exec id -> container id
	execOrder  []string             // oldest first
	sessions   map[string]Role
}

type workload struct {
	role  Role
	names []string
}

// Record notes that the container with this full id (64 hex digits) lives in
// role. Recording it again moves it.
func (r *WorkloadRegistry) Record(id string, role Role) error {
	if len(id) != containerIDLen || !isHex(id) {
		return fmt.Errorf("container id %q must have %d lower-case hex digits: %w", id, containerIDLen, ErrInvalid)
	}
	if w, ok := r.containers[id]; ok {
		w.role = role
		return nil
	}
	if r.containers == nil {
		r.containers = map[string]*workload{}
	}
	r.containers[id] = &workload{role: role}
	return nil
}

// AddAlias gives a recorded container one more name. A leading slash is not
// part of a name.
func (r *WorkloadRegistry) AddAlias(id, name string) error {
	w, ok := r.containers[id]
	if !ok {
		return fmt.Errorf("name %q for container %q: the container is not recorded: %w", name, id, ErrNotFound)
	}
	name = strings.TrimPrefix(name, "/")
	if name == "" {
		return fmt.Errorf("empty name for container %q: %w", id, ErrInvalid)
	}
	if slices.Contains(w.names, name) {
		return nil
	}
	if r.aliases == nil {
		r.aliases = map[string][]string{}
	}
	w.names = append(w.names, name)
	r.aliases[name] = append(r.aliases[name], id)
	return nil
}

// Rename replaces all names of a recorded container by one.
func (r *WorkloadRegistry) Rename(id, name string) error {
	if w, ok := r.containers[id]; ok && strings.TrimPrefix(name, "/") != "" {
		r.dropAliases(id, w)
	}
	return r.AddAlias(id, name)
}

// Forget removes a container with its names and execs.
func (r *WorkloadRegistry) Forget(id string) {
	w, ok := r.containers[id]
	if !ok {
		return
	}
	r.dropAliases(id, w)
	delete(r.containers, id)
	gone := func(e string) bool { return r.execs[e] == id }
	r.execOrder = slices.DeleteFunc(r.execOrder, gone)
	maps.DeleteFunc(r.execs, func(_, c string) bool { return c == id })
}

// Retain forgets every container of role that is not among ids: the engine's
// own list is the truth.
func (r *WorkloadRegistry) Retain(role Role, ids []string) {
	keep := make(map[string]bool, len(ids))
	for _, id := range ids {
		keep[id] = true
	}
	var gone []string
	for id, w := range r.containers {
		if w.role == role && !keep[id] {
			gone = append(gone, id)
		}
	}
	for _, id := range gone {
		r.Forget(id)
	}
}

// Lookup finds the role of a container by full id, by name, or by the first 4
// to 63 hex digits of its id, in the order in which an engine looks. It returns
// ErrNotFound for an unknown one, and ErrConflict when it means containers of
// several roles; several of one role are that engine's to tell apart.
func (r *WorkloadRegistry) Lookup(token string) (Role, error) {
	token = strings.TrimPrefix(token, "/")
	if w, ok := r.containers[token]; ok {
		return w.role, nil
	}
	if ids := r.aliases[token]; len(ids) > 0 {
		return r.common(token, slices.Values(ids))
	}
	if len(token) < minIDPrefix || len(token) >= containerIDLen || !isHex(token) {
		return "", fmt.Errorf("container %q: %w", token, ErrNotFound)
	}
	return r.common(token, func(yield func(string) bool) {
		for id := range r.containers {
			if strings.HasPrefix(id, token) && !yield(id) {
				return
			}
		}
	})
}

func (r *WorkloadRegistry) common(token string, ids func(func(string) bool)) (Role, error) {
	var found Role
	for id := range ids {
		role := r.containers[id].role
		if found != "" && found != role {
			err := fmt.Errorf("identifier %q matches workloads in several virtual machines: %w", token, ErrConflict)
			return "", WithHint(err, "use the full container id")
		}
		found = role
	}
	if found == "" {
		return "", fmt.Errorf("container %q: %w", token, ErrNotFound)
	}
	return found, nil
}

// RecordExec notes that an exec belongs to a recorded container. Beyond a
// bound the oldest exec is forgotten.
func (r *WorkloadRegistry) RecordExec(exec, container string) error {
	if _, ok := r.containers[container]; !ok {
		return fmt.Errorf("exec %q of container %q: the container is not recorded: %w", exec, container, ErrNotFound)
	}
	if r.execs == nil {
		r.execs = map[string]string{}
	}
	if _, ok := r.execs[exec]; !ok {
		if len(r.execOrder) == maxExecs {
			delete(r.execs, r.execOrder[0])
			r.execOrder = r.execOrder[1:]
		}
		r.execOrder = append(r.execOrder, exec)
	}
	r.execs[exec] = container
	return nil
}

// Exec finds the role of an exec by its full id, the only way engines know them.
func (r *WorkloadRegistry) Exec(id string) (Role, error) {
	c, ok := r.execs[id]
	if !ok {
		return "", fmt.Errorf("exec %q: %w", id, ErrNotFound)
	}
	return r.containers[c].role, nil
}

// RecordSession notes the role of a BuildKit session (the value of
// X-Docker-Expose-Session-Uuid).
func (r *WorkloadRegistry) RecordSession(id string, role Role) {
	if r.sessions == nil {
		r.sessions = map[string]Role{}
	}
	r.sessions[id] = role
}

// Session finds the role of a build session. ErrNotFound may only mean that
// its build has not arrived yet.
func (r *WorkloadRegistry) Session(id string) (Role, error) {
	role, ok := r.sessions[id]
	if !ok {
		return "", fmt.Errorf("build session %q: %w", id, ErrNotFound)
	}
	return role, nil
}

// ForgetSession removes a build session that ended.
func (r *WorkloadRegistry) ForgetSession(id string) { delete(r.sessions, id) }

func (r *WorkloadRegistry) dropAliases(id string, w *workload) {
	for _, n := range w.names {
		left := slices.DeleteFunc(r.aliases[n], func(o string) bool { return o == id })
		if len(left) == 0 {
			delete(r.aliases, n)
		} else {
			r.aliases[n] = left
		}
	}
	w.names = nil
}

func isHex(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return s != ""
}
