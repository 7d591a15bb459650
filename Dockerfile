# The guest host and the page, one image: `guesthouse serve` and `guesthouse web`. Builds with the classic builder and
# with BuildKit. Everything from a package registry is pinned by hash. Where there is none, put the wheels into
# deploy/wheels. For bytes that are the same each time, name the base by digest: --build-arg BASE=python@sha256:...
ARG BASE=python:3.12-slim-bookworm

FROM ${BASE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore SOURCE_DATE_EPOCH=1767225600
WORKDIR /build
COPY requirements/runtime.txt requirements/build.txt requirements/
COPY deploy/wheels/ deploy/wheels/
# The environment for the image has no pip: the one of the build's own environment fills it.
RUN set -eu; \
    python3 -m venv tools; \
    python3 -m venv --without-pip /opt/guesthouse; \
    if [ -n "$(find deploy/wheels -name '*.whl' -print -quit)" ]; then from="--no-index --find-links=deploy/wheels"; else from=""; fi; \
    tools/bin/pip install $from --require-hashes --only-binary=:all: -r requirements/build.txt; \
    tools/bin/pip --python /opt/guesthouse/bin/python install $from --require-hashes --only-binary=:all: --no-compile \
        -r requirements/runtime.txt
COPY pyproject.toml README.md LICENSE ./
COPY app/ app/
COPY abi/ abi/
COPY guests/sdk/ guests/sdk/
# Byte code that is not compared with the time of its source: the file system of the container is read-only.
RUN set -eu; \
    tools/bin/pip wheel --no-deps --no-build-isolation --wheel-dir made .; \
    tools/bin/pip --python /opt/guesthouse/bin/python install --no-index --no-deps --no-compile made/*.whl; \
    /opt/guesthouse/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/guesthouse/lib
COPY guests/ guests/
COPY models/ models/
COPY deploy/sbom.py deploy/health.py deploy/
COPY guesthouse.toml ./
# What is served lies as it does in the checkout, so that a manifest's paths are the same.
RUN set -eu; \
    mkdir -p /srv/guesthouse/deploy/compose; \
    cp --parents guesthouse.toml guests/*/*.wasm models/*.onnx /srv/guesthouse; \
    /opt/guesthouse/bin/python deploy/sbom.py --root . --out /usr/share/guesthouse; \
    cp deploy/health.py /usr/share/guesthouse

FROM ${BASE}
# 10001 owns nothing but the cache of compiled guests, which is to be a volume: the rest may be read-only.
RUN set -eu; \
    groupadd --gid 10001 guesthouse; \
    useradd --uid 10001 --gid guesthouse --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin guesthouse; \
    install --directory --owner=guesthouse --group=guesthouse --mode=0700 /var/cache/guesthouse
COPY --from=build /usr/share/guesthouse/ /usr/share/guesthouse/
COPY --from=build /opt/guesthouse/ /opt/guesthouse/
COPY --from=build /srv/guesthouse/ /srv/guesthouse/
WORKDIR /srv/guesthouse
ENV PATH=/opt/guesthouse/bin:$PATH \
    PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    GUESTHOUSE_CACHE=/var/cache/guesthouse GUESTHOUSE_LOG_FORMAT=json \
    ORT_DISABLE_TELEMETRY=1
USER 10001:10001
VOLUME /var/cache/guesthouse
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --timeout=3s --start-period=60s --retries=3 \
    CMD ["python", "-I", "/usr/share/guesthouse/health.py", "grpc://127.0.0.1:50051"]
ENTRYPOINT ["guesthouse"]
CMD ["serve"]
