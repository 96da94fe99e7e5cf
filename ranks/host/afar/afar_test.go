package afar_test

import (
	"context"
	"os"
	"testing"
	"time"

	"go.uber.org/zap"

	"dipls/internal/leaktest"
	"dipls/ranks/host"
	"dipls/ranks/host/afar"
	"dipls/ranks/host/afar/afartest"
)

func TestMain(m *testing.M) { leaktest.Begin().Main(m) }

const testTimeout = 2 * time.Minute

func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	t.Cleanup(cancel)
	return ctx
}

func newHost(t testing.TB) *afar.Host {
	t.Helper()
	h, err := afar.New(testContext(t), afartest.Start(t, afartest.Options{Name: "gpu2"}).Conn, afar.Options{Name: "gpu2", Log: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestFacts(t *testing.T) {
	h := newHost(t)
	self := host.Process{PID: os.Getpid()}
	if f := h.Facts(); f.System != "Linux" || f.PageSize == 0 || len(f.Environ) == 0 {
		t.Errorf("%+v", f)
	}
	t.Log(h.GPUs(testContext(t), nil))
	t.Log(h.Memory(testContext(t), self))
	offer, err := h.Offer(testContext(t))
	t.Log(offer, err)
	t.Log(h.Reach(testContext(t), offer))
	offer.Withdraw(testContext(t))
}
