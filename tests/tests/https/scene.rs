//! Production that has certificates from the company's authority, and an agent that may only look.

use std::{fs, path::PathBuf};

use guard_lab::{AGENT, Company, Daemon, Network, OPEN, Output, Production};
use serde_json::Value;
use tempfile::TempDir;

/// The photo server.
pub(crate) const PHOTOS: &str = "192.0.2.10";
/// The name of both.
pub(crate) const NAME: &str = "photos.example";
/// The incident's path and body.
pub(crate) const JOB: &str = "/api/jobs/thumbnailGeneration";
pub(crate) const START: &str = r#"{"command":"start","force":true}"#;
const PORT: u16 = 8443;

const POLICY: &str = r#"
version = 1
name = "photos"
default = "allow"
hold = "60s"

[[rule]]
name = "photos"
to = ["192.0.2.0/24", "2001:db8:7::/48"]
action = "read-only"
reason = "production photo server"
"#;

pub(crate) struct Scene {
    pub(crate) daemon: Daemon,
    pub(crate) production: Production,
    pub(crate) network: Network,
    files: TempDir,
}

impl Scene {
    /// With a guard that knows the company's authority, or not.
    pub(crate) fn new(knows: bool) -> Self {
        let network = Network::new().unwrap();
        let files = TempDir::new().unwrap();
        let readable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(files.path(), readable).unwrap();
        let company = Company::new("company").unwrap();
        let authority = files.path().join("company.pem");
        fs::write(&authority, company.pem()).unwrap();
        let server = files.path().join("server.pem");
        fs::write(&server, company.issue(&[NAME, PHOTOS, OPEN]).unwrap()).unwrap();
        let ca = format!("[proxy]\nca = [{authority:?}]\n");
        let resolvers = "resolvers = [\"127.0.0.1:1\"]\n";
        let daemon = Daemon::in_network(&network)
            .policy("photos", POLICY)
            .config(&format!("{resolvers}{}", if knows { &ca } else { "" }))
            .start()
            .unwrap();
        Self {
            daemon,
            production: Production::launch_as(&network, &[PORT], &[], true, Some(&server)).unwrap(),
            network,
            files,
        }
    }

    /// The company's authority, as a file.
    pub(crate) fn company(&self) -> PathBuf {
        self.files.path().join("company.pem")
    }

    /// `curl` without the guard, by somebody who trusts the company.
    pub(crate) fn outside(&self, args: &[&str]) -> Output {
        let all = curl(args);
        let mut command = self.network.dev().command_as(AGENT, &all[0]);
        let output = command
            .args(&all[1..])
            .arg("--cacert")
            .arg(self.company())
            .output();
        let output = output.unwrap();
        Output {
            status: output.status,
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// `curl` in a session of an ordinary user's.
    pub(crate) fn inside(&self, args: &[&str]) -> Output {
        let all = ["run", "--policy", "photos", "--"];
        self.daemon.agent(all).args(curl(args)).run().unwrap()
    }

    /// The methods and paths that reached production as requests, in their order.
    pub(crate) fn arrived(&self) -> Vec<String> {
        let reached = self.production.reached().unwrap();
        let requests = reached.iter().filter(|one| one.kind == "http");
        let text = |record: &Value, key: &str| record[key].as_str().unwrap().to_owned();
        requests
            .map(|one| {
                format!(
                    "{} {}",
                    text(&one.record, "method"),
                    text(&one.record, "path")
                )
            })
            .collect()
    }
}

/// As people type it, with the status in a last line of its own, and names that lead to both servers.
fn curl(args: &[&str]) -> Vec<String> {
    let mut all: Vec<_> = ["curl", "-sS", "-m", "20", "-w", "\n%{http_code}"]
        .map(str::to_owned)
        .into();
    all.extend(["--resolve".to_owned(), format!("{NAME}:{PORT}:{PHOTOS}")]);
    all.extend(args.iter().map(|arg| (*arg).to_owned()));
    all
}

pub(crate) fn url(host: &str, path: &str) -> String {
    format!("https://{host}:{PORT}{path}")
}

/// The status in the last line, and what was above it.
pub(crate) fn answer(output: &Output) -> (&str, &str) {
    let (body, status) = output
        .stdout
        .rsplit_once('\n')
        .unwrap_or_else(|| panic!("{output:?}"));
    (status, body)
}
