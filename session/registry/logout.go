package registry

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// logindPatience bounds what logind and the user's service manager may take to answer.
const logindPatience = 2 * time.Second

// Logout is what happens to the processes of the user at the logout, as logind is set.
type Logout struct {
	Kills   bool // logind kills them, unless they are in a scope of their own
	Lingers bool // such scopes stay after the last logout
}

// LookAtLogout asks logind; known is false if there is none.
func LookAtLogout(ctx context.Context) (l Logout, known bool) {
	ctx, cancel := context.WithTimeout(ctx, logindPatience)
	defer cancel()
	manager, err := ask(ctx, "loginctl", "show-session", "--property=KillUserProcesses", "--property=KillExcludeUsers", "--property=KillOnlyUsers")
	if err != nil {
		return Logout{}, false
	}
	uid := strconv.Itoa(os.Geteuid())
	user, _ := ask(ctx, "loginctl", "show-user", uid, "--property=Linger", "--property=Name") // fails for who is not logged in
	has := func(list string) bool {
		for name := range strings.FieldsSeq(list) {
			if name == uid || name == user["Name"] {
				return true
			}
		}
		return false
	}
	l.Kills = manager["KillUserProcesses"] == "yes" && !has(manager["KillExcludeUsers"])
	if only := manager["KillOnlyUsers"]; only != "" && !has(only) {
		l.Kills = false
	}
	l.Lingers = user["Linger"] == "yes"
	return l, true
}

// ask runs a program that answers lines of "NAME=VALUE".
func ask(ctx context.Context, program string, args ...string) (map[string]string, error) {
	out, err := exec.CommandContext(ctx, program, args...).Output()
	if err != nil {
		return nil, err
	}
	values := map[string]string{}
	for line := range strings.Lines(string(out)) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			values[name] = value
		}
	}
	return values, nil
}

// inScope begins a command line that runs in a scope of its own, which belongs to the user's service manager and not to the login session.
var inScope = []string{"systemd-run", "--user", "--scope", "--quiet", "--collect", "--description=dipls session", "--"}

// CheckScope tries out whether a process can be started in a scope of its own.
func CheckScope(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, logindPatience)
	defer cancel()
	out, err := exec.CommandContext(ctx, inScope[0], append(inScope[1:], "true")...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("systemd-run --user --scope: %w %s", err, strings.TrimSpace(string(out)))
	}
	return nil
}
