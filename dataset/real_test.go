package dataset

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
)

// realData returns the folder of a real data set below NLN_DATA, or skips.
func realData(t testing.TB, name string) string {
	t.Helper()
	root := os.Getenv("NLN_DATA")
	if root == "" {
		t.Skip("NLN_DATA does not name a folder of real data sets")
	}
	dir := filepath.Join(root, name)
	if _, err := os.Stat(dir); err != nil {
		t.Skip("NLN_DATA has no ", name)
	}
	return dir
}

func mustOpen(t testing.TB, spec string) *Splits {
	t.Helper()
	sp, err := Open(spec)
	if err != nil {
		t.Fatal(err)
	}
	return sp
}

// Images of each digit in the official files of MNIST.
var (
	mnistTrain = []int{5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949}
	mnistTest  = []int{980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009}
)

// Whichever the class, a protocol trains on no label that it calls novel, and as
// many test images are novel as the class has, or the others: for 0 that is
// 54,077 and 980 under miso, 5,923 and 9,020 under simo.
func TestRealMNIST(t *testing.T) {
	sp := mustOpen(t, "mnist:"+realData(t, "mnist"))
	if sp.Train.Len() != 60_000 || sp.Test.Len() != 10_000 || sp.Train.Size != (Shape{1, 28, 28}) {
		t.Fatalf("%d and %d images of %v", sp.Train.Len(), sp.Test.Len(), sp.Train.Size)
	}
	for class := range 10 {
		for _, c := range []struct {
			p              Protocol
			inliers, novel int
		}{{MISO, 60_000 - mnistTrain[class], mnistTest[class]}, {SIMO, mnistTrain[class], 10_000 - mnistTest[class]}} {
			checkRealTask(t, sp, c.p, class, c.inliers, c.novel)
		}
	}
	// The first training image is the well-known five: label and ink.
	sum := 0
	for _, v := range sp.Train.Image(0) {
		sum += int(v)
	}
	if sp.Train.Labels[0] != 5 || sum != 27525 {
		t.Errorf("image 0 has label %d and sum %d, want 5 and 27525", sp.Train.Labels[0], sum)
	}
}

func checkRealTask(t *testing.T, sp *Splits, p Protocol, class, inliers, novel int) {
	t.Helper()
	task, err := sp.Task(p, strconv.Itoa(class))
	if err != nil {
		t.Fatal(err)
	}
	positives := 0
	for i, n := range task.Novel {
		if n {
			positives++
		}
		if n != ((sp.Test.Labels[i] == class) == (p == MISO)) {
			t.Fatalf("%s %d: test image %d of label %d is novel: %v", p, class, i, sp.Test.Labels[i], n)
		}
	}
	if len(task.Inliers) != inliers || positives != novel {
		t.Errorf("%s %d: %d inliers and %d novel, want %d and %d", p, class, len(task.Inliers), positives, inliers, novel)
	}
	for _, i := range task.Inliers {
		if (sp.Train.Labels[i] == class) != (p == SIMO) {
			t.Fatalf("%s %d trains on label %d", p, class, sp.Train.Labels[i])
		}
	}
	// A tenth of what is excluded, rounded down.
	excluded := sp.Train.Len() - inliers
	if err := task.AddNoise(sp.Train, .1, 1); err != nil || len(task.Noise) != excluded/10 || len(task.Inliers) != inliers+excluded/10 {
		t.Errorf("%s %d: %d of %d excluded images as noise (%v)", p, class, len(task.Noise), excluded, err)
	}
}

func TestRealFashionMNIST(t *testing.T) {
	dir := realData(t, "fashion-mnist")
	sp := mustOpen(t, dir) // by what lies there and its name
	if sp.Kind != "fashion-mnist" || sp.Train.Len() != 60_000 || sp.Test.Len() != 10_000 {
		t.Fatalf("%s: %d and %d images", sp.Kind, sp.Train.Len(), sp.Test.Len())
	}
	for c := range 10 {
		if n := len(SIMO.Inliers(sp.Train.Labels, c)); n != 6000 {
			t.Errorf("%s has %d training images, want 6000", sp.Train.Classes[c], n)
		}
	}
}

func TestRealCIFAR(t *testing.T) {
	sp := mustOpen(t, "cifar-10:"+realData(t, "cifar-10"))
	if sp.Test.Len() != 10_000 || sp.Train.Len()%10_000 != 0 || sp.Train.Size != (Shape{3, 32, 32}) {
		t.Fatalf("%d and %d images of %v", sp.Train.Len(), sp.Test.Len(), sp.Train.Size)
	}
	if complete := sp.Train.Len() == 50_000; complete != (len(sp.Notes()) == 0) {
		t.Errorf("%d training images, notes %q", sp.Train.Len(), sp.Notes())
	}
	for c := range 10 {
		if n := len(SIMO.Inliers(sp.Test.Labels, c)); n != 1000 {
			t.Errorf("%s has %d test images, want 1000", sp.Test.Classes[c], n)
		}
	}
}

// The official counts of the category: 209, and 20, 20, 22, 21.
func TestRealMVTec(t *testing.T) {
	sp := mustOpen(t, "mvtec:"+filepath.Join(realData(t, "mvtec"), "bottle"))
	if sp.Train.Len() != 209 || sp.Test.Len() != 83 {
		t.Fatalf("%d and %d images", sp.Train.Len(), sp.Test.Len())
	}
	counts := make([]int, 4)
	for i, label := range sp.Test.Labels {
		counts[label]++
		if (label == 0) != (sp.Test.Masks[i] == nil) {
			t.Errorf("%s: mask is nil: %v", sp.Test.ImageName(i), sp.Test.Masks[i] == nil)
		}
	}
	if got, want := fmt.Sprint(sp.Test.Classes, counts), "[good broken_large broken_small contamination] [20 20 22 21]"; got != want {
		t.Errorf("have %s, want %s", got, want)
	}
	task, err := sp.Task(Unlabelled, "")
	if err != nil || task.Protocol != Defects || len(task.Inliers) != 209 {
		t.Errorf("task %+v, %v", task, err)
	}
}

// Reading must not be what a run waits for: beyond gunzip, 47 MB are copied
// twice.
func BenchmarkOpenMNIST(b *testing.B) {
	dir := realData(b, "mnist")
	for b.Loop() {
		if _, err := Open("mnist:" + dir); err != nil {
			b.Fatal(err)
		}
	}
}
