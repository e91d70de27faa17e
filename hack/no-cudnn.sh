#!/bin/sh
# no-cudnn.sh FILE makes FILE, a libcudnn.so.9 that says of itself that it is none: its
# version is 0 and all else fails. Debian's libtorch with CUDA does not load without a
# libcudnn.so.9, which Debian may not distribute; with this one it loads, and computes on
# the processor as ever. On a GPU it can do all that needs no cuDNN, once it is told not
# to use it (at::globalContext().setUserEnabledCuDNN(false)).
#
# What the library must hold is read from libtorch_cuda.so itself, LIBTORCH_CUDA if set.
set -eu
out=$1
torch=${LIBTORCH_CUDA:-/usr/lib/$(uname -m)-linux-gnu/libtorch_cuda.so}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

echo 'libcudnn.so.9 { cudnn*; };' >"$work/map"
nm -D --undefined-only "$torch" | sed -n 's/.* \(cudnn[A-Za-z0-9_]*\).*/\1/p' | sort -u |
	awk '/^cudnnGetLastErrorString$/ { next }
		/ErrorString$/ { print "const char *" $0 "(int s) { (void)s; return \"there is no cuDNN\"; }"; next }
		/^cudnnGet(Version|CudartVersion)$/ { print "unsigned long " $0 "(void) { return 0; }"; next }
		{ print "int " $0 "(void) { return 1001; } /* CUDNN_STATUS_NOT_INITIALIZED */" }
		END { print "void cudnnGetLastErrorString(char *text, unsigned long size) { if (size) *text = 0; }" }' >"$work/cudnn.c"
[ "$(wc -l <"$work/cudnn.c")" -gt 10 ] || {
	echo "no-cudnn: $torch asks for no cuDNN" >&2
	exit 1
}
${CC:-gcc} -shared -fPIC -O1 -Wl,-soname,libcudnn.so.9 -Wl,--version-script="$work/map" -o "$out" "$work/cudnn.c"
