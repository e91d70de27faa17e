package dataset_test

import (
	"errors"
	"fmt"
	"log"

	"github.com/nlnctl/nlnctl/dataset"
)

func ExampleOpen() {
	sets, err := dataset.Open("mnist:../testdata/synth/idx")
	if err != nil {
		log.Fatal(err)
	}
	task, err := sets.Task(dataset.SIMO, "3")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(sets.Train.Len(), "training images of", sets.Train.Shape())
	fmt.Println(len(task.Inliers), "of them are inliers, the first is", sets.Train.ImageName(task.Inliers[0]))
	// Output:
	// 200 training images of 28x28x1
	// 20 of them are inliers, the first is mnist/train/3
}

// One bad file among many need not stop a run: the error says what to report.
func ExampleReadImage() {
	dir := "../testdata/synth/"
	for _, name := range []string{"images/grey16.png", "damaged/cut-short.png", "damaged/gif.png", "damaged/claims-gigapixels.png"} {
		_, err := dataset.ReadImage(dir+name, dataset.Shape{C: 1, H: 4, W: 5})
		var (
			broken      *dataset.FormatError
			unsupported *dataset.UnsupportedError
			large       *dataset.TooLargeError
		)
		switch {
		case err == nil:
			fmt.Println(name, "ok")
		case errors.As(err, &broken):
			fmt.Println(name, "damaged")
		case errors.As(err, &unsupported):
			fmt.Println(name, "unsupported")
		case errors.As(err, &large):
			fmt.Println(name, "too large")
		default:
			log.Fatal(err)
		}
	}
	// Output:
	// images/grey16.png ok
	// damaged/cut-short.png damaged
	// damaged/gif.png unsupported
	// damaged/claims-gigapixels.png too large
}

func ExampleSplit() {
	labels := []int{0, 0, 0, 0, 0, 1, 1, 1, 1, 1}
	rest, held := dataset.Split(len(labels), labels, 0.2, 1)
	fmt.Println(len(rest), "to train on,", len(held), "held out")
	fmt.Println("labels held:", labels[held[0]], labels[held[1]])
	// Output:
	// 8 to train on, 2 held out
	// labels held: 0 1
}
