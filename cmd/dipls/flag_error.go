package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
)

// flagError says what is wrong with the flags of a command, in words for people: what the parser says of numbers and times is for programmers.
func flagError(err error) error {
	if wrong, ok := errors.AsType[*pflag.InvalidValueError](err); ok {
		name := "--" + wrong.GetFlag().Name
		if short := wrong.GetFlag().Shorthand; short != "" {
			name = "-" + short
		}
		return usagef("%s %s: %s", name, wrong.GetValue(), wanted(wrong))
	}
	if missing, ok := errors.AsType[*pflag.ValueRequiredError](err); ok {
		name := missing.GetSpecifiedName()
		if len(name) > 1 {
			name = "-" + name
		}
		return usagef("-%s: a value is missing", name)
	}
	return usagef("%w", err)
}

// wanted is what a flag takes, or what its own parser has against a value.
func wanted(wrong *pflag.InvalidValueError) string {
	said := fmt.Sprint(wrong.Unwrap())
	switch wrong.GetFlag().Value.Type() {
	case "int", "int64":
		if errors.Is(wrong, strconv.ErrRange) {
			return "that number is too large"
		}
		return "want a whole number"
	case "duration":
		if strings.HasPrefix(said, "time: ") { // otherwise it is one of ours, with words of its own
			return wantTime
		}
	case "bool":
		return "want true or false"
	}
	return said
}

// wantTime says how times are written.
const wantTime = `want a time such as "90s", "5m" or "2h"`
