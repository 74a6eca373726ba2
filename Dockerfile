# The image holds one static binary and the CA certificates for calling the APIs. It has no shell and no secret.
# Credentials come at run time, best as files that the _FILE variables name.

# It is built where the builder runs, for the platform that is asked for. A builder without BuildKit names no platform.
FROM --platform=${BUILDPLATFORM:-linux} golang:1.26-alpine AS build
WORKDIR /src
# The modules have a layer of their own, so that a change of the code does not fetch them again.
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=dev
ARG COMMIT=
ARG TARGETOS TARGETARCH
RUN CGO_ENABLED=0 GOOS=${TARGETOS} GOARCH=${TARGETARCH} go build -trimpath -ldflags "-s -w -X main.version=${VERSION} -X main.commit=${COMMIT}" -o /out/lethe ./cmd/lethe \
 && mkdir -p /out/root/data && chmod 0770 /out/root/data

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /src/LICENSE /LICENSE
COPY --from=build /out/lethe /lethe
# The embedded server keeps its files here when no LETHE_NATS_URL is given. The image has the directory because a new
# volume takes its owner and mode from the image. Group 0 may write: a platform that chooses the user id, such as
# OpenShift, runs it in that group.
COPY --from=build --chown=65532:0 /out/root/ /
ENV LETHE_EMBEDDED_DIR=/data
VOLUME ["/data"]

# A number, not a name: there is no /etc/passwd, and Kubernetes can check that it is not root.
USER 65532:65532
# /healthz, /readyz and /metrics, once LETHE_ADMIN_ADDR says 0.0.0.0:8080; the default is loopback.
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 CMD ["/lethe", "healthcheck"]
ENTRYPOINT ["/lethe"]
CMD ["run"]

ARG VERSION=dev
LABEL org.opencontainers.image.title="lethe" \
      org.opencontainers.image.description="Carries out deletion requests against third-party APIs, with one final result for each" \
      org.opencontainers.image.source="https://github.com/lethe-dev/lethe" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}"
