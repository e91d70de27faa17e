package models

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"

	"github.com/nlnctl/nlnctl/cgo/torch"
	"github.com/nlnctl/nlnctl/internal/atomicfile"
	"github.com/nlnctl/nlnctl/internal/safetensors"
)

// ErrOtherTraining is wrapped by Train's error when the checkpoint belongs to
// another configuration or other images.
var ErrOtherTraining = errors.New("the checkpoint is of another training")

// Keys of a checkpoint's metadata; the weights are stored as Save does, each
// with its two moments of Adam beside it.
const (
	stepKey   = "nlnctl.step"
	imagesKey = "nlnctl.images" // digest of the training images
	lossesKey = "nlnctl.losses" // lossState as JSON
	noteKey   = "nlnctl.note"   // of the caller
)

// lossState is what of the losses is known so far.
type lossState struct {
	First float64   // mean over the first epoch
	Mean  epochMean // over the current one
}

// Names of the moments of a parameter, which each optimiser has of its own.
func (a *groupAdam) momentM(p parameter) string { return "adam." + a.name + ".m." + p.name }
func (a *groupAdam) momentV(p parameter) string { return "adam." + a.name + ".v." + p.name }

// save stores the state after the last step, whose losses have been read.
func (t *trainer) save() error {
	var f *safetensors.File
	err := t.steps.within(func() (err error) { f, err = t.file(); return err })
	if err != nil {
		return fmt.Errorf("models: checkpoint: %w", err)
	}
	f.Metadata[stepKey] = strconv.Itoa(t.step)
	f.Metadata[imagesKey] = t.digest()
	losses, err := json.Marshal(lossState{t.first, t.mean})
	if err != nil {
		return fmt.Errorf("models: checkpoint: %w", err)
	}
	f.Metadata[lossesKey] = string(losses)
	if t.opt.Note != nil {
		if f.Metadata[noteKey], err = t.opt.Note(); err != nil {
			return fmt.Errorf("models: checkpoint: %w", err)
		}
	}
	if err := atomicfile.Write(t.opt.Checkpoint, f.Write); err != nil {
		return fmt.Errorf("models: checkpoint: %w", err)
	}
	return nil
}

// file returns the weights and the moments.
func (t *trainer) file() (*safetensors.File, error) {
	f, err := t.m.file()
	if err != nil {
		return nil, err
	}
	for _, a := range t.adams {
		for i, p := range a.params {
			st, err := a.State(i)
			if err != nil {
				return nil, err
			}
			f.Tensors = append(f.Tensors,
				safetensors.Tensor{Name: a.momentM(p), DType: safetensors.F32, Shape: p.Shape(), Data: safetensors.Bytes(st.M)},
				safetensors.Tensor{Name: a.momentV(p), DType: safetensors.F32, Shape: p.Shape(), Data: safetensors.Bytes(st.V)})
		}
	}
	return f, nil
}

// resume goes on from the checkpoint if there is one.
func (t *trainer) resume() error {
	if t.opt.Checkpoint == "" {
		return nil
	}
	b, err := os.ReadFile(t.opt.Checkpoint)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("models: checkpoint: %w", err)
	}
	if err := t.restore(b); err != nil {
		return fmt.Errorf("models: checkpoint %s: %w", t.opt.Checkpoint, err)
	}
	return nil
}

func (t *trainer) restore(b []byte) error {
	f, err := safetensors.Parse(b)
	if err != nil {
		return err
	}
	cfg, err := configOf(f)
	if err != nil {
		return err
	}
	// More or fewer steps are no other training.
	cfg.Steps, cfg.Epochs = t.m.cfg.Steps, t.m.cfg.Epochs
	if cfg != t.m.cfg {
		have, _ := json.Marshal(cfg)
		want, _ := json.Marshal(t.m.cfg)
		return fmt.Errorf("%w: it was made with %s, this one has %s", ErrOtherTraining, have, want)
	}
	if f.Metadata[imagesKey] != t.digest() {
		return fmt.Errorf("%w: it was made with other images", ErrOtherTraining)
	}
	step, err := strconv.Atoi(f.Metadata[stepKey])
	if err != nil || step < 0 {
		return fmt.Errorf("step %q", f.Metadata[stepKey])
	}
	if total := t.m.cfg.TotalSteps(t.set.Len()); step > total {
		return fmt.Errorf("%w: it has %d steps, %d are asked for", ErrOtherTraining, step, total)
	}
	if err := t.steps.within(func() error { return t.setFile(f, step) }); err != nil {
		return err
	}
	var losses lossState
	if err := json.Unmarshal([]byte(f.Metadata[lossesKey]), &losses); err != nil {
		return fmt.Errorf("losses: %w", err)
	}
	if n := losses.Mean.Count; (n == 0) != (step == 0) || n > 0 && len(losses.Mean.Sums) == 0 {
		return fmt.Errorf("losses: mean over %d steps of %d losses after step %d", n, len(losses.Mean.Sums), step)
	}
	t.step, t.told, t.first, t.mean = step, step, losses.First, losses.Mean
	if note, ok := f.Metadata[noteKey]; ok && t.opt.Recall != nil {
		return t.opt.Recall(note)
	}
	return nil
}

// setFile takes over the weights and the moments of a file, after so many steps.
func (t *trainer) setFile(f *safetensors.File, steps int) error {
	if err := t.m.set(f); err != nil {
		return err
	}
	for _, a := range t.adams {
		for i, p := range a.params {
			m, err := f.Get(a.momentM(p), safetensors.F32)
			if err != nil {
				return err
			}
			v, err := f.Get(a.momentV(p), safetensors.F32)
			if err != nil {
				return err
			}
			if err := a.SetState(i, torch.AdamState{M: m.Floats32(), V: v.Floats32(), Steps: steps}); err != nil {
				return err
			}
		}
	}
	return nil
}

// digest identifies the training images and how they are scaled.
func (t *trainer) digest() string {
	h := sha256.New()
	t.set.WriteIdentity(h) // a hash takes everything
	return hex.EncodeToString(h.Sum(nil))
}
