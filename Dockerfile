FROM python:3.13-slim AS build
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

FROM python:3.13-slim
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin timer-trio
COPY --from=build /app /app
ENV PATH=/app/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    HOST=0.0.0.0
# The number, so that Kubernetes can see that it is not root.
USER 10001
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --start-interval=1s --retries=3 CMD ["python", "-c", "import http.client, os, sys; c = http.client.HTTPConnection('127.0.0.1', int(os.environ.get('PORT') or 8080), timeout=2); c.request('GET', '/health/live'); sys.exit(c.getresponse().status != 200)"]
# No shell in between, so that SIGTERM reaches the service.
ENTRYPOINT ["timer-trio"]
CMD ["serve"]
