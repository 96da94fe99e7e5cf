package remote_test

import (
	"testing"

	"dipls/internal/sessiontest"
	"dipls/internal/testpython"
	"dipls/ranks/fakerank"
	"dipls/session"
	"dipls/session/remote"
)

// A session in another process keeps the contract.
func TestContractOfFake(t *testing.T) {
	sessiontest.Contract(t, func(t testing.TB, dir string) sessiontest.Subject {
		machine := fakerank.NewHost(fakerank.Config{})
		p := serve(t, session.New(session.Options{Dir: dir, Journal: store(t), Host: machine}))
		return sessiontest.Subject{API: p.attach(remote.Hello{Program: "test"}), Script: sessiontest.Fake{Machine: machine}, Python: sessiontest.Interpreter(t)}
	})
}

// So it does with Python.
func TestContract(t *testing.T) {
	python := testpython.Need(t)
	sessiontest.Contract(t, func(t testing.TB, dir string) sessiontest.Subject {
		p := serve(t, session.New(session.Options{Dir: dir, Journal: store(t)}))
		return sessiontest.Subject{API: p.attach(remote.Hello{Program: "test"}), Script: sessiontest.Python{Gates: t.TempDir()}, Python: python}
	})
}
