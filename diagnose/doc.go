// Package diagnose finds out who waits for whom ([Findings]), from what the ranks of a pool report at two moments, and whether they are
// in step with their collectives ([Standing]). It is pure: it asks nobody and reads no clock.
//
// Waits are matched by group and count: a rank that has called fewer collectives of a group than the others is missing in the one they
// wait in. Where counts are not known, nobody is named as missing.
package diagnose
