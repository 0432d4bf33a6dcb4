//! Trailer sections, RFC 9112 7.1.2.

use super::{field::Field, limits::Limits, malformed::Malformed, section::Section};
use crate::http::steers;

/// What may not come that late, RFC 9110 6.5.1: what frames, routes, authenticates, or changes how the message is
/// read. Whoever merges trailers into the head would have been shown another one.
const FORBIDDEN: &[&str] = &[
    "age",
    "authorization",
    "cache-control",
    "connection",
    "content-encoding",
    "content-length",
    "content-range",
    "content-type",
    "cookie",
    "date",
    "depth",
    "destination",
    "expect",
    "expires",
    "forwarded",
    "host",
    "keep-alive",
    "location",
    "max-forwards",
    "overwrite",
    "pragma",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "range",
    "retry-after",
    "set-cookie",
    "soapaction",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "vary",
    "warning",
    "www-authenticate",
    "x-amz-acl",
    "x-amz-target",
    "x-cascade",
    "x-host",
];

/// Reads on in a trailer section. Zero until it is whole, then its length.
pub(super) fn pass(
    section: &mut Section,
    bytes: &[u8],
    limits: &Limits,
) -> Result<usize, Malformed> {
    while let Some(line) = section.next(bytes, limits.trailers, Malformed::TrailersTooLong)? {
        if line.is_empty() {
            return Ok(section.line);
        }
        section.field(limits.fields)?;
        let field = Field::read(line)?;
        field.known()?;
        if is_forbidden(field.name) {
            return Err(Malformed::Trailer);
        }
    }
    Ok(0)
}

/// Also what is about the message and in no list: conditions, who it is said to come from, and what it is said to ask for.
/// Whatever is neither letter nor digit is `-`: to CGI and its kin it is `_`, and they know no `-`.
pub fn is_forbidden(name: &[u8]) -> bool {
    const FAMILIES: [&str; 14] = [
        "if-",
        "request-method",
        "x-amz-copy-",
        "x-forwarded-",
        "x-http-",
        "x-invoke-",
        "x-matched-",
        "x-method",
        "x-middleware-",
        "x-original-",
        "x-override-",
        "x-rest-method",
        "x-rewrite-",
        "x-script-",
    ];
    let dashed = |byte: &u8| match byte {
        byte if byte.is_ascii_alphanumeric() => char::from(byte.to_ascii_lowercase()),
        _ => '-',
    };
    let own = String::from_utf8_lossy(name).to_ascii_lowercase();
    let name: String = name.iter().map(dashed).collect();
    steers(&own)
        || FORBIDDEN.contains(&name.as_str())
        || FAMILIES.iter().any(|family| name.starts_with(family))
}
