// Package dipexec runs code on the local namespace and on the ranks, and tells what comes of it.
package dipexec
