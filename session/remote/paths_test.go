package remote

import (
	"encoding/json"
	"reflect"
	"testing"

	"dipls/session"
)

// Names of files come as the bytes that they are.
func TestPathsThatAreNoText(t *testing.T) {
	w := Welcome{Major: 1, About: session.About{Name: "n", Dir: "/m\xfc", Python: "/p\xff", Journal: "/j\xfe", Log: "/\x80.log"}, Remarks: []string{"r"}, End: 7}
	data, err := json.Marshal(w)
	if err != nil {
		t.Fatal(err)
	}
	var read Welcome
	if err := json.Unmarshal(data, &read); err != nil || !reflect.DeepEqual(read, w) {
		t.Errorf("%s is read as %+v, %v", data, read, err)
	}
}
