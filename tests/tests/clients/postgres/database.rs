//! A PostgreSQL server in production, with a shop in it.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::PathBuf;

use guard_lab::postgres::{self, Cluster, SUPERUSER};
use guard_lab::{Tested, eventually};

use crate::clients::scene::{ClientScene, HOST, NAME};
use crate::clients::server::Server;
use crate::together::{Case, each_from};

pub(crate) const PORT: u16 = 5432;
/// The name of the database, of who owns it, and their password, which no audit log may have.
const SHOP: &str = "shop";
/// What the shop is made again from.
const KEPT: &str = "kept";
const APP: &str = "app";
pub(crate) const PASSWORD: &str = "hunter2-of-the-shop";

/// What production's rule says.
pub(crate) const RULE: &str = "profile = \"postgres\"\n";

/// What is in it. The view changes something by a function, which nobody sees who reads it.
const TABLES: &str = "
create table people (id int primary key, name text not null);
insert into people select i, 'person ' || i from generate_series(1, 100) i;
create table orders (id serial primary key, person int references people, total numeric);
insert into orders (person, total) select i, i * 1.5 from generate_series(1, 50) i;
create sequence numbers;
create function sneak() returns int language sql volatile as 'insert into people values (0, ''sneaked'') returning id';
create view sneaky as select sneak() as id;
analyze people;
create function total() returns numeric language sql stable as 'select sum(total) from orders';
";

/// A server that runs as long as this value.
pub(crate) struct Database {
    server: Server,
}

impl Database {
    /// A scene, and one in it that takes anybody's word for who they are, in the clear.
    pub(crate) fn with_scene() -> Tested<(ClientScene, Self)> {
        let scene = ClientScene::new(RULE)?;
        let database = Self::start(&scene)?;
        Ok((scene, database))
    }

    /// The same in a scene that there is.
    pub(crate) fn start(scene: &ClientScene) -> Tested<Self> {
        Self::of(scene, "trust", None, &["log_statement=all"])
    }

    /// One like that, which compiles queries, as servers do by default.
    pub(crate) fn compiling(scene: &ClientScene) -> Tested<Self> {
        Self::of(scene, "trust", None, &["jit=on"])
    }

    /// One that wants a password in that way, in the clear.
    pub(crate) fn asking(scene: &ClientScene, login: &str) -> Tested<Self> {
        let kept = if login == "md5" {
            "md5"
        } else {
            "scram-sha-256"
        };
        let settings = format!("password_encryption={kept}");
        Self::of(scene, login, None, &[&settings])
    }

    /// One that wants a password, and speaks TLS.
    pub(crate) fn secured(scene: &ClientScene) -> Tested<Self> {
        let certificate = scene.company.issue(&[NAME, HOST])?;
        let settings = ["log_statement=all"];
        Self::of(scene, "scram-sha-256", Some(&certificate), &settings)
    }

    /// One like the first, that does nothing by itself.
    pub(crate) fn idle(scene: &ClientScene) -> Tested<Self> {
        let settings = ["autovacuum=off", "max_prepared_transactions=2"];
        Self::of(scene, "trust", None, &settings)
    }

    fn of(
        scene: &ClientScene,
        login: &str,
        certificate: Option<&str>,
        settings: &[&str],
    ) -> Tested<Self> {
        let cluster = Cluster::new(scene.network.prod(), scene.dir().join("postgres"))?;
        let host = if certificate.is_some() {
            "hostssl"
        } else {
            "host"
        };
        cluster.admit(&format!(
            "{host} all all all {login}\n{host} replication all all {login}"
        ))?;
        let mut postgres = cluster.server();
        for setting in settings {
            postgres.args(["-c", setting]);
        }
        if let Some(certificate) = certificate {
            let pem = identity(&cluster, certificate)?;
            let pem = pem.display();
            postgres.args(["-c", "ssl=on"]);
            postgres.args(["-c", &format!("ssl_cert_file={pem}")]);
            postgres.args(["-c", &format!("ssl_key_file={pem}")]);
        }
        let database = Self {
            server: Server::start(scene, &mut postgres, PORT)?,
        };
        fill(&cluster)?;
        Ok(database)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        postgres::stop(&mut self.server.lines);
    }
}

/// All that was sent to the server of a scene, and what it says of that.
pub(crate) fn log(scene: &ClientScene) -> Tested<String> {
    let log = fs::read(scene.dir().join(format!("{PORT}.log")))?;
    Ok(String::from_utf8_lossy(&log).into_owned())
}

/// Tries each of these in one scene with one server, and each with the shop as it is at first.
pub(crate) fn each_in_a_new_shop(cases: &[Case<ClientScene>]) -> Tested {
    let (scene, _database) = Database::with_scene()?;
    keep(&scene)?;
    each_from(&scene, cases, renew)
}

/// Keeps the shop as it is now, for [`renew`] to make it again.
pub(crate) fn keep(scene: &ClientScene) -> Tested {
    as_superuser(scene, &[&format!("alter database {SHOP} rename to {KEPT}")])
}

/// Makes the shop as it was when it was kept. Whoever was there is gone, with all that they were asked about and let do.
pub(crate) fn renew(scene: &ClientScene) -> Tested {
    scene.end_sessions()?;
    as_superuser(
        scene,
        &[
            &format!("drop database if exists {SHOP} with (force)"),
            &format!("create database {SHOP} template {KEPT} owner {APP}"),
            &format!("alter role {APP} reset all"),
        ],
    )
}

/// Has the server do these, one after the other and each in a transaction of its own.
fn as_superuser(scene: &ClientScene, texts: &[&str]) -> Tested {
    let texts: String = texts.iter().map(|text| format!(" -c \"{text}\"")).collect();
    let psql = format!("psql -qX -v ON_ERROR_STOP=1 -h {HOST} -U {SUPERUSER} -d postgres{texts}");
    scene.unguarded()?.run(&psql)?.ok();
    Ok(())
}

/// The certificate with its key, in a file that the server takes.
pub(crate) fn identity(cluster: &Cluster<'_>, certificate: &str) -> Tested<PathBuf> {
    let pem = cluster.dir().join("server.pem");
    fs::write(&pem, certificate)?;
    chown(&pem, Some(postgres::USER), Some(postgres::USER))?;
    fs::set_permissions(&pem, fs::Permissions::from_mode(0o600))?;
    Ok(pem)
}

fn fill(cluster: &Cluster<'_>) -> Tested {
    // It takes connections before it serves them.
    let serves = || {
        cluster
            .execute(SUPERUSER, "postgres", &["select 1"])
            .is_ok()
    };
    eventually("the server serves", serves)?;
    let roles = format!(
        "create role {APP} login password '{PASSWORD}'; create role clerk; grant clerk to {APP}"
    );
    let shop = format!("create database {SHOP} owner {APP}");
    let made = cluster.execute(SUPERUSER, "postgres", &[&roles, &shop]);
    made?;
    cluster.execute(APP, SHOP, &[TABLES])?;
    Ok(())
}

/// As somebody types it, behind that.
pub(crate) fn psql(rest: &str) -> String {
    format!("PGPASSWORD={PASSWORD} psql -X -h {HOST} -U {APP} -d {SHOP} {rest}")
}

/// The same with one text.
pub(crate) fn query(text: &str) -> String {
    psql(&format!("-v ON_ERROR_STOP=1 -At -c \"{text}\""))
}
