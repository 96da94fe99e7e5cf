// Package diagnose finds out, from what the ranks of a pool tell of themselves at two moments, who waits for whom. It is pure: it asks nobody
// and reads no clock.
//
// What ranks wait in is joined by group and count: a rank that has been asked for fewer collectives of a group is missing in the one in
// which the others wait. Where counts are not known, nobody is named as missing.
package diagnose
