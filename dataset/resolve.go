package dataset

// Resolve returns the kind and the location that spec means, without reading
// the set: what [Open] would open.
func Resolve(spec string) (kind, location string, err error) {
	k, location, err := resolve(spec)
	return k.name, location, err
}
