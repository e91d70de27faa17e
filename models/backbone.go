package models

import (
	"context"
	"fmt"

	"github.com/nlnctl/nlnctl/cgo/torch"
	"github.com/nlnctl/nlnctl/dataset"
)

// A Backbone is a network that the user brings as a TorchScript file and that makes
// features of images. It gets a tensor of float32 (N, 3, H, W) with values in [0, 1],
// a grey image as three equal channels, and gives a tensor of N rows. The resize and
// the normalisation that it was trained with are part of the script, as in this one
// of torchvision's ResNet-50, 2048 features:
//
//	import torch, torchvision
//	class Backbone(torch.nn.Module):
//	    def __init__(self):
//	        super().__init__()
//	        self.net = torchvision.models.resnet50(weights="IMAGENET1K_V1")
//	        self.net.fc = torch.nn.Identity()
//	        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).reshape(1, 3, 1, 1))
//	        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225]).reshape(1, 3, 1, 1))
//	    def forward(self, x):
//	        x = torch.nn.functional.interpolate(x, size=[224, 224], mode="bilinear", align_corners=False)
//	        return self.net((x - self.mean) / self.std)
//	torch.jit.script(Backbone().eval()).save("resnet50.pt")
//
// Its methods may be called by several goroutines; the work is done by one thread,
// which they share.
type Backbone struct {
	script *torch.Script
	dev    torch.Device
	path   string
}

// OpenBackbone reads a TorchScript file onto dev. Such a file is a program: it must
// come from someone whom the user trusts. The caller closes the backbone.
func OpenBackbone(path string, dev torch.Device) (*Backbone, error) {
	b := &Backbone{dev: dev, path: path}
	err := torch.Run(func() (err error) {
		b.script, err = torch.LoadScript(path, dev)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("models: open backbone: %w", err)
	}
	return b, nil
}

// Close frees the network. It may be called again.
func (b *Backbone) Close() error { return torch.Run(b.script.Close) }

// What goes through a backbone at a time. A ResNet-50 takes 40 MB for each image of
// 224x224, whatever its size before, and is no faster with more of them.
const (
	backboneImages = 8
	backboneValues = 1 << 22 // of the images, where these are large
)

// Features returns what the network makes of x: x.N*dim finite values, row-major, in
// the order that the script gives them. They may differ in the last places with the
// images beside an image. It is an error if x is empty or of another number of
// channels than 1 or 3, and if the script fails or gives anything but x.N rows.
func (b *Backbone) Features(ctx context.Context, x dataset.Images) (v []float32, dim int, err error) {
	size := x.Shape.Len()
	switch {
	case x.C != 1 && x.C != 3:
		return nil, 0, fmt.Errorf("models: backbone: images of %v, want 1 or 3 channels", x.Shape)
	case x.N < 1 || size < 1 || len(x.Pix) != x.N*size:
		return nil, 0, fmt.Errorf("models: backbone: %d images of %v, %d pixel values", x.N, x.Shape, len(x.Pix))
	}
	step := max(1, min(backboneImages, backboneValues/(3*x.H*x.W)))
	for lo := 0; lo < x.N; lo += step {
		if err := ctx.Err(); err != nil {
			return nil, 0, err
		}
		part := x.Slice(lo, min(lo+step, x.N))
		rows, err := b.rows(part)
		if err != nil {
			return nil, 0, fmt.Errorf("models: backbone: %w", err)
		}
		if lo == 0 {
			dim = len(rows) / part.N
			v = make([]float32, 0, x.N*dim)
		}
		if len(rows) != part.N*dim {
			return nil, 0, fmt.Errorf("models: backbone: %s: the script gives %d features an image and then %d", b.path, dim, len(rows)/part.N)
		}
		v = append(v, rows...)
	}
	return v, dim, nil
}

// rows returns the features of a few images.
func (b *Backbone) rows(x dataset.Images) (v []float32, err error) {
	err = torch.Run(func() error {
		s := torch.NewScope(b.dev)
		defer s.Close()
		in := s.FromFloats(x.Pix, x.N, x.C, x.H, x.W)
		if x.C == 1 {
			in = s.Cat(1, in, in, in)
		}
		v = b.script.Forward(in).Floats()
		return s.Err()
	})
	return v, err
}
