# SPDX-License-Identifier: Apache-2.0
#
# One image for both programs: `backstep` (the coordinator and all commands) and `backstep-worker`.
#
#   docker build -t backstep .
#   docker run --rm --read-only --tmpfs /tmp backstep backstep serve -b kafka:9092
#   docker run --rm --read-only --tmpfs /tmp -v ./steps:/steps:ro backstep backstep-worker -b kafka:9092 --steps /steps
#
# A worker must be process 1 of its container, as it is here: it takes in what its steps leave behind.
# Steps find sh, coreutils and jq, and may write to /tmp and to a volume on /data; put what else yours need on top.
ARG BASE=docker.io/library/debian:bookworm-slim

FROM ${BASE} AS build
WORKDIR /source
# Packages by themselves: this layer is made again only when the list changes.
COPY .ci/packages .ci/
RUN .ci/packages run
COPY CMakeLists.txt CMakePresets.json ./
COPY proto proto
COPY common common
COPY coordinator coordinator
COPY worker worker
COPY examples examples
RUN cmake --preset release -DBACKSTEP_TESTS=OFF >/dev/null \
    && cmake --build --preset release --target backstep backstep-worker \
    && strip build/release/bin/backstep build/release/bin/backstep-worker

# A store to upload to, for the profile `store` of docker-compose.yml: nginx with WebDAV.
FROM ${BASE} AS store
COPY .ci/packages /tmp/packages
RUN /tmp/packages store \
    && rm -rf /tmp/packages /var/lib/apt/lists/* /var/log/apt /var/log/*.log \
    && useradd --uid 10001 --user-group --no-create-home --home-dir / --shell /usr/sbin/nologin backstep \
    && install -d -o backstep -g backstep /store /store/files /store/.incoming
COPY examples/actions/store.conf /etc/backstep-store.conf
USER 10001:10001
CMD ["nginx", "-e", "/dev/stderr", "-c", "/etc/backstep-store.conf"]

FROM ${BASE} AS final
COPY .ci/packages /tmp/packages
RUN /tmp/packages image \
    && rm -rf /tmp/packages /var/lib/apt/lists/* /var/cache/apt/* /var/cache/debconf/*-old /var/lib/dpkg/*-old \
        /var/log/apt /var/log/*.log \
    && useradd --uid 10001 --user-group --no-create-home --home-dir / --shell /usr/sbin/nologin backstep \
    && install -d -o backstep -g backstep /data
COPY --from=build /source/build/release/bin/backstep /source/build/release/bin/backstep-worker /usr/local/bin/
USER 10001:10001
WORKDIR /
CMD ["backstep", "--help"]
