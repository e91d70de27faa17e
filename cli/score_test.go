package cli

import (
	"slices"
	"testing"
)

func TestRowFieldsStandUnderTheirNames(t *testing.T) {
	threshold, within := 0.5, 1
	full := &row{Image: "a", Status: statusOK, Model: "m", numbers: &numbers{Recon: 1, Error: 2, Distance: 3, Local: 4, LocalP: .45, Score: 5, P: .6,
		Novel: true, Threshold: &threshold, Neighbors: []int64{7, 8}, NeighborImages: []string{"x", "y z"}, Within: &within,
		Regions: []region{{X: 1, Y: 2, Width: 3, Height: 4}, {X: 5}}}}
	want := map[string]string{"image": "a", "status": "ok", "reason": "", "recon": "1", "error": "2", "distance": "3", "local": "4", "local_p": "0.45",
		"score": "5", "p": "0.6", "novel": "true", "threshold": "0.5", "neighbors": "7 8", "neighbor_images": "x|y z", "within": "1", "regions": "1 2 3 4|5 0 0 0", "model": "m"}
	if len(want) != len(csvHeader) {
		t.Fatalf("%d columns, want %d", len(csvHeader), len(want))
	}
	for i, v := range full.fields() {
		if v != want[csvHeader[i]] {
			t.Errorf("%s = %q, want %q", csvHeader[i], v, want[csvHeader[i]])
		}
	}
	full.Within, full.Threshold = nil, nil
	if f := full.fields(); f[slices.Index(csvHeader, "within")] != "" || f[slices.Index(csvHeader, "threshold")] != "" || f[len(f)-1] != "m" {
		t.Errorf("row without radius and threshold: %q", f)
	}
	bad := (&row{Image: "b", Status: statusUnreadable, Reason: "gone", Model: "m"}).fields()
	if len(bad) != len(csvHeader) || !slices.Equal(bad[:3], []string{"b", "unreadable", "gone"}) || bad[len(bad)-1] != "m" || slices.ContainsFunc(bad[3:len(bad)-1], func(s string) bool { return s != "" }) {
		t.Errorf("row of an unreadable image: %q", bad)
	}
}
