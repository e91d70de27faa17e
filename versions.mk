# What the project builds with, in one place. Read by make and by the shell
# scripts in hack/: NAME=value, no spaces, no quotes.

# The Go toolchain that hack/go.sh fetches where the machine has none that is
# new enough, with the SHA-256 of the archives as the Go module proxy serves
# them (golang.org/toolchain/@v/v0.0.1-goVERSION.linux-ARCH.zip). What the code
# needs at least is the go line of go.mod.
GO_VERSION=1.26.10
GO_SHA256_amd64=f64ecb0807852be2c98899561c45288a9ad57f4e88f3cd002ffabeccbd03bfe1
GO_SHA256_arm64=195f18be92553fb272b9c4f9fca6e67b6a04d8831bf6c4b918ac70982fadb444

# The native libraries come from the distribution, or from LIBTORCH: Debian 12
# has libtorch 1.13.1 and FAISS 1.7.3, Debian 13 has 2.6.0 and 1.11.0. The core is
# written for libtorch 1.13 to 2.11.

# The image that the Dockerfile begins with. Debian's tag moves with its fixes, which an
# image made later is to have; those with a date in their name do not.
BASE_IMAGE=debian:trixie-slim
