//! A scraper: HTTP by hand, and a strict reading of the text that owes nothing to what wrote it.
//!
//! The format: <https://prometheus.io/docs/specs/om/open_metrics_spec/>

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::TcpStream;

use guard_lab::{Daemon, Network, PATIENCE, Tested};

/// What a connection is of.
pub(crate) trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

/// A connection on the machine that guardd runs on.
pub(crate) fn tcp(network: &Network, address: &str) -> std::io::Result<Box<dyn Stream>> {
    let connected = network.dev().enter(|| Ok(TcpStream::connect(address)));
    let stream = connected.unwrap()?;
    stream.set_read_timeout(Some(guard_lab::patience(PATIENCE)))?;
    Ok(Box::new(stream))
}

/// An answer: its status, its head and its body.
pub(crate) struct HttpResponse {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

/// Sends bytes and reads until the other side closes. Nothing where it says nothing.
pub(crate) fn ask(mut stream: Box<dyn Stream>, request: &str) -> Option<HttpResponse> {
    // A server that has closed already takes no more.
    let _ = stream.write_all(request.as_bytes());
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    let text = String::from_utf8(bytes).unwrap();
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Some(HttpResponse {
        status,
        head: head.to_ascii_lowercase(),
        body: body.to_owned(),
    })
}

pub(crate) fn get(stream: Box<dyn Stream>) -> HttpResponse {
    ask(stream, "GET /metrics HTTP/1.1\r\nHost: guard\r\n\r\n").unwrap()
}

/// A scrape that was read and found to be as it must.
#[derive(Debug, Default)]
pub(crate) struct Scrape {
    /// The kind of each family.
    pub(crate) kinds: BTreeMap<String, String>,
    helped: BTreeSet<String>,
    /// By name and labels.
    samples: BTreeMap<(String, BTreeMap<String, String>), f64>,
}

impl Scrape {
    /// What `guard metrics` prints.
    pub(crate) fn of(daemon: &Daemon) -> Tested<Self> {
        Ok(Self::parse(&daemon.ask(["metrics"])?.success()?.stdout))
    }

    /// What a scraper is answered.
    pub(crate) fn over(stream: Box<dyn Stream>) -> Self {
        let answer = get(stream);
        assert_eq!(answer.status, 200);
        let kind = "content-type: application/openmetrics-text; version=1.0.0";
        assert!(answer.head.contains(kind), "{}", answer.head);
        Self::parse(&answer.body)
    }

    pub(crate) fn parse(text: &str) -> Self {
        let text = text.strip_suffix("# EOF\n").expect("no end");
        let mut scrape = Self::default();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').unwrap();
                assert!(
                    !help.is_empty() && scrape.helped.insert(name.to_owned()),
                    "{line}"
                );
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap();
                assert!(["counter", "gauge"].contains(&kind), "{line}");
                assert!(!name.ends_with("_total"), "{line}");
                assert!(scrape.helped.contains(name), "{line}");
                assert_eq!(
                    scrape.kinds.insert(name.into(), kind.into()),
                    None,
                    "{line}"
                );
            } else if let Some(rest) = line.strip_prefix("# UNIT ") {
                let (name, unit) = rest.split_once(' ').unwrap();
                assert!(name.ends_with(&format!("_{unit}")), "{line}");
            } else {
                scrape.sample(line);
            }
        }
        scrape
    }

    fn sample(&mut self, line: &str) {
        let end = line.find(['{', ' ']).unwrap();
        let (name, rest) = line.split_at(end);
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        assert!(name.chars().all(is_name), "{line}");
        let (labels, value) = match rest.strip_prefix('{') {
            Some(rest) => labels(rest),
            None => (BTreeMap::new(), rest),
        };
        let value = value.strip_prefix(' ').unwrap();
        let value: f64 = value.parse().unwrap_or_else(|_| panic!("{line}"));
        let (family, kind) = self
            .family(name)
            .unwrap_or_else(|| panic!("of nothing: {line}"));
        assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
        assert!(family.starts_with("guard_"), "{line}");
        for not_base in ["_ms", "_milliseconds", "_kb", "_minutes", "_percent"] {
            assert!(!family.contains(not_base), "{line}");
        }
        let key = (name.to_owned(), labels);
        assert_eq!(self.samples.insert(key, value), None, "twice: {line}");
    }

    /// The family that a sample is of, and its kind.
    fn family(&self, sample: &str) -> Option<(&str, &str)> {
        let of = |name: &str| self.kinds.get_key_value(name);
        let counter = sample.strip_suffix("_total").and_then(of);
        let (name, kind) = counter.or_else(|| of(sample))?;
        Some((name, kind))
    }

    /// The sum of the samples of that name with these labels among theirs.
    pub(crate) fn sum(&self, name: &str, wanted: &[(&str, &str)]) -> f64 {
        let mut found = self.found(name, wanted).peekable();
        assert!(found.peek().is_some(), "no {name} {wanted:?}");
        found.sum()
    }

    /// Whether there is any.
    pub(crate) fn has(&self, name: &str, wanted: &[(&str, &str)]) -> bool {
        self.found(name, wanted).next().is_some()
    }

    fn found(&self, name: &str, wanted: &[(&str, &str)]) -> impl Iterator<Item = f64> {
        let samples = self.samples.iter().filter(move |((is, labels), _)| {
            let has = |(key, value): &(&str, &str)| labels.get(*key).is_some_and(|is| is == value);
            is == name && wanted.iter().all(has)
        });
        samples.map(|(_, value)| *value)
    }

    /// The names of all samples.
    pub(crate) fn names(&self) -> BTreeSet<&str> {
        self.samples.keys().map(|(name, _)| name.as_str()).collect()
    }

    /// The values of a label.
    pub(crate) fn values(&self, name: &str, label: &str) -> BTreeSet<&str> {
        let samples = self.samples.keys().filter(|(is, _)| is == name);
        let values = samples.filter_map(|(_, labels)| labels.get(label));
        values.map(String::as_str).collect()
    }
}

/// Labels up to the closing brace, and what follows it.
fn labels(text: &str) -> (BTreeMap<String, String>, &str) {
    let mut labels = BTreeMap::new();
    let mut rest = text;
    loop {
        let (key, after) = rest.split_once("=\"").unwrap();
        let mut value = String::new();
        let mut chars = after.char_indices();
        let end = loop {
            match chars.next().unwrap() {
                (at, '"') => break at,
                (_, '\\') => value.push(match chars.next().unwrap().1 {
                    'n' => '\n',
                    escaped @ ('\\' | '"') => escaped,
                    other => panic!("\\{other} in {text}"),
                }),
                (_, plain) => value.push(plain),
            }
        };
        assert_eq!(labels.insert(key.to_owned(), value), None, "{text}");
        rest = &after[end + 1..];
        match rest.strip_prefix(',') {
            Some(more) => rest = more,
            None => return (labels, rest.strip_prefix('}').unwrap()),
        }
    }
}
