//! Programs that lead on to another place, by their names. It is shown to who is asked, and decides nothing.

/// Programs that pass on what they get, to wherever their command line, their configuration or their client says.
const FORWARDERS: [&str; 35] = [
    "alloydb-auth-proxy",
    "buildkitd",
    "cloud-sql-proxy",
    "cloud_sql_proxy",
    "com.docker.backend",
    "containerd",
    "docker-proxy",
    "dockerd",
    "gvproxy",
    "inetd",
    "init",
    "kubectl",
    "microsocks",
    "oc",
    "passt",
    "pasta",
    "podman",
    "privoxy",
    "rootlessport",
    "session-manager-plugin",
    "slirp4netns",
    "socat",
    "socat1",
    "socat2",
    "sockd",
    "squid",
    "ssh",
    "sshd",
    "sshd-session",
    "systemd",
    "systemd-socket-proxyd",
    "tinyproxy",
    "tor",
    "v2ray",
    "vpnkit",
];

/// Returns true if a program is known to lead on.
#[must_use]
pub(super) fn forwards(program: &str) -> bool {
    FORWARDERS.binary_search(&program).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forwarders_are_sorted_and_known_by_name() {
        assert!(FORWARDERS.is_sorted());
        assert!(forwards("ssh") && forwards("docker-proxy"));
        assert!(!forwards("node") && !forwards(""));
    }
}
