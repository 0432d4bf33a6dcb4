//! Prometheus, with `VictoriaMetrics`, Mimir and Cortex, and Loki: queries are sent with POST where they are long.

use guard_policy::Profile;

use super::{Opinion, View};

const FORM: &[&str] = &["application/x-www-form-urlencoded"];

/// <https://prometheus.io/docs/prometheus/latest/querying/api/>
const PROMETHEUS: &[&str] = &[
    "query",
    "query_range",
    "query_exemplars",
    "series",
    "labels",
    "format_query",
    "parse_query",
];

/// <https://grafana.com/docs/loki/latest/reference/loki-http-api/>
const LOKI: &[&str] = &["query", "query_range", "labels", "series", "patterns"];

pub(super) fn prometheus(view: &View<'_>) -> Opinion {
    if stops_an_ingester(view) {
        return Opinion::write(Profile::Prometheus, INGESTER);
    }
    match view.words()[..] {
        [.., "-", what @ ("reload" | "quit")] => {
            return Opinion::write(Profile::Prometheus, format!("Prometheus {what}"));
        }
        [.., "admin", "tsdb", _] => {
            return Opinion::write(Profile::Prometheus, "changes Prometheus' database");
        }
        // VictoriaMetrics does all of these, and the ones above, by GET.
        [.., "snapshot", "create" | "delete" | "delete_all"]
        | [.., "tags", "tagSeries" | "tagMultiSeries" | "delSeries"]
        | [
            ..,
            "internal",
            "force_flush" | "force_merge" | "resetRollupResultCache" | "log_new_series",
        ]
        | [.., "internal", "partition", "attach" | "detach"]
        | [.., "metric_names_stats", "reset"] => {
            return Opinion::write(Profile::Prometheus, "changes VictoriaMetrics' database");
        }
        _ => {}
    }
    match view.segments()[..] {
        ["api", "v1", end] | ["prometheus", "api", "v1", end] if asks(view, PROMETHEUS, end) => {
            Opinion::read(Profile::Prometheus, &format!("`{end}`"))
        }
        _ => Opinion::None,
    }
}

const INGESTER: &str = "stops or flushes an ingester";

/// Of Loki, of Mimir or of Cortex, by GET; of these Prometheus' queries are asked, too.
fn stops_an_ingester(view: &View<'_>) -> bool {
    matches!(
        view.words()[..],
        [.., "flush" | "shutdown"] | [.., "ingester", "prepare_shutdown" | "flush_shutdown"]
    )
}

pub(super) fn loki(view: &View<'_>) -> Opinion {
    if stops_an_ingester(view) {
        return Opinion::write(Profile::Loki, INGESTER);
    }
    match view.segments()[..] {
        ["loki", "api", "v1", end] if asks(view, LOKI, end) => {
            Opinion::read(Profile::Loki, &format!("`{end}`"))
        }
        _ => Opinion::None,
    }
}

fn asks(view: &View<'_>, queries: &[&str], end: &str) -> bool {
    view.is_post() && queries.contains(&end) && view.has_media_type(FORM)
}
