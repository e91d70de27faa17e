#!/bin/bash
# asan.sh tests cgo/ with the address sanitizer in Go and in the native core: it
# builds a second core in build/asan and runs the tests against it. Where the
# toolchain cannot do that, it says so in one line and ends with success.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

skip() {
	echo "asan: skipped: $*"
	exit 0
}

# Go and the core must meet in one libasan, so the core's compiler and that of
# cgo must be the same one; Go wants gcc 7 or clang 9, or later.
cc=$(hack/go.sh env CC) || exit
cxx=${CXX:-g++}
[ "$($cc -dumpversion 2>/dev/null)" = "$($cxx -dumpversion 2>/dev/null)" ] ||
	skip "cgo compiles with $cc and the core with $cxx, which are not of one version"
try=$(mktemp -d)
trap 'rm -rf "$try"' EXIT
printf 'package main\n\nimport "C"\n\nfunc main() {}\n' >"$try/main.go"
message=$({ hack/go.sh build -asan -o "$try/main" "$try/main.go" && "$try/main"; } 2>&1) ||
	skip "go build -asan does not work here: $(echo "$message" | tail -n 1)"

make --no-print-directory core OUT=build/asan SANITIZE=address CXXFLAGS='-O1 -g1' || exit
# Leaks are counted by the tests themselves (core.LiveHandles): the sanitizer's
# own count would blame libtorch for what it keeps for the whole process. A
# request for too much memory must be refused as malloc does, for the tests of
# that. And the sanitizer looks for the C++ exception functions when the program
# starts, before the core brings libstdc++ in: hence the program links it.
export NLN_CORE=$PWD/build/asan/lib/libnlncore.so
export ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1
export CGO_LDFLAGS='-Wl,--no-as-needed -lstdc++'
hack/gotest.sh asan -asan ./cgo/...
