//! A second reading of what a client sends, from the whole of it: no state, no speed, written from the RFCs.

use std::net::Ipv6Addr;

use super::super::Limits;

const TCHAR: &str = "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// 2^63.
const TOO_LARGE: u128 = 9_223_372_036_854_775_808;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) method: String,
    pub(super) target: String,
    pub(super) body: Vec<u8>,
}

#[derive(Debug, Default)]
pub(super) struct Reading {
    /// Those that are complete.
    pub(super) requests: Vec<Request>,
    /// How many bytes may go on.
    pub(super) passed: usize,
    pub(super) refused: bool,
}

/// Why a message cannot be read to its end, with how much of it may go on.
enum Stop {
    Wrong(usize),
    Short(usize),
}

type Read<T> = Result<T, Stop>;

pub(super) fn read(input: &[u8], limits: &Limits) -> Reading {
    let mut reading = Reading::default();
    let mut last = false;
    while reading.passed < input.len() {
        let rest = &input[reading.passed..];
        let message = if last {
            Err(Stop::Wrong(0))
        } else {
            message(rest, reading.requests.is_empty(), limits)
        };
        match message {
            Ok((request, length, is_last)) => {
                reading.requests.push(request);
                reading.passed += length;
                last = is_last;
            }
            Err(Stop::Wrong(passed)) => {
                reading.passed += passed;
                reading.refused = true;
                return reading;
            }
            Err(Stop::Short(passed)) => {
                reading.passed += passed;
                return reading;
            }
        }
    }
    reading
}

/// A message, its length, and whether it is the last.
fn message(input: &[u8], first: bool, limits: &Limits) -> Read<(Request, usize, bool)> {
    if !TCHAR.as_bytes().contains(&input[0]) {
        return Err(Stop::Wrong(0));
    }
    if first && input.len() < PREFACE.len() && PREFACE.starts_with(input) {
        return Err(Stop::Short(0));
    }
    let line_end = input.iter().position(|&byte| byte == b'\n');
    if line_end.unwrap_or(input.len()) >= limits.start_line {
        return Err(Stop::Wrong(0));
    }
    let (lines, whole) = lines(input, limits.head)?;
    let Some((start, fields)) = lines.split_first() else {
        return Err(Stop::Short(0));
    };
    let checked = start_line(start)
        .and_then(|(method, target, old)| {
            let fields = all_fields(fields, limits)?;
            Some((
                method,
                target,
                old,
                check(&fields, old, authority(target))?,
                fields,
            ))
        })
        .ok_or(Stop::Wrong(0))?;
    let (method, target, old, framing, fields) = checked;
    let length = whole.ok_or(Stop::Short(0))?;
    if values(&fields, "host").is_empty() && (!old || authority(target).is_some()) {
        return Err(Stop::Wrong(0));
    }
    let rest = &input[length..];
    let body = match framing {
        Framing::Length(size) if (rest.len() as u128) < size => Err(Stop::Short(rest.len())),
        Framing::Length(size) => Ok((rest[..size as usize].to_vec(), size as usize)),
        Framing::Chunked => chunks(rest, limits),
    };
    let (body, more) = body.map_err(|stop| match stop {
        Stop::Wrong(passed) => Stop::Wrong(length + passed),
        Stop::Short(passed) => Stop::Short(length + passed),
    })?;
    let options = values(&fields, "connection").join(",").to_lowercase();
    let has = |option: &str| options.split(',').any(|one| one.trim() == option);
    let request = Request {
        method: method.to_owned(),
        target: target.to_owned(),
        body,
    };
    Ok((
        request,
        length + more,
        has("close") || (old && !has("keep-alive")),
    ))
}

/// The complete lines up to an empty one, a character a byte, and where that ends if it is there.
fn lines(input: &[u8], most: usize) -> Read<(Vec<String>, Option<usize>)> {
    let within = &input[..input.len().min(most)];
    let (mut lines, mut at) = (Vec::new(), 0);
    while let Some(length) = within[at..].iter().position(|&byte| byte == b'\n') {
        let line: String = within[at..at + length]
            .iter()
            .map(|&byte| char::from(byte))
            .collect();
        at += length + 1;
        match line.strip_suffix('\r') {
            None => return Err(Stop::Wrong(0)),
            Some(line) if line.contains('\r') => return Err(Stop::Wrong(0)),
            Some("") => return Ok((lines, Some(at))),
            Some(line) => lines.push(line.to_owned()),
        }
    }
    if input.len() >= most {
        Err(Stop::Wrong(0))
    } else {
        Ok((lines, None))
    }
}

/// Method, target, and whether it is HTTP/1.0.
fn start_line(line: &str) -> Option<(&str, &str, bool)> {
    let (method, rest) = line.split_once(' ')?;
    let (target, version) = rest.split_once(' ')?;
    let token = !method.is_empty() && method.chars().all(|c| TCHAR.contains(c));
    let right = token && method.len() <= 32 && method.to_uppercase() != "CONNECT";
    let old = match version {
        "HTTP/1.0" => true,
        "HTTP/1.1" => false,
        _ => return None,
    };
    (right && is_target(method, target)).then_some((method, target, old))
}

fn is_target(method: &str, target: &str) -> bool {
    let path = match authority(target) {
        Some(authority) if !is_host(authority) => return false,
        Some(authority) => &target[target.find("//").unwrap() + 2 + authority.len()..],
        None => target,
    };
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let visible = |text: &str, but: &str| {
        text.chars()
            .all(|c| matches!(c, '!'..='~') && !but.contains(c))
    };
    let is_path = path.starts_with('/') && visible(path, "\"#<>\\^`") && visible(query, "\"#<>");
    is_path || (target == "*" && method == "OPTIONS")
}

/// What an http URL with a path names.
fn authority(target: &str) -> Option<&str> {
    let (scheme, rest) = target.split_once("://")?;
    let (authority, _) = rest.split_once('/')?;
    ["http", "https"]
        .contains(&scheme.to_lowercase().as_str())
        .then_some(authority)
}

fn is_host(text: &str) -> bool {
    let (host, port) = match text.rfind(':') {
        Some(colon) if !text.ends_with(']') => (&text[..colon], &text[colon + 1..]),
        _ => (text, "1"),
    };
    let port_is_plain = port
        .parse()
        .is_ok_and(|number: u16| number > 0 && number.to_string() == port);
    let inner = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    port_is_plain
        && match inner {
            Some(address) => address.parse::<Ipv6Addr>().is_ok(),
            None => {
                let named = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
                !host.is_empty() && host.chars().all(named)
            }
        }
}

/// Names in lower case, and what follows the colon.
type Fields = Vec<(String, String)>;

fn all_fields(lines: &[String], limits: &Limits) -> Option<Fields> {
    let fields: Option<Fields> = lines.iter().map(|line| field(line)).collect();
    fields.filter(|fields| fields.len() <= limits.fields)
}

fn field(line: &str) -> Option<(String, String)> {
    let (name, value) = line.split_once(':')?;
    let name_is_token = !name.is_empty() && name.chars().all(|c| TCHAR.contains(c));
    let controls = |c: char| matches!(c, '\0'..='\u{8}' | '\u{a}'..='\u{1f}' | '\u{7f}');
    let lookalike = name.contains('_')
        && ["content-length", "transfer-encoding"]
            .contains(&name.to_lowercase().replace('_', "-").as_str());
    let right = name_is_token && !value.contains(controls) && !lookalike;
    right.then(|| (name.to_lowercase(), value.to_owned()))
}

fn values<'f>(fields: &'f Fields, name: &str) -> Vec<&'f str> {
    let of_that_name = fields.iter().filter(|field| field.0 == name);
    of_that_name.map(|field| field.1.as_str()).collect()
}

enum Framing {
    Length(u128),
    Chunked,
}

/// What the fields that decide say, if they are right as far as they are there.
fn check(fields: &Fields, old: bool, authority: Option<&str>) -> Option<Framing> {
    let blanks = |c: char| c == ' ' || c == '\t';
    let one = |name: &str| match values(fields, name)[..] {
        [] => Some(None),
        [value] => Some(Some(
            value.strip_prefix(' ').unwrap_or(value).to_lowercase(),
        )),
        _ => None,
    };
    let (host, length, encoding) = (
        one("host")?,
        one("content-length")?,
        one("transfer-encoding")?,
    );
    if let Some(host) = host
        && !(is_host(&host) && authority.is_none_or(|named| named.to_lowercase() == host))
    {
        return None;
    }
    let known = ["close", "keep-alive", "upgrade", "te", "http2-settings"];
    let mut options = values(fields, "connection")
        .into_iter()
        .flat_map(|value| value.split(','));
    if !options.all(|option| known.contains(&option.trim_matches(blanks).to_lowercase().as_str())) {
        return None;
    }
    let expects = values(fields, "expect");
    if !expects
        .iter()
        .all(|value| value.trim_matches(blanks).to_lowercase() == "100-continue")
    {
        return None;
    }
    match (length.as_deref(), encoding.as_deref()) {
        (None, None) => Some(Framing::Length(0)),
        (None, Some("chunked")) if !old => Some(Framing::Chunked),
        (Some(text), None) => {
            let number: u128 = text.parse().ok()?;
            let plain = number.to_string() == text && number < TOO_LARGE;
            plain.then_some(Framing::Length(number))
        }
        _ => None,
    }
}

/// The bytes of a chunked body, and how long it is with all that belongs to it.
fn chunks(input: &[u8], limits: &Limits) -> Read<(Vec<u8>, usize)> {
    let (mut body, mut at) = (Vec::new(), 0);
    loop {
        let (size, after) = chunk_size(input, at)?;
        if size == 0 {
            return Ok((body, after + trailers(&input[after..], after, limits)?));
        }
        let left = input.len() - after;
        if (left as u128) < size {
            return Err(Stop::Short(input.len()));
        }
        let end = after + size as usize;
        body.extend_from_slice(&input[after..end]);
        at = expect(input, end, b"\r\n")?;
    }
}

fn chunk_size(input: &[u8], at: usize) -> Read<(u128, usize)> {
    let digits = input[at..]
        .iter()
        .take_while(|byte| byte.is_ascii_hexdigit())
        .count();
    let text = str::from_utf8(&input[at..at + digits]).unwrap();
    for length in 1..=digits {
        if length > 16 || u128::from_str_radix(&text[..length], 16).unwrap() >= TOO_LARGE {
            return Err(Stop::Wrong(at + length - 1));
        }
    }
    match digits {
        0 if at < input.len() => Err(Stop::Wrong(at)),
        0 => Err(Stop::Short(at)),
        _ => Ok((
            u128::from_str_radix(text, 16).unwrap(),
            expect(input, at + digits, b"\r\n")?,
        )),
    }
}

/// Where these bytes end, which have to be there.
fn expect(input: &[u8], at: usize, wanted: &[u8]) -> Read<usize> {
    for (offset, byte) in wanted.iter().enumerate() {
        match input.get(at + offset) {
            None => return Err(Stop::Short(input.len())),
            Some(other) if other != byte => return Err(Stop::Wrong(at + offset)),
            Some(_) => {}
        }
    }
    Ok(at + wanted.len())
}

/// How long the trailer section is.
fn trailers(input: &[u8], before: usize, limits: &Limits) -> Read<usize> {
    const LATE: &str = " age authorization cache-control connection content-encoding content-length content-range \
        content-type cookie date expect expires forwarded host keep-alive location max-forwards pragma \
        proxy-authenticate proxy-authorization proxy-connection range retry-after set-cookie te trailer \
        transfer-encoding upgrade vary warning www-authenticate x-host ";
    let (lines, whole) = lines(input, limits.trailers).map_err(|_| Stop::Wrong(before))?;
    let fields = all_fields(&lines, limits).ok_or(Stop::Wrong(before))?;
    let late = |name: &str| {
        let name = name.replace(|c: char| !c.is_ascii_alphanumeric(), "-");
        LATE.contains(&format!(" {name} "))
            || name.starts_with("if-")
            || name.starts_with("x-forwarded-")
    };
    if fields.iter().any(|(name, _)| late(name)) {
        Err(Stop::Wrong(before))
    } else {
        whole.ok_or(Stop::Short(before))
    }
}
