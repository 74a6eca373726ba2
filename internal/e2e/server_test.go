package e2e

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/mod/modfile"
	"golang.org/x/mod/semver"

	"github.com/lethe-dev/lethe/internal/natsconn"
)

const serverModule = "github.com/nats-io/nats-server/v2"

// Tests run against either kind of server, so both must behave the same.
func TestAServerIsTheSameInThisProcessAndInItsOwn(t *testing.T) {
	t.Setenv("LETHE_TEST_NATS_SERVER", "")
	programs, err := Build(t.Context(), t.TempDir(), NATSServer)
	if err != nil {
		t.Fatal(err)
	}
	for kind, path := range map[string]string{"in the test process": "", "in a separate process": programs[NATSServer]} {
		t.Run(kind, func(t *testing.T) {
			t.Setenv("LETHE_TEST_NATS_SERVER", path)
			c := ServerConfig{Dir: filepath.Join(t.TempDir(), "js"), MaxStore: 1 << 20, User: "lethe", Password: "a password"}
			s, js := Serve(t, c)
			if _, separate := s.(*process); separate != (path != "") {
				t.Fatalf("it is a %T", s)
			}
			if _, err := nats.Connect(s.ClientURL()); !errors.Is(err, nats.ErrAuthorization) {
				t.Errorf("without a password: %v", err)
			}
			if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}}); err != nil {
				t.Fatal(err)
			}
			publish := func(body []byte) error {
				_, err := js.Publish(t.Context(), "s", body)
				return err
			}
			err := publish([]byte("kept"))
			if err != nil {
				t.Fatal(err)
			}
			for size := int64(0); err == nil && size < 2*c.MaxStore; size += 1 << 19 {
				err = publish(make([]byte, 1<<19))
			}
			if _, ok := errors.AsType[*jetstream.APIError](err); !ok {
				t.Errorf("a publish to a full store returned %v", err)
			}
			c.Dir, c.Port = s.StoreDir(), s.Addr().(*net.TCPAddr).Port
			s.Shutdown()
			s.WaitForShutdown()

			_, js = Serve(t, c)
			stream, err := js.Stream(t.Context(), "S")
			if err != nil {
				t.Fatal(err)
			}
			if m, err := stream.GetMsg(t.Context(), 1); err != nil || string(m.Data) != "kept" {
				t.Errorf("after a restart: %v, %v", m, err)
			}
		})
	}
}

func TestAServerThatDoesNotStartIsAnError(t *testing.T) {
	for name, path := range map[string]string{"it exits at once": "/bin/false", "it does not exist": filepath.Join(t.TempDir(), "none")} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("LETHE_TEST_NATS_SERVER", path)
			if s, err := StartServer(ServerConfig{Dir: t.TempDir()}); err == nil {
				s.Shutdown()
				t.Error("no error")
			}
		})
	}
}

// The tests with the oldest server must use the oldest version that Lethe supports, and the other tests a
// newer one.
func TestTheOldestServerHasTheOldestSupportedVersion(t *testing.T) {
	oldest, newest := required(t, "oldest/go.mod"), required(t, "../../go.mod")
	if got, want := semver.MajorMinor(oldest), semver.MajorMinor("v"+natsconn.MinServerVersion); got != want {
		t.Errorf("oldest/go.mod requires the server %s, want a %s", oldest, want)
	}
	if semver.Compare(semver.MajorMinor(newest), semver.MajorMinor(oldest)) <= 0 {
		t.Errorf("go.mod requires the server %s, oldest/go.mod %s", newest, oldest)
	}
}

// required returns the version of the server that a go.mod requires.
func required(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	file, err := modfile.Parse(path, text, nil)
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(file.Require, func(r *modfile.Require) bool { return r.Mod.Path == serverModule })
	if i < 0 {
		t.Fatalf("%s requires no %s", path, serverModule)
	}
	return file.Require[i].Mod.Version
}
