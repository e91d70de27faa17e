package nln

// HeldMemory returns about how many bytes [Held] has of n calibration images at
// most.
func (c Config) HeldMemory(m Model, n int) int64 {
	spaces, err := chooseSpaces(m, c.Spaces)
	if err != nil {
		return 0
	}
	latents := Feature{Of: OfLatent}
	row := 4 * m.LatentDim()
	counted := map[Feature]bool{latents: true}
	for _, s := range spaces {
		if !counted[s.Query] {
			counted[s.Query] = true
			row += 4 * s.Dim
		}
	}
	return int64(n) * int64(row)
}

// Memory returns about how many bytes [Fit] keeps of n train images for a model,
// and what it needs of them besides until it ends: the tables of all spaces, the
// latent vectors, and the mean distances to the nearest others. The index's own
// memory is not counted, nor the model's. Spaces that the model does not have
// count nothing.
func (c Config) Memory(m Model, n int) int64 {
	c, err := c.complete()
	if err != nil {
		return 0
	}
	spaces, err := chooseSpaces(m, c.Spaces)
	if err != nil {
		return 0
	}
	latents := latentSpace(m).Neighbor
	row := 4 * (m.LatentDim() + min(c.MaxK, n))
	counted := map[Feature]bool{latents: true}
	for _, s := range spaces {
		if counted[s.Neighbor] {
			continue
		}
		counted[s.Neighbor] = true
		value := 4
		if c.Cache == CacheUint8 && s.Neighbor == (Feature{Of: OfReconstruction}) {
			value = 1
		}
		if c.Cache == CacheNone && s.Neighbor.Of == OfReconstruction {
			value = 0
		}
		row += value * s.Dim
	}
	return int64(n) * int64(row)
}
