// Package experiment measures the method on data sets as its paper does: a plan says
// which models are trained on which tasks, [Run] does what of it has not been done, and
// package paper makes the tables and figures of what was found.
package experiment
