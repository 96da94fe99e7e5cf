package session_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"dipls/internal/sessiontest"
	"dipls/ranks/fakerank"
	"dipls/ranks/host"
	"dipls/session"
)

// specHost notes of what nodes are made.
type specHost struct {
	*fakerank.Host
	specs []host.NodeSpec
}

func (h *specHost) StartNode(ctx context.Context, spec host.NodeSpec) (host.NodeProcess, error) {
	h.specs = append(h.specs, spec)
	return h.Host.StartNode(ctx, spec)
}

// Environ implements [host.Host].
func (*specHost) Environ() []string {
	return []string{"PATH=/bin", "A=inherited", "B=inherited", "C=inherited"}
}

func environmentSession(t *testing.T) (*session.Session, *specHost, string) {
	h := &specHost{Host: fakerank.NewHost(fakerank.Config{})}
	dir := filepath.Join(t.TempDir(), "wörk dir")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return sessiontest.Closed(t, session.New(session.Options{Dir: dir, Host: h})), h, dir
}

// A process gets the variables of the settings over those of the file over those that it inherits, and runs in the folder of the settings.
func TestEnvironment(t *testing.T) {
	s, h, dir := environmentSession(t)
	if err := os.WriteFile(filepath.Join(dir, ".env"), []byte("A=file\nB='f # i'\nOPEN=\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "data"), 0o700); err != nil {
		t.Fatal(err)
	}
	by := session.Caller{Settings: session.Settings{
		Python: sessiontest.Interpreter(t), Trust: session.TrustYes, Env: map[string]string{"A": "setting"}, EnvFile: ".env", Cwd: "data",
	}}
	if err := s.Prepare(sessiontest.Context(t), by, session.Preparation{Ask: true}); err != nil {
		t.Fatal(err)
	}
	want := []string{"PATH=/bin", "C=inherited", "A=setting", "B=f # i", "OPEN="}
	if got := h.specs[0]; !slices.Equal(got.Env, want) || got.Dir != filepath.Join(dir, "data") {
		t.Errorf("%q in %s, want %q", got.Env, got.Dir, want)
	}
}

// The folder's file is not read before the user has let the folder's code run, and what is wrong with it is told without its text.
func TestEnvironmentNeedsConsent(t *testing.T) {
	s, h, dir := environmentSession(t)
	if err := os.WriteFile(filepath.Join(dir, ".env"), []byte("A=1\nmy secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	by := session.Caller{Settings: session.Settings{Python: sessiontest.Interpreter(t), EnvFile: ".env"}}
	for _, test := range []struct {
		trust session.Trust
		ask   bool
		code  session.Code
		text  string
	}{
		{session.TrustUnsaid, false, session.CodeConsent, "consent"},
		{session.TrustNo, true, session.CodeConsent, "not trusted"},
		{session.TrustYes, true, session.CodeInvalid, "dip.envFile: " + filepath.Join(dir, ".env") + ": line 2 is not NAME=VALUE"},
	} {
		by.Settings.Trust = test.trust
		err := s.Prepare(sessiontest.Context(t), by, session.Preparation{Ask: test.ask})
		var known *session.Error
		if !errors.As(err, &known) || known.Code != test.code || !strings.Contains(err.Error(), test.text) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v", test.trust, err)
		}
	}
	if len(h.specs) > 0 {
		t.Error("a node was started")
	}
}

// What cannot be is told before anything starts.
func TestEnvironmentThatCannotBe(t *testing.T) {
	s, _, dir := environmentSession(t)
	for _, test := range []struct {
		settings session.Settings
		want     string
	}{
		{session.Settings{Env: map[string]string{"WORLD_SIZE": "3"}}, "dip.env: WORLD_SIZE cannot be set"},
		{session.Settings{Env: map[string]string{"A=B": "3"}}, `dip.env: "A=B" is no variable`},
		{session.Settings{Cwd: "no such"}, "dip.cwd: there is no folder " + filepath.Join(dir, "no such")},
		{session.Settings{EnvFile: "mine.env"}, "mine.env: no such file"},
		{session.Settings{EnvFile: dir}, "it is no file"},
	} {
		test.settings.Python, test.settings.Trust = sessiontest.Interpreter(t), session.TrustYes
		err := s.Prepare(sessiontest.Context(t), session.Caller{Settings: test.settings}, session.Preparation{Ask: true})
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%+v: %v, want %s", test.settings, err, test.want)
		}
	}
}
