package session_test

import (
	"path/filepath"
	"testing"

	"dipls/dipexec/journal"
	"dipls/internal/sessiontest"
	"dipls/internal/testpython"
	"dipls/ranks/fakerank"
	"dipls/session"
)

// subject is a session with a journal.
func subject(t testing.TB, dir, python string, script sessiontest.Script, o session.Options) sessiontest.Subject {
	store := journal.Open(journal.Options{Dir: filepath.Join(t.TempDir(), "runs")})
	t.Cleanup(store.Close)
	o.Dir, o.Journal = dir, store
	return sessiontest.Subject{API: sessiontest.Closed(t, session.New(o)), Script: script, Python: python}
}

// The contract is kept over processes that are goroutines.
func TestContractOfFake(t *testing.T) {
	sessiontest.Contract(t, func(t testing.TB, dir string) sessiontest.Subject {
		machine := fakerank.NewHost(fakerank.Config{})
		return subject(t, dir, sessiontest.Interpreter(t), sessiontest.Fake{Machine: machine}, session.Options{Host: machine})
	})
}

// The contract is kept with Python.
func TestContract(t *testing.T) {
	python := testpython.Need(t)
	sessiontest.Contract(t, func(t testing.TB, dir string) sessiontest.Subject {
		return subject(t, dir, python, sessiontest.Python{Gates: t.TempDir()}, session.Options{})
	})
}
