#!/bin/bash
# fresh-machine.sh tries the repository on a machine that has nothing but git,
# make and ca-certificates, as somebody who has just found it would:
#
#   hack/fresh-machine.sh debian12                  make demo, then make test
#   hack/fresh-machine.sh debian13 deps core         these make targets instead
#
# It makes a minimal system with debootstrap, clones HEAD into it (what is not
# committed does not come along), runs each target and prints how long it took.
# The exit status is 0 only if every target succeeded. The system is removed at
# the end; KEEP=1 leaves it, and its name is printed.
#
#   USER_NAME=ann  works as this user, who has to use sudo, instead of as root
#   EXTRA=a,b      further packages to begin with, such as golang-go
#   MIRROR=URL     the Debian mirror, http://deb.debian.org/debian if empty
#
# It must run as root and needs debootstrap and buildah; it takes about 3 GB of
# disk and is no part of make ci. Ubuntu 24.04 is meant to work as well and has
# not been tried.
set -euo pipefail
cd "$(dirname "$0")/.."

die() {
	echo "fresh-machine: $*" >&2
	exit 1
}

case ${1:-} in
debian12) suite=bookworm ;;
debian13) suite=trixie ;;
*) die "usage: hack/fresh-machine.sh debian12|debian13 [make targets...]" ;;
esac
name=$1
shift
targets=("$@")
[ $# -gt 0 ] || targets=(demo test)

[ "$(id -u)" = 0 ] || die "must run as root: debootstrap makes device files"
for tool in debootstrap buildah; do
	command -v $tool >/dev/null || die "no $tool here; run: apt-get install $tool"
done

export BUILDAH_ISOLATION=chroot STORAGE_DRIVER=vfs
container=$(buildah from scratch)
work=$(mktemp -d)
# shellcheck disable=SC2317 # called by the trap
cleanup() {
	rm -rf "$work"
	buildah umount "$container" >/dev/null || true
	if [ -n "${KEEP:-}" ]; then
		echo "fresh-machine: kept $container; remove it with: buildah --storage-driver vfs rm $container"
	else
		buildah rm "$container" >/dev/null
	fi
}
trap cleanup EXIT
trap 'exit 1' INT TERM

begin=$SECONDS
packages=git,make,ca-certificates${USER_NAME:+,sudo}${EXTRA:+,$EXTRA}
echo "== $name: a system with $packages"
root=$(buildah mount "$container")
debootstrap --variant=minbase --include="$packages" $suite "$root" "${MIRROR:-http://deb.debian.org/debian}" \
	>"$work/debootstrap.log" 2>&1 || { tail -n 20 "$work/debootstrap.log" >&2; die "debootstrap failed"; }
# With its branch, if it is on one: a clone of HEAD alone comes with a lecture.
# shellcheck disable=SC2046 # none or one
git bundle create -q "$root/tmp/nlnctl.bundle" HEAD $(git branch --show-current)

# Certificates that were added to this machine, as for a company's proxy, belong
# to its network, which the system in there has to get through as well.
if compgen -G '/usr/local/share/ca-certificates/*.crt' >/dev/null; then
	cp /usr/local/share/ca-certificates/*.crt "$root/usr/local/share/ca-certificates/"
	chroot "$root" update-ca-certificates >/dev/null 2>&1
fi

user=${USER_NAME:-root}
if [ "$user" != root ]; then
	chroot "$root" useradd --create-home --shell /bin/bash "$user"
	echo "$user ALL=(ALL) NOPASSWD: ALL" >"$root/etc/sudoers.d/$user"
fi
home=$(chroot "$root" getent passwd "$user" | cut -d: -f6)

# in_there CMD...: runs it as the user, with nothing of this machine's environment.
in_there() {
	buildah run --hostname localhost --user "$user" "$container" -- \
		env -i HOME="$home" USER="$user" LANG=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
		${GOPROXY:+GOPROXY="$GOPROXY"} bash -c "$1"
}

echo "== ready after $((SECONDS - begin))s: $(in_there 'which go gcc g++ curl || echo no go, gcc, g++ or curl')"
in_there "git -c advice.detachedHead=false -c init.defaultBranch=main clone -q /tmp/nlnctl.bundle ~/nlnctl"

status=0 summary=''
for target in "${targets[@]}"; do
	start=$SECONDS result=ok
	echo "== $name: make $target"
	in_there "cd ~/nlnctl && make $target" || { result=FAILED status=1; }
	summary="$summary$(printf '  %-6s %4ds  make %s' $result $((SECONDS - start)) "$target")
"
done

echo "== $name: $(git rev-parse --short HEAD) as $user, $(du -sh "$root" | cut -f1) of disk"
printf '%s' "$summary"
exit $status
