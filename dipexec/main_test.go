package dipexec

import (
	"testing"

	"go.uber.org/goleak"

	"dipls/ranks/fakerank"
)

func TestMain(m *testing.M) {
	fakerank.Main()
	goleak.VerifyTestMain(m)
}
