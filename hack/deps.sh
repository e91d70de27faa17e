#!/bin/sh
# deps.sh installs what the build needs and the machine lacks, from the
# distribution, and says what and why before it does.
#
#   hack/deps.sh            installs; does nothing where nothing is missing
#   hack/deps.sh --check    only reports; exit status 1 if something is missing
#   hack/deps.sh --core ... leaves out what only the Go side needs
#   hack/deps.sh --peers ... asks also for what the benchmarks compare with
#
# What is there is found out by looking at the files themselves, so that a
# machine where they came from elsewhere is served as well. With LIBTORCH=DIR
# libtorch is taken from there and not from the distribution.
#
# Package names: Debian 12 and 13 (both tried by hack/fresh-machine.sh). Ubuntu
# 24.04 has the same names in its "universe" component; it has not been tried.
set -eu
cd "$(dirname "$0")/.."

check=no go=yes peers=no
for arg; do
	case $arg in
	--check) check=yes ;;
	--core) go=no ;;
	--peers) peers=yes ;;
	*)
		echo "deps: unknown argument $arg; known are --check, --core and --peers" >&2
		exit 2
		;;
	esac
done

die() {
	echo "deps: $*" >&2
	exit 1
}

has_program() { command -v "$1" >/dev/null 2>&1; }
# The distribution's Python, whatever else is in PATH.
has_module() { [ -d "/usr/lib/python3/dist-packages/$1" ]; }
lib=/usr/lib/$(uname -m)-linux-gnu

# The package was renamed when Debian changed to 64 bits of time.
vips_package() {
	if apt-cache show libvips42t64 >/dev/null 2>&1; then
		echo libvips42t64
	else
		echo libvips42
	fi
}

# need PACKAGE REASON TEST...: adds PACKAGE to the missing ones unless TEST succeeds.
missing='' report=''
need() {
	package=$1 reason=$2
	shift 2
	"$@" && return
	missing="$missing $package"
	report="$report$(printf '  %-24s %s' "$package" "$reason")
"
}

look() {
	missing='' report=''
	need g++ "compiles the native core, and the C files of the Go packages" \
		has_program "${CXX:-g++}"
	if [ -n "${LIBTORCH:-}" ]; then
		[ -f "$LIBTORCH/include/ATen/ATen.h" ] ||
			die "LIBTORCH=$LIBTORCH holds no include/ATen/ATen.h: name the folder that holds include/ and lib/"
	else
		need libtorch-dev "tensors, gradients and training: the C++ library of PyTorch" \
			test -f /usr/include/ATen/ATen.h
	fi
	need libfaiss-dev "nearest neighbours: FAISS, linked into the core" \
		test -f /usr/include/faiss/IndexFlat.h
	need libopenblas-openmp-dev "fast matrix products for both, on the OpenMP threads they share" \
		test -f "$lib/openblas-openmp/libopenblas.so.0"
	need "$(vips_package)" "decodes and resizes pictures; loaded when one needs it" \
		test -e "$lib/libvips.so.42"
	if [ $go = yes ] && ! hack/go.sh --have; then
		why="fetches Go, since none that is new enough was found"
		need curl "$why" has_program curl
		need unzip "unpacks it" has_program unzip
		need ca-certificates "so that curl knows whom it talks to" \
			test -e /etc/ssl/certs/ca-certificates.crt
	fi
	if [ $peers = yes ]; then
		need python3-torch "networks and training in Python, to compare with" has_module torch
		need python3-faiss "search in Python, to compare with" has_module faiss
		need python3-sklearn "the ball tree, to compare with" has_module sklearn
	fi
}

look
if [ -z "$missing" ]; then
	[ $check = no ] || echo "deps: nothing is missing"
	exit 0
fi
if [ $check = yes ]; then
	printf 'deps: missing here:\n%s' "$report" >&2
	die "install them with: make deps"
fi

system=$(. /etc/os-release 2>/dev/null && echo "${PRETTY_NAME:-$ID}") || system=$(uname -s)
has_program apt-get ||
	die "$system has no apt-get, and only Debian's package names are known here; install by hand what these stand for, then run make again:$missing"
as_root=''
if [ "$(id -u)" != 0 ]; then
	has_program sudo || die "no sudo here; as root, run: apt-get install$missing"
	as_root=sudo
fi
apt() { $as_root env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=120 "$@"; }

printf 'deps: installing from %s with %sapt-get:\n%s' "$system" "${as_root:+$as_root }" "$report" >&2
[ -z "$as_root" ] || sudo true || die "sudo was refused; as root, run: apt-get install$missing"
# A source that cannot be read, such as one of the user's own, need not matter.
stale=''
apt -qq -o APT::Update::Error-Mode=any update || stale='; apt-get update failed, so check the network and /etc/apt/sources.list*'
for package in $missing; do
	LC_ALL=C apt-cache policy "$package" | grep -q 'Candidate: [^(]' ||
		die "$system offers no $package$stale (want Debian 12 or later; on Ubuntu run: add-apt-repository universe)"
done
mkdir -p build
echo "deps: with what these need in turn it takes a few minutes; log: build/deps.log" >&2
# One call for all: then libfaiss-dev finds its BLAS in libopenblas-openmp-dev
# and brings no second one.
# shellcheck disable=SC2086 # a list
if ! apt -qq -y -o Dpkg::Use-Pty=0 install --no-install-recommends $missing >build/deps.log 2>&1; then
	tail -n 20 build/deps.log >&2
	die "apt-get could not install$missing: its last lines stand above$stale"
fi

look
[ -z "$missing" ] || die "installed, but still not found:$missing"
