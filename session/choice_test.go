package session

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"

	"dipls/ranks/host"
)

func TestChoice(t *testing.T) {
	for _, test := range []struct {
		name   string
		gpus   int // of the machine
		choice Choice
		ranks  int
		ids    string // of the GPUs
		err    string
	}{
		{"nothing said", 2, Choice{}, 2, "gpu0 gpu1", ""},
		{"nothing said, no GPU", 0, Choice{}, 2, "", ""},
		{"ranks", 4, Choice{Ranks: 2}, 2, "gpu0 gpu1", ""},
		{"more ranks than GPUs", 2, Choice{Ranks: 3}, 3, "gpu0 gpu1", ""},
		{"ranks, no GPU", 0, Choice{Ranks: 5}, 5, "", ""},
		{"all", 3, Choice{GPUs: "all"}, 3, "gpu0 gpu1 gpu2", ""},
		{"all, no GPU", 0, Choice{GPUs: "all"}, 2, "", ""},
		{"all, no GPU, ranks", 0, Choice{GPUs: "all", Ranks: 3}, 3, "", ""},
		{"list", 4, Choice{GPUs: "3,1"}, 2, "gpu3 gpu1", ""},
		{"list with spaces", 4, Choice{GPUs: "3 0-1"}, 3, "gpu3 gpu0 gpu1", ""},
		{"shared", 4, Choice{GPUs: "0-1", Ranks: 3}, 3, "gpu0 gpu1", ""},

		{"contradiction", 4, Choice{GPUs: "0-2", Ranks: 2}, 0, "", "-n 2 and -g 0-2 contradict each other: -g names 3 GPUs"},
		{"not there", 4, Choice{GPUs: "7"}, 0, "", "-g: there is no GPU 7: the visible ones are 0 to 3"},
		{"twice", 4, Choice{GPUs: "1,1"}, 0, "", "-g: GPU 1 is named twice"},
		{"no GPU at all", 0, Choice{GPUs: "0,1"}, 0, "", "-g 0-1: no GPU is visible; -n N makes N ranks on the CPU"},
		{"nonsense", 4, Choice{GPUs: "first"}, 0, "", "-g: "},
		{"less than none", 4, Choice{Ranks: -1}, 0, "", "-n -1: a pool has at least one rank"},
	} {
		t.Run(test.name, func(t *testing.T) {
			fakeGPUs(t, test.gpus)
			spec, err := test.choice.spec(testContext(t), host.Local{}, defaultCPURanks, host.GPUMask(os.Environ()))
			if test.err != "" {
				var wrong *ChoiceError
				if wantError(t, err, test.err); !errors.As(err, &wrong) {
					t.Errorf("%T is no *ChoiceError", err)
				}
				return
			}
			var ids []string
			for _, g := range spec.GPUs {
				ids = append(ids, g.ID)
			}
			if err != nil || spec.Ranks != test.ranks || strings.Join(ids, " ") != test.ids {
				t.Errorf("%d ranks on %v, %v", spec.Ranks, ids, err)
			}
		})
	}
}

// If GPUs cannot be looked for, that is not the user's mistake.
func TestChoiceWithoutDriver(t *testing.T) {
	fakeGPUs(t, 1)
	if err := os.WriteFile(os.Getenv("PATH")+"/nvidia-smi", []byte("#!/bin/sh\necho no driver\nexit 9\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	_, err := Choice{}.spec(context.Background(), host.Local{}, defaultCPURanks, host.GPUMask(os.Environ()))
	var wrong *ChoiceError
	if wantError(t, err, "no driver"); errors.As(err, &wrong) {
		t.Error("it is a *ChoiceError")
	}
}
