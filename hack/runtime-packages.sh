#!/bin/sh
# runtime-packages.sh CORE prints the names of the distribution's packages that a built
# core and the program need where they run, a line each, without what those need in turn.
set -eu
core=$1
vips=$(dpkg-query -W -f '${db:Status-Abbrev}${Package}\n' 'libvips42*' 2>/dev/null | sed -n 's/^ii *//p')
{
	echo ca-certificates           # object stores
	echo "${vips:-libvips42t64}" # loaded when a picture needs it
	wanted=$(readelf -d "$core" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p')
	ldd "$core" | while read -r name _ file _; do
		echo "$wanted" | grep -qxF "$name" || continue
		# Packages name their files with /usr or, on older systems, without.
		real=$(readlink -f "$file")
		dpkg-query -S "$real" 2>/dev/null || dpkg-query -S "${real#/usr}"
	done | sed 's/[:,].*//'
} | sort -u
