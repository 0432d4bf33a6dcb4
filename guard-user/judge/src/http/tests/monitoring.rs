//! Requests of Grafana, promtool and logcli; and of browsers on Jenkins.

use guard_policy::Profile;

use super::{asked, not_read, profile, read};

const FORM: &str = "Content-Type: application/x-www-form-urlencoded\n\nquery=up";

#[test]
fn prometheus_queries_read() {
    let rules = profile(Profile::Prometheus);
    for end in [
        "query",
        "query_range",
        "query_exemplars",
        "series",
        "labels",
        "format_query",
        "parse_query",
    ] {
        read(
            &rules,
            &[
                &format!("POST /api/v1/{end}\n{FORM}"),
                &format!("POST /prometheus/api/v1/{end}?x=y\n{FORM}"),
            ],
        );
    }
    read(
        &rules,
        &[
            "GET /api/v1/query?query=up",
            "GET /metrics",
            "GET /-/healthy",
        ],
    );
    for path in [
        "/api/v1/write",
        "/api/v1/label",
        "/x/api/v1/query",
        "/api/v1/query/x",
        "/api/v1/../v1/query",
    ] {
        not_read(&rules, &[&format!("POST {path}\n{FORM}")]);
    }
    not_read(
        &rules,
        &[
            "POST /api/v1/query\nContent-Type: application/json\n\n{}",
            "PUT /api/v1/query",
        ],
    );
    asked(
        &rules,
        &[
            ("POST /-/reload", "Prometheus reload"),
            ("PUT /-/quit", "Prometheus quit"),
            (
                "POST /api/v1/admin/tsdb/delete_series?match[]=up",
                "changes Prometheus' database",
            ),
        ],
    );
}

#[test]
fn loki_queries_read() {
    let rules = profile(Profile::Loki);
    read(
        &rules,
        &[
            &format!("POST /loki/api/v1/query_range\n{FORM}"),
            "GET /loki/api/v1/labels",
        ],
    );
    not_read(
        &rules,
        &[
            "POST /loki/api/v1/push\n\n{}",
            "POST /loki/api/v1/delete?query=x",
            "GET /ingester/shutdown",
            "GET //ingester/shutdown",
            "GET /ingester/prepare_shutdown",
            "GET /loki/ingester/shutdown",
            "GET /a/b/ingester/flush_shutdown",
            "GET /loki/flush",
            "POST /flush",
        ],
    );
}

#[test]
fn links_of_jenkins_that_act_do_not_read() {
    let rules = profile(Profile::Jenkins);
    asked(
        &rules,
        &[
            ("GET /job/deploy/build?token=x", "Jenkins build"),
            (
                "GET /job/deploy/buildWithParameters?token=x",
                "Jenkins buildWithParameters",
            ),
            ("GET /git/notifyCommit?url=x", "Jenkins notifyCommit"),
            ("GET /job/deploy/doDelete/", "Jenkins doDelete"),
            ("GET /job/deploy/build/api/json?token=x", "Jenkins build"),
            ("GET /quietDown", "Jenkins quietDown"),
            (
                "GET /generic-webhook-trigger/invoke?token=x",
                "Jenkins generic-webhook-trigger",
            ),
            (
                "GET /multibranch-webhook-trigger/invoke?token=x",
                "Jenkins multibranch-webhook-trigger",
            ),
            ("GET /gitlab/build_now", "Jenkins build_now"),
            ("GET /job/deploy/3/input/Go/proceed", "Jenkins proceed"),
            ("GET /job/deploy/3/input/Go/submit", "Jenkins submit"),
            (
                "GET /reload-configuration-as-code/?casc-reload-token=x",
                "Jenkins reload-configuration-as-code",
            ),
            (
                "GET /some-plugin/run?Token=x",
                "Jenkins, by a link with a token",
            ),
            ("GET /job/deploy/%62uild", "Jenkins build"),
            ("GET /job/user/build?token=T", "Jenkins build"),
            ("GET /job/view/build", "Jenkins build"),
            ("GET /job/job/doDelete", "Jenkins doDelete"),
            ("GET /job/folder/job/user/doDelete", "Jenkins doDelete"),
            (
                "GET /view/all/job/computer/buildWithParameters",
                "Jenkins buildWithParameters",
            ),
            ("GET /jenkins/job/user/build", "Jenkins build"),
            ("GET /item/user/build", "Jenkins build"),
            ("GET /computer/user/doDelete", "Jenkins doDelete"),
            ("GET /computer/doCreateItem", "Jenkins doCreateItem"),
            ("GET /JOB/build", "Jenkins build"),
            ("GET /job/folder/item/artifact/build", "Jenkins build"),
            ("GET /view/ws/build", "Jenkins build"),
            ("GET /ws/build", "Jenkins build"),
            ("GET /job/app/build/artifact/x", "Jenkins build"),
        ],
    );
    read(
        &rules,
        &[
            "GET /",
            "GET /job/build",
            "GET /job/job/job/build/7/consoleText",
            "GET /view/restart/job/user/job/build/",
            "GET /user/reload",
            "GET /job/deploy/7/consoleText",
            "GET /job/app/ws/build/x",
            "GET /job/app/lastSuccessfulBuild/artifact/build/libs/app.jar",
            "GET /job/folder/job/app/7/artifact/script/run.sh",
            "GET /api/json",
        ],
    );
}
