package session

import (
	"fmt"
	"strings"

	"dipls/ranks"
	"dipls/ranks/host"
)

// compare refuses nodes whose ranks would not understand each other, and tells of smaller differences. It asks nobody: nodes have told what they have.
func (s *processes) compare(shares []ranks.Share) error {
	gpus := false
	var named []ofNode
	for _, share := range shares {
		named = append(named, ofNode{share.Node.Host().Name(), share.Node.Info()})
		gpus = gpus || len(share.GPUs) > 0
	}
	if wrong := differences(mustAgree(gpus), named); len(wrong) > 0 {
		return fmt.Errorf("ranks of one pool need the same versions: %s", strings.Join(wrong, "; "))
	}
	for _, text := range differences(shouldAgree, named) {
		s.o.Notice("versions differ: " + text)
	}
	s.mu.Lock()
	local := s.node
	s.mu.Unlock()
	if local == nil || !local.known() || local.value == nil {
		return nil
	}
	here := ofNode{"this machine", local.value.Info()}
	for _, t := range []trait{{"Python", minor}, {"cloudpickle", packaged("cloudpickle")}} {
		if text := t.differences([]ofNode{here, named[0]}); text != "" {
			s.o.Notice("functions and classes that are pushed or pulled may not work: " + text)
		}
	}
	return nil
}

// ofNode is what a host's interpreter has.
type ofNode struct {
	host string
	has  host.PythonInfo
}

// mustAgree are the traits in which hosts of one pool may not differ.
func mustAgree(gpus bool) []trait {
	must := []trait{{"Python", minor}, {"torch", packaged("torch")}}
	if gpus {
		must = append(must, trait{"NCCL", packaged("nccl")})
	}
	return must
}

// shouldAgree are those in which a difference is told.
var shouldAgree = []trait{{"Python", func(i host.PythonInfo) string { return i.Version }}, {"cloudpickle", packaged("cloudpickle")}}

// differences are those in some traits.
func differences(traits []trait, nodes []ofNode) (texts []string) {
	for _, t := range traits {
		if text := t.differences(nodes); text != "" {
			texts = append(texts, text)
		}
	}
	return texts
}

// trait is something that interpreters may differ in.
type trait struct {
	name string
	of   func(host.PythonInfo) string // "": not installed, or not known
}

// minor is "3.11" of Python 3.11.2.
func minor(i host.PythonInfo) string {
	parts := strings.SplitN(i.Version, ".", 3)
	return strings.Join(parts[:min(2, len(parts))], ".")
}

// packaged is the version of a package.
func packaged(name string) func(host.PythonInfo) string {
	return func(i host.PythonInfo) string { return i.Packages[name] }
}

// differences is "torch 2.4.1 on gpu1, gpu2, none on gpu3"; "" if all have the same.
func (t trait) differences(nodes []ofNode) string {
	var versions []string
	hosts := map[string][]string{}
	for _, n := range nodes {
		version := t.of(n.has)
		if hosts[version] == nil {
			versions = append(versions, version)
		}
		hosts[version] = append(hosts[version], n.host)
	}
	if len(versions) < 2 {
		return ""
	}
	for i, version := range versions {
		on := strings.Join(hosts[version], ", ")
		if version == "" {
			version = "none"
		}
		versions[i] = fmt.Sprintf("%s on %s", version, on)
	}
	return t.name + " " + strings.Join(versions, ", ")
}
