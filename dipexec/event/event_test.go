package event

import (
	"bytes"
	"encoding/json"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"dipls/internal/ranklist"
)

var allKinds = []Kind{
	KindRunQueued,
	KindRunStarted, KindStream, KindDisplay, KindResult, KindError, KindRankState, KindPoolState, KindRunFinished, KindLog,
}

// fieldsOf lists the JSON fields of a struct that are its own, and whether each is always there.
func fieldsOf(t reflect.Type) (names []string, always map[string]bool) {
	always = map[string]bool{}
	for f := range t.Fields() {
		if f.Anonymous {
			continue
		}
		name, opts, _ := strings.Cut(f.Tag.Get("json"), ",")
		names = append(names, name)
		always[name] = opts == ""
	}
	return names, always
}

var (
	docSection = regexp.MustCompile(`(?m)^##? (.*)$`)
	docRow     = regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\| (always)?")
	docExample = regexp.MustCompile("(?s)```json\n(.*?)```")
)

// docSections gives the parts of docs/events.md by their headings.
func docSections(t *testing.T) map[string]string {
	t.Helper()
	b, err := os.ReadFile("../../docs/events.md")
	if err != nil {
		t.Fatal(err)
	}
	doc := string(b)
	sections := map[string]string{}
	heads := docSection.FindAllStringSubmatchIndex(doc, -1)
	for i, h := range heads {
		end := len(doc)
		if i+1 < len(heads) {
			end = heads[i+1][0]
		}
		sections[doc[h[2]:h[3]]] = doc[h[1]:end]
	}
	return sections
}

// docs/events.md and the types say the same.
func TestEventsAreDocumented(t *testing.T) {
	sections := docSections(t)
	check := func(section string, typ reflect.Type) {
		text, ok := sections[section]
		if !ok {
			t.Errorf("there is no section %q", section)
			return
		}
		names, always := fieldsOf(typ)
		var documented []string
		for _, m := range docRow.FindAllStringSubmatch(text, -1) {
			documented = append(documented, m[1])
			if always[m[1]] != (m[2] != "") {
				t.Errorf("%s: is %s always there?", section, m[1])
			}
		}
		if !slices.Equal(documented, names) {
			t.Errorf("%s: documented are %q, there are %q", section, documented, names)
		}
	}
	check("Events", reflect.TypeFor[Header]())
	for _, k := range allKinds {
		e, err := newEvent(k)
		if err != nil {
			t.Fatal(err)
		}
		check(string(k), reflect.TypeOf(e).Elem())

		examples := 0
		for _, block := range docExample.FindAllStringSubmatch(sections[string(k)], -1) {
			for line := range strings.Lines(block[1]) {
				examples++
				e, err := ParseJSON([]byte(line))
				if err != nil {
					t.Errorf("%s: %v", k, err)
					continue
				}
				var b bytes.Buffer
				if err := WriteJSON(&b, e); err != nil {
					t.Fatal(err)
				}
				if e.Head().Kind != k || b.String() != line {
					t.Errorf("an example of %s is written differently:\n%s%s", k, line, b.String())
				}
			}
		}
		if examples == 0 {
			t.Errorf("%s has no example", k)
		}
	}
}

// A question can be written as the other events can, though only one front hears it.
func TestQuestionAsJSON(t *testing.T) {
	asked := &Question{
		Header: Header{Kind: KindQuestion}, ID: "question-1", State: QuestionWorking, Level: LevelWarning, Text: "Install?", Choices: []string{"Cancel"},
		Default: "Install", Unasked: "It is installed.", Answer: "Install", Note: "Collecting ipython",
	}
	var b bytes.Buffer
	if err := WriteJSON(&b, asked); err != nil {
		t.Fatal(err)
	}
	if got, err := ParseJSON(b.Bytes()); err != nil || !reflect.DeepEqual(got, Event(asked)) {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestParseJSONErrors(t *testing.T) {
	for _, s := range []string{"", "[]", `{"event":"nonsense"}`, `{"event":"stream","text":3}`} {
		if _, err := ParseJSON([]byte(s)); err == nil {
			t.Errorf("%q was accepted", s)
		}
	}
}

// Rank 0 and cell 0 are said, not left out as zero values.
func TestHeaderZeros(t *testing.T) {
	var b bytes.Buffer
	if err := WriteJSON(&b, &Stream{Header: HeaderOf(KindStream, "r", new(0), ranklist.Rank(0)), Name: "stdout"}); err != nil {
		t.Fatal(err)
	}
	if want := `{"event":"stream","run":"r","cell":0,"rank":0,"name":"stdout","text":""}` + "\n"; b.String() != want {
		t.Errorf("got %s", b.String())
	}
	var m map[string]json.RawMessage
	if err := json.Unmarshal(b.Bytes(), &m); err != nil {
		t.Error(err)
	}
}
