package dipexec

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"dipls/cells"
)

// collectives are torch.distributed's functions that wait for every rank of the process group; those of families have variants,
// such as all_gather_into_tensor.
var (
	collectives        = []string{"all_reduce", "barrier", "monitored_barrier", "reduce"}
	collectiveFamilies = []string{"all_gather", "all_to_all", "broadcast", "gather", "reduce_scatter", "scatter"}
	// commonNames are those that other modules have, too: alone they mean a collective only if the cell imports it.
	commonNames = []string{"reduce", "gather", "scatter", "broadcast"}
	// wrappers are the classes whose constructors call a collective.
	wrappers = []string{"DistributedDataParallel", "DDP"}
)

var (
	distributedAlias  = regexp.MustCompile(`\b(?:import[ \t]+torch\.distributed|from[ \t]+torch[ \t]+import[ \t]+distributed)[ \t]+as[ \t]+(\w+)`)
	distributedImport = regexp.MustCompile(`\bfrom[ \t]+torch\.distributed[ \t]+import\b`)
)

// calledCollectives gives the collectives that code calls by name, as far as its text tells, each once.
func calledCollectives(code string) []string {
	modules := []string{"dist", "distributed", "torch.distributed"}
	for _, m := range distributedAlias.FindAllStringSubmatch(code, -1) {
		modules = append(modules, m[1])
	}
	imports := distributedImport.MatchString(code)
	var found []string
	for _, c := range cells.Calls(code) {
		module, name := "", c.Name
		if i := strings.LastIndexByte(c.Name, '.'); i >= 0 {
			module, name = c.Name[:i], c.Name[i+1:]
		}
		bare := name == c.Name
		switch {
		case slices.Contains(wrappers, name):
		case !isCollective(name):
			continue
		case bare && slices.Contains(commonNames, name) && !imports:
			continue
		case !bare && !slices.Contains(modules, module):
			continue
		}
		if !slices.Contains(found, name) {
			found = append(found, name)
		}
	}
	return found
}

func isCollective(name string) bool {
	return slices.Contains(collectives, name) || slices.ContainsFunc(collectiveFamilies, func(family string) bool {
		return name == family || strings.HasPrefix(name, family+"_")
	})
}

// warnOfCollectives tells the user of a cell that may wait for ranks on which it does not run.
func (r *run) warnOfCollectives(on []int, size int) {
	names := calledCollectives(r.req.Code)
	if len(names) == 0 {
		return
	}
	wait := "waits"
	if len(names) > 1 {
		wait = "wait"
	}
	who := "the code"
	if r.req.Cell > 0 {
		who = fmt.Sprintf("cell %d", r.req.Cell)
	}
	r.log(LevelWarning, "%s calls %s, which %s for every rank, and runs on %s of %d only", who, list(names), wait, nameRanks(on), size)
}

// list writes names for a sentence: "a, b and c".
func list(names []string) string {
	last := len(names) - 1
	if last == 0 {
		return names[0]
	}
	return fmt.Sprintf("%s and %s", strings.Join(names[:last], ", "), names[last])
}
