// Package view makes of events what a person reads: the output of many ranks that say nearly the same, folded into one ([Folder]); text as a
// terminal would show it; durations, failures and rich output in words. It knows events, and nothing of how code is run.
package view
