//! Forms: frameworks take the method of a POST from a field of the form in its body (`_method=DELETE`), as from the query.

use super::{RequestHead, body::Body, headers, json::Json, query::pairs};

/// The form in the body of a request.
pub(super) enum Form {
    /// Read whole; no fields where the request has no form.
    Read(Vec<(String, String)>),
    /// The body has to be read first.
    Unread,
    /// The fields cannot be known, and why.
    Unknown(&'static str),
}

impl Form {
    pub(super) fn of(request: &RequestHead<'_>, body: Body<'_>) -> Self {
        let types = headers::media_types(request.headers);
        // Laravel takes a field of JSON for one of a form.
        let is_json = headers::matching(request.headers, &["content-type"]).any(|(_, value)| {
            let value = value.to_ascii_lowercase();
            let has = |word: &[u8]| memchr::memmem::find(&value, word).is_some();
            has(b"/json") || has(b"+json")
        });
        // A body of no type is a form to some servers. To Rack, whatever has parts is one.
        let has_parts = types.iter().any(|one| one.starts_with("multipart/"));
        let is_form = types.iter().all(String::is_empty)
            || has_parts
            || types.iter().any(|one| one.contains("form"));
        if request.method != http::Method::POST || !(is_form || is_json) {
            return Self::Read(Vec::new());
        }
        match body {
            Body::Unread => Self::Unread,
            Body::TooLong => Self::Unknown("its form is too long to be judged"),
            Body::Whole(body) if has_parts && may_name_method(body) => {
                Self::Unknown("a form of many parts may name another method, and servers take that")
            }
            Body::Whole(_) if has_parts => Self::Read(Vec::new()),
            Body::Whole(body) => match headers::encoded(request.headers) {
                Some(why) => Self::Unknown(why),
                None if is_json && may_name_method_in_json(body) => Self::Unknown(
                    "JSON with `_method` may name another method, and servers take that",
                ),
                None if is_json => Self::Read(Vec::new()),
                None => Self::Read(pairs(body)),
            },
        }
    }

    /// Returns the fields, as far as they are known.
    pub(super) fn fields(&self) -> &[(String, String)] {
        match self {
            Self::Read(fields) => fields,
            Self::Unread | Self::Unknown(_) => &[],
        }
    }

    /// Returns true if all fields are known.
    pub(super) const fn is_read(&self) -> bool {
        matches!(self, Self::Read(_))
    }
}

/// Returns true if a name in JSON may be `_method`, also where its letters are escaped.
fn may_name_method_in_json(body: &[u8]) -> bool {
    let text = body.to_ascii_lowercase();
    let has = |word: &[u8]| memchr::memmem::find(&text, word).is_some();
    has(b"_method") || (has(b"\\u00") && json_names_method(&text))
}

/// Returns true if JSON that is read names the method, and where it cannot be read.
fn json_names_method(text: &[u8]) -> bool {
    Json::parse(text).is_none_or(|json| json.get("_method").is_some())
}

/// Returns true if a line that names a part (RFC 7578) may name it `_method`, in whichever encoding.
fn may_name_method(body: &[u8]) -> bool {
    let lines = body
        .split(|byte| *byte == b'\n')
        .map(<[u8]>::to_ascii_lowercase);
    let has = |line: &[u8], word: &[u8]| memchr::memmem::find(line, word).is_some();
    let mut named = lines.filter(|line| has(line, b"name"));
    named.any(|line| {
        has(&line, b"method") || line.iter().any(|byte| matches!(byte, b'*' | b'\\' | b'%'))
    })
}
