// Package diagnose finds out, from what the ranks of a pool tell of themselves at two moments, who waits for whom. It is pure: it asks nobody
// and reads no clock.
package diagnose
