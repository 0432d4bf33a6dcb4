//! Read-only destinations that are reached by a name, in HTTP/2, which names a host in each request, and in PostgreSQL.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, chown},
};

use guard_lab::{
    Running, Shell, Tested, bins, eventually,
    postgres::{self, Cluster},
};

use crate::shown::scene::{EVIL, FORGE, Looks, SHARED, SharedAddress};

const POLICY: &str = r#"
version = 1
name = "shared"
default = "allow"
hold = "0s"

[[rule]]
name = "forge"
to = ["forge.example.com"]
ports = ["tcp/8443"]
action = "read-only"

[[rule]]
name = "database"
to = ["forge.example.com"]
ports = ["tcp/5432"]
action = "read-only"
profile = "postgres"
"#;

/// What a line of the shell says, outside of the guard.
fn outside(scene: &SharedAddress, line: &str) -> Tested<String> {
    let mut shell = scene.network.dev().command_as(guard_lab::AGENT, "sh");
    let output = shell.args(["-c", line]).output()?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The same in a session.
fn inside(shell: &mut Shell, line: &str) -> Tested<String> {
    shell.tell(&format!(
        "printf 'said '; {{ {line}; }} 2>&1 | tr '\\n' ' '; echo"
    ))?;
    let said = shell.line_with("said ")?;
    Ok(said.trim().trim_start_matches("said ").trim().to_owned())
}

/// nginx, which serves any host by HTTP/2, and writes down which.
fn nginx(scene: &SharedAddress) -> Tested<Running> {
    let dir = scene.file("");
    let (dir, clients) = (dir.display(), bins::clients()?);
    let config = format!(
        "daemon off; master_process off; user root; pid {dir}/pid; error_log stderr;\n\
         events {{}}\n\
         http {{\n\
         log_format hosts '$host $server_protocol'; access_log {dir}/hosts hosts;\n\
         client_body_temp_path {dir}/body; proxy_temp_path {dir}/proxy; fastcgi_temp_path {dir}/fastcgi;\n\
         uwsgi_temp_path {dir}/uwsgi; scgi_temp_path {dir}/scgi;\n\
         server {{ listen {SHARED}:8443 ssl http2; ssl_certificate {dir}/server.pem; ssl_certificate_key {dir}/server.pem;\n\
         location / {{ return 200 served; }} }}\n}}\n"
    );
    fs::write(scene.file("nginx.conf"), config)?;
    let mut nginx = scene.network.prod().command(clients.join("usr/sbin/nginx"));
    nginx.arg("-p").arg(scene.file(""));
    Ok(Running::start(nginx.args([
        "-c",
        "nginx.conf",
        "-e",
        "stderr",
    ]))?)
}

#[test]
fn a_host_that_http2_names_is_held_to_the_names() -> Tested {
    let scene = SharedAddress::new()?;
    let _nginx = nginx(&scene)?;
    // SNI, and the host of each of two requests of one connection.
    let line = |name: &str, hosts: [&str; 2]| {
        let of = |host: &str| {
            let url = format!("https://{name}:8443/");
            format!(
                "-sS -k -m 10 --http2 --resolve {name}:8443:{SHARED} -o /dev/null -w '%{{http_code}}/%{{http_version}} ' -H 'Host: {host}' {url}"
            )
        };
        format!("curl {} --next {}", of(hosts[0]), of(hosts[1]))
    };
    let both = line(FORGE, [FORGE, EVIL]);
    eventually("nginx answers, for any host", || {
        Ok(outside(&scene, &both)? == "200/2 200/2")
    })?;
    let heard = || -> Tested<_> { Ok(fs::read_to_string(scene.file("hosts"))?) };
    eventually("both are written down", || {
        Ok(heard()?.contains(&format!("{EVIL} HTTP/2.0")))
    })?;

    let daemon = scene.daemon(POLICY, Looks::Proxy)?;
    let mut shell = scene.session(&daemon)?;
    let before = heard()?.matches(EVIL).count();
    assert_eq!(inside(&mut shell, &both)?, "200/2 421/2");
    let evil = line(EVIL, [EVIL, FORGE]);
    assert_eq!(inside(&mut shell, &evil)?, "403/2 421/2");
    assert_eq!(inside(&mut shell, &line(FORGE, [FORGE; 2]))?, "200/2 200/2");
    assert_eq!(heard()?.matches(EVIL).count(), before, "{}", heard()?);
    Ok(())
}

/// The same database under two names, one of which lists a function.
const TWO_DATABASES: &str = r#"
version = 1
name = "shared"
default = "allow"
hold = "0s"

[[rule]]
name = "staging"
to = ["forge.example.com"]
ports = ["tcp/5432"]
action = "read-only"
profile = "postgres"
postgres_functions = ["total"]
reason = "nobody uses it"

[[rule]]
name = "production"
to = ["evil.example.com"]
ports = ["tcp/5432"]
action = "read-only"
profile = "postgres"
reason = "customers use it"
"#;

/// What psql says that shows that name in TLS.
fn psql(name: &str) -> String {
    saying(name, "select 'answered'")
}

/// The same of a statement.
fn saying(name: &str, text: &str) -> String {
    format!(
        "HOME=/ psql 'host={name} hostaddr={SHARED} user=postgres sslmode=require connect_timeout=10' -XAtc \"{text}\""
    )
}

/// PostgreSQL, which answers whatever name it is shown.
fn database(scene: &SharedAddress) -> Tested<(Cluster<'_>, Running)> {
    let cluster = Cluster::new(scene.network.prod(), scene.file("postgres"))?;
    cluster.admit("hostssl all all all trust")?;
    let pem = cluster.dir().join("server.pem");
    fs::copy(scene.file("server.pem"), &pem)?;
    chown(&pem, Some(postgres::USER), Some(postgres::USER))?;
    fs::set_permissions(&pem, fs::Permissions::from_mode(0o600))?;
    let mut server = cluster.server();
    server.args(["-c", "ssl=on"]);
    for file in ["ssl_cert_file", "ssl_key_file"] {
        server.args(["-c", &format!("{file}={}", pem.display())]);
    }
    let server = Running::start(&mut server)?;
    for name in [FORGE, EVIL] {
        eventually("it answers, whatever name it is shown", || {
            Ok(outside(scene, &psql(name))? == "answered")
        })?;
    }
    Ok((cluster, server))
}

#[test]
fn a_name_that_postgresql_shows_in_tls_is_held_to_the_names() -> Tested {
    let scene = SharedAddress::new()?;
    let (_cluster, mut server) = database(&scene)?;

    let daemon = scene.daemon(POLICY, Looks::Proxy)?;
    let mut shell = scene.session(&daemon)?;
    assert_eq!(inside(&mut shell, &psql(FORGE))?, "answered");
    let refused = inside(&mut shell, &psql(EVIL))?;
    assert!(
        refused.contains("may not be shown there") && refused.contains(EVIL),
        "{refused}"
    );
    postgres::stop(&mut server);
    Ok(())
}

#[test]
fn a_statement_is_judged_by_the_rule_for_the_name_that_tls_shows() -> Tested {
    let scene = SharedAddress::new()?;
    let (_cluster, mut server) = database(&scene)?;
    let make = "create function total() returns int language sql as 'select 42'";
    outside(&scene, &saying(FORGE, make))?;
    let total = "select total()";
    assert_eq!(outside(&scene, &saying(EVIL, total))?, "42");

    let daemon = scene.daemon(TWO_DATABASES, Looks::Proxy)?;
    // It has asked for the name alone whose rule lists the function.
    let mut shell = scene.session(&daemon)?;
    assert_eq!(inside(&mut shell, &saying(FORGE, total))?, "42");
    assert_eq!(inside(&mut shell, &psql(EVIL))?, "answered");
    let refused = inside(&mut shell, &saying(EVIL, total))?;
    assert!(refused.contains("stopped by guard"), "{refused}");
    let asked = daemon.json(["pending"])?[0].take();
    assert_eq!(asked["rule"], "production", "{asked}");
    assert_eq!(asked["reason"], "customers use it", "{asked}");
    assert_eq!(asked["beside"][0]["rule"], "staging", "{asked}");
    let host = "postgres@evil.example.com/postgres";
    assert_eq!(asked["http"]["host"], host, "{asked}");
    postgres::stop(&mut server);
    Ok(())
}
