//! The labelled examples as files, through the readers; and files as the documentation of tools shows them.

use super::*;

/// `label|action|file:line|key|service|host|data`; `!s` has a sibling, `!c` no credential, `@x` x is a service of the same file.
const EXAMPLES: [&str; 3] = [
    include_str!("../../src/score/examples.txt"),
    include_str!("../../src/score/held_out.txt"),
    include_str!("../../src/score/unseen.txt"),
];
/// `== tool: what its documentation shows | what is to be found`, then each file, or the environment, behind `-- `.
const UNSEEN: &str = include_str!("../unseen.txt");

#[derive(Debug)]
struct Example {
    label: &'static str,
    action: &'static str,
    file: &'static str,
    key: &'static str,
    service: &'static str,
    host: &'static str,
    data: &'static str,
    flags: Vec<&'static str>,
}

fn example(line: &'static str) -> Tested<Example> {
    let fields: Vec<_> = line.split('|').collect();
    let [label, action, at, key, service, host, rest] = fields[..] else {
        return Err(line.into());
    };
    let (file, _) = at.rsplit_once(':').ok_or(line)?;
    let mut words = rest.split(' ');
    let data = words.next().unwrap_or_default();
    Ok(Example {
        label,
        action,
        file,
        key,
        service,
        host,
        data,
        flags: words.collect(),
    })
}

impl Example {
    fn has(&self, flag: &str) -> bool {
        self.flags.contains(&flag)
    }

    /// An address of its scheme, of that host.
    fn url(&self, host: &str) -> String {
        let host = if host.contains("::") && !host.starts_with('[') {
            format!("[{host}]")
        } else {
            host.to_owned()
        };
        let Self { service, data, .. } = self;
        match (*service, self.has("!c")) {
            ("http" | "https", _) => format!("{service}://{host}/"),
            ("immich", _) => format!("http://{host}:2283/{data}"),
            (_, true) => format!("{service}://{host}/{data}"),
            (_, false) => format!("{service}://u:hunter2@{host}/{data}"),
        }
    }

    fn variables(&self) -> String {
        let Self {
            key, host, data, ..
        } = self;
        let first = key.split('_').next().unwrap_or_default();
        let mut text = match (self.service, key.strip_suffix("_HOST")) {
            ("platform", _) => {
                let begin = match (*data, key.starts_with("STRIPE")) {
                    ("live" | "test", true) => format!("sk_{data}_"),
                    _ => String::new(),
                };
                format!("{key}={begin}hunter2hunter2\n")
            }
            ("mysql" | "database", Some(stem)) => {
                let driver = self.service.replace("database", "");
                format!(
                    "{key}={host}\n{stem}_CONNECTION={driver}\n{stem}_DATABASE={data}\n{stem}_PASSWORD=hunter2\n"
                )
            }
            ("http" | "https" | "immich", _) if !self.has("!c") => {
                format!("{key}={}\n{first}_API_KEY=hunter2hunter2\n", self.url(host))
            }
            _ => format!("{key}={}\n", self.url(host)),
        };
        if self.has("!s") {
            text += &format!("LOCAL_{key}={}\n", self.url("localhost"));
        }
        if self.file.ends_with(".envrc") {
            text.lines()
                .map(|line| format!("export {line}\n"))
                .collect()
        } else {
            text
        }
    }

    /// A file as tools have it: its path, and what is in it.
    fn file(&self) -> (String, String) {
        let name = self.file.rsplit('/').next().unwrap_or_default();
        let path = match name {
            _ if self.flags.iter().any(|flag| flag.starts_with('@')) => "compose.yaml",
            "meta.json" => "~/.docker/contexts/meta/ab/meta.json",
            "backend" => ".terraform/terraform.tfstate",
            _ => self.file,
        };
        let text = match name {
            _ if path.contains("compose") => self.compose(),
            _ if name.starts_with(".env") || name.ends_with(".env") => self.variables(),
            _ if path.starts_with("~/") => self.of_home(name),
            _ => self.of_project(name),
        };
        (path.to_owned(), text)
    }

    fn compose(&self) -> String {
        let own = self.flags.iter().find_map(|flag| flag.strip_prefix('@'));
        let own = own.map_or_else(String::new, |own| format!("  {own}: {{image: {own}}}\n"));
        let url = self.url(self.host);
        format!(
            "services:\n  app:\n    environment:\n      {}: {url}\n{own}",
            self.key
        )
    }

    fn cluster(&self) -> String {
        let Self {
            key, host, data, ..
        } = self;
        let current = if self.has("!s") { "other" } else { key };
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: {current}\n\
             clusters:\n- cluster: {{server: 'https://{host}:6443'}}\n  name: c1\n\
             contexts:\n- context: {{cluster: c1, namespace: {data}, user: u1}}\n  name: {key}\n\
             users:\n- name: u1\n  user: {{token: hunter2}}\n"
        )
    }

    fn of_home(&self, name: &str) -> String {
        let Self {
            key, host, data, ..
        } = self;
        match (self.file, name) {
            ("~/.kube/config", _) => self.cluster(),
            ("~/.ssh/config", _) => format!("Host {key}\n  HostName {host}\n  User {data}\n"),
            (_, ".pgpass") => format!("{host}:5432:{data}:u:hunter2\n"),
            (_, ".pg_service.conf") => {
                format!("[{key}]\nhost={host}\ndbname={data}\nuser=u\npassword=hunter2\n")
            }
            (_, ".my.cnf") => {
                format!("[{key}]\nhost = {host}\nuser = u\npassword = hunter2\ndatabase = {data}\n")
            }
            (_, "meta.json") => {
                format!(
                    "{{\"Name\": \"{key}\", \"Endpoints\": {{\"docker\": {{\"Host\": \"ssh://u@{host}\"}}}}}}"
                )
            }
            (_, ".netrc") => format!("machine {host} login u password hunter2\n"),
            (_, "mcp.json" | ".claude.json") => self.agent(),
            _ => "token: hunter2\n".to_owned(),
        }
    }

    fn agent(&self) -> String {
        let (key, url) = (self.key, self.url(self.host));
        format!(
            "{{\"mcpServers\": {{\"{key}\": {{\"command\": \"npx\", \"args\": [\"server\", \"{url}\"]}}}}}}"
        )
    }

    fn of_project(&self, name: &str) -> String {
        let Self {
            key, host, data, ..
        } = self;
        let ado = format!("Server={host};Database={data};User Id=u;Password=hunter2");
        match name {
            "kubeconfig" => self.cluster(),
            ".mcp.json" => self.agent(),
            "hosts" => format!("[{key}]\n{host} ansible_user={data}\n"),
            "hosts.yml" => format!("all:\n  hosts:\n    {key}:\n      ansible_host: {host}\n"),
            "database.yml" => format!(
                "{key}:\n  adapter: mysql2\n  host: {host}\n  database: {data}\n  username: u\n  password: hunter2\n"
            ),
            "database.php" => format!(
                "<?php\nreturn ['connections' => ['{key}' => ['driver' => 'mysql', 'host' => '{host}', 'database' => '{data}', 'password' => 'hunter2']]];\n"
            ),
            "web.config" => format!(
                "<configuration><connectionStrings><add name=\"{key}\" connectionString=\"{ado}\"/></connectionStrings></configuration>"
            ),
            _ if name.starts_with("appsettings") => {
                format!("{{\"ConnectionStrings\": {{\"Main\": \"{ado}\"}}}}")
            }
            _ if name.ends_with(".properties") => {
                format!(
                    "{key}=jdbc:postgresql://{host}/{data}\nspring.datasource.password=hunter2\n"
                )
            }
            _ if name.starts_with("application") => format!(
                "spring:\n  datasource:\n    url: jdbc:postgresql://{host}/{data}\n    username: u\n    password: hunter2\n"
            ),
            "data-sources.json" => format!(
                "{{\"connections\": {{\"a\": {{\"provider\": \"postgresql\", \"name\": \"{key}\", \"configuration\": {{\"host\": \"{host}\", \"port\": \"5432\", \"database\": \"{key}\", \"type\": \"{data}\"}}}}}}}}"
            ),
            "deploy.yml" if self.file.starts_with("config/") => {
                format!("servers:\n  - {host}\nssh:\n  user: {data}\n")
            }
            "deploy.yml" | "release.yml" => format!(
                "jobs:\n  deploy:\n    environment: {key}\n    steps:\n      - run: ssh {data}@{host} ./release\n"
            ),
            "config" if self.service == "git" => {
                format!("[remote \"{key}\"]\n\turl = git@{host}:{data}.git\n")
            }
            "config" => format!("[remote \"{key}\"]\n\turl = dokku@{host}:shop\n"),
            ".npmrc" => format!("registry=https://{host}/\n"),
            "pip.conf" => format!("[global]\nindex-url = https://{host}/simple\n"),
            "values.yaml" => format!("redis:\n  host: {host}\n  password: hunter2\n"),
            _ => self.terraform(name),
        }
    }

    fn terraform(&self, name: &str) -> String {
        let Self {
            key, host, data, ..
        } = self;
        let region = host.split('.').nth(1).unwrap_or_default();
        match name {
            "backend.tf" => {
                format!(
                    "terraform {{\n  backend \"s3\" {{\n    bucket = \"{data}\"\n    region = \"{region}\"\n  }}\n}}\n"
                )
            }
            "backend" => format!(
                "{{\"version\": 3, \"backend\": {{\"type\": \"s3\", \"config\": {{\"bucket\": \"{data}\", \"key\": \"a\", \"region\": \"{region}\"}}}}}}"
            ),
            _ => {
                let (kind, name) = key.split_once('.').unwrap_or((key, "a"));
                let attribute = match kind {
                    "aws_instance" => "public_ip",
                    "aws_elasticache_cluster" => "cluster_address",
                    _ => "address",
                };
                format!(
                    "{{\"version\": 4, \"resources\": [{{\"type\": \"{kind}\", \"name\": \"{name}\", \"instances\": [{{\"attributes\": {{\"{attribute}\": \"{host}\", \"engine\": \"{}\"}}}}]}}]}}",
                    self.service
                )
            }
        }
    }

    /// The label and the action that come of it.
    fn judged(&self) -> Tested<(&'static str, &'static str)> {
        let (path, text) = self.file();
        let found = Scene::new()?.with(&path, text)?.look()?;
        assert!(!format!("{found:?}").contains("hunter2"), "{self:?}");
        assert_eq!(
            found.home_files + found.project_files,
            1,
            "{self:?}: {path}"
        );
        let host = self.host.trim_matches(['[', ']']);
        let is_it = |one: &&Finding| one.host.as_str() == host;
        Ok(match found.findings.iter().find(is_it) {
            Some(one) => {
                let action = one
                    .proposed
                    .as_ref()
                    .map_or("-", |proposed| proposed.action);
                (one.label.as_str(), action)
            }
            None if !found.placeholders.is_empty() => ("placeholder", "-"),
            None => ("not found", "-"),
        })
    }
}

/// How many of those that are production were called so, and how many of those that are none, in percent.
#[derive(Debug, Default)]
struct Shares {
    production: (usize, usize),
    none: (usize, usize),
}

impl Shares {
    fn add(&mut self, label: &str, is_called_so: bool) {
        let (called, all) = match label {
            "production" => &mut self.production,
            "maybe" => return,
            _ => &mut self.none,
        };
        *called += usize::from(is_called_so);
        *all += 1;
    }

    fn hold(&self) {
        let percent = |(called, all): (usize, usize)| called * 100 / all;
        let (found, wrong) = (percent(self.production), percent(self.none));
        println!("production found: {found} %; what is none called so: {wrong} %: {self:?}");
        assert!(found >= 95 && wrong <= 5, "{self:?}");
    }
}

#[test]
fn labelled_examples_come_out_of_their_files_as_they_are_labelled() -> Tested {
    for (all, count) in EXAMPLES.iter().zip([59, 59, 66]) {
        let mut shares = Shares::default();
        assert_eq!(all.lines().count(), count);
        for line in all.lines() {
            let one = example(line)?;
            let (label, action) = one.judged()?;
            if (label, action) != (one.label, one.action) {
                println!("{line}: {label}, {action}");
            }
            assert_ne!(label, "not found", "{line}");
            shares.add(one.label, label == "production");
        }
        shares.hold();
    }
    Ok(())
}

#[test]
fn what_the_documentation_of_tools_shows_is_found() -> Tested {
    let (mut shares, mut count) = (Shares::default(), 0);
    for tool in UNSEEN.split("== ").skip(1) {
        let (head, files) = tool.split_once('\n').ok_or("no files")?;
        let (tool, expected) = head.split_once(" | ").ok_or("nothing expected")?;
        let found = scene_of(files)?.look()?;
        let lines = lines(&found);
        assert!(!format!("{found:?}").contains("hunter2"), "{tool}");
        let (label, _) = expected.split_once(' ').unwrap_or((expected, ""));
        let is_as_said = match label {
            "nothing" => lines.is_empty(),
            _ => lines.iter().any(|line| line.starts_with(expected)),
        };
        if !is_as_said {
            println!("{tool}: {expected}: {lines:?}, {:?}", passed_over(&found));
        }
        let is_called_so = match label {
            "production" => is_as_said,
            _ => lines.iter().any(|line| line.starts_with("production ")),
        };
        shares.add(label, is_called_so);
        count += 1;
    }
    assert!(count >= 59, "{count}");
    shares.hold();
    Ok(())
}

/// A URL of development beside that of the server, and what is to be found of the server.
const BESIDE_DEVELOPMENT: [(&str, &str); 3] = [
    (
        "production db.example.net:5432 postgres, DATABASE_URL .env:1",
        "-- .env\nDATABASE_URL=postgres://shop:hunter2@db.example.net/shop\n\
         DEV_DATABASE_URL=postgres://shop:hunter2@localhost/shop\n",
    ),
    (
        "production pg.example.io:5432 postgres, DATABASE_URL .env:3",
        "-- .env\nTEST_DATABASE_URL=postgresql://shop:hunter2@pg-test.example.io/shop_test\n\
         #DATABASE_URL=postgresql://shop:hunter2@localhost/shop\n\
         DATABASE_URL=postgresql://shop:hunter2@pg.example.io/shop\n",
    ),
    // Which of the two is meant, the file does not say.
    (
        "maybe db.example.net:5432 postgres, DATABASE_URL .env:1",
        "-- .env\nDATABASE_URL=postgres://shop:hunter2@db.example.net/shop\n\
         DATABASE_URL=postgres://shop:hunter2@localhost/shop\n",
    ),
];

#[test]
fn a_sibling_of_development_under_its_own_key_leaves_production_what_it_is() -> Tested {
    for (expected, files) in BESIDE_DEVELOPMENT {
        let found = scene_of(files)?.look()?;
        let lines = lines(&found);
        assert!(
            lines.iter().any(|line| line == expected),
            "{files}: {lines:?}"
        );
    }
    Ok(())
}

/// Files, and the environment, behind `-- `.
pub(super) fn scene_of(files: &str) -> Tested<Scene> {
    let mut scene = Scene::new()?;
    for file in files.split("-- ").skip(1) {
        let (path, text) = file.split_once('\n').ok_or("no text")?;
        if path == "env" {
            let variables = text.lines().filter_map(|line| line.split_once('='));
            let variables = variables.map(|(key, value)| (key.to_owned(), value.to_owned()));
            scene.environment = variables.collect();
        } else {
            scene = scene.with(path, text)?;
        }
    }
    Ok(scene)
}
