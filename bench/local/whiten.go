package main

import (
	"errors"
	"math"

	"gonum.org/v1/gonum/mat"
	"gonum.org/v1/gonum/stat"
)

// whiten turns and scales vectors so that those of index have unit variance in
// every direction, and moves the queries with them.
func whiten(index, queries []float32, dim int) error {
	n := len(index) / dim
	x := mat.NewDense(n, dim, nil)
	for i, v := range index {
		x.Set(i/dim, i%dim, float64(v))
	}
	var cov mat.SymDense
	stat.CovarianceMatrix(&cov, x, nil)
	var e mat.EigenSym
	if !e.Factorize(&cov, true) {
		return errors.New("the covariance of the latents has no eigenvectors")
	}
	values := e.Values(nil)
	var directions mat.Dense
	e.VectorsTo(&directions)
	// A direction in which the latents do not vary says nothing: it keeps a
	// thousandth of the largest deviation for its unit.
	least := values[dim-1] * 1e-6
	scaled := mat.NewDense(dim, dim, nil)
	for j := range dim {
		unit := math.Sqrt(max(values[j], least))
		for i := range dim {
			scaled.Set(i, j, directions.At(i, j)/unit)
		}
	}
	for _, set := range [][]float32{index, queries} {
		row := make([]float64, dim)
		for lo := 0; lo < len(set); lo += dim {
			for j := range dim {
				row[j] = 0
				for i := range dim {
					row[j] += float64(set[lo+i]) * scaled.At(i, j)
				}
			}
			for j, v := range row {
				set[lo+j] = float32(v)
			}
		}
	}
	return nil
}
