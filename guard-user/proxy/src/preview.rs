//! The beginning of a body as text, for the person who is asked about it: unpacked, and decoded.
//!
//! For people only: nothing is judged by it, and the body is sent on as it came.

use std::io::Read;

use flate2::bufread::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use http::{HeaderMap, HeaderName, header};

use super::{judge, wire::MAX_PREVIEW};

/// Bytes that are unpacked at most.
const UNPACKED: u64 = 64 * 1024;
/// Parts that are shown.
const PARTS: usize = 32;
/// Bytes of a part's head that are read.
const HEAD: usize = 1024;

/// What is shown of a body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Preview {
    /// Its beginning, of [`MAX_PREVIEW`] bytes at most; none where it is no text.
    pub(super) text: Option<String>,
    /// How that was made of the body, in words; none if it is the body's own beginning.
    pub(super) form: Option<String>,
    /// What was unpacked and decoded, if anything was: to search it for words.
    pub(super) meant: Option<Vec<u8>>,
}

impl Preview {
    /// Returns the same without passwords and tokens, which says so. Only who is asked does without them.
    pub(super) fn without_secrets(self) -> Self {
        let Some(text) = self.text else { return self };
        let shown = judge::text_without_secrets(&text);
        let form = match (shown == text, self.form) {
            (true, form) => form,
            (false, None) => Some(LEFT_OUT.to_owned()),
            (false, Some(form)) => Some(format!("{form}; {LEFT_OUT}")),
        };
        Self {
            text: Some(shown),
            form,
            ..self
        }
    }
}

/// Said of a body that is shown without some values.
const LEFT_OUT: &str = "*** for passwords and tokens";

/// The preview of what was read of a body, which may be all of it.
///
/// A server may read it differently than its headers say. So text is shown as it came; and what can be read in a packed body
/// without unpacking is shown after what was unpacked.
pub(super) fn of(headers: &HeaderMap, body: &[u8], is_whole: bool) -> Preview {
    let mut forms = Vec::new();
    let unpacked = unpacked(headers, body, &mut forms);
    let bytes = unpacked.as_ref().map_or(body, |unpacked| &unpacked.bytes);
    let is_packed = unpacked.is_none() && !forms.is_empty();
    let decoded = if is_packed {
        None
    } else {
        decoded(headers, bytes, &mut forms)
    };
    let parts = match (&decoded, text(bytes)) {
        (None, None) => parts(headers, bytes, &mut forms),
        _ => None,
    };
    let head = &body[..body.len().min(MAX_PREVIEW)];
    if forms.is_empty() {
        return of_plain(head);
    }
    let meant = decoded.as_ref().map(|text| text.as_bytes().to_vec());
    let meant = meant.or(unpacked.as_ref().map(|unpacked| unpacked.bytes.clone()));
    if let Some(own) = own(body, head, is_whole).filter(|own| !own.contains('\0')) {
        let forms = forms.join(", ");
        return Preview {
            text: Some(own),
            form: Some(format!("as it came; by its headers {forms}")),
            meant,
        };
    }
    if !is_whole && !body.is_empty() {
        forms.push(format!("of its first {} bytes", body.len()));
    }
    let all = decoded.or(parts).or_else(|| {
        let seen = seen(bytes)?;
        forms.extend(seen.form);
        Some(seen.text)
    });
    let all = all.map(|text| shortened(&text, MAX_PREVIEW));
    let odd = unpacked.is_some_and(|unpacked| unpacked.may_be_read_otherwise(body, is_whole));
    let text = match (all, odd) {
        (all, false) => all,
        (all, true) => Some(beside(&all.unwrap_or_default(), body)),
    };
    Preview {
        text,
        form: Some(forms.join(", ")),
        meant,
    }
}

/// The preview of a body that is neither packed nor encoded.
fn of_plain(head: &[u8]) -> Preview {
    let seen = seen(head);
    Preview {
        form: seen.as_ref().and_then(|seen| seen.form.clone()),
        text: seen.map(|seen| seen.text),
        meant: None,
    }
}

/// The body as it came, if it is text.
fn own(body: &[u8], head: &[u8], is_whole: bool) -> Option<String> {
    if is_whole && head.len() == body.len() {
        std::str::from_utf8(body).ok().map(str::to_owned)
    } else {
        text(head)
    }
}

/// What was unpacked, with the bytes as they came.
fn beside(unpacked: &str, body: &[u8]) -> String {
    const HALF: usize = MAX_PREVIEW / 2 - 32;
    let head = &body[..body.len().min(MAX_PREVIEW)];
    let plain = |c: char| {
        if c.is_control() {
            char::REPLACEMENT_CHARACTER
        } else {
            c
        }
    };
    let came: String = String::from_utf8_lossy(head).chars().map(plain).collect();
    // The end may say more than the beginning.
    let from = came.ceil_char_boundary(came.len().saturating_sub(HALF));
    let more = if body.len() > head.len() { "…" } else { "" };
    format!(
        "{}\n(and as it came: {}{more})",
        shortened(unpacked, HALF),
        &came[from..]
    )
}

/// Cut to what is shown, with a mark.
fn shortened(text: &str, most: usize) -> String {
    if text.len() > most {
        let end = text.floor_char_boundary(most - "…".len());
        format!("{}…", &text[..end])
    } else {
        text.to_owned()
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

/// What a person sees of some bytes.
struct Seen {
    text: String,
    /// Set if it is not all of them.
    form: Option<String>,
}

/// Bytes as text, even if some are none: a server may skip those.
fn seen(bytes: &[u8]) -> Option<Seen> {
    if let Some(text) = text(bytes) {
        return Some(Seen { text, form: None });
    }
    if bytes.is_empty() {
        return None;
    }
    let is_odd =
        |c: &char| *c == char::REPLACEMENT_CHARACTER || (c.is_control() && !"\t\r\n".contains(*c));
    let lossy = String::from_utf8_lossy(bytes);
    let odd = lossy.chars().filter(is_odd).count();
    if odd * 8 <= lossy.chars().count() {
        let plain = |c: char| {
            if is_odd(&c) {
                char::REPLACEMENT_CHARACTER
            } else {
                c
            }
        };
        return Some(Seen {
            text: lossy.chars().map(plain).collect(),
            form: Some(match odd {
                1 => "with 1 byte that is no text".to_owned(),
                more => format!("with {more} bytes that are no text"),
            }),
        });
    }
    let runs: Vec<_> = words(bytes).map(String::from_utf8_lossy).collect();
    (!runs.is_empty()).then(|| Seen {
        text: runs.join(" … "),
        form: Some(format!(
            "the readable part of {} bytes that are not text",
            bytes.len()
        )),
    })
}

/// The values of a header as one, in lower case.
fn value(headers: &HeaderMap, name: &HeaderName) -> String {
    let values = headers.get_all(name).iter();
    let values = values.map(|value| String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase());
    values.collect::<Vec<_>>().join(", ").trim().to_owned()
}

/// What was unpacked.
struct Unpacked {
    bytes: Vec<u8>,
    /// Whether no header says that it is packed.
    unsaid: bool,
    /// Whether there is more after it, or it is incomplete.
    is_part: bool,
}

impl Unpacked {
    /// Whether a reader that does not unpack it may read something in it.
    fn may_be_read_otherwise(&self, body: &[u8], is_whole: bool) -> bool {
        // A name or a comment in gzip's head, RFC 1952 2.3.1.
        let has_words =
            body.starts_with(&[0x1f, 0x8b]) && body.get(3).is_some_and(|flags| *flags != 0);
        self.unsaid || has_words || (is_whole && self.is_part) || has_readable(body)
    }
}

/// Whether there is a run of letters in it that could say something.
fn has_readable(body: &[u8]) -> bool {
    readable(body).next().is_some()
}

fn readable(body: &[u8]) -> impl Iterator<Item = &[u8]> {
    const RUN: usize = 8;
    let runs = body.split(|byte| !(b' '..=b'~').contains(byte));
    let long = runs.filter(|run| run.len() >= RUN);
    long.filter(|run| run.iter().any(|byte| b"=:&".contains(byte)))
}

/// The readable words in bytes that are no text: all words if there are many, as in protobuf or `MessagePack`; else only long
/// ones, since short ones are in any bytes.
fn words(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    const SHORT: usize = 4;
    const LONG: usize = 8;
    let runs = |least| {
        let runs = bytes.split(|byte| !(b' '..=b'~').contains(byte));
        runs.filter(move |run| run.len() >= least)
    };
    // For random bytes it is one in eighteen.
    let is_mostly_words = runs(SHORT).map(<[u8]>::len).sum::<usize>() * 4 >= bytes.len();
    runs(if is_mostly_words { SHORT } else { LONG })
}

/// Unpacks a body, by `Content-Encoding` or its first bytes.
fn unpacked(headers: &HeaderMap, body: &[u8], forms: &mut Vec<String>) -> Option<Unpacked> {
    let coding = value(headers, &header::CONTENT_ENCODING);
    let unsaid = ["", "identity"].contains(&coding.as_str());
    let read = match coding.as_str() {
        _ if body.is_empty() => return None,
        _ if unsaid && !body.starts_with(&[0x1f, 0x8b]) => return None,
        "" | "identity" | "gzip" | "x-gzip" => {
            all_of(MultiGzDecoder::new(body), MultiGzDecoder::into_inner)
        }
        // RFC 9110 8.4.1.2: zlib's form, but some send raw deflate.
        "deflate" => all_of(ZlibDecoder::new(body), ZlibDecoder::into_inner)
            .or_else(|| all_of(DeflateDecoder::new(body), DeflateDecoder::into_inner)),
        _ => None,
    };
    let name = if unsaid { "gzip" } else { coding.as_str() };
    let name: String = name.chars().take(40).collect();
    let Some((bytes, is_part)) = read else {
        forms.push(format!("{name}, which guard does not unpack"));
        return None;
    };
    let (count, more) = (
        bytes.len() as u64,
        if is_part {
            ", with more behind them"
        } else {
            ""
        },
    );
    forms.push(if count >= UNPACKED {
        format!("unpacked from {name}, and more of it")
    } else {
        format!("unpacked from {name}, {count} bytes{more}")
    });
    Some(Unpacked {
        bytes,
        unsaid,
        is_part,
    })
}

/// What can be unpacked of it, and whether that is incomplete; none if nothing can.
fn all_of<'b, R: Read>(mut packed: R, rest: impl Fn(R) -> &'b [u8]) -> Option<(Vec<u8>, bool)> {
    let mut bytes = Vec::new();
    // What came before an error counts: the body may be incomplete.
    let ended = packed.by_ref().take(UNPACKED).read_to_end(&mut bytes);
    let is_part = ended.is_err() || !rest(packed).is_empty();
    (!bytes.is_empty()).then_some((bytes, is_part))
}

/// Decodes text in another charset than UTF-8, by `Content-Type` or its first bytes.
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
        (_, "iso-8859-1" | "latin1" | "windows-1252") if std::str::from_utf8(bytes).is_err() => {
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

/// The parts of a body that is not text as a whole (RFC 2046 5.1, RFC 7578): those that are text, and the lengths of the
/// others.
fn parts(headers: &HeaderMap, bytes: &[u8], forms: &mut Vec<String>) -> Option<String> {
    let given = headers.get(header::CONTENT_TYPE)?;
    let given = String::from_utf8_lossy(given.as_bytes());
    let is_multipart = given.get(..10)?.eq_ignore_ascii_case("multipart/");
    if is_multipart && has_many_boundaries(headers) {
        forms.push(
            "a multipart body that has more than one reading, by its Content-Type".to_owned(),
        );
        return None;
    }
    // RFC 2046 5.1.1 gives it 70 characters at most.
    let boundary = parameter(&given, "boundary")?;
    if !is_multipart || boundary.is_empty() || boundary.len() > 70 {
        return None;
    }
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

/// Whether some readers use another boundary than the first: a second one, one of RFC 2231, or one in quotes.
fn has_many_boundaries(headers: &HeaderMap) -> bool {
    let given = value(headers, &header::CONTENT_TYPE);
    let is_quoted = given
        .split('"')
        .skip(1)
        .step_by(2)
        .any(|quoted| quoted.contains([';', '\\']));
    // The word may be in the boundary itself: `----WebKitFormBoundary…`.
    let named = given.split("boundary").skip(1).map(str::trim_start);
    let named: Vec<_> = named.filter(|rest| rest.starts_with(['=', '*'])).collect();
    is_quoted || !matches!(named[..], [one] if one.starts_with('='))
}

/// The pieces between occurrences of a mark.
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

/// A piece as text, or its length.
fn described(bytes: &[u8]) -> String {
    match seen(bytes) {
        Some(Seen { text, form: None }) => text,
        Some(Seen {
            text,
            form: Some(form),
        }) => format!("{text} ({form})"),
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

    #[test]
    fn bytes_that_are_no_text_hide_no_text() {
        let body = b"{\"state\":\"off\",\"targets\":[\"db1\",\"db2\"],\"x\":\"\xff\"}";
        for lines in [
            &[][..],
            &[("content-type", "application/json; charset=iso-8859-15")],
        ] {
            let seen = of(&headers(lines), body, true);
            assert!(seen.text.unwrap().contains("\"targets\":[\"db1\""));
            assert!(seen.form.unwrap().contains("with 1 byte that is no text"));
        }
        let mut body = vec![0xfe; 500];
        body.extend_from_slice(b"action=wipe-everything");
        body.extend_from_slice(&[0; 500]);
        let seen = of(&headers(&[]), &body, true);
        assert_eq!(seen.text.unwrap(), "action=wipe-everything");
        assert!(
            seen.form
                .unwrap()
                .contains("the readable part of 1022 bytes")
        );
        assert_eq!(of(&headers(&[]), &[0xfe; 500], true).text, None);
    }

    #[test]
    fn a_multipart_body_with_two_boundaries_is_shown_as_it_came() {
        let body = "--AAA\r\nContent-Disposition: form-data; name=\"photo\"\r\n\r\n\
                    --BBB\r\nContent-Disposition: form-data; name=\"action\"\r\n\r\nwipe\u{ff}\r\n--BBB--\r\n--AAA--\r\n";
        let mut body = body.as_bytes().to_vec();
        body.push(0xff);
        for media in [
            "multipart/form-data; boundary=AAA; boundary=BBB",
            "multipart/form-data; boundary=AAA; boundary*=utf-8''BBB",
            "multipart/form-data; x=\"; boundary=AAA\"; boundary=BBB",
        ] {
            let seen = of(&headers(&[("content-type", media)]), &body, true);
            assert!(seen.text.unwrap().contains("name=\"action\""), "{media}");
            assert!(
                seen.form.unwrap().contains("more than one reading"),
                "{media}"
            );
        }
    }

    #[test]
    fn parts_of_what_browsers_send_are_shown() {
        let body = b"------WebKitFormBoundaryA1\r\nContent-Disposition: form-data; name=\"op\"\r\n\r\nwipe\r\n\
            ------WebKitFormBoundaryA1\r\nContent-Disposition: form-data; name=\"photo\"\r\n\r\n\x89PNG\xff\r\n\
            ------WebKitFormBoundaryA1--\r\n";
        let media = "multipart/form-data; boundary=----WebKitFormBoundaryA1";
        let (text, form) = seen(&[("content-type", media)], body);
        assert_eq!(form, "parts of a multipart body");
        assert_eq!(text, "name=\"op\": wipe\nname=\"photo\": 5 bytes, not text");
        let hidden = "multipart/form-data; x=boundary=BBB; boundary=----WebKitFormBoundaryA1";
        assert!(
            seen(&[("content-type", hidden)], body)
                .1
                .contains("more than one reading")
        );
    }

    /// A call of gRPC or `MessagePack` names what it deletes in short words.
    #[test]
    fn words_in_binary_formats_are_shown() {
        let packed = b"\x82\xa6action\xa4wipe\xa6target\xafdb1 and all else";
        let (text, form) = seen(&[], packed);
        assert_eq!(text, "action … wipe … target … db1 and all else");
        assert!(form.ends_with("bytes that are not text"), "{form}");
        let protobuf = b"\0\0\0\0\x14\x0a\x08\xff/photos/\x12\x08/photos0";
        assert_eq!(seen(&[], protobuf).0, "/photos/ … /photos0");
        // Random bytes say nothing.
        let mut state = 1_u32;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_be_bytes()[0]
        })
        .take(2048)
        .collect();
        assert!(seen(&[], &noise).0.len() < 40);
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
    fn all_members_of_gzip_are_shown() {
        let coding = [("content-encoding", "gzip")];
        let two = [gzip(b"command=status"), gzip(b"&command=delete-all")].concat();
        let (text, form) = seen(&coding, &two);
        assert_eq!(text, "command=status&command=delete-all");
        assert_eq!(form, "unpacked from gzip, 33 bytes");
        let (_, form) = seen(&coding, &[two, b"and more".to_vec()].concat());
        assert_eq!(form, "unpacked from gzip, 33 bytes, with more behind them");
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
        for coding in ["gzip, gzip", "gzip"] {
            let (text, form) = seen(&[("content-encoding", coding)], b"force=0");
            let said = format!("as it came; by its headers {coding}, which guard does not unpack");
            assert_eq!((text.as_str(), form), ("force=0", said));
        }
        let (text, _) = seen(&[("content-encoding", "gzip")], &gzip(b"\x89PNG\xff\xff"));
        assert_eq!(text, "");
    }

    /// A server that does not unpack it, or knows no such charset, reads something else.
    #[test]
    fn what_could_be_read_otherwise_is_shown_too() {
        let tail = b"&dry_run=false&amount=1000000";
        let dry = [&gzip(b"dry_run=true")[..], tail].concat();
        for lines in [&[][..], &[("content-encoding", "gzip")]] {
            let (text, _) = seen(lines, &dry);
            assert!(text.starts_with("dry_run=true\n"), "{text}");
            assert!(text.ends_with("&dry_run=false&amount=1000000)"), "{text}");
        }
        let mut named = flate2::GzBuilder::new()
            .comment("&force=true")
            .write(Vec::new(), Compression::best());
        named.write_all(b"dry_run=true").unwrap();
        let (text, _) = seen(&[("content-encoding", "gzip")], &named.finish().unwrap());
        assert!(text.contains("&force=true"), "{text}");
        let json = br#"{"amount":1000000,"to":"mallory"}"#;
        for line in [
            ("content-encoding", "deflate"),
            ("content-type", "application/json; charset=utf-16"),
        ] {
            assert_eq!(seen(&[line], json).0.as_bytes(), json);
        }
    }

    #[test]
    fn a_bomb_is_not_unpacked_to_its_end() {
        let bomb = gzip(&vec![b'a'; 32 << 20]);
        let (text, form) = seen(&[("content-encoding", "gzip")], &bomb);
        assert_eq!(form, "unpacked from gzip, and more of it");
        assert!(text.contains("a…\n(and as it came: ") && text.len() <= MAX_PREVIEW);
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
        let (text, form) = seen(&[("content-type", "text/plain; charset=ibm037")], b"abc");
        assert_eq!(
            (text.as_str(), form.as_str()),
            ("abc", "as it came; by its headers said to be ibm037")
        );
        let packed = gzip(&marked);
        let (text, form) = seen(&[("content-encoding", "gzip")], &packed);
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
        assert_eq!(
            of("application/octet-stream; boundary=Xy").1,
            "with 2 bytes that are no text"
        );
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
            text.ends_with(
                "(behind the last part: more (the readable part of 7 bytes that are not text))"
            ),
            "{text}"
        );
    }
}
