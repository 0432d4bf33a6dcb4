//! Where a device is notified. A browser says it, so it may be any URL: it must not have the console reach what only this network
//! reaches.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::{Context as _, Result, bail, ensure};
use http::Uri;
use tokio::net::lookup_host;

use crate::settings::PushHost;

/// Bytes of a URL at most.
const LONGEST: usize = 1024;

/// A push service's URL for one browser.
#[derive(Clone, Debug)]
pub(super) struct Endpoint {
    uri: Uri,
    /// Whether the settings name its host, and it may be anywhere.
    is_listed: bool,
}

impl Endpoint {
    /// That URL, where devices may be notified: of a public host at the usual port, or one that the settings name.
    ///
    /// # Errors
    ///
    /// Why not.
    pub(super) fn of(text: &str, listed: &[PushHost]) -> Result<Self> {
        ensure!(text.len() <= LONGEST, "the push service's URL is too long");
        let uri: Uri = text.parse().context("that is no URL of a push service")?;
        let authority = uri.authority().map_or("", |all| all.as_str());
        ensure!(
            uri.scheme_str() == Some("https") && !authority.is_empty() && !authority.contains('@'),
            "a push service has an https URL"
        );
        let mut endpoint = Self {
            uri,
            is_listed: false,
        };
        let port = endpoint.port();
        let is_it = |one: &PushHost| one.is(endpoint.host(), port);
        endpoint.is_listed = listed.iter().any(is_it);
        let is_outside = match endpoint.host().trim_matches(['[', ']']).parse() {
            Ok(address) => is_public(address),
            Err(_) => is_of_the_internet(endpoint.host()),
        };
        ensure!(
            endpoint.is_listed || (is_outside && port == 443),
            "{}",
            endpoint.elsewhere()
        );
        Ok(endpoint)
    }

    /// Where it is now. One address inside is enough to go to none.
    ///
    /// # Errors
    ///
    /// That it is nowhere, or where nobody is notified.
    pub(super) async fn addresses(&self) -> Result<Vec<SocketAddr>> {
        let host = self.host().trim_matches(['[', ']']);
        let found = lookup_host((host, self.port())).await;
        let found = found.with_context(|| format!("{host} has no address"))?;
        self.allowed(found.collect())
    }

    /// The same, where a name cannot be looked up now, nor is it used.
    ///
    /// # Errors
    ///
    /// That it leads where nobody is notified.
    pub(super) async fn check(&self) -> Result<()> {
        let host = self.host().trim_matches(['[', ']']);
        match lookup_host((host, self.port())).await {
            Ok(found) => self.allowed(found.collect()).map(drop),
            Err(_) => Ok(()),
        }
    }

    fn allowed(&self, found: Vec<SocketAddr>) -> Result<Vec<SocketAddr>> {
        ensure!(!found.is_empty(), "{} has no address", self.host());
        let is_allowed = |at: &SocketAddr| self.is_listed || is_public(at.ip());
        if found.iter().all(is_allowed) {
            Ok(found)
        } else {
            bail!("{}", self.elsewhere())
        }
    }

    fn elsewhere(&self) -> String {
        let authority = self.uri.authority().map_or("", |all| all.as_str());
        format!("{authority} is no public push service: push_hosts in console.toml may name it")
    }

    /// As the URL has it.
    pub(super) fn host(&self) -> &str {
        self.uri.host().unwrap_or_default()
    }

    fn port(&self) -> u16 {
        self.uri.port_u16().unwrap_or(443)
    }

    /// `https://NAME`
    pub(super) fn origin(&self) -> String {
        match self.port() {
            443 => format!("https://{}", self.host()),
            port => format!("https://{}:{port}", self.host()),
        }
    }

    pub(super) fn path(&self) -> &str {
        self.uri.path_and_query().map_or("/", |path| path.as_str())
    }
}

/// Whether a name could be one of DNS: what it leads to is looked at when it is used.
fn is_of_the_internet(host: &str) -> bool {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    let last = host.rsplit_once('.').map_or("", |(_, last)| last);
    let is_letter = |c: char| c.is_ascii_lowercase();
    // A number is an address, in one of its spellings.
    last.contains(is_letter)
        && !last.starts_with("0x")
        && ![
            "localhost",
            "local",
            "internal",
            "lan",
            "home",
            "arpa",
            "test",
        ]
        .contains(&last)
}

/// Whether an address is one of the internet's.
fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let is_special = matches!(
        (a, b, c),
        (0 | 10 | 127 | 224.., ..)
            | (100, 64..=127, _)
            | (169, 254, _)
            | (172, 16..=31, _)
            | (192, 0, 0 | 2)
            | (192, 88, 99)
            | (192, 168, _)
            | (198, 18 | 19, _)
            | (198, 51, 100)
            | (203, 0, 113)
    );
    !is_special
}

/// Those that were given out, but for the ones that have another address inside, or are for documents.
fn is_public_v6(address: Ipv6Addr) -> bool {
    let [a, b, c, d, e, f, high, low] = address.segments();
    // NAT64: the address behind it counts.
    if [a, b, c, d, e, f] == [0x64, 0xff9b, 0, 0, 0, 0] {
        let [one, two] = high.to_be_bytes();
        let [three, four] = low.to_be_bytes();
        return is_public_v4(Ipv4Addr::new(one, two, three, four));
    }
    let is_given = a & 0xe000 == 0x2000;
    let is_special = (a == 0x2001 && (b < 0x200 || b == 0xdb8)) || a == 0x2002 || a >= 0x3ff0;
    is_given && !is_special
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(names: &[&str]) -> Vec<PushHost> {
        let hosts = names
            .iter()
            .map(|name| PushHost::try_from((*name).to_owned()));
        hosts.collect::<Result<_, _>>().unwrap()
    }

    #[test]
    fn only_public_services_or_those_that_settings_name() {
        let of = |text: &str| Endpoint::of(text, &hosts(&["localhost:8443", "push.lan", "[::1]"]));
        for fine in [
            "https://fcm.googleapis.com/fcm/send/x",
            "https://updates.push.services.mozilla.com/wpush/v2/x",
            "https://web.push.apple.com:443/x?y=z",
            "https://1.1.1.1/x",
            "https://[2606:4700::1111]/x",
            "https://localhost:8443/x",
            "https://push.lan/x",
            "https://[::1]/x",
        ] {
            assert!(of(fine).is_ok(), "{fine}");
        }
        for other in [
            "http://fcm.googleapis.com/x",
            "https://fcm.googleapis.com:8443/x",
            "https://localhost/x",
            "https://localhost:8444/x",
            "https://sub.localhost/x",
            "https://a.push.lan/x",
            "https://printer/x",
            "https://nas.local/x",
            "https://metadata.google.internal/x",
            "https://127.0.0.1/x",
            "https://127.1/x",
            "https://2130706433/x",
            "https://1.0x7f/x",
            "https://10.0.0.1/x",
            "https://169.254.169.254/latest",
            "https://[::]/x",
            "https://[::ffff:10.0.0.1]/x",
            "https://[fd00::1]/x",
            "https://[fe80::1]/x",
            "https://user@fcm.googleapis.com/x",
            "https:///x",
            "/x",
            "ftp://fcm.googleapis.com/x",
            "file:///etc/passwd",
            "unix:/run/guard/guardd.sock",
            "",
        ] {
            assert!(of(other).is_err(), "{other}");
        }
        assert!(of(&format!("https://a.example/{}", "x".repeat(2000))).is_err());
    }

    #[test]
    fn a_name_that_leads_inside_is_not_followed_there() {
        let endpoint = Endpoint::of("https://push.example.com/x", &[]).unwrap();
        let allowed = |all: &[&str]| {
            let all = all.iter().map(|at| format!("{at}:443").parse().unwrap());
            endpoint.allowed(all.collect()).is_ok()
        };
        assert!(allowed(&[
            "8.8.8.8",
            "[2606:4700::1111]",
            "[64:ff9b::8.8.8.8]"
        ]));
        assert!(!allowed(&[]));
        for inside in [
            "127.0.0.1",
            "10.1.2.3",
            "100.64.0.1",
            "169.254.169.254",
            "172.31.0.1",
            "192.168.1.1",
            "192.0.0.1",
            "198.19.0.1",
            "203.0.113.1",
            "224.0.0.1",
            "255.255.255.255",
            "0.0.0.0",
            "[::1]",
            "[::]",
            "[::ffff:127.0.0.1]",
            "[::7f00:1]",
            "[64:ff9b::10.0.0.1]",
            "[64:ff9b:1::1]",
            "[fe80::1]",
            "[fd00::1]",
            "[ff02::1]",
            "[2001::1]",
            "[2001:db8::1]",
            "[2002:a00:1::]",
            "[3fff::1]",
        ] {
            assert!(!allowed(&[inside]), "{inside}");
            assert!(!allowed(&["8.8.8.8", inside]), "{inside}");
        }
    }

    #[tokio::test]
    async fn it_is_looked_at_where_a_name_leads_now() {
        let listed = hosts(&["localhost"]);
        let mut here = Endpoint::of("https://localhost/x", &listed).unwrap();
        assert!(
            here.addresses()
                .await
                .unwrap()
                .iter()
                .all(|at| at.ip().is_loopback())
        );
        here.is_listed = false;
        assert!(here.addresses().await.is_err());
    }
}
