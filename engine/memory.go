package engine

import (
	"fmt"

	"github.com/nlnctl/nlnctl/cgo/torch"
	"github.com/nlnctl/nlnctl/dataset"
	"github.com/nlnctl/nlnctl/nln"
)

// Memory returns how many bytes of a device New takes for what a scorer compares with:
// latents and tables.
func Memory(s *nln.Scorer) int64 {
	l := int64(s.Model().LatentDim())
	n := int64(len(vectorsOf(s))) / max(l, 1)
	total := 4 * n * (l + 1) // and the squared length of each
	for _, t := range s.Kept().Tables {
		total += int64(len(t.U8)) + 4*int64(len(t.F32))
	}
	return total
}

// A batch is as large as the values that a network makes of it may be, stepBytes for
// about valuesPerPixel values for each pixel, and no larger than mostImages, on the
// processor mostOnCPU, beyond which nothing is gained.
const (
	stepBytes      = 1 << 30
	valuesPerPixel = 64
	mostImages     = 4096
	mostOnCPU      = 256
)

// roomForSteps is what two batches take on a device beside latents and tables.
const roomForSteps = inFlight * stepBytes

// batchOf returns how many images of a shape make a batch on a device, a power of two.
func batchOf(dev torch.Device, shape dataset.Shape) int {
	most, n := min(mostImages, stepBytes/(4*valuesPerPixel*shape.H*shape.W)), 1
	if dev == torch.CPU {
		most = min(most, mostOnCPU)
	}
	for n*2 <= most {
		n *= 2
	}
	return n
}

// checkMemory returns an error where a device has too little memory, as far as that is
// known before it is asked for.
func checkMemory(dev torch.Device, tables int64) error {
	if dev == torch.CPU {
		return nil
	}
	all, err := torch.CUDAInfo()
	if err != nil || int(dev) >= len(all) {
		return err
	}
	if has := all[dev].Bytes; tables+roomForSteps > has {
		return &MemoryError{Device: dev, Needs: tables, Has: has, Err: torch.ErrOutOfMemory}
	}
	return nil
}

// A MemoryError says that a device has too little memory.
type MemoryError struct {
	Device     torch.Device
	Needs, Has int64 // bytes for latents and tables, and of the device in all; 0: not known
	Err        error // wraps torch.ErrOutOfMemory
}

func (e *MemoryError) Error() string {
	switch {
	case e.Has > 0:
		return fmt.Sprintf("latents and tables take %.1f GB and computing with them %.1f GB, %v has %.1f GB", float64(e.Needs)/1e9, roomForSteps/1e9, e.Device, float64(e.Has)/1e9)
	case e.Needs > 0:
		return fmt.Sprintf("latents and tables of %.1f GB: %v", float64(e.Needs)/1e9, e.Err)
	}
	return e.Err.Error()
}

func (e *MemoryError) Unwrap() error { return e.Err }

// Hint says what helps.
func (e *MemoryError) Hint() string {
	return "pass --device cpu, or end what else uses the device's memory"
}
