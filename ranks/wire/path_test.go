package wire

import (
	"encoding/json"
	"testing"
	"unicode/utf8"
)

// What Python writes for a name is read as the bytes of that name, and the other way round.
func TestPath(t *testing.T) {
	for text, want := range map[string]string{
		`""`:                             "",
		`"/a b/ä.py"`:                    "/a b/ä.py",
		`"/caf\udce9.py"`:                "/caf\xe9.py",
		`"\udcff\udc80"`:                 "\xff\x80",
		`"\\udce9"`:                      `\udce9`,
		`"\\\udce9\n\"\u00e4"`:           "\\\xe9\n\"ä",
		`"\ud83d\udc80"`:                 "💀", // whose second half looks like a byte
		`"\ud83d\udc80\udc80\ufffd"`:     "💀\x80\ufffd",
		`"\ufffd"`:                       "\ufffd",
		`"\ud83d"`:                       "\ufffd",
		`"` + "\ufffd" + `\udcc3\udca9"`: "\ufffd\xc3\xa9",
	} {
		var p Path
		if err := json.Unmarshal([]byte(text), &p); err != nil || string(p) != want {
			t.Errorf("%s is read as %q (%v), want %q", text, p, err, want)
		}
	}
	var p Path
	if json.Unmarshal([]byte(`3`), &p) == nil || json.Unmarshal([]byte(`"\ud`), &p) == nil {
		t.Error("what is no string was read")
	}
}

func FuzzPath(f *testing.F) {
	f.Add("/caf\xe9 \U0001f480\\udc80\"\n.py")
	f.Fuzz(func(t *testing.T, name string) {
		data, err := json.Marshal(Path(name))
		if err != nil || !utf8.Valid(data) {
			t.Fatalf("%q: %s, %v", name, data, err)
		}
		var back Path
		if err := json.Unmarshal(data, &back); err != nil {
			t.Fatal(err)
		}
		if string(back) != name {
			t.Errorf("%q came back as %q by %s", name, back, data)
		}
	})
}
