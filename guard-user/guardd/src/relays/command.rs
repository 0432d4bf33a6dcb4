//! The upstream of a listener by its process's command line. That is believed: it can make a verdict only stricter.

/// The upstream that a command line names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NamedUpstream {
    /// To a host, by its name or address, and a port.
    To(String, u16),
    /// To a port of the host that it is connected to.
    Peer(u16),
    /// Anywhere the client asks for, or unknown.
    Anywhere,
}

/// Programs that connect wherever the client asks, or to an upstream that their command line does not name.
const ANYWHERE: [&str; 24] = [
    "sshd",
    "sshd-session",
    "dockerd",
    "containerd",
    "podman",
    "buildkitd",
    "rootlessport",
    "slirp4netns",
    "passt",
    "pasta",
    "gvproxy",
    "vpnkit",
    "com.docker.backend",
    "systemd",
    "init",
    "xinetd",
    "inetd",
    "microsocks",
    "sockd",
    "tinyproxy",
    "squid",
    "privoxy",
    "tor",
    "v2ray",
];

/// Programs that keep one connection to their upstream; without one, the upstream may be anything.
const BY_CONNECTIONS: [&str; 6] = [
    "kubectl",
    "oc",
    "cloud-sql-proxy",
    "cloud_sql_proxy",
    "alloydb-auth-proxy",
    "session-manager-plugin",
];

/// The upstreams of a process that listens at `port`, by its program and its command line. `is_connected`: it has outbound
/// connections, which show the upstream.
#[must_use]
pub(crate) fn upstreams(
    program: &str,
    command: &[String],
    port: u16,
    is_connected: bool,
) -> Vec<NamedUpstream> {
    let words: Vec<&str> = command.iter().skip(1).map(String::as_str).collect();
    match program {
        "ssh" => of_ssh(&words, port),
        "socat" | "socat1" | "socat2" => of_socat(&words),
        "docker-proxy" => of_docker_proxy(&words),
        "systemd-socket-proxyd" => of_socket_proxyd(&words),
        known if ANYWHERE.contains(&known) => vec![NamedUpstream::Anywhere],
        known if BY_CONNECTIONS.contains(&known) && !is_connected => vec![NamedUpstream::Anywhere],
        _ => Vec::new(),
    }
}

/// ssh(1): `-L [bind:]port:host:hostport`, `-D`. Its configuration file, and what a master was asked for, cannot be read.
fn of_ssh(words: &[&str], port: u16) -> Vec<NamedUpstream> {
    let mut upstreams = Vec::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let Some(at) = word.strip_prefix('-').and_then(|options| options.find('L')) else {
            continue;
        };
        // The option may end its word, and may stand behind others (`-NL`).
        let value = match &word[at + 2..] {
            "" => words.next().copied().unwrap_or_default(),
            value => value,
        };
        upstreams.extend(forward(value, port));
    }
    if upstreams.is_empty() {
        vec![NamedUpstream::Anywhere]
    } else {
        upstreams
    }
}

/// The part of ssh's `-L` that is for `port`.
fn forward(value: &str, port: u16) -> Option<NamedUpstream> {
    let parts = colons(value);
    let (listens, host, host_port) = match parts[..] {
        [listens, host, host_port] | [_, listens, host, host_port] => (listens, host, host_port),
        // To a Unix socket.
        [listens, _] => return (listens.parse() == Ok(port)).then_some(NamedUpstream::Anywhere),
        _ => return None,
    };
    if listens.parse() != Ok(port) {
        return None;
    }
    let Ok(host_port) = host_port.parse() else {
        return Some(NamedUpstream::Anywhere);
    };
    Some(match host {
        "localhost" | "127.0.0.1" | "::1" => NamedUpstream::Peer(host_port),
        host => NamedUpstream::To(host.to_owned(), host_port),
    })
}

/// The parts between colons, those in brackets whole.
fn colons(value: &str) -> Vec<&str> {
    let mut depth = 0;
    let parts = value.split(|c| {
        depth += i32::from(c == '[') - i32::from(c == ']');
        c == ':' && depth == 0
    });
    let bare = |part: &'_ str| -> (usize, usize) {
        if part.starts_with('[') && part.ends_with(']') {
            (1, part.len() - 1)
        } else {
            (0, part.len())
        }
    };
    let parts = parts.map(|part| {
        let (start, end) = bare(part);
        &part[start..end]
    });
    parts.collect()
}

/// socat(1): the addresses that do not listen.
fn of_socat(words: &[&str]) -> Vec<NamedUpstream> {
    let addresses = words.iter().filter(|word| !word.starts_with('-'));
    let upstreams: Vec<NamedUpstream> = addresses.filter_map(|word| of_address(word)).collect();
    if upstreams.is_empty() {
        vec![NamedUpstream::Anywhere]
    } else {
        upstreams
    }
}

fn of_address(word: &str) -> Option<NamedUpstream> {
    let address = word.split(',').next().unwrap_or_default();
    let (kind, rest) = address.split_once(':')?;
    let kind = kind.to_ascii_lowercase();
    if kind.contains("listen") || matches!(kind.as_str(), "tcp-l" | "tcp4-l" | "tcp6-l") {
        return None;
    }
    let is_plain =
        kind.starts_with("tcp") || kind.starts_with("openssl") || kind.starts_with("ssl");
    match colons(rest)[..] {
        [host, port] if is_plain => Some(match port.parse() {
            Ok(port) => NamedUpstream::To(host.to_owned(), port),
            Err(_) => NamedUpstream::Anywhere,
        }),
        _ => Some(NamedUpstream::Anywhere),
    }
}

/// moby's docker-proxy: `-container-ip ADDRESS -container-port PORT`.
fn of_docker_proxy(words: &[&str]) -> Vec<NamedUpstream> {
    let value = |name: &str| {
        let mut words = words.iter();
        words.find(|word| word.trim_start_matches('-') == name)?;
        words.next().copied()
    };
    let port = value("container-port").and_then(|port| port.parse().ok());
    match (value("container-ip"), port) {
        (Some(host), Some(port)) => vec![NamedUpstream::To(host.to_owned(), port)],
        _ => vec![NamedUpstream::Anywhere],
    }
}

/// systemd-socket-proxyd(8): `HOST:PORT`, or the path of a Unix socket.
fn of_socket_proxyd(words: &[&str]) -> Vec<NamedUpstream> {
    let to = words.iter().rev().find(|word| !word.starts_with('-'));
    let parts = to.map(|to| colons(to)).unwrap_or_default();
    match parts[..] {
        [host, port] => match port.parse() {
            Ok(port) => vec![NamedUpstream::To(host.to_owned(), port)],
            Err(_) => vec![NamedUpstream::Anywhere],
        },
        _ => vec![NamedUpstream::Anywhere],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(line: &str, port: u16) -> Vec<NamedUpstream> {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        upstreams(&words[0], &words, port, false)
    }

    fn to(host: &str, port: u16) -> Vec<NamedUpstream> {
        vec![NamedUpstream::To(host.to_owned(), port)]
    }

    #[test]
    fn the_upstream_of_an_ssh_forward_is_parsed() {
        for line in [
            "ssh -L 5432:192.0.2.10:5433 bastion",
            "ssh -NL 5432:192.0.2.10:5433 bastion",
            "ssh -fN -L5432:192.0.2.10:5433 -L 80:192.0.2.11:80 bastion",
            "ssh -L 127.0.0.1:5432:192.0.2.10:5433 bastion",
            "ssh -L [::1]:5432:192.0.2.10:5433 bastion",
        ] {
            assert_eq!(told(line, 5432), to("192.0.2.10", 5433), "{line}");
        }
        let six = told("ssh -L 1:[2001:db8::1]:2 b", 1);
        assert_eq!(six, to("2001:db8::1", 2));
        assert_eq!(told("ssh -L 1:localhost:2 b", 1), [NamedUpstream::Peer(2)]);
        for line in [
            "ssh -D 1080 b",
            "ssh -L 1081:192.0.2.10:1 b",
            "ssh: /home/u/.ssh/master [mux]",
            "ssh -L 1080:/run/docker.sock b",
        ] {
            let words: Vec<_> = line.split(' ').map(str::to_owned).collect();
            assert_eq!(
                upstreams("ssh", &words, 1080, true),
                [NamedUpstream::Anywhere],
                "{line}"
            );
        }
    }

    #[test]
    fn the_upstreams_of_other_relays_are_parsed() {
        for (line, expected) in [
            (
                "socat TCP-LISTEN:1,fork,reuseaddr TCP:192.0.2.10:5432",
                to("192.0.2.10", 5432),
            ),
            (
                "socat -d TCP4-LISTEN:1 OPENSSL:db.example:443,verify=0",
                to("db.example", 443),
            ),
            (
                "socat TCP6-LISTEN:1 TCP6:[2001:db8::1]:80",
                to("2001:db8::1", 80),
            ),
            (
                "socat TCP-LISTEN:1 UNIX-CONNECT:/run/docker.sock",
                vec![NamedUpstream::Anywhere],
            ),
            ("socat TCP-LISTEN:1 EXEC:sh", vec![NamedUpstream::Anywhere]),
            (
                "docker-proxy -proto tcp -host-ip 0.0.0.0 -host-port 1 -container-ip 172.17.0.2 -container-port 5432",
                to("172.17.0.2", 5432),
            ),
            (
                "systemd-socket-proxyd --exit-idle-time=1 192.0.2.10:80",
                to("192.0.2.10", 80),
            ),
            (
                "systemd-socket-proxyd /run/x.sock",
                vec![NamedUpstream::Anywhere],
            ),
            (
                "kubectl port-forward pod 1:5432",
                vec![NamedUpstream::Anywhere],
            ),
            ("sshd -D", vec![NamedUpstream::Anywhere]),
            ("node server.js", vec![]),
        ] {
            assert_eq!(told(line, 1), expected, "{line}");
        }
        let kubectl = ["kubectl".to_owned(), "port-forward".to_owned()];
        assert_eq!(upstreams("kubectl", &kubectl, 1, true), []);
    }
}
