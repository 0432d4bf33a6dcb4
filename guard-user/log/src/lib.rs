//! How the programs' own log reads: on standard error, for a person or for journald.

use std::{env, fmt, io};

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::{
    filter::{LevelFilter, Targets},
    fmt::{self as lines, FmtContext, FormatEvent, FormatFields, format::Writer},
    layer::SubscriberExt,
    registry::{LookupSpan, Registry},
    util::SubscriberInitExt,
};

/// Begins the log, of what `RUST_LOG` says; without it, of all that matters. `is_answer`: a person typed the command, or a
/// package's script ran it, and reads sentences, without a time and a level.
pub fn begin(is_answer: bool) {
    let said = env::var("RUST_LOG").unwrap_or_default();
    let log = lines::layer()
        .with_target(false)
        .with_ansi(io::IsTerminal::is_terminal(&io::stderr()))
        .with_writer(io::stderr);
    let which = Registry::default().with(which(&said));
    if has_stderr() {
        which.with(log.event_format(ForJournald)).init();
    } else if is_answer {
        which.with(log.without_time().with_level(false)).init();
    } else {
        which.with(log).init();
    }
}

/// Which events: levels, each of everything or of a crate or module (`info,guardd::holes=debug`).
fn which(said: &str) -> Targets {
    // What the client of NATS tells, guard-fleet says in its own words.
    let matters = || {
        Targets::new()
            .with_default(LevelFilter::INFO)
            .with_target("async_nats", LevelFilter::OFF)
    };
    if said.is_empty() {
        matters()
    } else {
        said.parse().unwrap_or_else(|_| matters())
    }
}

/// How the log reads where journald reads standard error: without the time, which journald adds, and with the priority in
/// front of each line, as sd-daemon(3) has it.
#[derive(Clone, Copy, Debug)]
pub struct ForJournald;

impl<S, N> FormatEvent<S, N> for ForJournald
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut text = String::new();
        context.format_fields(Writer::new(&mut text), event)?;
        let priority = priority(*event.metadata().level());
        text.lines()
            .try_for_each(|line| writeln!(writer, "<{priority}>{line}"))
    }
}

/// As syslog(3) counts.
fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        _ => 7,
    }
}

/// Whether standard error is journald's (systemd.exec(5), `JOURNAL_STREAM`).
#[must_use]
pub fn has_stderr() -> bool {
    is_stderr(&env::var("JOURNAL_STREAM").unwrap_or_default())
}

fn is_stderr(stream: &str) -> bool {
    rustix::fs::fstat(rustix::stdio::stderr())
        .is_ok_and(|stat| stream == format!("{}:{}", stat.st_dev, stat.st_ino))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What was written.
    #[derive(Clone, Default)]
    struct Written(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_of_the_log_has_its_priority_and_no_time() {
        let written = Written::default();
        let to = written.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .event_format(ForJournald)
            .with_writer(move || to.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(sessions = 2, "ready");
            tracing::warn!("one\ntwo");
            tracing::error!("no");
        });
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text, "<6>ready sessions=2\n<4>one\n<4>two\n<3>no\n");
    }

    #[test]
    fn levels_are_of_all_or_of_a_module() {
        let tells = |said: &str, of: &str, level: Level| which(said).would_enable(of, &level);
        for nonsense in ["", "guardd=loudly"] {
            assert!(tells(nonsense, "guardd", Level::INFO), "{nonsense:?}");
            assert!(!tells(nonsense, "guardd", Level::DEBUG), "{nonsense:?}");
        }
        assert!(tells("debug", "guardd", Level::DEBUG));
        let one = "warn,guardd::holes=debug";
        assert!(tells(one, "guardd::holes::end", Level::DEBUG));
        assert!(!tells(one, "guardd::watch", Level::INFO));
        assert!(!tells("off", "guardd", Level::ERROR));
    }

    #[test]
    fn what_is_not_journalds_is_told_from_it() {
        assert!(!is_stderr(""));
        assert!(!is_stderr("1:2"));
    }
}
