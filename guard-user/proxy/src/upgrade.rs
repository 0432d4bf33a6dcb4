//! Upgraded connections: what passes through them afterwards is not judged.

use std::rc::Rc;

use http::{HeaderMap, HeaderValue, Request, Response, header};
use hyper::{body::Incoming, upgrade::OnUpgrade};
use hyper_util::rt::TokioIo;
use tokio::task::spawn_local;

use super::client::Client;

/// The client's side of an upgrade.
#[derive(Debug)]
pub(super) struct Upgrade {
    to: HeaderValue,
    client: OnUpgrade,
}

impl Upgrade {
    /// What a request asks for; `None`: nothing that is passed on, and the client goes on in HTTP/1.1. HTTP/2 by `h2c` is none
    /// (RFC 9113 3.1), nor is what no protocol is named in: the judge takes neither for an upgrade.
    pub(super) fn of(request: &mut Request<Incoming>) -> Option<Self> {
        let mut named = request.headers().get_all(header::UPGRADE).iter();
        let (to, more) = (named.next()?, named.next().is_some());
        let is_protocol =
            |one: &str| !one.trim().is_empty() && !one.trim().eq_ignore_ascii_case("h2c");
        if more || !to.to_str().is_ok_and(|to| to.split(',').all(is_protocol)) {
            return None;
        }
        let to = to.clone();
        let client = hyper::upgrade::on(request);
        Some(Self { to, client })
    }

    /// Adds the upgrade to the request for the destination.
    pub(super) fn ask(&self, headers: &mut HeaderMap) {
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, self.to.clone());
    }

    /// Joins both ends, once both are upgraded.
    pub(super) fn join(self, whose: Rc<Client>, response: &mut Response<Incoming>) {
        let destination = hyper::upgrade::on(&mut *response);
        response
            .headers_mut()
            .insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        spawn_local(async move {
            let (Ok(client), Ok(destination)) = tokio::join!(self.client, destination) else {
                return;
            };
            let (mut client, mut destination) = (TokioIo::new(client), TokioIo::new(destination));
            // Errors of either end are of no interest.
            tokio::select! {
                _ = tokio::io::copy_bidirectional(&mut client, &mut destination) => {}
                () = whose.hole_closed() => {}
            }
            // It keeps its slot until now.
            drop(whose);
        });
    }
}
