package grpc

import (
	"context"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/golang/mock/gomock"
	"github.com/stretchr/testify/require"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"arcbox/application/port/mock"
	"arcbox/domain"
)

// documented returns the methods of docs/api.md and whether they are served.
func documented(t *testing.T) map[string]bool {
	t.Helper()
	text, err := os.ReadFile("../../docs/api.md")
	require.NoError(t, err)
	methods, service := map[string]bool{}, ""
	row := regexp.MustCompile("^\\| `(\\w+)` \\| [^|]+ \\| [^|]+ \\| (yes|later) \\|")
	for line := range strings.Lines(string(text)) {
		if name, ok := strings.CutPrefix(line, "### "); ok {
			service = strings.TrimSpace(name)
		}
		if m := row.FindStringSubmatch(line); m != nil {
			methods[service+"/"+m[1]] = m[2] == "yes"
		}
	}
	return methods
}

// Every method of the API is called with an empty request: what the reference says
// is not served says so, the rest does not, and there is no other.
func TestWhatIsNotServedSaysSoAsDocumented(t *testing.T) {
	methods, forwards := documented(t), mock.NewMockForwards(gomock.NewController(t))
	f := serveServices(t, append(answering(t).services(), NewPortService(forwards))...)
	forwards.EXPECT().Forwards().AnyTimes()
	forwards.EXPECT().WatchForwards(gomock.Any(), gomock.Any()).AnyTimes().Return(nil)

	var registered []string
	for service, info := range f.server.server.GetServiceInfo() {
		if strings.HasPrefix(service, "grpc.") {
			continue
		}
		for _, m := range info.Methods {
			registered = append(registered, service+"/"+m.Name)
			err := call(t, f.conn, service+"/"+m.Name)
			if methods[service+"/"+m.Name] {
				require.NotEqual(t, codes.Unimplemented, status.Code(err), m.Name)
				continue
			}
			require.Equal(t, codes.Unimplemented, status.Code(err), m.Name)
			require.Equal(t, "NOT_SERVED_YET", reason(t, err))
			require.Equal(t, service+"/"+m.Name, detail[*errdetails.ErrorInfo](t, err).Metadata["method"])
			require.Contains(t, err.Error(), "later version")
		}
	}
	var names []string
	for name := range methods {
		names = append(names, name)
	}
	require.ElementsMatch(t, names, registered)
}

// answering returns use-cases that answer everything.
func answering(t *testing.T) *fixture {
	out := newFixture(t)
	out.prune = func(context.Context, domain.PruneOptions) (domain.PruneResult, error) {
		return domain.PruneResult{}, nil
	}
	out.system.EXPECT().Setup().AnyTimes()
	out.system.EXPECT().VM(gomock.Any()).AnyTimes()
	out.system.EXPECT().WatchSetup(gomock.Any(), gomock.Any()).AnyTimes().Return(nil)
	out.system.EXPECT().Watch(gomock.Any(), gomock.Any()).AnyTimes().Return(nil)
	out.machines.EXPECT().Load(gomock.Any(), gomock.Any()).AnyTimes().Return(domain.Machine{}, domain.ErrNotFound)
	return out
}

// call sends one empty message and returns how the call ended.
func call(t *testing.T, conn *grpc.ClientConn, method string) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, "/"+method)
	require.NoError(t, err)
	_ = stream.SendMsg(&emptypb.Empty{}) // the answer says what became of it
	_ = stream.CloseSend()
	return stream.RecvMsg(&emptypb.Empty{})
}

func TestUnknownMethodsSayWhatToDo(t *testing.T) {
	f := serveServices(t)
	for method, hint := range map[string]string{
		"arcbox.v1.SystemService/Fly":     "another version",
		"other.v9.Service/Do":             "another version",
		"arcbox.v1.ContainerService/List": "the Docker API",
	} {
		err := call(t, f.conn, method)
		require.Equal(t, codes.Unimplemented, status.Code(err))
		require.Equal(t, "UNKNOWN_METHOD", reason(t, err))
		require.Contains(t, err.Error(), method)
		require.Contains(t, detail[*errdetails.LocalizedMessage](t, err).Message, hint)
	}
}
