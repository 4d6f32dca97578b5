# Pinned to a version. To pin what it holds as well, add the digest that this prints to both lines,
# python:3.13.16-slim-trixie@sha256:...
#   docker buildx imagetools inspect python:3.13.16-slim-trixie --format '{{.Manifest.Digest}}'
FROM python:3.13.16-slim-trixie AS build
# Without profile-guided optimisation the interpreter takes half as long again for a plain loop.
RUN python -c "import sysconfig; assert '--enable-optimizations' in sysconfig.get_config_var('CONFIG_ARGS')"
WORKDIR /build
RUN python -m venv tools && python -m venv --without-pip /app
COPY requirements/ requirements/
RUN tools/bin/pip install --no-cache-dir --require-hashes -r requirements/build.txt \
 && tools/bin/pip --python /app/bin/python install --no-cache-dir --require-hashes -r requirements/runtime.txt
COPY pyproject.toml README.md LICENSE ./
COPY schema/ schema/
COPY timer_trio/ timer_trio/
RUN tools/bin/pip wheel --no-deps --no-build-isolation --wheel-dir wheels . \
 && tools/bin/pip --python /app/bin/python install --no-cache-dir --no-index --no-deps wheels/*.whl

FROM python:3.13.16-slim-trixie
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin timer-trio
COPY --from=build /app /app
ENV PATH=/app/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    HOST=0.0.0.0
# The number, so that Kubernetes can see that it is not root.
USER 10001
EXPOSE 8080
# It asks by TLS as well, as where --hypercorn-config names a certificate.
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --start-interval=1s --retries=3 CMD ["python", "-m", "timer_trio.run.probe"]
# No shell in between, so that SIGTERM reaches the service.
ENTRYPOINT ["timer-trio"]
CMD ["serve"]
