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

/// Tried with VictoriaMetrics 1.79: each of these acts by GET.
#[test]
fn links_of_victoriametrics_that_act_do_not_read() {
    let rules = profile(Profile::Prometheus);
    for path in [
        "/snapshot/create",
        "/snapshot/delete?snapshot=x",
        "/snapshot/delete_all",
        "/vm/snapshot//delete_all",
        "/tags/delSeries?path=x",
        "/tags/tagSeries?path=x;a=b",
        "/internal/force_flush",
        "/internal/force_merge",
        "/internal/resetRollupResultCache",
        "/api/v1/admin/status/metric_names_stats/reset",
    ] {
        asked(
            &rules,
            &[(&format!("GET {path}"), "changes VictoriaMetrics' database")],
        );
    }
    asked(
        &rules,
        &[
            ("GET /-/reload", "Prometheus reload"),
            (
                "GET /api/v1/admin/tsdb/delete_series?match[]=up",
                "changes Prometheus' database",
            ),
        ],
    );
    read(
        &rules,
        &[
            "GET /snapshot/list",
            "GET /tags/findSeries?expr=x",
            "GET /api/v1/label/internal/values",
        ],
    );
}

/// Tried with InfluxDB 1.6: it does all of these by GET, and says that they are deprecated there.
#[test]
fn statements_of_influxdb_read_or_not() {
    let rules = profile(Profile::Influxdb);
    read(
        &rules,
        &[
            "GET /query?db=d&q=SELECT+*+FROM+m",
            "GET /query?q=show%20databases%3B+SHOW+MEASUREMENTS%3B",
            "GET /query?q=%0Aselect(1)+from+m",
            "GET /query?pretty=true",
            "GET /ping",
            "POST /query?db=d\nContent-Type: application/x-www-form-urlencoded\n\nq=SELECT+mean(v)+FROM+m",
            "POST /query?db=d&q=SHOW+DATABASES\nContent-Type: application/x-www-form-urlencoded\n\npretty=true",
            "GET /query?q=SELECT+pinto+FROM+into2",
        ],
    );
    asked(
        &rules,
        &[
            (
                "GET /query?db=d&q=DROP+MEASUREMENT+m",
                "InfluxQL DROP MEASUREMENT",
            ),
            (
                "GET /influx/query/?q=CREATE+DATABASE+e",
                "InfluxQL CREATE DATABASE",
            ),
            (
                "GET /query?q=SELECT+*+iNtO+n+FROM+m",
                "InfluxQL SELECT INTO",
            ),
            (
                "GET /query?q=SHOW+DATABASES%3Bdrop+database+d",
                "InfluxQL DROP DATABASE",
            ),
            (
                "GET /query?q=EXPLAIN+ANALYZE+SELECT+v+INTO+n+FROM+m",
                "InfluxQL EXPLAIN ANALYZE",
            ),
            ("GET /query?q=--+x%0ADROP+SERIES", "InfluxQL X DROP"),
            // A number ends behind its fraction.
            (
                "GET /query?q=SELECT+v*1.0INTO+n+FROM+m",
                "InfluxQL SELECT V",
            ),
            ("GET /query?q=SELECT+v*.5into+n+FROM+m", "InfluxQL SELECT V"),
        ],
    );
    not_read(
        &rules,
        &[
            "GET /query?q=SHOW+DATABASES&q=DROP+DATABASE+d",
            "GET /query?q=SHOW+DATABASES&Q=DROP+DATABASE+d",
            "GET /query?q=",
            "GET /query?q=SELECT_x",
            "POST /query?q=DROP+DATABASE+d\nContent-Type: application/x-www-form-urlencoded\n\nq=SHOW+DATABASES",
            "POST /query\nContent-Type: application/x-www-form-urlencoded\n\nq=SHOW+DATABASES&q=DROP+DATABASE+d",
            "POST /query\nContent-Type: application/x-www-form-urlencoded\n\nq=DROP+DATABASE+d",
            "POST /query\nContent-Type: multipart/form-data; boundary=x\n\nq=SHOW+DATABASES",
            "POST /write?db=d\n\nm v=1",
        ],
    );
}

/// Tried with Tomcat 10.1: its manager does all of these by GET.
#[test]
fn links_of_tomcat_that_act_do_not_read() {
    let rules = profile(Profile::Tomcat);
    asked(
        &rules,
        &[
            ("GET /manager/text/undeploy?path=/shop", "Tomcat undeploy"),
            ("GET /manager/text/stop?path=/shop", "Tomcat stop"),
            ("GET /m/text/;x=y/expire?path=/shop&idle=0", "Tomcat expire"),
            ("GET /host-manager/text/remove?name=x", "Tomcat remove"),
            ("GET /manager/text/sslReload", "Tomcat sslreload"),
            (
                "GET /manager/jmxproxy/?set=Catalina:type=Valve&att=debug&val=1",
                "Tomcat JMX: sets something",
            ),
            (
                "GET /manager/jmxproxy?invoke=Catalina:type=Service&op=stop",
                "Tomcat JMX: invokes something",
            ),
        ],
    );
    read(
        &rules,
        &[
            "GET /manager/text/list",
            "GET /manager/text/sessions?path=/shop",
            "GET /manager/jmxproxy/?qry=*:*",
            "GET /shop/started",
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

/// Cortex and Mimir take queries as Prometheus does, and flush and stop by GET.
#[test]
fn ingesters_that_are_asked_as_prometheus_are_not_stopped() {
    let kind = "stops or flushes an ingester";
    for server in [Profile::Prometheus, Profile::Loki] {
        asked(
            &profile(server),
            &[
                ("GET /ingester/shutdown", kind),
                ("GET /ingester/flush", kind),
                ("HEAD /x//ingester/flush_shutdown", kind),
                ("GET /shutdown", kind),
                ("GET /flush", kind),
            ],
        );
    }
    read(
        &profile(Profile::Prometheus),
        &["GET /ingester/ring", "GET /api/v1/label/flush/values"],
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
