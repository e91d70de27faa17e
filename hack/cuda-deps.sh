#!/bin/sh
# cuda-deps.sh installs Debian's libtorch with CUDA, as root, in place of the one
# without; hack/deps.sh adds what else is needed. For Debian 13 on amd64.
#
#   hack/cuda-deps.sh nvidia DEB   with cuDNN, which Debian's installer fetches from
#                                  NVIDIA, under the terms that NVIDIA has for it
#   hack/cuda-deps.sh none DEB     with a stand-in for it, see hack/no-cudnn.sh
#
# DEB is written: a package that stands for nvidia-cudnn where the program only runs.
# Debian's own brings a compiler's headers and archives, 3 GB, and asks for a driver's
# libcuda.so.1, which in a container has to be the one of the machine.
set -eu
cd "$(dirname "$0")/.."
cudnn=$1 deb=$2

die() {
	echo "cuda-deps: $*" >&2
	exit 1
}

case $cudnn in nvidia | none) ;; *) die "cuDNN is nvidia or none, not $cudnn" ;; esac
hack/nonfree.sh
apt() { DEBIAN_FRONTEND=noninteractive apt-get -qq -y -o Dpkg::Use-Pty=0 "$@"; }
apt update
# Its installer runs when everything is there, so that a failure says what failed.
apt install --no-install-recommends debconf >/dev/null
echo 'nvidia-cudnn nvidia-cudnn/question select I Decline' | debconf-set-selections
apt install --no-install-recommends g++ libtorch-cuda-dev >/dev/null
lib=/usr/lib/$(uname -m)-linux-gnu
if [ "$cudnn" = nvidia ]; then
	update-nvidia-cudnn --update --filelist /var/lib/nvidia-cudnn/filelist.txt ||
		die "cuDNN cannot be fetched from NVIDIA; CUDNN=none builds without it"
else
	hack/no-cudnn.sh "$lib/libcudnn.so.9.0.0"
fi
ldconfig

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
mkdir -p "$root/DEBIAN" "$root$lib" "$root/usr/share/doc/nlnctl-cudnn"
cp -P "$lib"/libcudnn*.so.* "$root$lib/"
cp -R /usr/share/doc/nvidia-cudnn/copyright "$root/usr/share/doc/nlnctl-cudnn/"
cat >"$root/DEBIAN/control" <<END
Package: nlnctl-cudnn
Version: 1
Architecture: $(dpkg --print-architecture)
Maintainer: nlnctl
Provides: nvidia-cudnn (= $(dpkg-query -W -f '${Version}' nvidia-cudnn)), libcuda.so.1 (= 525), libcuda1 (= 525), libnvidia-ml1 (= 525), libnvidia-ml.so.1 (= 525)
Description: cuDNN, or what stands for it, where nlnctl runs on a GPU
END
dpkg-deb --root-owner-group -Zgzip --build "$root" "$deb" >/dev/null
