package ranks

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"dipls/ranks/host"
	"dipls/ranks/wire"
)

// Variables cross to another host once, whatever lies in their files, and what is said of them stays as it was.
func TestVariablesCrossHosts(t *testing.T) {
	data := bytes.Repeat([]byte("variable"), 1<<18)
	here := host.Local{}
	files, free, err := here.Keep(testContext(t), []int64{100, int64(len(data)) - 100}, bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	defer free()
	payload, _ := json.Marshal(map[string]any{"host": here.Name(), "files": files, "pickle": []int{0, 0, 100}, "bytes": len(data)})
	push, err := PreparePush(wire.PushRequest{Names: []string{"x"}, Payload: payload})
	if err != nil {
		t.Fatal(err)
	}
	defer push.Free()
	var moved, total int64
	told := func(m, of int64) { moved, total = m, of }
	if err := push.Spread(testContext(t), here, []host.Host{here, farHost{}, farHost{}}, told); err != nil {
		t.Fatal(err)
	}
	if moved != int64(len(data)) || total != moved {
		t.Errorf("%d of %d bytes have moved, want %d", moved, total, len(data))
	}
	var sent struct {
		Payload struct {
			Host   string            `json:"host"`
			Files  []host.SharedFile `json:"files"`
			Pickle []int             `json:"pickle"`
		} `json:"payload"`
	}
	if err := json.Unmarshal(push.content["far"], &sent); err != nil {
		t.Fatal(err)
	}
	var there bytes.Buffer
	if err := here.Fetch(testContext(t), sent.Payload.Files, &there); err != nil || !bytes.Equal(there.Bytes(), data) {
		t.Errorf("%d bytes are there, want %d; %v", there.Len(), len(data), err)
	}
	if sent.Payload.Host != "far" || len(sent.Payload.Pickle) != 3 || sent.Payload.Files[0].Path == files[0].Path {
		t.Errorf("ranks there get %s", push.content["far"])
	}

	files[1].Inode++
	broken, _ := json.Marshal(map[string]any{"host": here.Name(), "files": files})
	_, _, err = Bring(testContext(t), broken, here, farHost{}, nil)
	if want := "copy variables from " + here.Name() + " to far: "; err == nil || !strings.HasPrefix(err.Error(), want) ||
		!strings.Contains(err.Error(), "is not the file that was sent") {
		t.Errorf("another file: %v", err)
	}
	if same, _, err := Bring(testContext(t), payload, here, here, nil); err != nil || !bytes.Equal(same, payload) {
		t.Errorf("variables that are there already: %s, %v", same, err)
	}
}
