package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/nlnctl/nlnctl/bench/results"
)

// check measures a part and compares its ratios with those that are kept. What
// is worse is measured again, and is a loss if it is worse each time.
func (r *runner) check(ctx context.Context, again int, wanted func(string) bool) error {
	kept, err := results.Read(".")
	if err != nil {
		return err
	}
	if kept.Comparison == nil {
		return fmt.Errorf("compare: no %s to compare with: run make bench-peers", results.File)
	}
	before := kept.Comparison
	now, err := r.part(ctx, wanted)
	if err != nil {
		return err
	}
	if now.Machine.Processor != before.Machine.Processor {
		r.say("note: the ratios were measured on %s, this is %s; they need not be the same here", before.Machine.Processor, now.Machine.Processor)
	}
	lost, compared := results.Regressions(before, now)
	for ; len(lost) > 0 && again > 0; again-- {
		r.say("measuring again: %s", strings.Join(describe(lost), "; "))
		repeated, err := r.part(ctx, func(name string) bool { return named(lost, name) })
		if err != nil {
			return err
		}
		now.Better(repeated)
		lost, _ = results.Regressions(before, now)
	}
	if compared == 0 {
		return errors.New("compare: none of the cases is among those kept")
	}
	if len(lost) > 0 {
		return fmt.Errorf("compare: %d of %d ratios are more than %.0f %% worse than those kept:\n  %s", len(lost), compared,
			100*results.Loss, strings.Join(describe(lost), "\n  "))
	}
	r.say("%d ratios, none more than %.0f %% worse than those kept", compared, 100*results.Loss)
	return nil
}

// part measures the quick plan's cases that are wanted.
func (r *runner) part(ctx context.Context, wanted func(string) bool) (*results.Comparison, error) {
	if err := r.begin(ctx, "compare -check"); err != nil {
		return nil, err
	}
	r.plan = newPlan(true, wanted)
	for _, g := range r.plan.groups {
		if err := r.group(ctx, g); err != nil {
			return nil, err
		}
	}
	return r.found, nil
}

func describe(lost []results.Regression) (lines []string) {
	for _, l := range lost {
		lines = append(lines, l.String())
	}
	return lines
}

func named(lost []results.Regression, name string) bool {
	for _, l := range lost {
		if l.Name == name {
			return true
		}
	}
	return false
}
