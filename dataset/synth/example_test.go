package synth_test

import (
	"fmt"
	"log"

	"github.com/nlnctl/nlnctl/dataset"
	"github.com/nlnctl/nlnctl/dataset/synth"
)

func ExampleGenerate() {
	o := synth.DefaultOptions()
	o.TrainPerClass, o.TestPerClass = 20, 5
	sets, err := synth.Generate(o)
	if err != nil {
		log.Fatal(err)
	}
	task, err := sets.Task(dataset.MISO, "3")
	if err != nil {
		log.Fatal(err)
	}
	novel := 0
	for _, n := range task.Novel {
		if n {
			novel++
		}
	}
	fmt.Println(sets.Train.Len(), "images of", sets.Train.Shape())
	fmt.Println(len(task.Inliers), "to train on,", novel, "of", sets.Test.Len(), "test images novel")
	// Output:
	// 200 images of 28x28x1
	// 180 to train on, 5 of 50 test images novel
}

func ExampleGenerateInspection() {
	o := synth.DefaultInspection()
	o.Train, o.Good, o.Each, o.Size = 10, 2, 1, 32
	sets, err := synth.GenerateInspection(o)
	if err != nil {
		log.Fatal(err)
	}
	for i := range sets.Test.Len() {
		fmt.Println(sets.Test.ImageName(i), sets.Test.Masks[i] != nil)
	}
	// Output:
	// test/good/000.png false
	// test/good/001.png false
	// test/blot/000.png true
	// test/hole/000.png true
	// test/scratch/000.png true
	// test/smear/000.png true
	// test/stroke/000.png true
}
