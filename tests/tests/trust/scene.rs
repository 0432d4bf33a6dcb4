//! A server whose certificate is of an authority that no system knows, and callers who start sessions.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use guard_lab::{Network, PATIENCE, Running, Tested};

use crate::launch::bench::{Bench, USER, text};

/// Whom [`USER`] stands for.
pub(crate) const UID: u32 = 65534;

/// Each asks the server, and fails where it does not trust it.
pub(crate) const CLIENTS: [&str; 4] = [
    "curl -sS -m 60 https://192.0.2.10/",
    "python3 -c \"import urllib.request as u; u.urlopen(\\\"https://192.0.2.10/\\\", timeout=20)\"",
    "wget -q -O - -T 20 -t 1 https://192.0.2.10/",
    "openssl s_client -verify_return_error -connect 192.0.2.10:443 </dev/null",
];

/// The system's programs, and nothing of the one who runs the tests.
const PATH: &str = "PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// As the guard's own authority is: the subject is always the same.
const AUTHORITY: &str = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -utf8 \
    -subj '/O=guard/CN=guard read-only CA' -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign -keyout ca.key -out ca.pem
openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=photos -keyout leaf.key -out leaf.csr
{ echo subjectAltName=IP:192.0.2.10; echo authorityKeyIdentifier=keyid; } >leaf.ext
openssl x509 -req -in leaf.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 1 -extfile leaf.ext -out leaf.pem";

const SERVER: &str = r#"
import http.server, ssl

class Photos(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "6")
        self.end_headers()
        self.wfile.write(b"photos")

server = http.server.ThreadingHTTPServer(("192.0.2.10", 443), Photos)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("leaf.pem", "leaf.key")
server.socket = context.wrap_socket(server.socket, server_side=True)
print("ready", flush=True)
server.serve_forever()
"#;

/// Who starts the session. The command runs as [`USER`] for both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Caller {
    Root,
    Ordinary,
}

pub(crate) struct ForeignAuthority {
    bench: Bench,
    network: Network,
    _server: Running,
    state: tempfile::TempDir,
}

impl ForeignAuthority {
    pub(crate) fn new() -> Tested<Self> {
        let bench = Bench::new()?;
        let mut made = Command::new("sh");
        made.args(["-ec", AUTHORITY]).current_dir(bench.dir());
        text(&made.output()?)?;
        let network = Network::new()?;
        let mut server = network.prod().command("env");
        let server = server
            .args([PATH, "python3", "-c", SERVER])
            .current_dir(bench.dir())
            .stderr(Stdio::null());
        let mut server = Running::start(server)?;
        server.line_with("ready", PATIENCE)?;
        let state = tempfile::tempdir()?;
        let all = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(state.path(), all)?;
        Ok(Self {
            bench,
            network,
            _server: server,
            state,
        })
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.bench.path(name)
    }

    pub(crate) fn state(&self) -> &Path {
        self.state.path()
    }

    pub(crate) fn authority(&self) -> PathBuf {
        self.path("ca.pem")
    }

    /// Options of the probe, for a session that trusts the authority.
    pub(crate) fn trusting(&self) -> [&str; 4] {
        let state = self.state().to_str().unwrap();
        ["--trust", "ca.pem", "--state", state]
    }

    /// Runs a shell script in a session, with these options of the probe.
    pub(crate) fn run(&self, caller: Caller, options: &[&str], script: &str) -> Tested<Output> {
        self.output(caller, &[], options, script)
    }

    /// The same, with more in the caller's environment.
    pub(crate) fn output(
        &self,
        caller: Caller,
        environment: &[&str],
        options: &[&str],
        script: &str,
    ) -> Tested<Output> {
        let mut command = self.bench.command("env");
        command
            .args(["-i", PATH, "HOME=/nonexistent"])
            .args(environment);
        let net = format!("--net={}", self.network.dev().path().display());
        command.args(["nsenter", &net, "--"]);
        if caller == Caller::Ordinary {
            let ids = [format!("--reuid={UID}"), format!("--regid={UID}")];
            command.arg("setpriv").args(ids);
            command.args(["--clear-groups", "--inh-caps=-all", "--"]);
        }
        command.args(["./probe", "run"]);
        if caller == Caller::Root {
            command.args(["--user", USER]);
        }
        command.args(options).args(["--", "sh", "-c", script]);
        Ok(command.output()?)
    }

    /// Runs one that must succeed; gives its standard output.
    pub(crate) fn succeeds(
        &self,
        caller: Caller,
        options: &[&str],
        script: &str,
    ) -> Tested<String> {
        self.with(caller, &[], options, script)
    }

    /// The same, with more in the caller's environment.
    pub(crate) fn with(
        &self,
        caller: Caller,
        environment: &[&str],
        options: &[&str],
        script: &str,
    ) -> Tested<String> {
        let output = self.output(caller, environment, options, script)?;
        assert!(
            output.status.success(),
            "{script} by {caller:?}: {output:?}"
        );
        text(&output)
    }
}
