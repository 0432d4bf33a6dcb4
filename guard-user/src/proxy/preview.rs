//! The beginning of a body as text, for the person who is asked about it: unpacked, and decoded.
//!
//! For people only: nothing is judged by it, and what is sent on is the body as it came.

use std::io::Read;

use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use http::{HeaderMap, HeaderName, header};

use super::wire::MAX_PREVIEW;

/// So much is unpacked at most, in bytes.
const UNPACKED: u64 = 64 * 1024;
/// Parts that are shown.
const PARTS: usize = 32;
/// Bytes of a part's head that are looked at.
const HEAD: usize = 1024;

/// What is shown of a body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Preview {
    /// Its beginning, of [`MAX_PREVIEW`] bytes at most; none where it is no text.
    pub(super) text: Option<String>,
    /// How that came of the body, in words; none where it is the body's own beginning.
    pub(super) form: Option<String>,
    /// What was unpacked and decoded, where anything was: for whoever looks for words in it.
    pub(super) meant: Option<Vec<u8>>,
}

/// Of what was read of a body, which may be all of it.
pub(super) fn of(headers: &HeaderMap, body: &[u8], is_whole: bool) -> Preview {
    let mut forms = Vec::new();
    let unpacked = unpacked(headers, body, &mut forms);
    let bytes = unpacked.as_deref().unwrap_or(body);
    let is_packed = unpacked.is_none() && !forms.is_empty();
    let decoded = match is_packed {
        true => None,
        false => decoded(headers, bytes, &mut forms),
    };
    let parts = match (&decoded, text(bytes)) {
        (None, None) => parts(headers, bytes, &mut forms),
        _ => None,
    };
    let meant = decoded.as_ref().map(|text| text.as_bytes().to_vec());
    let meant = meant.or(unpacked.clone());
    if forms.is_empty() {
        let head = &body[..body.len().min(MAX_PREVIEW)];
        return Preview {
            text: text(head),
            ..Preview::default()
        };
    }
    if !is_whole && !body.is_empty() {
        forms.push(format!("of its first {} bytes", body.len()));
    }
    let all = decoded.or(parts).or_else(|| text(bytes));
    Preview {
        text: all.map(|text| shortened(&text)),
        form: Some(forms.join(", ")),
        meant,
    }
}

/// Cut to what is shown, with a sign that it was.
fn shortened(text: &str) -> String {
    match text.len() > MAX_PREVIEW {
        true => {
            let end = text.floor_char_boundary(MAX_PREVIEW - "…".len());
            format!("{}…", &text[..end])
        }
        false => text.to_owned(),
    }
}

/// The head of a body, as far as it is text.
fn text(head: &[u8]) -> Option<String> {
    let text = match std::str::from_utf8(head) {
        Ok(text) => text,
        // Cut off within a character.
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(&head[..error.valid_up_to()]).ok()?
        }
        Err(_) => return None,
    };
    (!text.is_empty()).then(|| text.to_owned())
}

/// The values of a header as one, in lower case.
fn value(headers: &HeaderMap, name: &HeaderName) -> String {
    let values = headers.get_all(name).iter();
    let values = values.map(|value| String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase());
    values.collect::<Vec<_>>().join(", ").trim().to_owned()
}

/// What was packed, as `Content-Encoding` says or its first bytes do.
fn unpacked(headers: &HeaderMap, body: &[u8], forms: &mut Vec<String>) -> Option<Vec<u8>> {
    let coding = value(headers, &header::CONTENT_ENCODING);
    let read = match coding.as_str() {
        _ if body.is_empty() => return None,
        "" | "identity" if !body.starts_with(&[0x1f, 0x8b]) => return None,
        "" | "identity" | "gzip" | "x-gzip" => all_of(MultiGzDecoder::new(body)),
        // RFC 9110 8.4.1.2: zlib's form, but some send what is in it alone.
        "deflate" => all_of(ZlibDecoder::new(body)).or_else(|| all_of(DeflateDecoder::new(body))),
        _ => None,
    };
    let name = match coding.as_str() {
        "" | "identity" => "gzip",
        coding => coding,
    };
    let name: String = name.chars().take(40).collect();
    match &read {
        Some(bytes) if bytes.len() as u64 >= UNPACKED => {
            forms.push(format!("unpacked from {name}, and more of it"));
        }
        Some(bytes) => forms.push(format!("unpacked from {name}, {} bytes", bytes.len())),
        None => forms.push(format!("{name}, which guard does not unpack")),
    }
    read
}

/// What can be read of it; none where that is nothing.
fn all_of(packed: impl Read) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    // What came before an error counts: there may be more to come.
    let _ = packed.take(UNPACKED).read_to_end(&mut bytes);
    (!bytes.is_empty()).then_some(bytes)
}

/// What is text in another charset than UTF-8, as `Content-Type` says or its first bytes do.
fn decoded(headers: &HeaderMap, bytes: &[u8], forms: &mut Vec<String>) -> Option<String> {
    let charset = parameter(&value(headers, &header::CONTENT_TYPE), "charset");
    let charset = charset.unwrap_or_default();
    let order = match (bytes, charset.as_str()) {
        ([0xff, 0xfe, ..], _) => u16::from_le_bytes,
        ([0xfe, 0xff, ..], _) => u16::from_be_bytes,
        (_, "utf-16le") => u16::from_le_bytes,
        // RFC 2781 4.3.
        (_, "utf-16" | "utf-16be" | "ucs-2") => u16::from_be_bytes,
        (_, "" | "utf-8" | "utf8" | "us-ascii") => return None,
        ([], _) => return None,
        (_, "iso-8859-1" | "latin1" | "windows-1252") if text(bytes).is_none() => {
            forms.push(format!("decoded from {charset}"));
            return Some(bytes.iter().map(|byte| char::from(*byte)).collect());
        }
        (_, other) => {
            let name: String = other.chars().take(40).collect();
            forms.push(format!("said to be {name}"));
            return None;
        }
    };
    forms.push("decoded from UTF-16".to_owned());
    let units = bytes.chunks_exact(2).map(|pair| order([pair[0], pair[1]]));
    let units = units.skip_while(|unit| *unit == 0xfeff);
    let chars = char::decode_utf16(units);
    Some(
        chars
            .map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER))
            .collect(),
    )
}

/// A parameter of a media type, without quotes.
fn parameter(media_type: &str, name: &str) -> Option<String> {
    let mut parameters = media_type.split(';').skip(1);
    let value = parameters.find_map(|one| {
        let (named, value) = one.split_once('=')?;
        (named.trim().eq_ignore_ascii_case(name)).then_some(value)
    })?;
    Some(value.trim().trim_matches('"').to_owned())
}

/// The parts of what is not text as a whole (RFC 2046 5.1, RFC 7578): those that are, and how long the others are.
fn parts(headers: &HeaderMap, bytes: &[u8], forms: &mut Vec<String>) -> Option<String> {
    let given = headers.get(header::CONTENT_TYPE)?;
    let given = String::from_utf8_lossy(given.as_bytes());
    let is_multipart = given.get(..10)?.eq_ignore_ascii_case("multipart/");
    let boundary = parameter(&given, "boundary").filter(|name| is_multipart && !name.is_empty())?;
    let mut between = split(bytes, format!("--{boundary}").as_bytes()).into_iter();
    let before = between.next().unwrap_or_default();
    let mut shown = Vec::new();
    if !before.trim_ascii().is_empty() {
        shown.push(format!("(before the first part: {})", described(before)));
    }
    let mut ended = false;
    for part in between {
        if shown.len() >= PARTS {
            shown.push("… and more parts".to_owned());
            break;
        }
        match part.strip_prefix(b"--") {
            Some(rest) if !rest.trim_ascii().is_empty() => {
                shown.push(format!("(behind the last part: {})", described(rest)));
            }
            Some(_) => {}
            None if ended => shown.push(format!("(behind the end: {})", described(part))),
            None => shown.push(one_part(part)),
        }
        ended |= part.starts_with(b"--");
    }
    forms.push("parts of a multipart body".to_owned());
    (!shown.is_empty()).then(|| shown.join("\n"))
}

/// What stands between occurrences of a mark.
fn split<'b>(bytes: &'b [u8], mark: &[u8]) -> Vec<&'b [u8]> {
    let (mut pieces, mut from, mut at) = (Vec::new(), 0, 0);
    while at + mark.len() <= bytes.len() {
        if bytes[at..].starts_with(mark) {
            pieces.push(&bytes[from..at]);
            at += mark.len();
            from = at;
        } else {
            at += 1;
        }
    }
    pieces.push(&bytes[from..]);
    pieces
}

/// `name="a"; filename="b.png", image/png: 12 bytes, not text`
fn one_part(part: &[u8]) -> String {
    let part = part.strip_prefix(b"\r\n").unwrap_or(part);
    let end = part.windows(4).position(|four| four == b"\r\n\r\n");
    let Some(end) = end.filter(|end| *end <= HEAD) else {
        return described(part);
    };
    let head = String::from_utf8_lossy(&part[..end]).into_owned();
    let said = head.split("\r\n").filter_map(|line| {
        let (name, value) = line.split_once(':')?;
        let value = value.trim();
        Some(match name.trim().to_ascii_lowercase().as_str() {
            "content-disposition" => value.trim_start_matches("form-data;").trim().to_owned(),
            "content-type" => value.to_owned(),
            name => format!("{name}: {value}"),
        })
    });
    let body = &part[end + 4..];
    let body = body.strip_suffix(b"\r\n").unwrap_or(body);
    format!(
        "{}: {}",
        said.collect::<Vec<_>>().join(", "),
        described(body)
    )
}

/// A piece as text, or how long it is.
fn described(bytes: &[u8]) -> String {
    match text(bytes) {
        Some(text) => text,
        None => format!("{} bytes, not text", bytes.len()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::{
        Compression,
        write::{DeflateEncoder, GzEncoder, ZlibEncoder},
    };

    use super::*;

    const TEXT: &str = r#"{"command":"start","force":true}"#;

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let line = |(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), value.parse().unwrap())
        };
        lines.iter().map(line).collect()
    }

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
        gzip.write_all(text).unwrap();
        gzip.finish().unwrap()
    }

    fn seen(lines: &[(&'static str, &str)], body: &[u8]) -> (String, String) {
        let seen = of(&headers(lines), body, true);
        (seen.text.unwrap_or_default(), seen.form.unwrap_or_default())
    }

    #[test]
    fn text_is_its_own_beginning() {
        let plain = of(
            &headers(&[("content-type", "application/json; charset=utf-8")]),
            TEXT.as_bytes(),
            true,
        );
        assert_eq!(
            plain,
            Preview {
                text: Some(TEXT.to_owned()),
                ..Preview::default()
            }
        );
        assert_eq!(of(&HeaderMap::new(), b"", true), Preview::default());
        assert_eq!(
            of(&HeaderMap::new(), b"\x89PNG\xff", true),
            Preview::default()
        );
        let long = "é".repeat(MAX_PREVIEW);
        let cut = of(&HeaderMap::new(), long.as_bytes(), false).text.unwrap();
        assert_eq!(cut.len(), MAX_PREVIEW);
    }

    #[test]
    fn what_is_packed_is_unpacked() {
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::best());
        zlib.write_all(TEXT.as_bytes()).unwrap();
        let mut bare = DeflateEncoder::new(Vec::new(), Compression::best());
        bare.write_all(TEXT.as_bytes()).unwrap();
        for (coding, body, name) in [
            ("gzip", gzip(TEXT.as_bytes()), "gzip"),
            ("X-GZIP", gzip(TEXT.as_bytes()), "x-gzip"),
            ("identity", gzip(TEXT.as_bytes()), "gzip"),
            ("deflate", zlib.finish().unwrap(), "deflate"),
            ("deflate", bare.finish().unwrap(), "deflate"),
        ] {
            let (text, form) = seen(&[("content-encoding", coding)], &body);
            assert_eq!(text, TEXT, "{coding}");
            assert_eq!(form, format!("unpacked from {name}, 32 bytes"));
        }
        let whole = gzip(TEXT.as_bytes());
        let begun = of(&HeaderMap::new(), &whole[..whole.len() - 9], false);
        assert!(begun.form.unwrap().ends_with("bytes"));
        let meant = of(&HeaderMap::new(), &whole, true).meant.unwrap();
        assert_eq!(meant, TEXT.as_bytes());
    }

    #[test]
    fn what_is_not_unpacked_is_named() {
        let (text, form) = seen(&[("content-encoding", "br")], b"\xff\xfe\xfd");
        assert!(
            form.starts_with("br, which guard does not unpack"),
            "{form}"
        );
        assert!(text.len() < 9);
        let (text, form) = seen(&[("content-encoding", "gzip, gzip")], b"force=0");
        assert_eq!(
            (text.as_str(), form.as_str()),
            ("force=0", "gzip, gzip, which guard does not unpack")
        );
        let (text, form) = seen(&[("content-encoding", "gzip")], b"force=0");
        assert_eq!(
            (text.as_str(), form.as_str()),
            ("force=0", "gzip, which guard does not unpack")
        );
        let (text, _) = seen(&[("content-encoding", "gzip")], &gzip(b"\x89PNG\xff\xff"));
        assert_eq!(text, "");
    }

    #[test]
    fn a_bomb_is_not_unpacked_to_its_end() {
        let bomb = gzip(&vec![b'a'; 32 << 20]);
        let (text, form) = seen(&[("content-encoding", "gzip")], &bomb);
        assert_eq!(form, "unpacked from gzip, and more of it");
        assert!(text.ends_with("a…") && text.len() <= MAX_PREVIEW);
    }

    #[test]
    fn other_charsets_are_decoded() {
        let little: Vec<u8> = TEXT.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let big: Vec<u8> = TEXT.encode_utf16().flat_map(u16::to_be_bytes).collect();
        let marked = [&b"\xff\xfe"[..], &little].concat();
        for (media, body) in [
            ("text/plain; charset=UTF-16LE", &little),
            ("text/plain; charset=\"utf-16\"", &big),
            ("text/plain", &marked),
        ] {
            let (text, form) = seen(&[("content-type", media)], body);
            assert_eq!(
                (text.as_str(), form.as_str()),
                (TEXT, "decoded from UTF-16")
            );
        }
        let (text, form) = seen(
            &[("content-type", "text/plain; charset=iso-8859-1")],
            b"caf\xe9",
        );
        assert_eq!(
            (text.as_str(), form.as_str()),
            ("café", "decoded from iso-8859-1")
        );
        let (_, form) = seen(&[("content-type", "text/plain; charset=ibm037")], b"abc");
        assert_eq!(form, "said to be ibm037");
        let packed = gzip(&marked);
        let (text, form) = seen(&[], &packed);
        assert_eq!(text, TEXT);
        assert_eq!(form, "unpacked from gzip, 66 bytes, decoded from UTF-16");
    }

    #[test]
    fn parts_that_are_text_are_shown_beside_those_that_are_not() {
        let body = b"--Xy\r\nContent-Disposition: form-data; name=\"delete\"\r\n\r\nall\r\n--Xy\r\n\
            Content-Disposition: form-data; name=\"photo\"; filename=\"a.png\"\r\nContent-Type: image/png\r\n\r\n\x89PNG\xff\r\n--Xy--\r\n";
        let of = |boundary| seen(&[("content-type", boundary)], body);
        let (text, form) = of("multipart/form-data; boundary=Xy");
        assert_eq!(
            text,
            "name=\"delete\": all\nname=\"photo\"; filename=\"a.png\", image/png: 5 bytes, not text"
        );
        assert_eq!(form, "parts of a multipart body");
        assert_eq!(of("application/octet-stream; boundary=Xy").1, "");
        let odd = [&b"force=true\r\n"[..], body, b"more\xff"].concat();
        let (text, _) = seen(
            &[("content-type", "multipart/mixed; boundary=\"Xy\"")],
            &odd,
        );
        assert!(
            text.starts_with("(before the first part: force=true"),
            "{text}"
        );
        assert!(
            text.ends_with("(behind the last part: 8 bytes, not text)"),
            "{text}"
        );
    }
}
