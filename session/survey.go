package session

import (
	"context"

	"dipls/ranks/fleet"
)

type (
	// HostOptions say which hosts to survey, and how.
	HostOptions = fleet.Options
	// HostSurvey is what was found on hosts.
	HostSurvey = fleet.Survey
	// SurveyedHost is what was found on one of them.
	SurveyedHost = fleet.Surveyed
	// HostFolder is a directory there.
	HostFolder = fleet.Folder
	// HostAddress is an address there.
	HostAddress = fleet.Address
)

// SurveyHosts starts agents on hosts, asks what matters to ranks there, and ends them. A host that does not come is no error.
func SurveyHosts(ctx context.Context, o HostOptions) (HostSurvey, error) {
	return fleet.TakeSurvey(ctx, o)
}

// CheckHosts refuses a text for --hosts that cannot be read.
func CheckHosts(text string) error {
	_, err := fleet.Check(text)
	return err
}

// DifferencesOf tells in what the interpreters of surveyed hosts differ: in what a pool does not start with, and in what it does.
func DifferencesOf(s HostSurvey) (grave, slight []string) {
	var named []ofNode
	gpus := false
	for _, h := range s.Hosts {
		if h.Absent == "" {
			named = append(named, ofNode{h.Name, h.Python})
			gpus = gpus || len(h.GPUs) > 0
		}
	}
	return differences(mustAgree(gpus), named), differences(shouldAgree, named)
}
