package engine

import (
	"strings"

	"github.com/nlnctl/nlnctl/cgo/torch"
	"github.com/nlnctl/nlnctl/nln"
)

// A job says what is to be computed of a batch. The work of equal jobs is the same,
// whatever the images.
type job struct {
	n             int  // images
	bytes, minmax bool // of them
	k, errors     int  // as in nln.Wanted
	spaces        string
	own           bool
	all           bool // search by comparing with all vectors
}

func newJob(x images, w nln.Wanted) job {
	return job{n: x.n, bytes: x.bytes != nil, minmax: x.bytes != nil && x.minmax, k: w.K, errors: w.Errors, spaces: strings.Join(w.Spaces, "\x00"), own: w.Own}
}

func (j job) spaceNames() []string { return strings.Split(j.spaces, "\x00") }

// width is how many numbers the results of an image are:
//
//	k distances, whether the search is unsure, the reconstruction error, and for each
//	space the means over 1, 2, ... errors neighbours and, with own, the own error
func (j job) width() int {
	perSpace := j.errors
	if j.own {
		perSpace++
	}
	return j.k + 2 + perSpace*len(j.spaceNames())
}

// step computes a job for images x (N, C, H, W), bytes or values: numbers (N, width) and
// ids (N, k). All tensors are of one scope, of which the results alone are left; nothing
// is copied from or to the host and nothing waits, so that it can be recorded.
func (e *Engine) step(x *torch.Tensor, j job) (numbers, ids *torch.Tensor) {
	s := x.Scope()
	if j.bytes {
		x = x.ScaleImages(j.minmax)
	}
	s.Release(x)
	z := e.model.EncodeTensor(x)
	s.Release(x, z)
	dist, ids, unsure := e.search(z, j)
	keep := []*torch.Tensor{x, z, dist, ids, unsure}
	s.Release(keep...)
	xhat := e.model.DecodeTensor(z)
	keep = append(keep, xhat)
	s.Release(keep...)
	f := features{model: e.model, of: map[nln.Feature]*torch.Tensor{
		{Of: nln.OfImage}: x.Reshape(j.n, -1), latents: z, {Of: nln.OfReconstruction}: xhat.Reshape(j.n, -1)}, x: x, xhat: xhat}
	column := func(t *torch.Tensor) *torch.Tensor { return t.Reshape(j.n, 1) }
	columns := []*torch.Tensor{dist, column(unsure), column(f.distance(nln.Feature{Of: nln.OfImage}, nln.Feature{Of: nln.OfReconstruction}))}
	neighbors := ids.Narrow(1, 0, j.errors)
	for _, name := range j.spaceNames() {
		space := e.spaces[name]
		columns = append(columns, f.get(space.Query).MeanAbsRows(e.tables[space.Neighbor].In(s), neighbors).PrefixMeans())
		if j.own {
			columns = append(columns, column(f.distance(space.Query, space.Neighbor)))
		}
	}
	numbers = s.Cat(1, columns...)
	s.Release(numbers, ids)
	return numbers, ids
}

// search returns the nearest vectors of latents z.
func (e *Engine) search(z *torch.Tensor, j job) (dist, ids, unsure *torch.Tensor) {
	if j.all {
		dist, ids = e.near.All(z, j.k)
		return dist, ids, z.Scope().Full(0, j.n)
	}
	return e.near.Search(z, j.k)
}

// features are those of a batch, each computed once, (N, F).
type features struct {
	model   Net
	x, xhat *torch.Tensor // images and their reconstructions (N, C, H, W)
	of      map[nln.Feature]*torch.Tensor
}

func (f features) get(feature nln.Feature) *torch.Tensor {
	if f.of[feature] == nil {
		in := f.x
		if feature.Of == nln.OfReconstruction {
			in = f.xhat
		}
		f.of[feature] = f.model.FeaturesTensor(feature.Network, in)
	}
	return f.of[feature]
}

// distance returns the mean absolute difference of two features of each image, (N).
func (f features) distance(a, b nln.Feature) *torch.Tensor {
	return f.get(a).Sub(f.get(b)).Abs().MeanDim(1)
}

// unpack stores the results of image i of a job, row i of numbers and ids, in row to of
// p. It says whether they are finite, and whether the search was unsure.
func (j job) unpack(numbers []float32, ids []int64, i int, p nln.Parts, to int) (finite, unsure bool) {
	row := numbers[i*j.width() : (i+1)*j.width()]
	finite = true
	for _, v := range row {
		if v-v != 0 {
			finite = false
		}
	}
	copy(p.IDs[to*j.k:(to+1)*j.k], ids[i*j.k:])
	copy(p.Dist[to*j.k:(to+1)*j.k], row)
	unsure = row[j.k] != 0
	p.Recon[to] = float64(row[j.k+1])
	row = row[j.k+2:]
	for _, term := range p.Spaces {
		for m, v := range row[:j.errors] {
			term.Mean[to*j.k+m] = float64(v)
		}
		if row = row[j.errors:]; j.own {
			term.Own[to] = float64(row[0])
			row = row[1:]
		}
	}
	return finite, unsure
}
