//! `guard metrics`: guardd's counters as OpenMetrics, on standard output or to a scraper.

use std::{
    convert::Infallible,
    fmt,
    io::{self, Write as _},
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;
use guard_proto::{Call, Counters, counters::SessionCounters};
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    header::{CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, NoLabelSet, text},
    metrics::{MetricType, counter::ConstCounter, exemplar::Exemplar},
    registry::{Registry, Unit},
};

use super::args::MetricsArgs;
use super::client::Client;
use super::error::{CliError, Exit};
use super::render::{Output, print_json};

/// Timeout of a request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(2);
/// Timeout of a call to guardd.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// Timeout of a request and its answer.
const TIMEOUT: Duration = Duration::from_secs(10);
const MAX_HEADERS: usize = 64;
/// Limit of a request's head, in bytes: hyper's smallest.
const MAX_HEAD: usize = 8192;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PLAIN: &str = "text/plain; charset=utf-8";

/// `guard metrics`.
pub(crate) fn metrics(
    socket: PathBuf,
    args: &MetricsArgs,
    output: Output,
) -> Result<Exit, CliError> {
    if args.serve {
        return serve(socket).map_err(|error| CliError::output(&error));
    }
    let counters = read(&socket)?;
    if output.is_json() {
        print_json(&counters)?;
    } else {
        let text = text(counters).map_err(|error| CliError::output(&io::Error::other(error)))?;
        let written = io::stdout().lock().write_all(text.as_bytes());
        written.map_err(|error| CliError::output(&error))?;
    }
    Ok(Exit::DONE)
}

fn read(socket: &Path) -> Result<Counters, CliError> {
    let client = Client::connect(socket)?;
    client.within(CALL_TIMEOUT).call(&Call::Counters {})
}

/// Answers one HTTP request on the socket that is standard input and output. What a client does wrong is its own affair: it ends with 0.
fn serve(socket: PathBuf) -> io::Result<Exit> {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build()?;
    runtime.block_on(async {
        let stream = tokio::io::join(tokio::io::stdin(), tokio::io::stdout());
        let service = service_fn(|request| {
            let answer = answer(socket.clone(), request);
            async { Ok::<_, Infallible>(answer.await) }
        });
        let served = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_headers(MAX_HEADERS)
            .max_buf_size(MAX_HEAD)
            .keep_alive(false)
            .serve_connection(TokioIo::new(stream), service);
        drop(tokio::time::timeout(TIMEOUT, served).await);
    });
    // A client that neither sends nor reads holds a thread up.
    runtime.shutdown_background();
    Ok(Exit::DONE)
}

async fn answer(socket: PathBuf, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let refused = |status, text: &str| (status, PLAIN, text.to_owned());
    let (status, kind, text) = match (request.method(), request.uri().path()) {
        (&Method::GET, "/metrics") => {
            // The client blocks.
            let page = tokio::task::spawn_blocking(move || page(&socket)).await;
            match page.unwrap_or_else(|error| Err(error.to_string())) {
                Ok(text) => (StatusCode::OK, OPEN_METRICS, text),
                Err(why) => refused(StatusCode::SERVICE_UNAVAILABLE, &why),
            }
        }
        (_, "/metrics") => refused(StatusCode::METHOD_NOT_ALLOWED, "GET /metrics\n"),
        _ => refused(StatusCode::NOT_FOUND, "there is only /metrics\n"),
    };
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static(kind);
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

fn page(socket: &Path) -> Result<String, String> {
    let counters = read(socket).map_err(|error| {
        let failure = error.failure();
        failure.map_or_else(String::new, |failure| format!("{failure}\n"))
    })?;
    text(counters).map_err(|error| error.to_string())
}

/// Returns the counters as OpenMetrics.
///
/// # Errors
///
/// If one cannot be written.
pub fn text(counters: Counters) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Metrics(counters)));
    let mut text = String::new();
    text::encode(&mut text, &registry)?;
    Ok(text)
}

#[derive(Debug)]
struct Metrics(Counters);

/// Events that guardd counts: name, help, label, and kinds. A series that does not exist before its first event has no rate then.
const EVENTS: [(&str, &str, &str, &[&str]); 9] = [
    ("requests", "Requests that came up.", "", &[]),
    ("answers", "Answers of people.", "answer", &["yes", "no"]),
    ("holes_opened", "Holes opened.", "", &[]),
    (
        "holes_closed",
        "Holes that ended.",
        "why",
        &[
            "expired",
            "closed",
            "session-ended",
            "used-up",
            "not-written-down",
        ],
    ),
    (
        "connections_cut",
        "Connections cut when their hole ended.",
        "",
        &[],
    ),
    ("sessions_started", "Sessions made.", "", &[]),
    ("sessions_ended", "Sessions ended.", "", &[]),
    (
        "policy_loads",
        "Policies put in force, or refused.",
        "result",
        &["ok", "failed"],
    ),
    (
        "http_requests",
        "HTTP requests to read-only destinations that are no reads.",
        "outcome",
        &["passed", "refused", "failed", "asked"],
    ),
];

/// Number of a session.
type OfSession = fn(&SessionCounters) -> u64;

/// Numbers of each session: name, help, type, and which.
const BY_SESSION: [(&str, &str, MetricType, OfSession); 4] = [
    (
        "guard_refusals",
        "Refused attempts, by session.",
        MetricType::Counter,
        |one| one.refused,
    ),
    (
        "guard_names_summed_up",
        "Names refused or not answered, beyond those told one by one, by session.",
        MetricType::Counter,
        |one| one.names_summed_up,
    ),
    (
        "guard_requests_waiting",
        "Requests that wait, by session.",
        MetricType::Gauge,
        |one| one.requests,
    ),
    (
        "guard_holes",
        "Open holes, as the kernel has them, by session.",
        MetricType::Gauge,
        |one| one.holes,
    ),
];

/// Labels of a series.
type Labels<'a> = Vec<(&'static str, &'a str)>;

impl Collector for Metrics {
    fn encode(&self, mut to: DescriptorEncoder<'_>) -> fmt::Result {
        self.of_guardd(&mut to)?;
        self.of_sessions(&mut to)?;
        for (name, help, label, kinds) in EVENTS {
            let count = |name: &str| self.0.events.get(name).copied().unwrap_or_default();
            let series: Vec<_> = if kinds.is_empty() {
                vec![(vec![], count(name))]
            } else {
                let of =
                    |kind: &&'static str| (vec![(label, *kind)], count(&format!("{name}.{kind}")));
                kinds.iter().map(of).collect()
            };
            let name = format!("guard_{name}");
            family(&mut to, &name, help, MetricType::Counter, series)?;
        }
        let delay = self.0.events.get("answer_delay_ms");
        let delay = delay.copied().unwrap_or_default() as f64 / 1000.0;
        let help = "From requests to their answers, all together.";
        let (name, unit) = ("guard_answer_delay", Some(&Unit::Seconds));
        let to = to.encode_descriptor(name, help, unit, MetricType::Counter)?;
        ConstCounter::new(delay).encode(to)
    }
}

impl Metrics {
    fn of_guardd(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let now = &self.0;
        let (fleet, link) = (now.fleet.as_ref(), now.fleet_link.as_ref());
        let seconds = |at: jiff::Timestamp| u64::try_from(at.as_second()).ok();
        for (name, help, value) in [
            (
                "guard_enforcing",
                "1 if every hook is attached and every map is there, read back at this scrape.",
                Some(now.enforcing.into()),
            ),
            (
                "guard_sessions",
                "Live sessions.",
                Some(now.sessions as u64),
            ),
            (
                "guard_policies",
                "Policies in force.",
                Some(now.policies as u64),
            ),
            (
                "guard_policies_refused",
                "Policies whose newest text is not in force.",
                Some(now.policies_refused as u64),
            ),
            (
                "guard_audit_problem",
                "1 if the last record is missing in the audit log.",
                Some(now.audit_problem.into()),
            ),
            (
                "guard_start_timestamp_seconds",
                "Start of guardd, since 1970.",
                now.since.and_then(seconds),
            ),
            (
                "guard_fleet_connected",
                "1 if the courier says that a server of the fleet is reached.",
                link.map(|link| link.connected.into()),
            ),
            (
                "guard_fleet_serial",
                "Serial of the fleet's policies in force.",
                fleet.and_then(|fleet| fleet.serial),
            ),
            (
                "guard_fleet_problem",
                "1 if something is wrong with the fleet's policies: those kept, or those offered last.",
                fleet.map(|fleet| fleet.problem.is_some().into()),
            ),
            (
                "guard_fleet_offered_timestamp_seconds",
                "When the fleet's policies were last offered, since 1970.",
                fleet.and_then(|fleet| fleet.heard_at).and_then(seconds),
            ),
        ] {
            let series = value.map(|value| (vec![], value));
            family(to, name, help, MetricType::Gauge, series)?;
        }
        let failures = [(vec![], now.audit_failures)];
        let help = "Records missing in the audit log.";
        let name = "guard_audit_write_failures";
        family(to, name, help, MetricType::Counter, failures)?;
        let attached = now
            .hooks
            .iter()
            .map(|hook| (vec![("hook", hook.name.as_str())], hook.attached.into()));
        let help = "1 for each program that is attached, by `hook`.";
        family(to, "guard_hook_attached", help, MetricType::Gauge, attached)?;
        let build: Labels<'_> = vec![("version", &now.version), ("kernel", &now.kernel)];
        let help = "Always 1; labels `version` and `kernel`.";
        family(
            to,
            "guard_build_info",
            help,
            MetricType::Gauge,
            [(build, 1)],
        )
    }

    fn of_sessions(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let all = || self.0.by_session.iter();
        for (name, help, kind, number) in BY_SESSION {
            let series = all().map(|one| (labels(one), number(one)));
            family(to, name, help, kind, series)?;
        }
        let help = "Refusals reported to guardd, summed up in a count, or lost, by session; together guard_refusals_total. `outcome`: `reported`, `summed-up`, `lost`.";
        let series = all().flat_map(|one| {
            let outcomes = [
                ("reported", one.reported),
                ("summed-up", one.summed_up),
                ("lost", one.lost),
            ];
            outcomes.map(|(outcome, count)| {
                let mut labels = labels(one);
                labels.push(("outcome", outcome));
                (labels, count)
            })
        });
        family(
            to,
            "guard_refusal_events",
            help,
            MetricType::Counter,
            series,
        )
    }
}

fn labels(of: &SessionCounters) -> Labels<'_> {
    vec![
        ("session", of.session.as_deref().unwrap_or("none")),
        ("name", &of.name),
        ("policy", &of.policy),
    ]
}

fn family<'a>(
    to: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    kind: MetricType,
    series: impl IntoIterator<Item = (Labels<'a>, u64)>,
) -> fmt::Result {
    let mut family = to.encode_descriptor(name, help, None, kind)?;
    for (labels, value) in series {
        let put = |to: &mut MetricEncoder<'_>| match kind {
            MetricType::Counter => to.encode_counter(&value, None::<&Exemplar<NoLabelSet, u64>>),
            _ => to.encode_gauge(&value),
        };
        if labels.is_empty() {
            put(&mut family)?;
        } else {
            put(&mut family.encode_family(&labels)?)?;
        }
    }
    Ok(())
}
