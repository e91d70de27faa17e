#!/bin/sh
# nonfree.sh adds Debian's contrib and non-free to the sources of main alone, for CUDA.
set -eu
for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.sources; do
	[ ! -f "$file" ] || sed -i -E '/^(Components:|deb )/s/ main$/ main contrib non-free/' "$file"
done
