package torch

/*
#include "nln_core.h"
*/
import "C"

import "unsafe"

// Operations on two tensors broadcast as PyTorch does: sizes are compared from
// the last dimension, and a size of 1 is repeated.

// Add returns t + u.
func (t *Tensor) Add(u *Tensor) *Tensor {
	return t.s.op(func(out **C.nln_tensor) C.nln_status { return C.nln_add(t.p, u.p, out) }, t, u)
}

// Sub returns t - u.
func (t *Tensor) Sub(u *Tensor) *Tensor {
	return t.s.op(func(out **C.nln_tensor) C.nln_status { return C.nln_sub(t.p, u.p, out) }, t, u)
}

// Mul returns t * u, element by element.
func (t *Tensor) Mul(u *Tensor) *Tensor {
	return t.s.op(func(out **C.nln_tensor) C.nln_status { return C.nln_mul(t.p, u.p, out) }, t, u)
}

// Div returns t / u, element by element.
func (t *Tensor) Div(u *Tensor) *Tensor {
	return t.s.op(func(out **C.nln_tensor) C.nln_status { return C.nln_div(t.p, u.p, out) }, t, u)
}

// Affine returns scale*t + shift.
func (t *Tensor) Affine(scale, shift float64) *Tensor {
	return t.s.op(func(out **C.nln_tensor) C.nln_status {
		return C.nln_affine(t.p, C.double(scale), C.double(shift), out)
	}, t)
}

// Abs returns |t|; its gradient at 0 is 0.
func (t *Tensor) Abs() *Tensor {
	return t.s.op(func(out **C.nln_tensor) C.nln_status { return C.nln_abs(t.p, out) }, t)
}

// Exp returns e to the power of each element.
func (t *Tensor) Exp() *Tensor {
	return t.s.op(func(out **C.nln_tensor) C.nln_status { return C.nln_exp(t.p, out) }, t)
}

// Log returns the natural logarithm.
func (t *Tensor) Log() *Tensor {
	return t.s.op(func(out **C.nln_tensor) C.nln_status { return C.nln_log(t.p, out) }, t)
}

// Sqrt returns the square root; its gradient at 0 is infinite.
func (t *Tensor) Sqrt() *Tensor {
	return t.s.op(func(out **C.nln_tensor) C.nln_status { return C.nln_sqrt(t.p, out) }, t)
}

// Square returns t * t.
func (t *Tensor) Square() *Tensor {
	return t.s.op(func(out **C.nln_tensor) C.nln_status { return C.nln_square(t.p, out) }, t)
}

// Clamp returns t limited to [lo, hi]; the gradient outside is 0.
func (t *Tensor) Clamp(lo, hi float64) *Tensor {
	return t.s.op(func(out **C.nln_tensor) C.nln_status {
		return C.nln_clamp(t.p, C.double(lo), C.double(hi), out)
	}, t)
}

// Sigmoid returns 1 / (1 + exp(-t)).
func (t *Tensor) Sigmoid() *Tensor {
	return t.s.op(func(out **C.nln_tensor) C.nln_status { return C.nln_sigmoid(t.p, out) }, t)
}

// Tanh returns the hyperbolic tangent.
func (t *Tensor) Tanh() *Tensor {
	return t.s.op(func(out **C.nln_tensor) C.nln_status { return C.nln_tanh(t.p, out) }, t)
}

// ReLU returns max(t, 0).
func (t *Tensor) ReLU() *Tensor {
	return t.s.op(func(out **C.nln_tensor) C.nln_status { return C.nln_relu(t.p, out) }, t)
}

// ReLUInPlace is ReLU in the memory of t, which changes; t must be the result
// of an operation whose gradient does not need its value, such as a convolution.
func (t *Tensor) ReLUInPlace() *Tensor {
	return t.s.op(func(out **C.nln_tensor) C.nln_status { return C.nln_relu_in_place(t.p, out) }, t)
}

// LeakyReLU returns t where it is positive and slope*t elsewhere.
func (t *Tensor) LeakyReLU(slope float64) *Tensor {
	return t.s.op(func(out **C.nln_tensor) C.nln_status {
		return C.nln_leaky_relu(t.p, C.double(slope), out)
	}, t)
}

// Reshape returns the same values, row-major, in another shape; one size may
// be -1, which is what remains.
func (t *Tensor) Reshape(shape ...int) *Tensor {
	d, n := dims(shape)
	return t.s.op(func(out **C.nln_tensor) C.nln_status { return C.nln_reshape(t.p, d, n, out) }, t)
}

// Permute returns t with dimension order[i] in place i.
func (t *Tensor) Permute(order ...int) *Tensor {
	d, n := dims(order)
	return t.s.op(func(out **C.nln_tensor) C.nln_status { return C.nln_permute(t.p, d, n, out) }, t)
}

// Flip returns t with the given dimensions reversed.
func (t *Tensor) Flip(dimensions ...int) *Tensor {
	d, n := dims(dimensions)
	return t.s.op(func(out **C.nln_tensor) C.nln_status { return C.nln_flip(t.p, d, n, out) }, t)
}

// Narrow returns elements start to start+length-1 of dimension dim.
func (t *Tensor) Narrow(dim, start, length int) *Tensor {
	return t.s.op(func(out **C.nln_tensor) C.nln_status {
		return C.nln_narrow(t.p, C.int64_t(dim), C.int64_t(start), C.int64_t(length), out)
	}, t)
}

// Cat returns the tensors one after the other along dimension dim.
func (s *Scope) Cat(dim int, ts ...*Tensor) *Tensor {
	return s.op(func(out **C.nln_tensor) C.nln_status {
		p := handles(ts)
		return C.nln_cat(unsafe.SliceData(p), C.int32_t(len(p)), C.int64_t(dim), out)
	}, ts...)
}

// Pad adds zeros around the last two dimensions (rows and columns).
func (t *Tensor) Pad(left, right, top, bottom int) *Tensor {
	return t.s.op(func(out **C.nln_tensor) C.nln_status {
		return C.nln_pad2d(t.p, C.int64_t(left), C.int64_t(right), C.int64_t(top), C.int64_t(bottom), out)
	}, t)
}

// Sum returns the sum of all elements, a scalar.
func (t *Tensor) Sum() *Tensor {
	return t.s.op(func(out **C.nln_tensor) C.nln_status { return C.nln_sum(t.p, out) }, t)
}

// Mean returns the mean of all elements, a scalar.
func (t *Tensor) Mean() *Tensor {
	return t.s.op(func(out **C.nln_tensor) C.nln_status { return C.nln_mean(t.p, out) }, t)
}

// SumDim returns sums along dimension dim, which disappears.
func (t *Tensor) SumDim(dim int) *Tensor {
	return t.s.op(func(out **C.nln_tensor) C.nln_status { return C.nln_sum_dim(t.p, C.int64_t(dim), out) }, t)
}

// MeanDim returns means along dimension dim, which disappears.
func (t *Tensor) MeanDim(dim int) *Tensor {
	return t.s.op(func(out **C.nln_tensor) C.nln_status { return C.nln_mean_dim(t.p, C.int64_t(dim), out) }, t)
}

// MatMul returns the matrix product of t (n, k) and u (k, m).
func (t *Tensor) MatMul(u *Tensor) *Tensor {
	return t.s.op(func(out **C.nln_tensor) C.nln_status { return C.nln_matmul(t.p, u.p, out) }, t, u)
}

// bias checks an optional tensor for op and returns its handle.
func (s *Scope) bias(in []*Tensor, b *Tensor) ([]*Tensor, *C.nln_tensor) {
	if b == nil {
		return in, nil
	}
	return append(in, b), b.p
}

// Linear returns t (N, in) times the transpose of w (out, in), plus b (out)
// unless that is nil.
func (t *Tensor) Linear(w, b *Tensor) *Tensor {
	in, bp := t.s.bias([]*Tensor{t, w}, b)
	return t.s.op(func(out **C.nln_tensor) C.nln_status { return C.nln_linear(t.p, w.p, bp, out) }, in...)
}

// Conv2D returns the cross-correlation of t (N, C, H, W) with w (O, C, KH, KW),
// plus b (O) unless that is nil. Zeros are added on all four sides.
func (t *Tensor) Conv2D(w, b *Tensor, stride, padding int) *Tensor {
	in, bp := t.s.bias([]*Tensor{t, w}, b)
	return t.s.op(func(out **C.nln_tensor) C.nln_status {
		return C.nln_conv2d(t.p, w.p, bp, C.int64_t(stride), C.int64_t(padding), out)
	}, in...)
}

// ConvTranspose2D is the transpose of Conv2D: t (N, C, H, W), w (C, O, KH, KW);
// padding is cut off from all four sides of the result.
func (t *Tensor) ConvTranspose2D(w, b *Tensor, stride, padding int) *Tensor {
	in, bp := t.s.bias([]*Tensor{t, w}, b)
	return t.s.op(func(out **C.nln_tensor) C.nln_status {
		return C.nln_conv_transpose2d(t.p, w.p, bp, C.int64_t(stride), C.int64_t(padding), out)
	}, in...)
}

// MaxPool2D returns the maxima of size x size windows; what does not fill a
// window at the right and bottom is left out.
func (t *Tensor) MaxPool2D(size, stride int) *Tensor {
	return t.s.op(func(out **C.nln_tensor) C.nln_status {
		return C.nln_max_pool2d(t.p, C.int64_t(size), C.int64_t(stride), out)
	}, t)
}

// Upsample2D repeats each row and column of t (N, C, H, W) factor times.
func (t *Tensor) Upsample2D(factor int) *Tensor {
	return t.s.op(func(out **C.nln_tensor) C.nln_status {
		return C.nln_upsample2d(t.p, C.int64_t(factor), out)
	}, t)
}

// ReLUPool returns the ReLU of the maxima of 2x2 windows of t (N, C, H, W), in
// one pass; H and W must be even.
func (t *Tensor) ReLUPool() *Tensor {
	return t.s.op(func(out **C.nln_tensor) C.nln_status { return C.nln_relu_pool(t.p, out) }, t)
}

// Conv2x2 returns the convolution of t (N, C, H, W) with w (O, C, 2, 2) plus b
// (O) that keeps rows and columns: with one of zeros before the first if before
// is set, else after the last; its ReLU if relu is set.
func (t *Tensor) Conv2x2(w, b *Tensor, before, relu bool) *Tensor {
	return t.s.op(func(out **C.nln_tensor) C.nln_status {
		return C.nln_conv2x2(t.p, w.p, b.p, flag(before), flag(relu), out)
	}, t, w, b)
}

// Conv2x2Rows returns the ReLU of Conv2x2 with zeros after the last row and column,
// flattened to (N, O*H*W), without the copy that another layout in memory would cost.
func (t *Tensor) Conv2x2Rows(w, b *Tensor) *Tensor {
	return t.s.op(func(out **C.nln_tensor) C.nln_status { return C.nln_conv2x2_rows(t.p, w.p, b.p, out) }, t, w, b)
}

// ConvPool returns ReLUPool of the convolution of t (N, C, H, W) with w (O, C,
// 2, 2) plus b (O), with one row and column of zeros after the last. The
// convolved map is never stored whole.
func (t *Tensor) ConvPool(w, b *Tensor) *Tensor {
	return t.s.op(func(out **C.nln_tensor) C.nln_status { return C.nln_conv_pool(t.p, w.p, b.p, out) }, t, w, b)
}

// UpConv returns the convolution with w (O, C, 2, 2) plus b (O) of t (N, C, H, W)
// with each row and column repeated, and one row and column of zeros before the
// first; its ReLU if relu is set. The repeated map is never made.
func (t *Tensor) UpConv(w, b *Tensor, relu bool) *Tensor {
	return t.s.op(func(out **C.nln_tensor) C.nln_status {
		return C.nln_up_conv(t.p, w.p, b.p, flag(relu), out)
	}, t, w, b)
}

// flag is a truth value for the core.
func flag(b bool) C.int32_t {
	if b {
		return 1
	}
	return 0
}

// BatchNorm parameters, one value for each channel.
type BatchNorm struct {
	Weight, Bias            *Tensor
	RunningMean, RunningVar *Tensor
	Momentum                float64 // running = (1-Momentum) running + Momentum batch
	Eps                     float64
}

// BatchNorm normalises each channel of t (N, C, H, W): with training by the
// batch's mean and variance, moving the running ones (by the unbiased variance),
// else by the running ones.
func (t *Tensor) BatchNorm(bn BatchNorm, training bool) *Tensor {
	return t.s.op(func(out **C.nln_tensor) C.nln_status {
		return C.nln_batch_norm(t.p, bn.Weight.p, bn.Bias.p, bn.RunningMean.p, bn.RunningVar.p,
			flag(training), C.double(bn.Momentum), C.double(bn.Eps), out)
	}, t, bn.Weight, bn.Bias, bn.RunningMean, bn.RunningVar)
}

// Dropout zeroes each element with probability p, drawn from g, and scales the
// rest by 1/(1-p).
func (t *Tensor) Dropout(p float64, g *Generator) *Tensor {
	if g.p == nil {
		t.s.Fail(errNoGenerator)
	}
	return t.s.op(func(out **C.nln_tensor) C.nln_status {
		return C.nln_dropout(t.p, C.double(p), g.p, out)
	}, t)
}

// MSELoss returns the mean squared difference to target, of t's shape.
func (t *Tensor) MSELoss(target *Tensor) *Tensor {
	return t.s.op(func(out **C.nln_tensor) C.nln_status { return C.nln_mse_loss(t.p, target.p, out) }, t, target)
}

// L1Loss returns the mean absolute difference to target, of t's shape.
func (t *Tensor) L1Loss(target *Tensor) *Tensor {
	return t.s.op(func(out **C.nln_tensor) C.nln_status { return C.nln_l1_loss(t.p, target.p, out) }, t, target)
}

// BCEWithLogitsLoss returns the mean binary cross-entropy of Sigmoid(t) against
// target in [0, 1], of t's shape, computed stably from t.
func (t *Tensor) BCEWithLogitsLoss(target *Tensor) *Tensor {
	return t.s.op(func(out **C.nln_tensor) C.nln_status {
		return C.nln_bce_with_logits_loss(t.p, target.p, out)
	}, t, target)
}
