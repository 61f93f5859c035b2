# Interlock, ready to serve the model repository that is mounted at /models.
#
#   docker build --tag interlock .
#   docker run --publish 8001:8001 --volume "$PWD/examples/repository:/models:ro" interlock
#
# Every command in here is also run by tests/test_containers.py, without a container engine.

FROM python:3.13-slim-bookworm AS build
WORKDIR /source
COPY pyproject.toml requirements.lock requirements-build.lock README.md LICENSE ./
COPY tools/install-wheel tools/build_hook.py tools/
COPY tools/lib tools/lib
COPY protos protos
COPY agents agents
COPY service service
RUN tools/install-wheel /opt/interlock

# The environment above needs this interpreter at the same place, and nothing else.
FROM python:3.13-slim-bookworm
COPY --from=build /opt/interlock /opt/interlock
ENV PATH=/opt/interlock/bin:/usr/local/bin:/usr/bin:/bin
ENV PYTHONUNBUFFERED=1
ENV PYTHONDONTWRITEBYTECODE=1
# Nobody in particular; --user takes another.
USER 65532:65532
EXPOSE 8001
HEALTHCHECK --interval=10s --timeout=6s --start-period=120s CMD ["interlock", "health"]
ENTRYPOINT ["interlock", "serve"]
CMD ["--model-repository=/models"]
