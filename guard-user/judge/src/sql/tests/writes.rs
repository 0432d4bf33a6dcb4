use super::{assert_asks, judged, lines, written};

const WRITES: &str = include_str!("fixtures/writes.sql");

fn writes() -> impl Iterator<Item = (&'static str, &'static str)> {
    lines(WRITES).map(|line| line.split_once(" | ").unwrap())
}

#[test]
fn what_writes_asks_and_says_what_it_is() {
    let mut wrong = Vec::new();
    for (command, statement) in writes() {
        let write = written(statement);
        if write.command != command {
            wrong.push(format!("{} | {statement}", write.command));
        }
        assert!(
            !write.kind().is_empty() && !write.because.is_empty(),
            "{statement}"
        );
        assert!(write.objects.len() <= 8, "{statement}");
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn it_asks_behind_a_read_as_well() {
    for (_, statement) in writes() {
        assert_asks(&format!("SELECT 1; {statement}"));
        assert_asks(&format!("{statement}; SELECT 1"));
    }
}

#[test]
fn no_secret_is_shown() {
    for (_, statement) in writes().filter(|(_, s)| s.contains("secret")) {
        let shown = format!("{:?}", judged(statement));
        assert!(!shown.contains("secret"), "{shown}");
    }
}
