package nln_test

import (
	"testing"

	"github.com/nlnctl/nlnctl/nln"
)

// What Memory says is the size of what a scorer keeps, but for the latents, which
// an index that gives its vectors back keeps instead.
func TestMemoryIsWhatIsKept(t *testing.T) {
	for _, change := range []func(*nln.Config){
		func(*nln.Config) {},
		func(c *nln.Config) { c.Cache = nln.CacheFloat32 },
		func(c *nln.Config) { c.MaxK, c.Spaces = 4, []string{nln.SpaceImage, nln.SpaceLatent} },
	} {
		s := fit(t, change)
		kept := s.Kept()
		bytes := 4 * (len(kept.Spacing) + testTrain*testLatent)
		for _, table := range kept.Tables {
			bytes += len(table.U8) + 4*len(table.F32)
			if table.Feature.Of == nln.OfLatent {
				bytes -= 4 * testTrain * testLatent
			}
		}
		cfg := nln.DefaultConfig()
		change(&cfg)
		if have := cfg.Memory(s.Model(), testTrain); have != int64(bytes) {
			t.Errorf("Memory = %d, kept %d", have, bytes)
		}
	}
	if n := (nln.Config{Spaces: []string{"none"}}).Memory(fit(t, nil).Model(), 9); n != 0 {
		t.Errorf("Memory of a space that is none: %d", n)
	}
}
