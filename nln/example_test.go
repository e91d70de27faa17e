package nln_test

import (
	"context"
	"fmt"
	"log"

	"github.com/nlnctl/nlnctl/dataset"
	"github.com/nlnctl/nlnctl/nln"
)

// halves is a model of images of two pixels: the latent vector is the left
// pixel alone, and both pixels are restored from it. It has learnt that the
// two are equal.
type halves struct{}

func (halves) Shape() dataset.Shape { return dataset.Shape{C: 1, H: 1, W: 2} }
func (halves) LatentDim() int       { return 1 }

func (halves) Encode(_ context.Context, x dataset.Images, z []float32) error {
	for i := range x.N {
		z[i] = x.At(i)[0]
	}
	return nil
}

func (halves) Decode(_ context.Context, z, xhat []float32) error {
	for i, v := range z {
		xhat[2*i], xhat[2*i+1] = v, v
	}
	return nil
}

// greys returns images with two equal pixels, the normal case.
func greys(levels ...uint8) *dataset.Set {
	s := &dataset.Set{Size: halves{}.Shape(), Scale: dataset.Scale255}
	for _, v := range levels {
		s.Pix = append(s.Pix, v, v)
	}
	return s
}

func Example() {
	ctx := context.Background()
	train := greys(100, 110, 120, 130, 140)
	calib := greys(96, 99, 106, 112, 118, 125, 134, 138, 143)

	cfg := nln.DefaultConfig()
	cfg.K = 1
	cfg.FPR = .1 // needs 9 calibration images
	scorer, err := nln.Fit(ctx, halves{}, nln.NewExact(1), train, calib, cfg)
	if err != nil {
		log.Fatal(err)
	}
	for _, w := range scorer.Warnings() {
		fmt.Println("warning:", w)
	}

	x := dataset.Images{Shape: scorer.Model().Shape(), N: 3, Pix: []float32{
		.45, .45, // as learnt
		.45, .9, // unequal
		.9, .9, // equal, but brighter than any before
	}}
	scores, err := scorer.Score(ctx, x, nil)
	if err != nil {
		log.Fatal(err)
	}
	for i, s := range scores {
		fmt.Printf("image %d: error %.3f distance %.3f score %.1f p %.1f novel %v, nearest to %d\n",
			i, s.Error, s.Distance, s.Score, s.P, s.Novel, s.Neighbors)
	}
	// Output:
	// image 0: error 0.019 distance 0.019 score 0.9 p 0.2 novel false, nearest to [1]
	// image 1: error 0.244 distance 0.019 score 12.4 p 0.1 novel true, nearest to [1]
	// image 2: error 0.351 distance 0.351 score 22.1 p 0.1 novel true, nearest to [4]
}

// A policy is changed without fitting again.
func ExampleScorer_With() {
	ctx := context.Background()
	scorer, err := nln.Fit(ctx, halves{}, nln.NewExact(1), greys(100, 120, 140), greys(96, 106, 118, 125), nln.DefaultConfig())
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(scorer.Warnings()[0])

	policy := scorer.Config().Policy
	policy.FPR = .25
	if scorer, err = scorer.With(policy); err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(scorer.Warnings()), "warnings")
	// Output:
	// 4 calibration images are too few for a false-positive rate of 0.01, under which nothing is called novel: hold out 99 or raise the rate
	// 0 warnings
}

// contrasts adds a network to halves, which tells how different the two pixels
// are, and compares by that before it compares pixels.
type contrasts struct{ halves }

func (m contrasts) Spaces() []nln.Space {
	return []nln.Space{
		{Name: "contrast", Dim: 1,
			Query:    nln.Feature{Of: nln.OfImage, Network: "contrast"},
			Neighbor: nln.Feature{Of: nln.OfReconstruction, Network: "contrast"}},
		nln.ImageSpace(m),
	}
}

func (contrasts) Features(_ context.Context, network string, x dataset.Images, dst []float32) error {
	for i := range x.N {
		dst[i] = x.At(i)[1] - x.At(i)[0]
	}
	return nil
}

// A model with further networks is scored in the spaces that it names.
func ExampleFeatureModel() {
	ctx := context.Background()
	scorer, err := nln.Fit(ctx, contrasts{}, nln.NewExact(1), greys(100, 120, 140), greys(96, 106, 118, 125), nln.DefaultConfig())
	if err != nil {
		log.Fatal(err)
	}
	x := dataset.Images{Shape: scorer.Model().Shape(), N: 2, Pix: []float32{.5, .5, .45, .93}}
	parts, err := scorer.Parts(ctx, x, nln.Parts{})
	if err != nil {
		log.Fatal(err)
	}
	for _, term := range parts.Spaces {
		fmt.Printf("%s: %.2f and %.2f\n", term.Space, term.Mean[0], term.Mean[parts.K])
	}
	// Output:
	// contrast: 0.00 and 0.48
	// image: 0.03 and 0.24
}
