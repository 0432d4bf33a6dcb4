//! Headers of one connection, which are not for the other end (RFC 9110 7.6.1).

use http::{
    HeaderMap, HeaderName, HeaderValue, Uri, header,
    request::Parts,
    uri::{PathAndQuery, Scheme},
};

use super::upstream::Version;

/// Headers of the connection, whether `Connection` names them or not.
const OF_THE_CONNECTION: [HeaderName; 5] = [
    header::CONNECTION,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// Headers that `Connection` cannot remove: a client could hide them so.
const FOR_THE_END: [HeaderName; 4] = [
    header::AUTHORIZATION,
    header::CONTENT_LENGTH,
    header::COOKIE,
    header::HOST,
];

/// Fields of a head at most, as with HTTP/1.
const MAX_FIELDS: usize = 100;

/// Has a request name its host once, and for HTTP/1 in the form that servers expect: the destination is the connection's own,
/// so the target needs no scheme and authority.
///
/// # Errors
///
/// Why it is ambiguous.
pub(super) fn normalise(
    parts: &mut Parts,
    version: Version,
    scheme: &Scheme,
) -> Result<(), &'static str> {
    match version {
        Version::Http1 => {
            let path = parts.uri.path_and_query().cloned();
            parts.uri = Uri::from(path.unwrap_or_else(|| PathAndQuery::from_static("/")));
            Ok(())
        }
        Version::Http2 => {
            one_authority(parts, scheme)?;
            match parts.uri.authority() {
                Some(named) if named.as_str().contains('@') => Err("its authority names a user"),
                _ => Ok(()),
            }
        }
    }
}

/// RFC 9113 8.3.1: `:authority` and `Host` must not differ, and one of them is there.
fn one_authority(parts: &mut Parts, scheme: &Scheme) -> Result<(), &'static str> {
    let lookalikes = ["content_length", "transfer_encoding"];
    if parts.headers.len() > MAX_FIELDS {
        return Err("there are more than 100 headers");
    }
    if lookalikes
        .iter()
        .any(|name| parts.headers.contains_key(*name))
    {
        return Err(
            "a header name has an underscore where the header that it looks like has a hyphen",
        );
    }
    if parts.uri.scheme().is_some_and(|named| named != scheme) {
        return Err("its scheme is not that of the connection");
    }
    let mut hosts = parts.headers.get_all(header::HOST).iter();
    let (host, more) = (hosts.next().cloned(), hosts.next().is_some());
    let authority = parts.uri.authority().cloned();
    let named = host.as_ref().map(HeaderValue::as_bytes);
    match (authority, named) {
        (Some(authority), Some(host)) if more || authority.as_str().as_bytes() != host => {
            Err("the Host field names another host than :authority")
        }
        (Some(_), _) => Ok(()),
        (None, Some(host)) if !more => {
            let mut uri = parts.uri.clone().into_parts();
            uri.authority = Some(host.try_into().map_err(|_| "the Host field is no host")?);
            uri.scheme = Some(uri.scheme.unwrap_or_else(|| scheme.clone()));
            parts.uri = Uri::from_parts(uri).map_err(|_| "the target is none")?;
            Ok(())
        }
        _ => Err("the request names no host, or several"),
    }
}

/// Removes the headers of the connection they came over.
pub(super) fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = named(headers).collect();
    for name in named {
        if !FOR_THE_END.contains(&name) && name != header::TE {
            headers.remove(name);
        }
    }
    for name in OF_THE_CONNECTION {
        headers.remove(name);
    }
    keep_trailers(headers);
}

fn named(headers: &HeaderMap) -> impl Iterator<Item = HeaderName> {
    let lists = headers.get_all(header::CONNECTION).iter();
    let names = lists.filter_map(|list| list.to_str().ok());
    names
        .flat_map(|list| list.split(','))
        .filter_map(|name| name.trim().parse().ok())
}

/// Removes all values of TE but `trailers`.
fn keep_trailers(headers: &mut HeaderMap) {
    let codings = headers.get_all(header::TE).iter();
    let mut codings = codings.filter_map(|list| list.to_str().ok());
    let trailers = codings.any(|list| {
        let mut codings = list.split(',').map(str::trim);
        codings.any(|coding| coding.eq_ignore_ascii_case("trailers"))
    });
    headers.remove(header::TE);
    if trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let line = |(name, value): &(&'static str, &'static str)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        };
        lines.iter().map(line).collect()
    }

    fn stripped(lines: &[(&'static str, &'static str)]) -> Vec<String> {
        let mut headers = headers(lines);
        strip(&mut headers);
        let names = headers.iter();
        names
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect()
    }

    #[test]
    fn what_is_for_the_connection_goes_and_all_else_stays() {
        let lines = [
            ("host", "photos"),
            ("connection", "keep-alive, X-Private"),
            ("x-private", "1"),
            ("keep-alive", "timeout=5"),
            ("upgrade", "h2c"),
            ("te", "gzip, trailers"),
            ("accept", "*/*"),
        ];
        assert_eq!(
            stripped(&lines),
            ["host: photos", "accept: */*", "te: trailers"]
        );
    }

    #[test]
    fn a_client_cannot_have_removed_what_the_other_end_judges_by() {
        let lines = [
            ("connection", "host, content-length, authorization, cookie"),
            ("host", "photos"),
            ("content-length", "3"),
            ("authorization", "x"),
            ("cookie", "y"),
        ];
        assert_eq!(stripped(&lines).len(), 4);
    }
}
