package models

// The networks for small images (28x28, 32x32): a LeNet-like encoder of three
// 2x2 convolutions and a decoder that mirrors it. The paper gives the number of
// layers and filters; kernels, pooling and padding are those of the authors'
// code. In the comments h and w are a quarter of the image's rows and columns,
// and f the filters: 32, 64, 128 ("up") or 32, 32, 32 ("const").

func filters(kind string) [3]int {
	if kind == FiltersConst {
		return [3]int{32, 32, 32}
	}
	return [3]int{32, 64, 128}
}

// smallTrunk maps images (N, C, 4h, 4w) to features (N, f2*h*w).
func smallTrunk(b *builder, c Config) (trunk chain, features int) {
	f, h, w := filters(c.Filters), c.Shape.H/4, c.Shape.W/4
	return chain{
		b.conv2x2("conv1", c.Shape.C, f[0]), relu, // (N, f0, 4h, 4w)
		pool2, b.norm("norm1", c.Norm, f[0]), // (N, f0, 2h, 2w)
		b.conv2x2("conv2", f[0], f[1]), relu,
		pool2, b.norm("norm2", c.Norm, f[1]), // (N, f1, h, w)
		b.conv2x2("conv3", f[1], f[2]), relu, b.norm("norm3", c.Norm, f[2]), // (N, f2, h, w)
		flatten,
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
	f, h, w := filters(c.Filters), c.Shape.H/4, c.Shape.W/4
	return chain{
		b.dense("dense", c.Latent, f[2]*h*w), relu, unflatten(f[2], h, w), // (N, f2, h, w)
		b.convT2x2("conv1", f[2], f[1]), relu,
		up2, b.norm("norm1", c.Norm, f[1]), // (N, f1, 2h, 2w)
		b.convT2x2("conv2", f[1], f[0]), relu,
		up2, b.norm("norm2", c.Norm, f[0]), // (N, f0, 4h, 4w)
		b.convT2x2("conv3", f[0], c.Shape.C), // (N, C, 4h, 4w)
	}
}
