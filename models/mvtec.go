package models

// The networks for patches of 64, 128 or 256 rows and columns: a variant of
// the autoencoder of Bergmann et al. that the authors' code uses for MVTec AD
// and that has the paper's number of parameters. Hidden layers are LeakyReLU with
// slope 0.2 unless Config.Activation says otherwise; convolutions of stride 2 halve
// the image until 8x8 is left, which one 8x8 kernel turns into the latent vector.
// A 128x128 patch has all of the stages named below but the one for 256; a 64x64
// one has one less.

// patchSlope is the slope of their LeakyReLU.
const patchSlope = 0.2

// patchTrunk maps patches (N, C, s, s) to (N, 32, 8, 8).
func patchTrunk(b *builder, c Config) chain {
	size, act := c.Shape.H, c.hidden(patchSlope)
	var n chain
	down := func(name string, in, out int) { n = append(n, b.conv(name, in, out, 4, 2, 1), act) }
	same := func(name string, in, out int) { n = append(n, b.conv(name, in, out, 3, 1, 1), act) }
	in := c.Shape.C
	if size > 128 {
		down("conv0", in, 128)
		in = 128
	}
	down("conv1", in, 32)
	down("conv2", 32, 32)
	down("conv3", 32, 32)
	same("conv4", 32, 32)
	in = 32
	if size > 64 {
		down("conv5", 32, 64)
		in = 64
	}
	same("conv6", in, 64)
	same("conv7", 64, 64)
	same("conv8", 64, 32)
	return n
}

// patchFeatures is the number of values that patchTrunk gives for a patch.
const patchFeatures = 32 * 8 * 8

// patchEncoder maps patches (N, C, s, s) to latent vectors (N, L).
func patchEncoder(b *builder, c Config) chain {
	return append(patchTrunk(b, c), b.conv("latent", 32, c.Latent, 8, 1, 0), flatten) // linear
}

// patchDecoder maps latent vectors (N, L) to patches (N, C, s, s), before the
// sigmoid.
func patchDecoder(b *builder, c Config) chain {
	size, act := c.Shape.H, c.hidden(patchSlope)
	n := chain{unflatten(c.Latent, 1, 1), b.convT("latent", c.Latent, 32, 8, 1, 0), act} // (N, 32, 8, 8)
	up := func(name string, in, out int) { n = append(n, b.convT(name, in, out, 4, 2, 1), act) }
	same := func(name string, in, out int) { n = append(n, b.conv(name, in, out, 3, 1, 1), act) }
	same("conv2", 32, 64)
	same("conv3", 64, 128)
	same("conv4", 128, 64)
	in := 64
	if size > 64 {
		up("conv5", 64, 32)
		in = 32
	}
	same("conv6", in, 32)
	up("conv7", 32, 32)
	up("conv8", 32, 32)
	if size > 128 {
		up("conv9", 32, 64)
		return append(n, b.convT("conv10", 64, c.Shape.C, 4, 2, 1))
	}
	return append(n, b.convT("conv9", 32, c.Shape.C, 4, 2, 1)) // (N, C, s, s)
}
