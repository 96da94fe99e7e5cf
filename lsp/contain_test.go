package lsp

import (
	"fmt"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// A goroutine of the connection that panics is logged with its stack.
func TestGoOnContainsPanics(t *testing.T) {
	core, logged := observer.New(zap.ErrorLevel)
	s := &server{log: zap.New(core)}
	s.goOn("a test", func() { panic("a slip") })
	s.tasks.Wait()
	if all := logged.All(); len(all) != 1 || all[0].ContextMap()["panic"] != "a slip" || !strings.Contains(fmt.Sprint(all[0].ContextMap()["stack"]), "TestGoOn") {
		t.Errorf("logged %v", all)
	}
}
