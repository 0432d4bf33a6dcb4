//! Prometheus, with `VictoriaMetrics`, Mimir and Cortex, and Loki: queries are sent with POST where they are long.

use guard_policy::Profile;

use super::{super::query::pairs, Opinion, View};

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

/// Parameters of a query to Prometheus and what is made like it.
const PARAMETERS: &[&str] = &[
    "query",
    "time",
    "start",
    "end",
    "step",
    "timeout",
    "limit",
    "lookback_delta",
    "stats",
];

/// Returns what a query is that Prometheus or Loki would answer, whoever is asked.
pub(super) fn query(view: &View<'_>) -> Opinion {
    const QUERIES: &[&str] = &["query", "query_range", "query_exemplars"];
    let words = view.segments();
    let is_loki = matches!(words[..], ["loki", "api", "v1", end] if asks(view, LOKI, end));
    let is_prometheus = matches!(
        words[..],
        ["api", "v1", end]
        | ["prometheus", "api", "v1", end]
        | ["select", _, "prometheus", "api", "v1", end] if asks(view, QUERIES, end)
    );
    if is_loki {
        return Opinion::read(Profile::Loki, "a query");
    }
    if !is_prometheus || !view.facts.query.is_empty() {
        return Opinion::None;
    }
    match view.body(Profile::Prometheus, "runs something") {
        Err(opinion) => opinion,
        Ok(body) => {
            let fields = pairs(body);
            let is_known = fields
                .iter()
                .all(|(name, _)| PARAMETERS.contains(&name.as_str()));
            let asks = fields.iter().filter(|(name, _)| name == "query").count() == 1;
            if is_known && asks {
                Opinion::read(Profile::Prometheus, "a query")
            } else {
                Opinion::None
            }
        }
    }
}

pub(super) fn prometheus(view: &View<'_>) -> Opinion {
    match acts(view) {
        Opinion::None => {}
        acts => return acts,
    }
    match view.segments()[..] {
        ["api", "v1", end] | ["prometheus", "api", "v1", end] if asks(view, PROMETHEUS, end) => {
            Opinion::read(Profile::Prometheus, &format!("`{end}`"))
        }
        _ => Opinion::None,
    }
}

/// Returns what a request does to Prometheus, `VictoriaMetrics`, Loki, Mimir or Cortex, by whichever method.
pub(super) fn acts(view: &View<'_>) -> Opinion {
    if stops_an_ingester(view) {
        return Opinion::write(Profile::Prometheus, INGESTER);
    }
    match view.words()[..] {
        [.., "-", what @ ("reload" | "quit")] => {
            Opinion::write(Profile::Prometheus, format!("Prometheus {what}"))
        }
        [.., "admin", "tsdb", _] => {
            Opinion::write(Profile::Prometheus, "changes Prometheus' database")
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
            Opinion::write(Profile::Prometheus, "changes VictoriaMetrics' database")
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
