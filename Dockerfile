# syntax=docker/dockerfile:1
FROM python:3.12-slim-bookworm AS build
WORKDIR /src
COPY pyproject.toml README.md ./
COPY fhircase ./fhircase
COPY mappings ./mappings
RUN python -m venv /opt/fhircase \
    && /opt/fhircase/bin/pip install --no-cache-dir --disable-pip-version-check .

FROM python:3.12-slim-bookworm
RUN groupadd --gid 10001 fhircase \
    && useradd --uid 10001 --gid fhircase --no-create-home --home-dir /data --shell /usr/sbin/nologin fhircase \
    && mkdir /data \
    && chown fhircase:fhircase /data
COPY --from=build /opt/fhircase /opt/fhircase
ENV PATH=/opt/fhircase/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    FHIRCASE_BIND=0.0.0.0:8080 \
    FHIRCASE_DATABASE_URL=sqlite:////data/fhircase.db
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 8080
# Listening beyond loopback, the hub refuses to start without keys: give it FHIRCASE_ADMIN_KEY the first time.
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/healthz', timeout=2)"]
STOPSIGNAL SIGTERM
CMD ["fhircase", "serve"]
