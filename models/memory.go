package models

// How much memory a model takes is estimated from the number of values that its
// layers give for an image. The factors say how many values are in memory for
// each of these at the worst moment: gradients, operands in another order and the
// work space of convolutions. They were fitted to the peaks of trainings of all
// models with 16 to 1024 images of 28x28 to 128x128 in a batch, which
// TestMemoryIsPredicted repeats in part; another version of libtorch or of the
// core's own layers may want others.
const (
	smallTrained  = 0.47 // training, a value of encoder or decoder; below 1, since fused layers give one for several
	smallOther    = 0.6  // training, a value of another network
	smallStats    = 4.5  // training, times as much where batches are normalised by their statistics
	smallScored   = 0.4  // scoring, a value of the decoder
	patchTrained  = 2.8
	patchScored   = 2.9
	bytesPerValue = 4
)

// TrainingMemory returns about how many bytes a training on n images needs on top
// of the images and the weights: gradients, Adam's two moments, and what the
// layers make of a batch.
func (m *Autoencoder) TrainingMemory(n int) int64 {
	batch := min(m.cfg.Batch, n)
	perImage := m.cfg.trainedValues() + float64(m.cfg.Shape.Len())
	return bytesPerValue * (3*int64(m.Parameters()) + int64(float64(batch)*perImage))
}

// ScoringMemory returns about how many bytes it takes to encode and decode n
// images, of which chunk are in work at a time. The decoder makes more of them.
func (m *Autoencoder) ScoringMemory(n int) int64 {
	_, decoder := m.cfg.layerValues()
	factor := smallScored
	if m.cfg.patches() {
		factor = patchScored
	}
	return int64(bytesPerValue * float64(min(n, chunk)) * factor * float64(decoder))
}

// trainedValues returns how many values a training has in memory for an image.
func (c Config) trainedValues() float64 {
	encoder, decoder := c.layerValues()
	// How often an image or its reconstruction goes through another network of
	// the encoder's form. Where layers are fused the second encoder's values take
	// the place of others.
	others := map[string]int{ArchAERes: 2, ArchAECon: 2}[c.Arch]
	if c.patches() {
		if c.Arch == ArchAECon {
			others++
		}
		return patchTrained * float64(encoder+decoder+others*encoder)
	}
	values := smallTrained*float64(encoder+decoder) + smallOther*float64(others*encoder)
	if c.batchStats(c.Arch == ArchAAE || c.Arch == ArchAECon) {
		values *= smallStats
	}
	return values
}

// layerValues returns the number of values that the convolutions, poolings,
// repetitions and normalisations of encoder and decoder give for an image.
func (c Config) layerValues() (encoder, decoder int) {
	if c.patches() {
		return c.patchValues()
	}
	f, g := filters(c.Filters)
	n := c.Shape.H * c.Shape.W // rows and columns are halved twice
	encoder = f[0]*(n+n/4) + f[1]*(n/4+n/16) + f[2]*n/16
	decoder = (g[0]+g[1])*n/16 + (g[1]+g[2])*n/4 + (g[2]+c.Shape.C)*n
	if c.Norm != NormNone {
		encoder += f[0]*n/4 + (f[1]+f[2])*n/16
		decoder += g[1]*n/16 + g[2]*n/4
	}
	return encoder, decoder
}

// patchValues is layerValues of the networks for patches.
func (c Config) patchValues() (encoder, decoder int) {
	size := c.Shape.H
	side := size
	down := func(filters int) { side /= 2; encoder += filters * side * side }
	if size > 128 {
		down(128)
	}
	down(32)
	down(32)
	down(32)
	encoder += 32 * side * side
	if size > 64 {
		down(64)
	}
	encoder += (64 + 64 + 32) * side * side
	side = 8
	decoder = (32 + 64 + 128 + 64) * side * side
	up := func(filters int) { side *= 2; decoder += filters * side * side }
	if size > 64 {
		up(32)
	}
	decoder += 32 * side * side
	up(32)
	up(32)
	if size > 128 {
		up(64)
	}
	up(c.Shape.C)
	return encoder, decoder
}
