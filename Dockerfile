# The program in a container, built from this folder: "make image" builds the target cpu,
# as "docker build ." does, and "make image-cuda" the target cuda, for NVIDIA's GPUs.
# demo and test run the demo and the tests. docs/containers.md has the rest.

# As in versions.mk, which make passes.
ARG BASE=debian:trixie-slim

# What builds: compilers, libraries and Go. The secret ca, for those who need it, holds
# the certificates of a proxy that stands between this build and the world.
FROM ${BASE} AS tools
WORKDIR /src
COPY go.mod versions.mk ./
COPY hack/deps.sh hack/go.sh hack/
RUN --mount=type=secret,id=ca,target=/usr/local/share/ca-certificates/build.crt \
	apt-get -qq update \
	&& DEBIAN_FRONTEND=noninteractive apt-get -qq -y install --no-install-recommends make >/dev/null \
	&& hack/deps.sh
ARG GOPROXY
RUN hack/go.sh version

FROM tools AS build
COPY . .
ARG VERSION=development
ARG SOURCE_DATE_EPOCH=0
RUN --mount=type=cache,target=/root/.cache/go-build --mount=type=cache,target=/root/go/pkg/mod \
	make dist VERSION=${VERSION} && mkdir /out && tar -C /out --strip-components=1 -xzf build/dist/*.tar.gz

# What both images have: a user and the places of data.
FROM ${BASE} AS runtime
RUN groupadd --gid 65532 nlnctl \
	&& useradd --uid 65532 --gid 65532 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin nlnctl \
	&& install -d -o nlnctl -g nlnctl /data /models
# Bundles at a URL come to lie in the cache, whoever the user is.
ENV XDG_CACHE_HOME=/tmp/cache LANG=C.UTF-8

FROM runtime AS cpu
COPY --from=build /out/PACKAGES /usr/local/share/doc/nlnctl/
RUN apt-get -qq update \
	&& xargs -a /usr/local/share/doc/nlnctl/PACKAGES \
		env DEBIAN_FRONTEND=noninteractive apt-get -qq -y install --no-install-recommends >/dev/null \
	&& apt-get clean && rm -rf /var/lib/apt/lists/* /var/log/apt /var/log/dpkg.log
COPY --from=build /out/bin /usr/local/bin
COPY --from=build /out/lib/libnlncore.so /usr/local/lib/
COPY --from=build /out/share/doc /usr/local/share/doc
USER 65532:65532
WORKDIR /data
VOLUME ["/data", "/models"]
# A command that is done has no health. For one that runs on, this looks whether the
# libraries load and compute; deploy/compose.yaml asks the worker itself.
HEALTHCHECK --interval=5m --timeout=1m --start-period=1m CMD ["nlnctl", "doctor", "--threads", "1"]
ENTRYPOINT ["nlnctl"]
CMD ["--help"]
ARG VERSION=development
ARG REVISION=unknown
LABEL org.opencontainers.image.title="nlnctl" \
	org.opencontainers.image.description="Image novelty detection by Nearest Latent Neighbours" \
	org.opencontainers.image.source="https://github.com/nlnctl/nlnctl" \
	org.opencontainers.image.licenses="Apache-2.0" \
	org.opencontainers.image.version="${VERSION}" \
	org.opencontainers.image.revision="${REVISION}"

FROM cpu AS demo
COPY hack/demo.sh /tmp/nlnctl/hack/
USER root
RUN chown -R nlnctl /tmp/nlnctl
USER 65532:65532
RUN nlnctl doctor && NLNCTL=nlnctl bash /tmp/nlnctl/hack/demo.sh

# Both are looked at here: the image by the demo, the rest by the tests.
FROM build AS test
COPY --from=demo /tmp/nlnctl/build/demo/scores.jsonl /tmp/
RUN --mount=type=cache,target=/root/.cache/go-build --mount=type=cache,target=/root/go/pkg/mod \
	make test VERSION=${VERSION}

# The same with CUDA. CUDNN=none does without cuDNN, which is fetched from NVIDIA, under
# NVIDIA's terms.
FROM ${BASE} AS cuda-tools
WORKDIR /src
COPY go.mod versions.mk ./
COPY hack/deps.sh hack/go.sh hack/cuda-deps.sh hack/nonfree.sh hack/no-cudnn.sh hack/
ARG CUDNN=nvidia
RUN --mount=type=secret,id=ca,target=/usr/local/share/ca-certificates/build.crt \
	hack/cuda-deps.sh ${CUDNN} /nlnctl-cudnn.deb \
	&& DEBIAN_FRONTEND=noninteractive apt-get -qq -y install --no-install-recommends make >/dev/null \
	&& hack/deps.sh && apt-get clean
ARG GOPROXY
RUN hack/go.sh version

FROM cuda-tools AS cuda-build
COPY . .
ARG VERSION=development
ARG SOURCE_DATE_EPOCH=0
RUN --mount=type=cache,target=/root/.cache/go-build --mount=type=cache,target=/root/go/pkg/mod \
	make dist CUDA=1 VERSION=${VERSION} && mkdir /out && tar -C /out --strip-components=1 -xzf build/dist/*.tar.gz

FROM runtime AS cuda
COPY --from=cuda-build /src/hack/nonfree.sh /nlnctl-cudnn.deb /tmp/
COPY --from=cuda-build /out/PACKAGES /usr/local/share/doc/nlnctl/
RUN /tmp/nonfree.sh && apt-get -qq update \
	&& xargs -a /usr/local/share/doc/nlnctl/PACKAGES \
		env DEBIAN_FRONTEND=noninteractive apt-get -qq -y install --no-install-recommends /tmp/nlnctl-cudnn.deb >/dev/null \
	&& apt-get clean && rm -rf /var/lib/apt/lists/* /var/log/apt /var/log/dpkg.log /tmp/nonfree.sh /tmp/nlnctl-cudnn.deb
COPY --from=cuda-build /out/bin /usr/local/bin
COPY --from=cuda-build /out/lib/libnlncore.so /usr/local/lib/
COPY --from=cuda-build /out/share/doc /usr/local/share/doc
# What NVIDIA's container toolkit is to bring in: the driver's libraries and nvidia-smi.
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 65532:65532
WORKDIR /data
VOLUME ["/data", "/models"]
HEALTHCHECK --interval=5m --timeout=1m --start-period=1m CMD ["nlnctl", "doctor", "--threads", "1"]
ENTRYPOINT ["nlnctl"]
CMD ["--help"]
ARG VERSION=development
ARG REVISION=unknown
LABEL org.opencontainers.image.title="nlnctl" \
	org.opencontainers.image.description="Image novelty detection by Nearest Latent Neighbours, on NVIDIA's GPUs" \
	org.opencontainers.image.source="https://github.com/nlnctl/nlnctl" \
	org.opencontainers.image.licenses="Apache-2.0" \
	org.opencontainers.image.version="${VERSION}" \
	org.opencontainers.image.revision="${REVISION}"

FROM cuda AS cuda-demo
COPY hack/demo.sh /tmp/nlnctl/hack/
USER root
RUN chown -R nlnctl /tmp/nlnctl
USER 65532:65532
RUN nlnctl doctor && NLNCTL=nlnctl bash /tmp/nlnctl/hack/demo.sh

# The default.
FROM cpu
