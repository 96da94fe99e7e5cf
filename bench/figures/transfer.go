package main

import (
	"context"
	"fmt"
)

// measureTransfers pushes arrays of several sizes from the local namespace to all ranks, and pulls them from the first.
// What arrives is checked and released while no clock runs.
func (p *plan) measureTransfers(ctx context.Context, s *server) error {
	if _, err := s.local(ctx, "import numpy"); err != nil {
		return err
	}
	for _, size := range p.bytes {
		array := fmt.Sprintf("x = numpy.arange(%d)", size/8)
		if _, err := s.local(ctx, array); err != nil {
			return err
		}
		check := fmt.Sprintf("assert x.nbytes == %d and x[-1] == x.size - 1", size/8*8)
		if err := p.transfer(fmt.Sprintf("push_%d", size), func() (float64, error) {
			took, err := s.local(ctx, "%dipush x")
			if err != nil {
				return 0, err
			}
			_, err = s.remote(ctx, check+"; del x")
			return milliseconds(took), err
		}); err != nil {
			return err
		}
		if _, err := s.local(ctx, "%dipush x"); err != nil {
			return err
		}
		if err := p.transfer(fmt.Sprintf("pull_%d", size), func() (float64, error) {
			if _, err := s.local(ctx, "del x"); err != nil {
				return 0, err
			}
			took, err := s.local(ctx, "%dipull x")
			if err != nil {
				return 0, err
			}
			_, err = s.local(ctx, check)
			return milliseconds(took), err
		}); err != nil {
			return err
		}
		if _, err := s.remote(ctx, "del x"); err != nil {
			return err
		}
	}
	return nil
}

// transfer emits the samples of a transfer, the first of which does not count.
func (p *plan) transfer(figure string, one func() (float64, error)) error {
	var samples []float64
	for range p.repeats + 1 {
		sample, err := one()
		if err != nil {
			return err
		}
		samples = append(samples, sample)
	}
	return emit(figure, samples[1:]...)
}
