package nln

import "github.com/nlnctl/nlnctl/dataset"

// The error term compares an image with the reconstructions of its neighbours
// by their features. These are the pixels here, as for AE, AAE and VAE. A
// discriminator's features (equation 7) or a second encoder's latents
// (equation 8) are other maps with the same mean absolute difference behind
// them; nothing but this file knows which it is.

// featureLen returns the number of features of one image.
func featureLen(m Model) int { return m.Shape().Len() }

// queryFeatures returns the features of images to be scored, row-major.
func queryFeatures(x dataset.Images) []float32 { return x.Pix }

// reconFeatures returns the features of reconstructions of indexed images.
func reconFeatures(xhat []float32) []float32 { return xhat }
