#!/bin/sh
# go.sh runs a Go command that is new enough for this repository.
#
#   hack/go.sh build ./...   as go build ./...
#   hack/go.sh --which       prints the command that would run, fetching it if need be
#   hack/go.sh --have        exit status 0 if this script would have to fetch nothing
#
# It takes, in this order: $GO; go in PATH; /usr/local/go/bin/go; the toolchain
# in build/toolchain, which it fetches from the Go module proxy. The first three
# only if they are as new as go.mod asks, or fetch such a toolchain themselves
# (Go 1.21 and later, unless GOTOOLCHAIN forbids it). Nothing is written outside
# the repository and Go's own caches.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=versions.mk
. "$root/versions.mk"
need=$(sed -n 's/^go \([0-9.]*\).*/\1/p' "$root/go.mod")

die() {
	echo "go.sh: $*" >&2
	exit 1
}

# at_least HAVE WANT: is version HAVE as new as WANT?
at_least() {
	[ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1)" = "$2" ]
}

# serves GO: can this go command build the repository?
serves() {
	command -v "$1" >/dev/null 2>&1 || return 1
	# Asked outside the module, where it does not switch to another toolchain.
	have=$(cd / && GOTOOLCHAIN=local GOFLAGS='' "$1" env GOVERSION 2>/dev/null) || return 1
	have=$(echo "$have" | sed -n 's/^\(devel \)\{0,1\}go\([0-9][0-9.]*\).*/\2/p')
	[ -n "$have" ] || return 1
	at_least "$have" "$need" && return 0
	at_least "$have" 1.21 || return 1
	case $(cd / && "$1" env GOTOOLCHAIN) in
	auto | *+auto) ;;
	*) return 1 ;;
	esac
	[ "$("$1" env GOPROXY)" != off ]
}

# shellcheck disable=SC2154 # both sums come from versions.mk
case $(uname -m) in
x86_64 | amd64) arch=amd64 sum=$GO_SHA256_amd64 ;;
aarch64 | arm64) arch=arm64 sum=$GO_SHA256_arm64 ;;
*) arch='' ;;
esac
fetched=$root/build/toolchain/go$GO_VERSION.linux-$arch

# fetch unpacks the toolchain into $fetched, whole or not at all.
fetch() {
	if [ "$(uname -s)" != Linux ] || [ -z "$arch" ]; then
		die "no Go $need or newer found, and none to fetch for $(uname -sm): install it from https://go.dev/dl and put it in PATH"
	fi
	for tool in curl unzip sha256sum; do
		command -v $tool >/dev/null 2>&1 ||
			die "no Go $need or newer found, and no $tool to fetch it with: run make deps, or put a newer go in PATH"
	done
	proxy=$(echo "${GOPROXY:-https://proxy.golang.org}" | sed 's/[,|].*//; s,/*$,,')
	case $proxy in
	off) die "no Go $need or newer found, and GOPROXY=off forbids to fetch it: put a newer go in PATH" ;;
	direct | '') proxy=https://proxy.golang.org ;;
	esac
	name=golang.org/toolchain@v0.0.1-go$GO_VERSION.linux-$arch
	url=$proxy/golang.org/toolchain/@v/v0.0.1-go$GO_VERSION.linux-$arch.zip

	echo "go.sh: no Go $need or newer found; fetching Go $GO_VERSION into build/toolchain" >&2
	echo "go.sh: $url" >&2
	mkdir -p "$root/build/toolchain"
	tmp=$(mktemp -d "$root/build/toolchain/fetch.XXXXXX")
	trap 'rm -rf "$tmp"' EXIT
	trap 'exit 1' INT TERM
	curl -fsSL --retry 3 --connect-timeout 20 -o "$tmp/go.zip" "$url" ||
		die "cannot fetch $url: check the network, set GOPROXY to a proxy that is reachable, or put Go $need or newer in PATH"
	echo "$sum  $tmp/go.zip" | sha256sum -c --status ||
		die "$url does not have the SHA-256 that versions.mk names ($sum): not used"
	unzip -q "$tmp/go.zip" -d "$tmp" || die "cannot unpack $tmp/go.zip: is the disk full?"

	# A module archive keeps neither executable bits nor nested go.mod files;
	# the go command puts both back in the same way when it unpacks one.
	chmod +x "$tmp/$name"/bin/* "$tmp/$name"/pkg/tool/*/*
	find "$tmp/$name" -name _go.mod | while read -r f; do
		cp "$f" "${f%_go.mod}go.mod"
	done
	# Another make may have been faster.
	mv -T "$tmp/$name" "$fetched" 2>/dev/null || [ -x "$fetched/bin/go" ] || die "cannot write $fetched"
	rm -rf "$tmp"
	trap - EXIT INT TERM
}

# find_go sets go, without fetching.
find_go() {
	for go in "${GO:-}" go /usr/local/go/bin/go; do
		if [ -n "$go" ] && serves "$go"; then
			return 0
		fi
	done
	go=$fetched/bin/go
	[ -x "$go" ]
}

if [ "${1:-}" = --have ]; then
	find_go
	exit
fi
find_go || fetch
if [ "${1:-}" = --which ]; then
	command -v "$go"
	exit
fi
exec "$go" "$@"
