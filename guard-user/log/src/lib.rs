//! How the programs' own log reads: on standard error, for a person or for journald.

use std::{env, fmt, io};

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::{
    EnvFilter,
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer},
    registry::LookupSpan,
};

/// Begins the log, of what `RUST_LOG` says; without it, of all that matters. `is_answer`: a person typed the command, or a
/// package's script ran it, and reads sentences, without a time and a level.
pub fn begin(is_answer: bool) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        .with_ansi(io::IsTerminal::is_terminal(&io::stderr()))
        .with_writer(io::stderr);
    if has_stderr() {
        log.event_format(ForJournald).init();
    } else if is_answer {
        log.without_time().with_level(false).init();
    } else {
        log.init();
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
    fn what_is_not_journalds_is_told_from_it() {
        assert!(!is_stderr(""));
        assert!(!is_stderr("1:2"));
    }
}
