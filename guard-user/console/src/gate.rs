//! What a request has to be before it is looked at: for this console by its name, and from its own pages.
//!
//! A page of another name that DNS leads here (rebinding) says that name in `Host`. One of another origin that posts here says
//! that in `Origin`, as browsers have it for each POST. `Sec-Fetch-Site` says the same of what a page loads.

use http::{HeaderMap, Method, StatusCode, header, request::Parts};

use crate::settings::WebOrigin;

/// Why a request is not looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stopped {
    /// It is for another name.
    Host,
    /// It comes from another page.
    Origin,
    /// Neither GET, HEAD nor POST.
    Method,
}

impl Stopped {
    pub(crate) const fn status(self) -> StatusCode {
        match self {
            Self::Host => StatusCode::MISDIRECTED_REQUEST,
            Self::Origin => StatusCode::FORBIDDEN,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
        }
    }

    pub(crate) const fn why(self) -> &'static str {
        match self {
            Self::Host => "This console has another name: see origin in its settings.",
            Self::Origin => "This came from another page than the console's own.",
            Self::Method => "There is nothing to do so here.",
        }
    }
}

/// Lets a request pass.
///
/// # Errors
///
/// Why not.
pub(crate) fn pass(request: &Parts, origin: &WebOrigin) -> Result<(), Stopped> {
    let host = only(&request.headers, header::HOST.as_str());
    let in_target = request.uri.authority().map(http::uri::Authority::as_str);
    if host != Some(origin.authority()) || in_target.is_some_and(|host| host != origin.authority())
    {
        return Err(Stopped::Host);
    }
    match request.method {
        Method::GET | Method::HEAD => {
            if is_own(&request.headers) || is_visit(&request.headers) {
                Ok(())
            } else {
                Err(Stopped::Origin)
            }
        }
        Method::POST => {
            let said = only(&request.headers, header::ORIGIN.as_str());
            if said == Some(origin.as_str()) && is_own(&request.headers) {
                Ok(())
            } else {
                Err(Stopped::Origin)
            }
        }
        _ => Err(Stopped::Method),
    }
}

/// Whether nothing says that another site's page asks. Old browsers do not say it at all.
fn is_own(headers: &HeaderMap) -> bool {
    let Some(site) = headers.get("sec-fetch-site") else {
        return true;
    };
    site == "same-origin" || site == "none"
}

/// Whether somebody follows a link from elsewhere, to see a page of its own.
pub(crate) fn is_visit(headers: &HeaderMap) -> bool {
    let says = |name: &str, value: &str| headers.get(name).is_some_and(|said| said == value);
    says("sec-fetch-mode", "navigate") && says("sec-fetch-dest", "document") && !is_own(headers)
}

/// A header's value, where it is there once.
fn only<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut all = headers.get_all(name).iter();
    let first = all.next()?.to_str().ok()?;
    all.next().is_none().then_some(first)
}

/// The name of the session's cookie. With TLS browsers take it from this host alone, for all of it.
pub(crate) fn cookie_name(origin: &WebOrigin) -> &'static str {
    if origin.is_https() {
        "__Host-guard"
    } else {
        "guard"
    }
}

/// The session's secret, as the browser says it. Two of one name are none: one may be another's.
pub(crate) fn cookie<'a>(headers: &'a HeaderMap, origin: &WebOrigin) -> Option<&'a str> {
    let lines = headers.get_all(header::COOKIE).iter();
    let lines = lines.filter_map(|line| line.to_str().ok());
    let pairs = lines.flat_map(|line| line.split(';'));
    let mut mine = pairs.filter_map(|pair| {
        let (name, value) = pair.trim().split_once('=')?;
        (name == cookie_name(origin)).then_some(value)
    });
    let first = mine.next()?;
    mine.next().is_none().then_some(first)
}

/// The header that sets the session cookie; without a secret: that deletes it.
pub(crate) fn set_cookie(origin: &WebOrigin, secret: Option<&str>) -> String {
    let life = match secret {
        Some(_) => crate::files::SESSION.as_secs(),
        None => 0,
    };
    let secure = if origin.is_https() { "; Secure" } else { "" };
    let (name, value) = (cookie_name(origin), secret.unwrap_or_default());
    format!("{name}={value}; Path=/; HttpOnly; SameSite=Strict; Max-Age={life}{secure}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HERE: &str = "http://localhost:4827";

    fn origin() -> WebOrigin {
        HERE.parse().unwrap()
    }

    fn parts(method: &str, target: &str, headers: &[(&str, &str)]) -> Parts {
        let mut request = http::Request::builder().method(method).uri(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn tried(method: &str, headers: &[(&str, &str)]) -> Result<(), Stopped> {
        pass(&parts(method, "/", headers), &origin())
    }

    #[test]
    fn only_its_own_name_is_served() {
        let host = |host: &str| tried("GET", &[("host", host)]);
        assert_eq!(host("localhost:4827"), Ok(()));
        for other in [
            "rebound.example",
            "rebound.example:4827",
            "localhost",
            "localhost:4828",
            "127.0.0.1:4827",
            "LOCALHOST:4827",
            "localhost:4827.",
            "evil.localhost:4827",
            "",
        ] {
            assert_eq!(host(other), Err(Stopped::Host), "{other}");
        }
        assert_eq!(tried("GET", &[]), Err(Stopped::Host));
        let twice = [("host", "localhost:4827"), ("host", "localhost:4827")];
        assert_eq!(tried("GET", &twice), Err(Stopped::Host));
        let target = parts("GET", "http://evil.example/", &twice[..1]);
        assert_eq!(pass(&target, &origin()), Err(Stopped::Host));
    }

    #[test]
    fn a_post_comes_from_its_own_pages() {
        let post =
            |more: &[(&str, &str)]| tried("POST", &[&[("host", "localhost:4827")], more].concat());
        assert_eq!(post(&[("origin", HERE)]), Ok(()));
        assert_eq!(
            post(&[("origin", HERE), ("sec-fetch-site", "same-origin")]),
            Ok(())
        );
        let foreign: [&[(&str, &str)]; 8] = [
            &[],
            &[("origin", "null")],
            &[("origin", "https://localhost:4827")],
            &[("origin", "http://localhost")],
            &[("origin", "http://evil.localhost:4827")],
            &[("origin", "http://localhost:4827/")],
            &[("origin", HERE), ("origin", HERE)],
            &[("origin", HERE), ("sec-fetch-site", "cross-site")],
        ];
        for headers in foreign {
            assert_eq!(post(headers), Err(Stopped::Origin), "{headers:?}");
        }
        for method in ["PUT", "DELETE", "OPTIONS", "CONNECT", "TRACE", "BREW"] {
            assert_eq!(
                tried(method, &[("host", "localhost:4827")]),
                Err(Stopped::Method)
            );
        }
    }

    #[test]
    fn another_site_may_link_here_and_load_nothing() {
        let get =
            |more: &[(&str, &str)]| tried("GET", &[&[("host", "localhost:4827")], more].concat());
        let visit = [
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-mode", "navigate"),
            ("sec-fetch-dest", "document"),
        ];
        assert_eq!(get(&visit), Ok(()));
        for (mode, dest) in [
            ("no-cors", "image"),
            ("cors", "empty"),
            ("navigate", "iframe"),
            ("no-cors", "script"),
        ] {
            let load = [
                ("sec-fetch-site", "cross-site"),
                ("sec-fetch-mode", mode),
                ("sec-fetch-dest", dest),
            ];
            assert_eq!(get(&load), Err(Stopped::Origin), "{mode} {dest}");
        }
        assert_eq!(get(&[("sec-fetch-site", "none")]), Ok(()));
    }

    #[test]
    fn a_cookie_is_one_of_its_name() {
        let said = |lines: &[&str], origin: &str| {
            let headers: Vec<_> = lines.iter().map(|line| ("cookie", *line)).collect();
            let parts = parts("GET", "/", &headers);
            cookie(&parts.headers, &origin.parse().unwrap()).map(str::to_owned)
        };
        let tls = "https://guard.example.net";
        assert_eq!(said(&["a=b; guard=x; c=d"], HERE), Some("x".to_owned()));
        assert_eq!(said(&["guard=x; guard=y"], HERE), None);
        assert_eq!(said(&["guard=x", "guard=y"], HERE), None);
        assert_eq!(
            said(&["guard=x"], tls),
            None,
            "a page below could have set it"
        );
        assert_eq!(
            said(&["__Host-guard=x; guard=y"], tls),
            Some("x".to_owned())
        );
        assert_eq!(said(&["guardx=1; xguard=2; guard"], HERE), None);
        let set = set_cookie(&tls.parse().unwrap(), Some("x"));
        assert!(
            set.starts_with("__Host-guard=x; Path=/; HttpOnly; SameSite=Strict;")
                && set.ends_with("; Secure")
        );
        assert!(
            set_cookie(&origin(), None).contains("guard=; ")
                && !set_cookie(&origin(), None).contains("Secure")
        );
    }

    proptest! {
        #[test]
        fn no_other_host_and_no_other_origin_pass(host in "[ -~]{0,40}", from in "[ -~]{0,40}") {
            let (host, from) = (host.trim(), from.trim());
            prop_assume!(host != "localhost:4827" && from != HERE);
            prop_assert!(tried("GET", &[("host", host)]).is_err());
            prop_assert!(tried("POST", &[("host", "localhost:4827"), ("origin", from)]).is_err());
        }
    }
}
