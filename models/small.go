package models

// The networks for small images (28x28, 32x32): a LeNet-like encoder of three
// 2x2 convolutions and a decoder that mirrors it. The paper gives the number of
// layers and filters; kernels, pooling and padding are those of the authors'
// code. In the comments h and w are a quarter of the image's rows and columns,
// and f and g the filters of encoder and decoder.

// filters returns the filters of the encoder's convolutions, f0 to f2, and those
// of the decoder in the order in which it has them, g0 to g2.
func filters(kind string) (f, g [3]int) {
	switch kind {
	case FiltersConst:
		return [3]int{32, 32, 32}, [3]int{32, 32, 32}
	case FiltersHalving:
		return [3]int{32, 16, 8}, [3]int{32, 4, 4} // 4 and 4 are a slip of the authors' code
	}
	return [3]int{32, 64, 128}, [3]int{128, 64, 32}
}

// smallTrunk maps images (N, C, 4h, 4w) to features (N, f2*h*w).
func smallTrunk(b *builder, c Config) (trunk chain, features int) {
	f, _ := filters(c.Filters)
	h, w := c.Shape.H/4, c.Shape.W/4
	return chain{
		b.convPool2("conv1", c.Shape.C, f[0]), b.norm("norm1", c.Norm, f[0]), // (N, f0, 2h, 2w)
		b.convPool2("conv2", f[0], f[1]), b.norm("norm2", c.Norm, f[1]), // (N, f1, h, w)
		b.convRows2("conv3", "norm3", c.Norm, f[1], f[2]), // (N, f2*h*w)
	}, f[2] * h * w
}

// smallEncoder maps images (N, C, 4h, 4w) to latent vectors (N, L).
func smallEncoder(b *builder, c Config) chain {
	trunk, features := smallTrunk(b, c)
	return append(trunk, b.dense("latent", features, c.Latent)) // linear
}

// smallDecoder maps latent vectors (N, L) to images (N, C, 4h, 4w), before the
// sigmoid that brings them into (0, 1).
func smallDecoder(b *builder, c Config) chain {
	_, g := filters(c.Filters)
	h, w := c.Shape.H/4, c.Shape.W/4
	return chain{
		b.dense("dense", c.Latent, g[0]*h*w), relu, unflatten(g[0], h, w), // (N, g0, h, w)
		b.convTReLU2("conv1", g[0], g[1]),                                            // (N, g1, h, w)
		b.upConvT2x2(b.norm("norm1", c.Norm, g[1]), "conv2", g[1], g[2], true),       // (N, g2, 2h, 2w)
		b.upConvT2x2(b.norm("norm2", c.Norm, g[2]), "conv3", g[2], c.Shape.C, false), // (N, C, 4h, 4w)
	}
}
