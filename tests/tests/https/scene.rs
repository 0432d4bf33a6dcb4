//! Production that has certificates from the company's authority, and an agent that may only look.

use std::{fs, path::PathBuf};

use anyhow::Context as _;
use guard_lab::{
    AGENT, Company, Network, OPEN, Output, Production, Scene, Tested, exec, holds_scene,
};
use tempfile::TempDir;

/// The photo server.
pub(crate) const PHOTOS: &str = "192.0.2.10";
/// The name of both.
pub(crate) const NAME: &str = "photos.example";
/// The incident's path and body.
pub(crate) const JOB: &str = "/api/jobs/thumbnailGeneration";
pub(crate) const START: &str = r#"{"command":"start","force":true}"#;
const PORT: u16 = 8443;

pub(crate) const POLICY: &str = r#"
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

/// One with a photo server in production that has a certificate.
pub(crate) struct TlsPhotoScene {
    scene: Scene,
    production: Production,
    files: TempDir,
}

holds_scene!(TlsPhotoScene);

impl TlsPhotoScene {
    /// With a guard that knows the company's authority, or not.
    pub(crate) fn new(knows: bool) -> Tested<Self> {
        let network = Network::new()?;
        let files = TempDir::new()?;
        let readable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(files.path(), readable)?;
        let company = Company::new("company")?;
        let authority = files.path().join("company.pem");
        fs::write(&authority, company.pem())?;
        let server = files.path().join("server.pem");
        fs::write(&server, company.issue(&[NAME, PHOTOS, OPEN])?)?;
        let ca = format!("[proxy]\nca = [{authority:?}]\n");
        let resolvers = "resolvers = [\"127.0.0.1:1\"]\n";
        let config = format!("{resolvers}{}", if knows { &ca } else { "" });
        Ok(Self {
            production: Production::launch_as(&network, &[PORT], &[], true, Some(&server))?,
            scene: Scene::on(network, |daemon| {
                daemon.policy("photos", POLICY).config(&config)
            })?,
            files,
        })
    }

    /// The company's authority, as a file.
    pub(crate) fn company(&self) -> PathBuf {
        self.files.path().join("company.pem")
    }

    /// `curl` without the guard, by somebody who trusts the company.
    pub(crate) fn outside(&self, args: &[&str]) -> Tested<Output> {
        let all = curl(args);
        let mut command = self.network.dev().command_as(AGENT, &all[0]);
        command.args(&all[1..]).arg("--cacert").arg(self.company());
        Ok(exec::output(&mut command)?.into())
    }

    /// `curl` in a session of an ordinary user's.
    pub(crate) fn inside(&self, args: &[&str]) -> Tested<Output> {
        let all = ["run", "--policy", "photos", "--"];
        Ok(self.daemon.agent(all).args(curl(args)).run()?)
    }

    /// The methods and paths that reached production as requests, in their order.
    pub(crate) fn arrived(&self) -> Tested<Vec<String>> {
        Ok(self.production.requested()?)
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
pub(crate) fn answer(output: &Output) -> Tested<(&str, &str)> {
    let answered = output.stdout.rsplit_once('\n');
    let (body, status) = answered.with_context(|| format!("{output:?}"))?;
    Ok((status, body))
}
