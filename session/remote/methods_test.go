package remote

import (
	"os"
	"reflect"
	"strings"
	"testing"

	"dipls/session"
)

// Each method of the API is a request of its name. To detach is to end the connection.
func TestMethods(t *testing.T) {
	for method := range reflect.TypeFor[session.API]().Methods() {
		name := "session/" + strings.ToLower(method.Name[:1]) + method.Name[1:]
		if method.Name == "GPUs" {
			name = "session/gpus"
		}
		if _, known := methods[name]; !known && method.Name != "Detach" {
			t.Errorf("there is no %s", name)
		}
	}
}

// Only the same user is talked to, not even root's processes by others.
func TestSameUser(t *testing.T) {
	if err := sameUser(os.Geteuid()); err != nil {
		t.Error(err)
	}
	if err := sameUser(os.Geteuid() + 1); err == nil || !strings.Contains(err.Error(), "belongs to uid") {
		t.Error(err)
	}
}
