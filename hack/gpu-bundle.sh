#!/bin/bash
# gpu-bundle.sh makes build/gpu-bundle, a folder to carry to a machine with a GPU
# that has Python with PyTorch, a C++ compiler and make, and need have no Go, FAISS
# or OpenBLAS: the program, the tests and the benchmarks, built here; the sources of
# the core, for libtorch differs there; FAISS and OpenBLAS as they are here; and
# run.sh, which does the rest.
#
#   hack/gpu-bundle.sh [DIR]    default build/gpu-bundle
#   NLN_DATA=DIR                packs MNIST from DIR/mnist as well
set -euo pipefail
cd "$(dirname "$0")/.."

out=${1:-build/gpu-bundle}
# What computes on a device, and what stands between it and the program.
packages="./cgo/... ./models ./nln/... ./faissindex ./torchindex ./engine ./bundle ./recipe"
lib=/usr/lib/$(${CXX:-g++} -print-multiarch)
[ -f "$lib/libfaiss.a" ] || {
	echo "gpu-bundle: no $lib/libfaiss.a: run make deps" >&2
	exit 1
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tree=$work/nlnctl
mkdir -p "$tree/bin" "$tree/faiss/lib" "$tree/faiss/include" "$tree/openblas" "$out"

# The tree itself, without what only reading needs: tests find their data, and the
# core its sources, where they always are.
git ls-files -z --cached --others --exclude-standard -- cgo models nln faissindex torchindex engine bundle recipe dataset internal testdata bench hack versions.mk Makefile |
	tar --null -T - -cf - | tar -C "$tree" -xf -

export GOFLAGS="-trimpath -buildvcs=false -tags=${TAGS:-disable_grpc_modules}"
hack/go.sh build -ldflags '-s -w' -o "$tree/bin/" ./cmd/nlnctl ./bench/gpu ./hack/testsum
for p in $(hack/go.sh list -f '{{if or .TestGoFiles .XTestGoFiles}}{{.Dir}}{{end}}' $packages); do
	p=${p#"$PWD"/}
	echo "$p"
	hack/go.sh test -c -ldflags '-s -w' -o "$tree/$p/package.test" "./$p"
done >"$tree/packages"

cp "$lib/libfaiss.a" "$tree/faiss/lib/"
cp -r /usr/include/faiss "$tree/faiss/include/"
# By the names under which they are asked for; with the Fortran runtime they need.
for f in libblas.so.3 liblapack.so.3 libopenblas.so.0; do cp -L "$lib/openblas-openmp/$f" "$tree/openblas/"; done
for f in libgfortran.so.5 libquadmath.so.0; do
	[ ! -e "$lib/$f" ] || cp -L "$lib/$f" "$tree/openblas/"
done
if [ -n "${NLN_DATA:-}" ] && [ -d "$NLN_DATA/mnist" ]; then
	mkdir -p "$tree/data"
	cp -rL "$NLN_DATA/mnist" "$tree/data/"
fi

cp hack/gpu-run.sh "$out/run.sh"
tar -C "$work" --sort=name --owner=0 --group=0 -cf - nlnctl | xz -T0 -6 >"$out/nlnctl.tar.xz"
size=$(du -sb "$out" | cut -f1)
echo "gpu-bundle: $out, $((size / 1000000)) MB; there: ./run.sh"
[ "$size" -lt 60000000 ] || {
	echo "gpu-bundle: larger than the 60 MB that it should have" >&2
	exit 1
}
