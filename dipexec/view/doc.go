// Package view turns events into what a person reads: the output of many ranks, with what they say alike folded into one ([Folder]); text as
// a terminal would show it; durations, failures and rich output in words. It knows events, and nothing of how code is run.
package view
