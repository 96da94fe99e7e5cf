package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"dipls/session"
	"dipls/session/remote"
)

// measureAttached measures pass through session.API in the session's process, and, in turn, from a process that is attached to it. It also measures how long
// attaching takes.
func (p *plan) measureAttached(ctx context.Context) (err error) {
	own, err := openSession()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, own.close(ctx)) }()
	server, err := remote.NewServer(remote.ServerOptions{API: own.API})
	if err != nil {
		return err
	}
	socket := filepath.Join(own.dir, "socket")
	l, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	go server.Serve(l)
	defer server.Close("the figures are known")
	if _, err := own.remote(ctx, p.caller(), firstCell); err != nil {
		return err
	}
	attached, err := startAttached(ctx, p, socket)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, attached.end()) }()
	var here, there []float64
	for len(here) < p.passes {
		samples, err := own.passes(ctx, p.caller(), turn)
		if err != nil {
			return err
		}
		here = append(here, samples...)
		if samples, err = attached.passes(turn); err != nil {
			return err
		}
		there = append(there, samples...)
	}
	attaches, err := attached.attaches()
	if err != nil {
		return err
	}
	return errors.Join(emit("pass_own", here...), emit("pass_attached", there...), emit("attach", attaches...))
}

// The two things that the attached process is asked for: so many passes, or (0) how long attaching takes.
type (
	order   struct{ Passes int }
	samples struct {
		Samples []float64
		Problem string
	}
)

// attachedProcess is a process that is attached.
type attachedProcess struct {
	cmd *exec.Cmd
	in  *json.Encoder
	out *json.Decoder
	end func() error
}

// startAttached starts this program once more, as a process that is attached.
func startAttached(ctx context.Context, p *plan, socket string) (*attachedProcess, error) {
	cmd := exec.CommandContext(ctx, os.Args[0], "-python", p.python, "-ranks", fmt.Sprint(p.ranks), "-socket", socket, "attach")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	end := func() error {
		in.Close()
		return cmd.Wait()
	}
	return &attachedProcess{cmd, json.NewEncoder(in), json.NewDecoder(out), end}, cmd.Start()
}

func (a *attachedProcess) ask(o order) ([]float64, error) {
	if err := a.in.Encode(o); err != nil {
		return nil, err
	}
	var answer samples
	if err := a.out.Decode(&answer); err != nil {
		return nil, err
	}
	if answer.Problem != "" {
		return nil, errors.New(answer.Problem)
	}
	return answer.Samples, nil
}

func (a *attachedProcess) passes(times int) ([]float64, error) { return a.ask(order{times}) }

func (a *attachedProcess) attaches() ([]float64, error) { return a.ask(order{}) }

// serveAttached is the process that is attached.
func (p *plan) serveAttached(ctx context.Context) error {
	c, _, err := remote.Dial(ctx, p.socket, remote.Hello{Program: "figures"})
	if err != nil {
		return err
	}
	defer c.Detach(ctx)
	f, err := newFront(ctx, c)
	if err != nil {
		return err
	}
	out := json.NewEncoder(os.Stdout)
	for orders := bufio.NewScanner(os.Stdin); orders.Scan(); {
		var o order
		if err := json.Unmarshal(orders.Bytes(), &o); err != nil {
			return err
		}
		var answer samples
		if o.Passes > 0 {
			answer.Samples, err = f.passes(ctx, p.caller(), o.Passes)
		} else {
			answer.Samples, err = p.attach(ctx)
		}
		if err != nil {
			answer.Problem = err.Error()
		}
		if err := out.Encode(answer); err != nil {
			return err
		}
	}
	return nil
}

// attach measures how long it takes to attach and to read all of the history, in milliseconds.
func (p *plan) attach(ctx context.Context) (samples []float64, err error) {
	for range 20 {
		begin := time.Now()
		c, _, err := remote.Dial(ctx, p.socket, remote.Hello{Program: "figures", History: true})
		if err != nil {
			return nil, err
		}
		sub, err := c.Subscribe(ctx, session.SubscribeRequest{History: true})
		if err != nil {
			return nil, err
		}
		for end := sub.End(); sub.Position() < end; {
			if _, err := sub.Next(ctx); err != nil {
				return nil, err
			}
		}
		samples = append(samples, milliseconds(time.Since(begin)))
		if err := c.Detach(ctx); err != nil {
			return nil, err
		}
	}
	return samples, nil
}
