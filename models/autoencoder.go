package models

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/nlnctl/nlnctl/cgo/torch"
	"github.com/nlnctl/nlnctl/dataset"
	"github.com/nlnctl/nlnctl/internal/safetensors"
	"github.com/nlnctl/nlnctl/nln"
)

var _ nln.Model = (*Autoencoder)(nil)

// An Autoencoder is an encoder and a decoder, with the other networks that its
// kind is trained with. Its methods may be called by several goroutines; the
// work is done by one thread, which they share.
type Autoencoder struct {
	cfg    Config
	dev    torch.Device
	params []parameter

	encoder chain // f: images (N, C, H, W) to latents (N, L); nil for a VAE
	decoder chain // g: latents to images before the sigmoid

	vae        *vae  // VAE: its encoder
	latentDisc chain // AAE: d_z, latents to logits (N, 1)
	disc, head chain // AE-res, AE-con: q, images to features (N, H), and their logits (N, 1)
	second     chain // AE-con: f_con, images to latents (N, L)
}

// New returns an untrained autoencoder on dev, its weights drawn from
// cfg.Seed. The caller closes it.
func New(cfg Config, dev torch.Device) (*Autoencoder, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	m := &Autoencoder{cfg: cfg, dev: dev}
	b := &builder{dev: dev, seed: cfg.Seed, group: encoderGroup}
	if cfg.Arch == ArchVAE {
		m.vae = vaeEncoder(b, cfg)
	} else {
		m.encoder = encoder(b, cfg)
	}
	b.group = decoderGroup
	m.decoder = decoder(b, cfg)
	switch cfg.Arch {
	case ArchAAE:
		b.group = latentGroup
		m.latentDisc = latentDiscriminator(b, cfg)
	case ArchAERes:
		m.disc, m.head = imageDiscriminator(b, cfg)
	case ArchAECon:
		m.disc, m.head = imageDiscriminator(b, cfg)
		b.group = secondGroup
		m.second = encoder(b, cfg)
	}
	m.params = b.params
	if b.err != nil {
		m.Close()
		return nil, b.err
	}
	return m, nil
}

// encoder maps images to latents; it is also the form of the discriminator's
// trunk and of the second encoder.
func encoder(b *builder, c Config) chain {
	if c.patches() {
		return patchEncoder(b, c)
	}
	return smallEncoder(b, c)
}

func decoder(b *builder, c Config) chain {
	if c.patches() {
		return patchDecoder(b, c)
	}
	return smallDecoder(b, c)
}

// flatTrunk returns the convolutions of the encoder, which map images to vectors
// of that many features.
func flatTrunk(b *builder, c Config) (trunk chain, features int) {
	if c.patches() {
		return append(patchTrunk(b, c), flatten), patchFeatures
	}
	return smallTrunk(b, c)
}

// latents returns the latents of images, f(x), or of each view side by side; pix are
// their pixels. With several views nothing but x and the result is left in the scope,
// so that they take no more memory than one.
func (m *Autoencoder) latents(p pass, x *torch.Tensor, pix dataset.Images) *torch.Tensor {
	f := func(x *torch.Tensor) *torch.Tensor {
		if m.cfg.Arch == ArchVAE {
			return m.vaeLatents(p, x, pix)
		}
		return m.encoder.apply(p, x)
	}
	if m.cfg.views() == 1 {
		return f(x)
	}
	keep := []*torch.Tensor{x}
	for quarters := range m.cfg.views() {
		keep = append(keep, f(turned(x, quarters)))
		p.s.Release(keep...)
	}
	z := p.s.Cat(1, keep[1:]...)
	p.s.Release(x, z)
	return z
}

// Close frees the weights. It may be called again.
func (m *Autoencoder) Close() error {
	for _, p := range m.params {
		p.Close()
	}
	return nil
}

// Config returns what the model is and how it was to be trained.
func (m *Autoencoder) Config() Config { return m.cfg }

// Shape returns the shape of the images.
func (m *Autoencoder) Shape() dataset.Shape { return m.cfg.Shape }

// LatentDim returns the length of a latent vector, that of all views.
func (m *Autoencoder) LatentDim() int { return m.cfg.views() * m.cfg.Latent }

// Parameters returns the number of trainable values.
func (m *Autoencoder) Parameters() int {
	n := 0
	for _, p := range m.params {
		if !p.buffer {
			n += p.Len()
		}
	}
	return n
}

// chunk is how many images go through a network at a time: enough to keep the
// processor busy, few enough that what the layers make stays near it.
const chunk = 256

// Encode stores the latent vectors of x in z; see nln.Model.
func (m *Autoencoder) Encode(ctx context.Context, x dataset.Images, z []float32) error {
	return m.encodeWith(ctx, m.latents, m.LatentDim(), x, z)
}

// encodeWith stores in z the rows of dim values that f makes of the images x.
func (m *Autoencoder) encodeWith(ctx context.Context, f func(pass, *torch.Tensor, dataset.Images) *torch.Tensor, dim int, x dataset.Images, z []float32) error {
	if x.Shape != m.cfg.Shape {
		return fmt.Errorf("models: encode: images of %v, want %v", x.Shape, m.cfg.Shape)
	}
	if len(x.Pix) != x.N*x.Shape.Len() || len(z) != x.N*dim {
		return fmt.Errorf("models: encode: %d images, %d pixel values, room for %d values, want %d", x.N, len(x.Pix), len(z), x.N*dim)
	}
	return m.eachChunk(ctx, x.N, func(s *torch.Scope, lo, hi int) error {
		part := x.Slice(lo, hi)
		in := s.FromFloats(part.Pix, part.N, part.C, part.H, part.W)
		return f(pass{s: s}, in, part).CopyTo(z[lo*dim : hi*dim])
	})
}

// Decode stores the images of the latent vectors z in xhat; see nln.Model.
func (m *Autoencoder) Decode(ctx context.Context, z []float32, xhat []float32) error {
	l, p := m.LatentDim(), m.cfg.Shape.Len()
	if len(z)%l != 0 || len(xhat) != len(z)/l*p {
		return fmt.Errorf("models: decode: %d latent values of %d each, room for %d pixel values", len(z), l, len(xhat))
	}
	return m.eachChunk(ctx, len(z)/l, func(s *torch.Scope, lo, hi int) error {
		in := s.FromFloats(z[lo*l:hi*l], hi-lo, l)
		return m.decode(pass{s: s}, in).CopyTo(xhat[lo*p : hi*p])
	})
}

// decode returns the images of latents: g(z), z being the first view's.
func (m *Autoencoder) decode(p pass, z *torch.Tensor) *torch.Tensor {
	if m.cfg.views() > 1 {
		z = z.Narrow(1, 0, m.cfg.Latent)
	}
	return m.decoder.apply(p, z).Sigmoid()
}

// eachChunk calls f for parts of n rows, each with a scope of its own.
func (m *Autoencoder) eachChunk(ctx context.Context, n int, f func(s *torch.Scope, lo, hi int) error) error {
	for lo := 0; lo < n; lo += chunk {
		if err := ctx.Err(); err != nil {
			return err
		}
		hi := min(lo+chunk, n)
		err := torch.Run(func() error {
			s := torch.NewScope(m.dev)
			err := f(s, lo, hi)
			return errors.Join(err, s.Close())
		})
		if err != nil {
			return fmt.Errorf("models: %w", err)
		}
	}
	return nil
}

// configKey is where a weights file keeps the configuration, as JSON.
const configKey = "nlnctl.config"

// Save writes the weights and the configuration as a safetensors file. Names
// and layouts are PyTorch's, such as "encoder.conv1.weight" (out, in, 2, 2).
func (m *Autoencoder) Save(w io.Writer) error {
	f, err := m.file()
	if err != nil {
		return err
	}
	return f.Write(w)
}

func (m *Autoencoder) file() (*safetensors.File, error) {
	cfg, err := json.Marshal(m.cfg)
	if err != nil {
		return nil, err
	}
	f := &safetensors.File{Metadata: map[string]string{configKey: string(cfg)}}
	for _, p := range m.params {
		v := make([]float32, p.Len())
		if err := p.CopyTo(v); err != nil {
			return nil, err
		}
		f.Tensors = append(f.Tensors, safetensors.Tensor{Name: p.name, DType: safetensors.F32, Shape: p.Shape(), Data: safetensors.Bytes(v)})
	}
	return f, nil
}

// Load returns the autoencoder that Save wrote, on dev. The caller closes it.
func Load(r io.Reader, dev torch.Device) (*Autoencoder, error) {
	b, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("models: read weights: %w", err)
	}
	f, err := safetensors.Parse(b)
	if err != nil {
		return nil, fmt.Errorf("models: read weights: %w", err)
	}
	cfg, err := configOf(f)
	if err != nil {
		return nil, err
	}
	m, err := New(cfg, dev)
	if err != nil {
		return nil, err
	}
	if err := m.set(f); err != nil {
		m.Close()
		return nil, err
	}
	return m, nil
}

func configOf(f *safetensors.File) (cfg Config, err error) {
	text, ok := f.Metadata[configKey]
	if !ok {
		return cfg, fmt.Errorf("models: read weights: the file has no %q: it was not written by nlnctl", configKey)
	}
	d := json.NewDecoder(bytes.NewReader([]byte(text)))
	d.DisallowUnknownFields()
	if err := d.Decode(&cfg); err != nil {
		return cfg, fmt.Errorf("models: read weights: configuration: %w", err)
	}
	return cfg, nil
}

// set takes over the weights of a file.
func (m *Autoencoder) set(f *safetensors.File) error {
	for _, p := range m.params {
		t, err := f.Get(p.name, safetensors.F32)
		if err != nil {
			return fmt.Errorf("models: read weights: %w", err)
		}
		if fmt.Sprint(t.Shape) != fmt.Sprint(p.Shape()) {
			return fmt.Errorf("models: read weights: tensor %q has shape %v, want %v", p.name, t.Shape, p.Shape())
		}
		if err := p.Set(t.Floats32()); err != nil {
			return fmt.Errorf("models: read weights: %w", err)
		}
	}
	return nil
}
