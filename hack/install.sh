#!/bin/sh
# install.sh PREFIX PROGRAM copies what make has built to PREFIX: the program as
# bin/nlnctl, the core where it looks for it, in lib/, and what goes with them.
set -eu
cd "$(dirname "$0")/.."
prefix=$1 program=$2

install -d "$prefix/bin" "$prefix/lib/pkgconfig" "$prefix/include" "$prefix/share/doc/nlnctl"
install -m 755 "$program" "$prefix/bin/nlnctl"
install -m 755 build/lib/libnlncore.so "$prefix/lib/"
install -m 644 cgo/native/nln_core.h "$prefix/include/"
# shellcheck disable=SC2016 # pkg-config's own variables
printf '%s\n' 'prefix=${pcfiledir}/../..' 'Name: nlncore' 'Description: the native core of nlnctl' \
	"Version: $VERSION" 'Cflags: -I${prefix}/include' 'Libs: -L${prefix}/lib -lnlncore' \
	>"$prefix/lib/pkgconfig/nlncore.pc"
cp -R build/share/. "$prefix/share/"
install -m 644 LICENSE "$prefix/share/doc/nlnctl/"
