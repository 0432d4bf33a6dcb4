//! Requests of the docker and podman commands.

use guard_policy::Profile;

use super::{asked, not_read, profile, read};

#[test]
fn looking_reads() {
    read(
        &profile(Profile::Docker),
        &[
            "HEAD /_ping",
            "GET /v1.43/containers/json?all=1",
            "GET /v1.43/containers/web/logs?follow=1",
            "GET /v1.43/containers/web/archive?path=/etc",
            "GET /v1.43/events",
            "GET /v1.43/images/json",
            "GET /v1.43/images/distribution/json",
            "GET /v1.43/images/search/json",
            "GET /v1.43/images/search/history",
            "POST /v1.43/containers/web/wait?condition=removed",
            "POST /containers/web/wait",
            "GET /v5.0.0/libpod/containers/json",
            "GET /v5.0.0/libpod/manifests/a/exists",
            "GET /v1.43/plugins",
            "GET /v1.43/plugins/privileges/json",
            "POST /v5.3.0-dev/containers/web/wait",
        ],
    );
}

#[test]
fn doing_does_not() {
    asked(
        &profile(Profile::Docker),
        &[
            (
                "GET /v1.43/containers/web/attach/ws?stdin=1",
                "Docker attach: sends input to a container",
            ),
            (
                "GET /containers/web/attach/ws",
                "Docker attach: sends input to a container",
            ),
            (
                "GET /v1.43//containers/web/attach/ws",
                "Docker attach: sends input to a container",
            ),
            (
                "GET /v1.43/images/search?term=evil.example%2Fx",
                "Docker: has the engine ask a registry, which may be any host",
            ),
            (
                "GET /v5.0.0/libpod/images/search?term=x",
                "Docker: has the engine ask a registry, which may be any host",
            ),
            (
                "GET /distribution/evil.example/a/b/json",
                "Docker: has the engine ask a registry, which may be any host",
            ),
            (
                "HEAD /v1.55/distribution/evil.example:5000%2fa/json",
                "Docker: has the engine ask a registry, which may be any host",
            ),
            (
                "GET /v5.0.0/libpod/manifests/evil.example%2Fa/json",
                "Docker: has the engine ask a registry, which may be any host",
            ),
            (
                "GET /v1.43/plugins/privileges?remote=evil.example/a",
                "Docker: has the engine ask a registry, which may be any host",
            ),
            (
                "GET /libpod/manifests/evil.example/a/json?tlsVerify=false",
                "Docker: has the engine ask a registry, which may be any host",
            ),
            (
                "POST /v1.43/containers/web/exec\n\n{}",
                "Docker exec: makes a command to run in a container",
            ),
            (
                "POST /v1.43/exec/ab/start\n\n{}",
                "Docker start: starts a container, or a command in one",
            ),
            (
                "POST /v1.43/volumes/prune",
                "Docker prune: removes all that is not in use",
            ),
            (
                "POST /v1.43/build?t=x\n\nx",
                "Docker build: builds an image",
            ),
            (
                "DELETE /v1.43/containers/web?force=1",
                "deletes something (DELETE)",
            ),
            (
                "GET /v5.0.0/libpod/containers/web/healthcheck",
                "Podman healthcheck: runs a command in a container",
            ),
        ],
    );
    not_read(
        &profile(Profile::Docker),
        &[
            "POST /v1.43/session\nUpgrade: h2c",
            "POST /v1.43/containers/web/../x/wait",
            "POST /v1.43/containers//wait",
            "POST /v1.43/containers/a%2fwait",
            "PUT /v1.43/containers/web/archive?path=/\n\nx",
            "POST /vx/containers/web/wait",
            "POST /v5_0/containers/web/wait",
            "POST /v5/v5/containers/web/wait",
            "GET /v4.0.0-rhel/libpod/containers/c/healthcheck",
            "GET /v5.3.0-dev/libpod/containers/c/healthcheck",
            "GET /libpod/containers/c/healthcheck",
            "GET /api/endpoints/1/docker/containers/web/attach/ws",
            "GET /podman/v5.0.0/libpod/containers/c/healthcheck",
        ],
    );
}
