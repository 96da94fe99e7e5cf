//go:build !linux

package registry

// bootID is unknown here.
func bootID() string { return "" }

// kills is how many processes the kernel has killed for lack of memory.
type kills struct {
	Group   string `json:"group,omitempty"`
	InGroup int    `json:"in_group"`
	All     int    `json:"all"`
}

// killsNow is unknown here.
func killsNow(kills) kills { return kills{} }

// suspended is unknown here.
func suspended(int) bool { return false }

// parent is unknown here.
func parent(int) (parent int, known bool) { return 0, false }
