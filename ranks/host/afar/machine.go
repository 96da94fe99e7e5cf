package afar

import (
	"context"

	"dipls/ranks/host"
	"dipls/ranks/wire"
)

// machine implements [host.Machine].
type machine struct{ host *Host }

// Files asks for the contents of files below /proc. A host that does not answer, or not soon, has none.
func (m machine) Files(ctx context.Context, names ...string) [][]byte {
	ctx, cancel := context.WithTimeout(ctx, lookPatience)
	defer cancel()
	contents := make([][]byte, len(names))
	var answer struct {
		Contents []*wire.Path `json:"contents"`
	}
	params := map[string][]string{"names": names}
	if m.host.glance(ctx, "files", params, &answer) != nil || len(answer.Contents) != len(names) {
		return contents
	}
	for i, text := range answer.Contents {
		if text != nil {
			contents[i] = []byte(*text)
		}
	}
	return contents
}

// Run has the host run a program.
func (m machine) Run(ctx context.Context, programs []string, args ...string) (host.Printed, error) {
	params := struct {
		Programs []string `json:"programs"`
		Args     []string `json:"args"`
		Seconds  float64  `json:"seconds"`
	}{programs, append([]string{}, args...), secondsLeft(ctx).Seconds()} // null is no list
	var answer struct {
		Missing bool      `json:"missing"`
		Late    bool      `json:"late"`
		Out     wire.Path `json:"out"`
		Err     wire.Path `json:"err"`
		Status  string    `json:"status"`
	}
	err := m.host.glance(ctx, "run", params, &answer)
	switch {
	case err != nil:
		return host.Printed{}, err
	case answer.Missing:
		return host.Printed{}, host.ErrNoProgram
	case answer.Late:
		return host.Printed{}, context.DeadlineExceeded
	}
	return host.Printed{Out: []byte(answer.Out), Err: []byte(answer.Err), Status: answer.Status}, nil
}
