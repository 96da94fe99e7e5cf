package session

import (
	"reflect"
	"testing"

	"dipls/ranks/host"
)

func TestDifferencesOf(t *testing.T) {
	on := func(name, python, torch, nccl string) SurveyedHost {
		return SurveyedHost{Name: name, Python: host.PythonInfo{Version: python, Packages: map[string]string{"torch": torch, "nccl": nccl}}}
	}
	gpu := on("gpu1", "3.11.2", "2.4.1", "2.20.5")
	gpu.GPUs = []host.GPU{{}}
	for _, test := range []struct {
		name          string
		hosts         []SurveyedHost
		grave, slight []string
	}{
		{"no host", nil, nil, nil},
		{"the same", []SurveyedHost{on("a", "3.11.2", "2.4.1", ""), on("b", "3.11.2", "2.4.1", "")}, nil, nil},
		{"one has not come", []SurveyedHost{on("a", "3.11.2", "2.4.1", ""), {Name: "b", Absent: "no route to host"}}, nil, nil},
		{"a little", []SurveyedHost{on("a", "3.11.2", "2.4.1", ""), on("b", "3.11.9", "2.4.1", "")}, nil, []string{"Python 3.11.2 on a, 3.11.9 on b"}},
		{"torch", []SurveyedHost{on("a", "3.11.2", "2.4.1", ""), on("b", "3.11.2", "", "")}, []string{"torch 2.4.1 on a, none on b"}, nil},
		{"NCCL without a GPU", []SurveyedHost{on("a", "3.11.2", "2.4.1", "2.20.5"), on("b", "3.11.2", "2.4.1", "2.21.5")}, nil, nil},
		{"NCCL", []SurveyedHost{gpu, on("b", "3.11.2", "2.4.1", "2.21.5")}, []string{"NCCL 2.20.5 on gpu1, 2.21.5 on b"}, nil},
	} {
		grave, slight := DifferencesOf(HostSurvey{Hosts: test.hosts})
		if !reflect.DeepEqual(grave, test.grave) || !reflect.DeepEqual(slight, test.slight) {
			t.Errorf("%s: %q and %q, want %q and %q", test.name, grave, slight, test.grave, test.slight)
		}
	}
}
