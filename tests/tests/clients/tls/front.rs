//! nginx in front of what speaks no TLS itself, as production often has it.

use std::fs;
use std::path::{Path, PathBuf};

use guard_lab::{OPEN, Tested, bins, eventually};

use crate::clients::scene::{ClientScene, HOST, NAME, OPEN_NAME};
use crate::clients::server::Server;

/// The port of all that is not about several.
pub(crate) const PORT: u16 = 8443;

/// One of its servers.
pub(crate) struct Site {
    pub(crate) port: u16,
    /// With its key, as PEM.
    pub(crate) certificate: String,
    /// The port of what it is in front of; none: it says `here` itself.
    pub(crate) behind: Option<u16>,
    /// The file of the authority whose certificates it wants clients to have, if any.
    pub(crate) clients_of: Option<PathBuf>,
}

/// It runs as long as this value.
pub(crate) struct Front {
    dir: PathBuf,
    _server: Server,
}

impl Front {
    /// With a certificate of the company's for all names and addresses of production.
    pub(crate) fn of(scene: &ClientScene, behind: Option<u16>) -> Tested<Self> {
        let certificate = certificate(scene)?;
        let site = Site {
            port: PORT,
            certificate,
            behind,
            clients_of: None,
        };
        Self::start(scene, &[site])
    }

    /// The same, for clients alone that have a certificate of the company's.
    pub(crate) fn for_clients(scene: &ClientScene) -> Tested<Self> {
        let site = Site {
            port: PORT,
            certificate: certificate(scene)?,
            behind: None,
            clients_of: Some(scene.company()),
        };
        Self::start(scene, &[site])
    }

    pub(crate) fn start(scene: &ClientScene, sites: &[Site]) -> Tested<Self> {
        let dir = scene.dir().join("front");
        fs::create_dir(&dir)?;
        for site in sites {
            fs::write(dir.join(format!("{}.pem", site.port)), &site.certificate)?;
        }
        fs::write(dir.join("nginx.conf"), config(&dir, sites))?;
        let mut nginx = scene.on_production(bins::clients()?.join("usr/sbin/nginx"))?;
        nginx
            .arg("-p")
            .arg(&dir)
            .args(["-c", "nginx.conf", "-e", "stderr"]);
        let _server = Server::start(scene, &mut nginx, sites[0].port)?;
        Ok(Self { dir, _server })
    }

    /// The requests that arrived, each with its version, in the order of their ends, once there are so many: nginx writes
    /// each down when it has been answered.
    pub(crate) fn arrived(&self, expected: usize) -> Tested<Vec<String>> {
        let read = || -> Tested<_> {
            let log = fs::read_to_string(self.dir.join("arrived"))?;
            Ok(log.lines().map(str::to_owned).collect::<Vec<_>>())
        };
        eventually("they have arrived", || Ok(read()?.len() >= expected)).unwrap_or_else(|_| {
            panic!(
                "{expected} should have arrived, and {:?} have",
                read().unwrap()
            )
        });
        read()
    }
}

/// A certificate of the company's, with its key.
pub(crate) fn certificate(scene: &ClientScene) -> Tested<String> {
    let names = [NAME, HOST, OPEN_NAME, OPEN];
    Ok(scene.company.issue(&names)?)
}

fn config(dir: &Path, sites: &[Site]) -> String {
    let dir = dir.display();
    let servers: String = sites
        .iter()
        .map(|site| server(&dir.to_string(), site))
        .collect();
    format!(
        "daemon off; master_process off; user root; pid {dir}/pid; error_log stderr;\n\
         events {{}}\n\
         http {{\n\
         log_format arrived '$request'; access_log {dir}/arrived arrived;\n\
         client_body_temp_path {dir}/body; proxy_temp_path {dir}/proxy; fastcgi_temp_path {dir}/fastcgi;\n\
         uwsgi_temp_path {dir}/uwsgi; scgi_temp_path {dir}/scgi; client_max_body_size 0;\n\
         map $http_upgrade $to_upgrade {{ '' ''; default upgrade; }}\n\
         {servers}}}\n"
    )
}

fn server(dir: &str, site: &Site) -> String {
    let Site { port, behind, .. } = site;
    let clients = site.clients_of.as_ref().map(|of| {
        format!(
            "ssl_client_certificate {};\nssl_verify_client on;\n",
            of.display()
        )
    });
    let clients = clients.unwrap_or_default();
    let answer = match behind {
        Some(behind) => format!(
            "proxy_pass http://127.0.0.1:{behind}; proxy_http_version 1.1;\n\
             proxy_set_header Host $host:$server_port;\n\
             proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $to_upgrade;\n"
        ),
        None => "return 200 'here\\n';\n".to_owned(),
    };
    format!(
        "server {{\nlisten {port} ssl http2; listen [::]:{port} ssl http2;\n\
         ssl_certificate {dir}/{port}.pem; ssl_certificate_key {dir}/{port}.pem;\n\
         {clients}location / {{\n{answer}}}\n}}\n"
    )
}
