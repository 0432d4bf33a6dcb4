//! HTTP by hand: what a browser would not send is sent, too.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{Ipv4Addr, TcpStream},
};

use anyhow::{Context as _, Result};
use guard_lab::{PATIENCE, Side, patience};
use serde_json::Value;

use super::scene::{HOST, ORIGIN};

#[derive(Clone, Copy)]
pub(crate) struct Client<'n> {
    machine: &'n Side,
    port: u16,
}

pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Response {
    /// A header's value.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }

    /// The cookie that it sets.
    pub(crate) fn cookie(&self) -> String {
        let set = self.header("set-cookie").expect("it sets a cookie");
        assert!(
            set.contains("HttpOnly") && set.contains("SameSite=Strict"),
            "{set}"
        );
        set.split(';').next().unwrap().to_owned()
    }

    /// What stands between two texts, as a browser reads it.
    pub(crate) fn between(&self, begin: &str, end: &str) -> String {
        let (_, rest) = self
            .body
            .split_once(begin)
            .unwrap_or_else(|| panic!("no {begin:?} in {}", self.body));
        let (found, _) = rest.split_once(end).unwrap();
        let found = found
            .replace("&lt;", "<")
            .replace("&gt;", ">")
            .replace("&quot;", "\"");
        found.replace("&amp;", "&")
    }
}

impl<'n> Client<'n> {
    pub(crate) fn new(machine: &'n Side, port: u16) -> Self {
        Self { machine, port }
    }

    fn connect(&self) -> Result<TcpStream> {
        let port = self.port;
        let stream = self
            .machine
            .enter(move || Ok(TcpStream::connect((Ipv4Addr::LOCALHOST, port))?))?;
        stream.set_read_timeout(Some(patience(PATIENCE)))?;
        Ok(stream)
    }

    /// Sends a request with just these headers.
    pub(crate) fn send(
        &self,
        line: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Result<Response> {
        let mut stream = self.connect()?;
        let headers: String = headers
            .iter()
            .map(|(name, value)| format!("{name}: {value}\r\n"))
            .collect();
        let length = body.len();
        write!(
            stream,
            "{line} HTTP/1.1\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n{body}"
        )?;
        let mut text = Vec::new();
        // A body that is not read to its end has the connection reset behind the answer.
        let _ = stream.read_to_end(&mut text);
        let text = String::from_utf8(text)?;
        let (head, body) = text.split_once("\r\n\r\n").context("it did not answer")?;
        let status = head.split(' ').nth(1).context("no status")?.parse()?;
        Ok(Response {
            status,
            head: head.to_owned(),
            body: body.to_owned(),
        })
    }

    pub(crate) fn try_get(&self, place: &str) -> Result<Response> {
        self.send(&format!("GET {place}"), &[("host", HOST)], "")
    }

    pub(crate) fn get(&self, place: &str, cookie: Option<&str>) -> Response {
        let cookie = cookie.map(|cookie| ("cookie", cookie));
        let headers: Vec<_> = [("host", HOST)].into_iter().chain(cookie).collect();
        self.send(&format!("GET {place}"), &headers, "").unwrap()
    }

    pub(crate) fn form(&self, place: &str, body: &str, cookie: Option<&str>) -> Response {
        self.post(place, "application/x-www-form-urlencoded", body, cookie)
    }

    pub(crate) fn json(&self, place: &str, body: &Value, cookie: Option<&str>) -> Response {
        self.post(place, "application/json", &body.to_string(), cookie)
    }

    fn post(&self, place: &str, kind: &str, body: &str, cookie: Option<&str>) -> Response {
        let own = [("host", HOST), ("origin", ORIGIN), ("content-type", kind)];
        let cookie = cookie.map(|cookie| ("cookie", cookie));
        let headers: Vec<_> = own.into_iter().chain(cookie).collect();
        self.send(&format!("POST {place}"), &headers, body).unwrap()
    }

    /// Looks at what is asked as it changes.
    pub(crate) fn events(&self, cookie: &str) -> Events<'n> {
        Events {
            stream: self.begin_events(cookie),
            client: *self,
            cookie: cookie.to_owned(),
        }
    }

    fn begin_events(&self, cookie: &str) -> BufReader<TcpStream> {
        let mut stream = self.connect().unwrap();
        write!(
            stream,
            "GET /events HTTP/1.1\r\nhost: {HOST}\r\ncookie: {cookie}\r\n\r\n"
        )
        .unwrap();
        let mut stream = BufReader::new(stream);
        let mut status = String::new();
        stream.read_line(&mut status).unwrap();
        assert!(status.contains(" 200 "), "{status}");
        stream
    }
}

/// A stream of events.
pub(crate) struct Events<'n> {
    stream: BufReader<TcpStream>,
    client: Client<'n>,
    cookie: String,
}

impl Events<'_> {
    fn line(&mut self) -> String {
        let line = self.line_or_end();
        assert_ne!(line, "", "it has ended");
        line
    }

    fn line_or_end(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).unwrap();
        line
    }

    /// All until the stream ends, with its last chunk.
    pub(crate) fn rest(&mut self) -> String {
        let mut lines = Vec::new();
        loop {
            match self.line() {
                line if line.trim() == "0" => return lines.concat(),
                line => lines.push(line),
            }
        }
    }

    /// The next that is so. A stream lasts for some seconds: as a page does, this begins another then.
    pub(crate) fn next(&mut self, is_meant: impl Fn(&Value) -> bool) -> Value {
        loop {
            let line = self.line_or_end();
            // Its last chunk, or nothing more.
            if line.is_empty() || line.trim_end() == "0" {
                self.stream = self.client.begin_events(&self.cookie);
            }
            if let Some(data) = line.strip_prefix("data: ") {
                let event = serde_json::from_str(data).unwrap();
                if is_meant(&event) {
                    return event;
                }
            }
        }
    }
}
