package remote

import (
	"os"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"dipls/session"
)

// Each method of the API is a request of its name. To detach is to end the connection, and that one has nothing else to start means nothing where others may.
func TestMethods(t *testing.T) {
	for method := range reflect.TypeFor[session.API]().Methods() {
		name := "session/" + strings.ToLower(method.Name[:1]) + method.Name[1:]
		if method.Name == "GPUs" {
			name = "session/gpus"
		}
		if _, known := methods[name]; !known && method.Name != "Detach" && method.Name != "Last" {
			t.Errorf("there is no %s", name)
		}
	}
}

// Events are found by their sizes, or, where these are not known or wrong, by reading everything.
func TestReadEvents(t *testing.T) {
	const one, two = `{"event":"log","text":"],\"events\":["}`, `{"event":"sunrise"}`
	for name, text := range map[string]string{
		"sizes":        `{"at":[1,2],"end":3,"sizes":[` + strconv.Itoa(len(one)) + `,19],"events":[` + one + `,` + two + `]}`,
		"no sizes":     `{"at":[1,2],"end":3,"events":[` + one + `,` + two + `]}`,
		"wrong sizes":  `{"at":[1,2],"end":3,"sizes":[2,3],"events":[` + one + `,` + two + `]}`,
		"too large":    `{"at":[1,2],"end":3,"sizes":[900,-3],"events":[` + one + `,` + two + `]}`,
		"events first": `{"events":[` + one + `,` + two + `],"at":[1,2],"end":3,"sizes":[2,3]}`,
	} {
		p, err := readEvents([]byte(text))
		if err != nil || len(p.Events) != 2 || string(p.Events[0]) != one || string(p.Events[1]) != two || len(p.At) != 2 || p.End != 3 {
			t.Errorf("%s: %s, %v", name, p.Events, err)
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
