//! Requests of kubectl and client-go.

use guard_policy::Profile;

use super::{asked, not_read, profile, read};

#[test]
fn getting_listing_and_watching_read() {
    read(
        &profile(Profile::Kubernetes),
        &[
            "GET /api/v1/namespaces/default/pods?limit=500",
            "GET /apis/apps/v1/deployments?watch=true",
            "GET /api/v1/namespaces/a/pods/web/log?follow=true",
            "GET /api/v1/namespaces/exec/pods",
            "GET /api/v1/namespaces/a/pods/exec",
            "GET /openapi/v2",
            "GET /version",
            "GET /k8s/clusters/c-1/api/v1/namespaces/a/pods/web/log",
            "GET /api/v1/namespaces/api/pods/web/log",
        ],
    );
}

#[test]
fn questions_and_dry_runs_read() {
    let json = "Content-Type: application/json\n\n{}";
    let rules = profile(Profile::Kubernetes);
    for wire in [
        "POST /apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
        "POST /apis/authorization.k8s.io/v1/namespaces/a/localsubjectaccessreviews",
        "POST /apis/authentication.k8s.io/v1/tokenreviews",
        "PATCH /apis/apps/v1/namespaces/a/deployments/web?dryRun=All&fieldManager=kubectl&force=true",
        "POST /api/v1/namespaces/a/pods?dryRun=All",
    ] {
        read(&rules, &[&format!("{wire}\n{json}")]);
    }
    read(&rules, &["DELETE /api/v1/namespaces/a/pods/web?dryRun=All"]);
    for wire in [
        "POST /apis/authorization.k8s.io/v1/selfsubjectaccessreviews/x",
        "POST /apis/evil.example/v1/selfsubjectaccessreviews",
        "POST /apis/authorization.k8s.io/v1//selfsubjectaccessreviews",
        "DELETE /api/v1/namespaces/a/pods/web?dryRun=All",
        "POST /api/v1/namespaces/a/pods?dryRun=all",
        "POST /api/v1/namespaces/a/pods?dryRun=All&dryRun=None",
        "POST /api/v1/namespaces/a/pods?dryRun=All&DryRun=None",
        "POST /api/v1/namespaces/a/pods?x;dryRun=All",
        "POST /apis/metrics.example/v1/things?dryRun=All",
        "POST /api/v1/namespaces/a/pods/web/eviction?dryRun=All",
        "POST /api/v1/namespaces/a/pods/web/exec?dryRun=All",
    ] {
        not_read(&rules, &[&format!("{wire}\n{json}")]);
    }
}

#[test]
fn ways_into_a_pod_do_not_read() {
    let exec = "Kubernetes exec: runs a command in a container (pods/web/exec in a)";
    asked(
        &profile(Profile::Kubernetes),
        &[
            (
                "GET /api/v1/namespaces/a/pods/web/exec?command=sh\nUpgrade: websocket",
                exec,
            ),
            (
                "POST /api/v1/namespaces/a/pods/web/exec?command=sh\nUpgrade: SPDY/3.1",
                exec,
            ),
            ("GET /api/v1/namespaces/a/pods/web/exec?command=sh", exec),
            ("GET /api/v1/namespaces/a/pods/web//exec", exec),
            ("GET /api/v1/namespaces/a/pods/web/%65xec", exec),
            ("GET /api/v1/namespaces/a/pods/web/log/../exec", exec),
            (
                "GET /api/v1/namespaces/a/pods/web/attach",
                "Kubernetes attach: attaches to a container (pods/web/attach in a)",
            ),
            (
                "GET /api/v1/namespaces/a/pods/web/portforward",
                "Kubernetes portforward: opens a connection to a pod (pods/web/portforward in a)",
            ),
            (
                "GET /api/v1/nodes/n1/proxy/run/x",
                "Kubernetes proxy: sends any request through to a pod, a service or a node (nodes/n1/proxy)",
            ),
            (
                "GET /api/v1/proxy/nodes/n1/run",
                "Kubernetes proxy: sends any request through",
            ),
        ],
    );
    not_read(
        &profile(Profile::Kubernetes),
        &[
            "HEAD /api/v1/namespaces/a/services/web:80/proxy/admin",
            "GET /k8s/clusters/c-1/api/v1/namespaces/a/services/web:80/proxy/restart",
            "GET /k8s/clusters/c-1/api/v1/proxy/nodes/n1/run",
            "GET /api/apis/x/v1/namespaces/a/virtualmachines/vm/console",
            "POST /k8s/clusters/c-1/api/v1/namespaces/a/pods?dryRun=All",
        ],
    );
}

#[test]
fn changes_are_named() {
    asked(
        &profile(Profile::Kubernetes),
        &[
            (
                "DELETE /api/v1/namespaces/a/pods/web",
                "Kubernetes: deletes pods/web in a",
            ),
            (
                "DELETE /api/v1/namespaces/a/pods",
                "Kubernetes: deletes all pods in a",
            ),
            (
                "DELETE /api/v1/namespaces/a",
                "Kubernetes: deletes namespaces/a",
            ),
            (
                "POST /apis/batch/v1/namespaces/a/jobs\n\n{}",
                "Kubernetes: creates jobs in a",
            ),
            (
                "PUT /api/v1/nodes/n1/status\n\n{}",
                "Kubernetes: replaces nodes/n1/status",
            ),
            (
                "PATCH /apis/apps/v1/namespaces/a/deployments/web/scale\n\n{}",
                "Kubernetes: changes deployments/web/scale in a",
            ),
        ],
    );
}
