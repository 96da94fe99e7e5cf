package launch

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// facts is the part of what a joining agent says of its host by which hosts are told apart.
type facts struct {
	Name     string            `json:"name"`     // hostname
	Launcher map[string]string `json:"launcher"` // variables by which launchers tell a task its place
}

// nodeVariables name the host, as its engine calls it.
var nodeVariables = []string{"SLURMD_NODENAME", "K8S_NODE_NAME"}

// placeVariables hold the place of a task among those of its start, one for each host, from 0.
var placeVariables = []string{"SLURM_NODEID", "GROUP_RANK", "OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK", "FLUX_TASK_RANK", "JOB_COMPLETION_INDEX"}

// Place tells which of the expected hosts a joining agent is on, from the facts that it sends: by its name; where names are not known, by the place that
// its launcher gave it; and else by the order in which hosts come. all are those of the allocation, and taken knows whether another agent is on one. The
// error tells why the agent is on none.
func Place(all []Host, expected []int, raw json.RawMessage, taken func(host int) bool) (host int, err error) {
	var f facts
	if err := json.Unmarshal(raw, &f); err != nil {
		return 0, fmt.Errorf("the host says of itself what is none of its facts: %w", err)
	}
	names := []string{f.Name}
	for _, variable := range nodeVariables {
		if name := f.Launcher[variable]; name != "" {
			names = append(names, name)
		}
	}
	for _, host := range expected {
		if all[host].Name != "" && slices.ContainsFunc(names, func(name string) bool { return sameHost(name, all[host].Name) }) {
			if taken(host) {
				return 0, fmt.Errorf("a second agent has come from %s: the launcher must start one on each host", all[host].Name)
			}
			return host, nil
		}
	}
	for _, variable := range placeVariables {
		n, err := strconv.Atoi(f.Launcher[variable])
		if err != nil || n < 0 || n >= len(expected) {
			continue
		}
		if host := expected[n]; !taken(host) {
			return host, nil
		}
	}
	// Its name may be another one than that under which its engine knows it, as in a pod.
	for _, host := range expected {
		if !taken(host) {
			return host, nil
		}
	}
	return 0, fmt.Errorf("%s is one host too many: %d have joined", f.Name, len(expected))
}

// sameHost compares names of hosts, of which one may lack its domain.
func sameHost(a, b string) bool {
	if strings.EqualFold(a, b) {
		return true
	}
	shortA, domainA, _ := strings.Cut(a, ".")
	shortB, domainB, _ := strings.Cut(b, ".")
	return strings.EqualFold(shortA, shortB) && (domainA == "" || domainB == "") && strings.ContainsFunc(shortA, func(r rune) bool { return r < '0' || r > '9' })
}
