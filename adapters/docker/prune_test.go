package docker

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"arcbox/domain"
)

func TestPruneAsksWhatDockerSystemPruneDoes(t *testing.T) {
	var asked []string
	answers := map[string]string{
		"/containers/prune": `{"ContainersDeleted":["c1","c2"],"SpaceReclaimed":1}`,
		"/networks/prune":   `{"NetworksDeleted":["n1"]}`,
		"/volumes/prune":    `{"VolumesDeleted":["v1"],"SpaceReclaimed":20}`,
		"/images/prune":     `{"ImagesDeleted":[{"Untagged":"web:1"},{"Deleted":"sha256:ab"}],"SpaceReclaimed":300}`,
		"/build/prune":      `{"CachesDeleted":null,"SpaceReclaimed":4000}`,
	}
	e := httpEngine(t, 1, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.Method+" "+r.URL.RequestURI())
		fmt.Fprint(w, answers[r.URL.Path])
	}))
	r, err := Pruner{}.Prune(t.Context(), e, domain.PruneOptions{})
	require.NoError(t, err)
	require.Equal(t, domain.PruneResult{Containers: []string{"c1", "c2"}, Networks: []string{"n1"}, Images: []string{"web:1", "sha256:ab"}, Reclaimed: 4301}, r)
	require.Equal(t, []string{"POST /containers/prune", "POST /networks/prune",
		"POST /images/prune?filters=%7B%22dangling%22%3A%5B%22true%22%5D%7D", "POST /build/prune"}, asked)

	asked = nil
	r, err = Pruner{}.Prune(t.Context(), e, domain.PruneOptions{All: true, Volumes: true})
	require.NoError(t, err)
	require.Equal(t, []string{"v1"}, r.Volumes)
	require.EqualValues(t, 4321, r.Reclaimed)
	require.Len(t, asked, 5)
	require.Contains(t, asked[3], "false")
	require.Equal(t, "POST /build/prune?all=true", asked[4])
}

func TestPruneOfAnEngineThatFails(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		body   string
		says   string
		kind   error
	}{
		"its own words": {http.StatusConflict, `{"message":"a prune operation is already running"}`, "a prune operation is already running", domain.ErrUnavailable},
		"no JSON":       {http.StatusOK, `<html>`, "answer to /images/prune", domain.ErrInvalid},
		"endless":       {http.StatusOK, strings.Repeat(" ", pruneLimit+1), "more than", domain.ErrInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			e := httpEngine(t, 1, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/images/prune" {
					fmt.Fprint(w, `{"ContainersDeleted":["c1"]}`)
					return
				}
				w.WriteHeader(c.status)
				fmt.Fprint(w, c.body)
			}))
			r, err := Pruner{}.Prune(t.Context(), e, domain.PruneOptions{})
			require.ErrorIs(t, err, c.kind)
			require.ErrorContains(t, err, c.says)
			require.Contains(t, r.Containers, "c1", "what was removed before is told")
		})
	}
	held := make(chan struct{})
	e := httpEngine(t, 1, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
		case <-held:
		}
	}))
	defer close(held)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := Pruner{}.Prune(ctx, e, domain.PruneOptions{})
	require.ErrorIs(t, err, domain.ErrTimeout)
}
