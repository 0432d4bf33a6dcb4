//! A developer's machine, and production behind it with the names that the incidents' files have.

use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use guard_lab::{
    Company, Network, PATIENCE, Production, Running, Scene, Tested, bins, holds_scene,
};

use crate::names::server::NameServer;

/// Production's name server.
const DNS: &str = "192.0.2.53";
/// A port of this machine's own server.
pub(super) const HERE: u16 = 8080;

/// A name, or none, and its address.
pub(super) type Host = (&'static str, &'static str);

pub(super) struct IncidentScene {
    scene: Scene,
    pub(super) production: Production,
    pub(super) dir: PathBuf,
    /// More variables of an agent's.
    pub(super) environment: Vec<(&'static str, String)>,
    hosts: Vec<Host>,
    certificate: String,
    _names: NameServer,
    _here: Running,
}

holds_scene!(IncidentScene);

impl IncidentScene {
    /// With production that serves HTTP at these ports, in the clear and within TLS.
    pub(super) fn new(hosts: &[Host], ports: &[u16]) -> Tested<Self> {
        let network = Network::new()?;
        network.answer_for(&["192.168.7.0/24"])?;
        let names = NameServer::start_at(network.prod(), &format!("{DNS}:53"))?;
        for (name, address) in hosts.iter().filter(|(name, _)| !name.is_empty()) {
            names.set(name, &[address]);
        }
        // It goes with the network, also where this is killed.
        let dir = network.tag().dir().join("incidents");
        fs::create_dir_all(&dir)?;
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o755))?;
        fs::write(dir.join("resolv.conf"), format!("nameserver {DNS}\n"))?;
        let company = Company::new("company")?;
        fs::write(dir.join("company.pem"), company.pem())?;
        let shown: Vec<_> = hosts.iter().flat_map(|(name, at)| [*name, *at]).collect();
        let shown: Vec<_> = shown.into_iter().filter(|one| !one.is_empty()).collect();
        let certificate = company.issue(&shown)?;
        let identity = dir.join("server.pem");
        fs::write(&identity, &certificate)?;
        let production = Production::launch_as(&network, ports, &[], true, Some(&identity))?;
        let config = format!(
            "discover = {{ require = \"covered\" }}\nresolvers = [\"{DNS}:53\"]\n[proxy]\nca = [{:?}]\n",
            dir.join("company.pem")
        );
        let mut here = network.dev().command(bins::find("guard-lab")?);
        let mut here = Running::start(here.args(["serve", "--tcp", &HERE.to_string()]))?;
        here.line_with("ready", PATIENCE)?;
        Ok(Self {
            scene: Scene::on(network, |daemon| daemon.config(&config))?,
            production,
            dir,
            environment: Vec::new(),
            hosts: hosts.to_vec(),
            certificate,
            _names: names,
            _here: here,
        })
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Production's certificate for all of them, with its key, as PEM.
    pub(super) fn certificate(&self) -> &str {
        &self.certificate
    }

    /// Where a host is.
    pub(super) fn address(&self, host: &str) -> &'static str {
        let mut hosts = self.hosts.iter();
        let found = hosts.find(|(name, at)| [name, at].contains(&&host));
        found.unwrap_or_else(|| panic!("{host} is nowhere")).1
    }

    /// That nobody was asked for a name, and nothing came to any of the hosts.
    pub(super) fn assert_nothing_was_sent(&self) -> Tested {
        let all = self.hosts.iter().map(|(_, at)| *at).chain([DNS]);
        let all: Vec<IpAddr> = all.map(|at| at.parse().unwrap()).collect();
        let mut reached = self.production.reached()?;
        reached.retain(|one| all.contains(&one.to));
        assert_eq!(reached, []);
        Ok(())
    }

    /// Whether a request came to a host whose method, path and body have these in them.
    pub(super) fn has_arrived(&self, host: &str, wanted: &[&str]) -> Tested<bool> {
        let to: IpAddr = self.address(host).parse()?;
        let requests = self.production.requests()?;
        let mut requests = requests.iter().filter(|one| one.to == to);
        Ok(requests.any(|one| {
            let said = [one.text("method"), one.text("path"), one.text("body")].join(" ");
            wanted.iter().all(|part| said.contains(part))
        }))
    }

    /// The programs of clients that are in none of the usual places.
    pub(super) fn path() -> Tested<String> {
        let postgres = bins::postgres()?;
        Ok(format!(
            "{}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
            postgres.display()
        ))
    }
}
