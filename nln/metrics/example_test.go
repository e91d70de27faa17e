package metrics_test

import (
	"fmt"
	"log"

	"github.com/nlnctl/nlnctl/nln/metrics"
)

// A threshold comes from maps of normal images; other images show what it does.
func ExamplePixels() {
	normal := metrics.NewPixels()
	if err := normal.Add([]float32{.1, .3, .2, .1, .2, .1, .4, .2}, nil, 2, 4); err != nil {
		log.Panic(err)
	}
	threshold, err := normal.NormalThreshold(.2) // one pixel of eight may reach it
	if err != nil {
		log.Panic(err)
	}

	test := metrics.NewPixels()
	for _, image := range []struct {
		scores []float32
		mask   []byte
	}{
		{[]float32{.1, .2, .9, .8, .1, .2, .2, .7}, []byte{0, 0, 255, 255, 0, 0, 255, 255}},
		{[]float32{.2, .1, .1, .3, .5, .2, .1, .1}, nil},
	} {
		if err := test.Add(image.scores, image.mask, 2, 4); err != nil {
			log.Panic(err)
		}
	}
	cut, err := test.At(threshold)
	if err != nil {
		log.Panic(err)
	}
	aupro, err := test.AUPRO(metrics.AUPROLimit)
	if err != nil {
		log.Panic(err)
	}
	fmt.Printf("at %.2f: IoU %.2f, F1 %.2f\n", cut.Threshold, cut.IoU, cut.F1())
	fmt.Printf("AUPRO %.3f\n", aupro)
	// Output:
	// at 0.30: IoU 0.60, F1 0.75
	// AUPRO 0.772
}
