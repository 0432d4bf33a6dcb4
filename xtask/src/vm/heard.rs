//! What libtest says of the tests that it runs, line by line.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

/// A test that has ended.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct EndedTest {
    pub(super) name: String,
    pub(super) passed: bool,
    pub(super) seconds: f64,
    /// What it wrote, where it failed.
    pub(super) said: String,
}

/// One who reads along.
pub(super) struct TestReader {
    /// Those that have not begun, in the order in which they do: by name.
    waiting: VecDeque<String>,
    running: Vec<(String, Instant)>,
    ended: Vec<EndedTest>,
    /// Whose output is being repeated at the end, and what has been.
    whose: Option<String>,
    said: BTreeMap<String, String>,
}

/// What came of them.
pub(super) struct Results {
    pub(super) ended: Vec<EndedTest>,
    /// Those that had begun when the program ended,
    pub(super) running: Vec<String>,
    /// and those that had not.
    pub(super) waiting: Vec<String>,
}

impl TestReader {
    /// Of tests of which so many run at once.
    pub(super) fn new(names: &[String], threads: usize) -> Self {
        let mut names = names.to_vec();
        names.sort_unstable();
        let mut heard = Self {
            waiting: names.into(),
            running: Vec::new(),
            ended: Vec::new(),
            whose: None,
            said: BTreeMap::new(),
        };
        for _ in 0..threads {
            heard.next_begins();
        }
        heard
    }

    fn next_begins(&mut self) {
        if let Some(name) = self.waiting.pop_front() {
            self.running.push((name, Instant::now()));
        }
    }

    /// Takes in a line. Gives the name of the test that has passed, where it says so.
    pub(super) fn line(&mut self, line: &str) -> Option<&str> {
        if let Some((at, passed)) = self.verdict(line) {
            let (name, begun) = self.running.remove(at);
            self.ended.push(EndedTest {
                name,
                passed,
                seconds: begun.elapsed().as_secs_f64(),
                said: String::new(),
            });
            self.next_begins();
            let ended = self.ended.last().filter(|ended| ended.passed);
            return ended.map(|ended| &*ended.name);
        }
        if let Some(name) = section(line) {
            self.whose = Some(name.to_owned());
        } else if line == "failures:" {
            self.whose = None;
        } else if let Some(name) = &self.whose {
            let said = self.said.entry(name.clone()).or_default();
            said.push_str(line);
            said.push('\n');
        }
        None
    }

    /// Which of those that run has ended, and whether it passed. What a child of another test wrote may stand before it.
    fn verdict(&self, line: &str) -> Option<(usize, bool)> {
        let (line, passed) = match line.strip_suffix(" ... ok") {
            Some(line) => (line, true),
            None => (line.strip_suffix(" ... FAILED")?, false),
        };
        let is_it = |(name, _): &(String, Instant)| {
            let before = line.strip_suffix(&**name);
            before.is_some_and(|before| before.ends_with("test "))
        };
        Some((self.running.iter().position(is_it)?, passed))
    }

    /// What is known when the program has ended with a status.
    pub(super) fn end(mut self, status: i32) -> Results {
        // Of a line that something else wrote into nothing was understood, but all have passed.
        while status == 0 && !self.running.is_empty() {
            let (name, begun) = self.running.remove(0);
            self.ended.push(EndedTest {
                name,
                passed: true,
                seconds: begun.elapsed().as_secs_f64(),
                said: String::new(),
            });
            self.next_begins();
        }
        for ended in &mut self.ended {
            ended.said = self.said.remove(&ended.name).unwrap_or_default();
        }
        Results {
            ended: self.ended,
            running: self.running.into_iter().map(|(name, _)| name).collect(),
            waiting: self.waiting.into(),
        }
    }
}

/// Of the line above a test's output, its name.
fn section(line: &str) -> Option<&str> {
    let name = line.strip_prefix("---- ")?;
    name.strip_suffix(" stdout ----")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    const LINES: &str = "
running 3 tests
test a::one ... ok
half a line of a childtest a::two ... FAILED
test a::three has been running for over 60 seconds

failures:

---- a::two stdout ----

thread 'a::two' panicked at tests/a.rs:1:1:
it does not hold

failures:
    a::two

test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.00s";

    #[test]
    fn each_test_has_its_verdict_and_its_output() {
        let mut heard = TestReader::new(&names(&["a::two", "a::one", "a::three", "a::zero"]), 2);
        for line in LINES.lines() {
            heard.line(line);
        }
        let results = heard.end(101);
        let ended: Vec<_> = results
            .ended
            .iter()
            .map(|ended| (&*ended.name, ended.passed))
            .collect();
        assert_eq!(ended, [("a::one", true), ("a::two", false)]);
        assert!(results.ended[1].said.contains("it does not hold"));
        assert!(!results.ended[1].said.contains("test result"));
        // Of four two ran at once, so two had begun when the others ended.
        assert_eq!(results.running, ["a::three", "a::zero"]);
        assert!(results.waiting.is_empty());
    }

    #[test]
    fn one_that_passes_is_told_with_its_line() {
        let mut heard = TestReader::new(&names(&["a::one", "a::two", "a::three"]), 2);
        assert_eq!(heard.line("running 3 tests"), None);
        assert_eq!(heard.line("test a::one ... ok"), Some("a::one"));
        assert_eq!(heard.line("test a::three ... FAILED"), None);
        assert_eq!(heard.line("test a::two ... ok"), Some("a::two"));
    }

    #[test]
    fn what_had_not_begun_when_the_program_ended_has_not_failed() {
        let mut heard = TestReader::new(&names(&["a::one", "a::two", "a::three"]), 1);
        heard.line("test a::one ... ok");
        let results = heard.end(137);
        assert_eq!(results.ended.len(), 1);
        assert_eq!(results.running, ["a::three"]);
        assert_eq!(results.waiting, ["a::two"]);
    }

    #[test]
    fn where_all_passed_a_line_that_was_not_understood_hides_none() {
        let mut heard = TestReader::new(&names(&["a::one", "a::two"]), 1);
        heard.line("test a::one ... out of a child");
        heard.line("ok");
        let results = heard.end(0);
        assert!(results.ended.iter().all(|ended| ended.passed));
        assert_eq!(results.ended.len(), 2);
    }
}
