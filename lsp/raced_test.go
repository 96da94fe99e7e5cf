//go:build race

package lsp_test

// raced reports whether the tests run under the race detector.
const raced = true
