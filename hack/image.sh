#!/bin/bash
# image.sh builds images of the program from the Dockerfile, with docker where its
# engine answers, else with buildah.
#
#   hack/image.sh cpu    IMAGE:VERSION
#   hack/image.sh cuda   IMAGE:VERSION-cuda, for NVIDIA's GPUs
#   hack/image.sh TARGET another target of the Dockerfile, which is not kept: test runs
#                        the demo in the first and all tests beside it, cuda-demo the
#                        demo in the second
#
#   IMAGE=NAME       ghcr.io/nlnctl/nlnctl if empty
#   BASE=IMAGE       what to begin with; versions.mk says what if empty
#   BASE=debootstrap makes that from the distribution's packages, as root, where no
#                    registry can be reached; MIRROR=URL takes these from there
#   CUDNN=none       the cuda image without cuDNN
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=versions.mk
. ./versions.mk

die() {
	echo "image: $*" >&2
	exit 1
}

[ $# = 1 ] || die "usage: hack/image.sh cpu|cuda|test|cuda-demo"
image=${IMAGE:-ghcr.io/nlnctl/nlnctl}
base=${BASE:-$BASE_IMAGE}
version=$(git describe --tags --always --dirty 2>/dev/null || echo development)
revision=$(git rev-parse HEAD 2>/dev/null || echo unknown)
epoch=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)}

if docker info >/dev/null 2>&1; then
	tool=docker
	# BuildKit reads RUN --mount; before version 23 it has to be asked for.
	export DOCKER_BUILDKIT=1
elif command -v buildah >/dev/null; then
	tool=buildah
	# Without rights for more, such as in a container, these two still work.
	export BUILDAH_ISOLATION=${BUILDAH_ISOLATION:-chroot} STORAGE_DRIVER=${STORAGE_DRIVER:-vfs}
else
	die "neither docker nor buildah is here; run: apt-get install buildah"
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# bootstrap makes the image $1 as Debian makes its slim ones: a minimal system without
# manuals and translations.
bootstrap() {
	[ "$(id -u)" = 0 ] || die "must run as root: debootstrap makes device files"
	command -v debootstrap >/dev/null || die "no debootstrap here; run: apt-get install debootstrap"
	local suite=${BASE_IMAGE#*:}
	suite=${suite%%-*}
	echo "image: making $1 from Debian's packages" >&2
	debootstrap --variant=minbase "$suite" "$work/root" "${MIRROR:-http://deb.debian.org/debian}" \
		>"$work/debootstrap.log" 2>&1 || { tail -n 20 "$work/debootstrap.log" >&2; die "debootstrap failed"; }
	printf 'path-exclude %s\n' '/usr/share/man/*' '/usr/share/locale/*' '/usr/share/doc/*' >"$work/root/etc/dpkg/dpkg.cfg.d/slim"
	echo 'path-include /usr/share/doc/*/copyright' >>"$work/root/etc/dpkg/dpkg.cfg.d/slim"
	rm -rf "$work/root"/usr/share/{man,locale}/* "$work/root"/var/cache/apt/archives/*.deb "$work/root"/var/lib/apt/lists/*
	find "$work/root/usr/share/doc" -type f ! -name copyright -delete
	if [ $tool = docker ]; then
		tar -C "$work/root" -c . | docker import - "$1" >/dev/null
	else
		local container
		container=$(buildah from scratch)
		buildah add -q "$container" "$work/root" / >/dev/null
		buildah config --cmd bash "$container"
		buildah commit -q --rm "$container" "$1" >/dev/null
	fi
	rm -rf "$work/root"
}

if [ "$base" = debootstrap ]; then
	base=localhost/nlnctl-base:${BASE_IMAGE#*:}
	$tool inspect --type image "$base" >/dev/null 2>&1 || bootstrap "$base"
fi

# build TARGET [OPTION...]
build() {
	local target=$1 options=(--build-arg "BASE=$base" --build-arg "VERSION=$version" --build-arg "REVISION=$revision"
		--build-arg "SOURCE_DATE_EPOCH=$epoch" ${CUDNN:+--build-arg "CUDNN=$CUDNN"} ${GOPROXY:+--build-arg "GOPROXY=$GOPROXY"})
	shift
	if compgen -G '/usr/local/share/ca-certificates/*.crt' >/dev/null; then
		cat /usr/local/share/ca-certificates/*.crt >"$work/ca"
		options+=(--secret "id=ca,src=$work/ca")
	fi
	# In docker's format, since OCI's knows no HEALTHCHECK.
	[ $tool = docker ] || options+=(--format docker)
	# Steps that are kept save time; vfs would copy the whole system for each of them.
	[ $tool = docker ] || [ "$STORAGE_DRIVER" = vfs ] || options+=(--layers)
	echo "image: $target from $base with $tool" >&2
	$tool build --target "$target" "${options[@]}" "$@" .
}

# try TARGET builds a target whose steps are what matters.
try() {
	build "$1" --iidfile "$work/id"
	$tool rmi "$(cat "$work/id")" >/dev/null
}

case $1 in
cpu) build cpu -t "$image:$version" ;;
cuda) build cuda -t "$image:$version-cuda" ;;
*) try "$1" ;;
esac
