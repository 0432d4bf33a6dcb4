//! The two text formats that scrapers read: OpenMetrics 1.0, and Prometheus' own 0.0.4.

use std::{collections::HashSet, fmt};

use prometheus_client::{encoding::text, registry::Registry};

use super::{Counters, Snapshot};

/// A text format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricsFormat {
    /// <https://prometheus.io/docs/specs/om/open_metrics_spec/>
    OpenMetrics,
    /// <https://prometheus.io/docs/instrumenting/exposition_formats/>
    Plain,
}

impl MetricsFormat {
    /// The format for a scraper that sends this `Accept` header.
    #[must_use]
    pub(crate) fn accepted(header: &str) -> Self {
        if header.contains("application/openmetrics-text") {
            Self::OpenMetrics
        } else {
            Self::Plain
        }
    }

    /// Its name in a header.
    #[must_use]
    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Plain => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// All metrics as text.
///
/// # Errors
///
/// If one of them cannot be written.
pub fn render(
    counters: &Counters,
    snapshot: Snapshot,
    format: MetricsFormat,
) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    counters.register(&mut registry);
    registry.register_collector(Box::new(snapshot));
    let mut text = String::new();
    text::encode(&mut text, &registry)?;
    Ok(match format {
        MetricsFormat::OpenMetrics => text,
        MetricsFormat::Plain => plain(&text),
    })
}

/// OpenMetrics as the older format: there a counter's family has the name of its samples, `_total` included, and there
/// are neither units nor an end.
fn plain(text: &str) -> String {
    let is_counter = |line: &'_ str| {
        let line = line.strip_prefix("# TYPE ")?;
        line.strip_suffix(" counter").map(str::to_owned)
    };
    let counters: HashSet<String> = text.lines().filter_map(is_counter).collect();
    let mut out = String::with_capacity(text.len());
    for line in text.lines() {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some("UNIT"), ..) | (Some("#"), Some("EOF"), ..) => continue,
            (Some("#"), Some(word), Some(name), Some(rest)) if counters.contains(name) => {
                out += &format!("# {word} {name}_total {rest}");
            }
            _ => out += line,
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_older_format_names_counters_as_their_samples() {
        let open = "# HELP a_cpu_seconds Time, # TYPE and all.\n# TYPE a_cpu_seconds counter\n\
                    # UNIT a_cpu_seconds seconds\na_cpu_seconds_total{x=\"# EOF\"} 1.5\n\
                    # HELP b A gauge.\n# TYPE b gauge\nb 2\n# EOF\n";
        let expected = "# HELP a_cpu_seconds_total Time, # TYPE and all.\n\
                        # TYPE a_cpu_seconds_total counter\n\
                        a_cpu_seconds_total{x=\"# EOF\"} 1.5\n# HELP b A gauge.\n# TYPE b gauge\nb 2\n";
        assert_eq!(plain(open), expected);
    }

    #[test]
    fn a_scraper_gets_what_it_accepts() {
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.2";
        assert_eq!(
            MetricsFormat::accepted(prometheus),
            MetricsFormat::OpenMetrics
        );
        assert_eq!(MetricsFormat::accepted("*/*"), MetricsFormat::Plain);
    }
}
