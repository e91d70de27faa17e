package models

import "github.com/nlnctl/nlnctl/cgo/torch"

// How many ways there are to turn an image, and to shift it.
const (
	turns  = 4
	shifts = 9
)

// views returns of how many views a latent is. AE-con, whose second encoder is compared
// with the latents of one, has no more.
func (c Config) views() int {
	if c.Arch == ArchAECon {
		return 1
	}
	return max(1, c.Views)
}

// restores returns what an AE learns to undo.
func (c Config) restores() string {
	if c.Arch != ArchAE {
		return RestoreNothing
	}
	return c.Restore
}

// turned returns images (N, C, H, H), turned counterclockwise by quarters of a turn.
func turned(x *torch.Tensor, quarters int) *torch.Tensor {
	switch quarters {
	case 1:
		return x.Permute(0, 1, 3, 2).Flip(2)
	case 2:
		return x.Flip(2, 3)
	case 3:
		return x.Permute(0, 1, 3, 2).Flip(3)
	}
	return x
}

// shifted returns images (N, C, H, W) whose row i and column j are row i+down and column
// j+right of x, and 0 where x has none. Both are -1, 0 or 1.
func shifted(x *torch.Tensor, down, right int) *torch.Tensor {
	shape := x.Shape()
	if len(shape) < 4 {
		return x // the scope has failed
	}
	h, w := shape[2], shape[3]
	return x.Pad(1, 1, 1, 1).Narrow(2, 1+down, h).Narrow(3, 1+right, w)
}

// spoilt returns images as the encoder is shown them in training, see Config.Restore:
// which change an image gets depends on its place alone, so that a step can be recorded
// and repeated with other images.
func (c Config) spoilt(x *torch.Tensor) *torch.Tensor {
	switch c.restores() {
	case RestoreTurns:
		return inParts(x, turns, turned)
	case RestoreShifts:
		return inParts(x, shifts, func(x *torch.Tensor, i int) *torch.Tensor { return shifted(x, i/3-1, i%3-1) })
	}
	return x
}

// inParts returns f of each of n even parts of the rows of x, one after the other. The
// last batch of an epoch may have fewer rows than parts, and some parts then none.
func inParts(x *torch.Tensor, n int, f func(x *torch.Tensor, part int) *torch.Tensor) *torch.Tensor {
	shape := x.Shape()
	if len(shape) == 0 {
		return x // the scope has failed
	}
	rows := shape[0]
	var parts []*torch.Tensor
	for i := range n {
		if lo, hi := i*rows/n, (i+1)*rows/n; lo < hi {
			parts = append(parts, f(x.Narrow(0, lo, hi-lo), i))
		}
	}
	return x.Scope().Cat(0, parts...)
}
