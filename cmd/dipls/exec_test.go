package main

import (
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// Code of the command line and of standard input has the further markers, as a file has them.
func TestMarkersOfTypedCode(t *testing.T) {
	const text = "1\n# COMMAND ----------\n2\n"
	f := &execFlags{}
	f.markers.list = []string{"# COMMAND ----------"}
	cmd := &cobra.Command{}
	cmd.SetIn(strings.NewReader(text))
	cmd.Flags().StringVar(&f.code, "code", "", "")
	check := func(from source, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		if c, ok := from.text.Cell(2); !ok || c.Body() != "2\n" {
			t.Errorf("%s has no second cell", from.name)
		}
	}
	from, _, err := f.source(cmd, []string{"-"})
	check(from, err)
	if err := cmd.Flags().Set("code", text); err != nil {
		t.Fatal(err)
	}
	from, _, err = f.source(cmd, nil)
	check(from, err)
	sh := &shell{flags: &shellFlags{}}
	sh.flags.markers = f.markers
	if p, err := sh.plan(text); err != nil || len(p.cells) != 2 {
		t.Errorf("dipls shell: %+v, %v", p, err)
	}
}
