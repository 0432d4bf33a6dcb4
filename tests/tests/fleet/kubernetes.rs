//! What `packaging/kubernetes` says is what the programs take.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::{PermissionsExt as _, chown},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Context as _;
use guard_lab::{Company, Json as _, Network, Running, Tested, bins, eventually, exec};
use rustix::process::Signal;
use saphyr::{LoadableYamlNode as _, Yaml};
use serde_json::{Value, json};

use super::scene::own_id;
use crate::signed::scene::{COURIER, SignedScene};

/// The pod whose containers run here, and the user that all of them are.
const POD: &str = "nats-0";
const USER: u32 = 61000;

/// The servers, and the page.
const SERVERS: &str = "nats.yaml";
const PAGE: &str = "console.yaml";
const WORKLOADS: [&str; 2] = [SERVERS, PAGE];
/// What the page is called, and where nginx listens.
const NAME: &str = "guard.example.net";
const PORT: u16 = 8443;

#[test]
fn each_manifest_says_what_it_is_and_names_what_is_there() -> Tested {
    let kustomization = &documents("kustomization.yaml")?[0];
    let resources = texts(&kustomization["resources"]);
    let files = fs::read_dir(manifests())?;
    let files = files.map(|file| Ok(file?.file_name().into_string().unwrap()));
    let mut files = files.collect::<std::io::Result<BTreeSet<_>>>()?;
    files.retain(|file| file.ends_with(".yaml") && file != "kustomization.yaml");
    assert_eq!(resources.iter().cloned().collect::<BTreeSet<_>>(), files);

    let mut named = BTreeSet::new();
    for file in &resources {
        for document in documents(file)? {
            assert!(document["apiVersion"].is_string(), "{file}: {document}");
            let kind = document["kind"].text()?;
            let name = document["metadata"]["name"].text()?;
            let is_new = named.insert(format!("{kind} {name}"));
            assert!(is_new, "{kind} {name} is there twice");
            if kind == "Certificate" {
                let secret = document["spec"]["secretName"].text()?;
                named.insert(format!("Secret {secret}"));
            }
        }
    }
    for made in list(&kustomization["configMapGenerator"]) {
        for file in texts(&made["files"]) {
            assert!(manifests().join(&file).exists(), "{file}");
        }
        named.insert(format!("ConfigMap {}", made["name"].text()?));
    }

    let images = list(&kustomization["images"]).iter();
    let images: Vec<_> = images.map(|image| &image["name"]).collect();
    for file in WORKLOADS {
        volumes_are_there(file, &named)?;
        for one in containers(&pods(file)?) {
            assert!(images.contains(&&one["image"]), "{one}");
        }
    }
    Ok(())
}

/// That what is mounted is a volume, of something that has a name, and each volume is mounted.
fn volumes_are_there(file: &str, named: &BTreeSet<String>) -> Tested {
    let pods = pods(file)?;
    let mut volumes = BTreeSet::new();
    let workload = &documents(file)?[0]["spec"];
    let claims: Vec<_> = list(&workload["volumeClaimTemplates"])
        .iter()
        .map(|claim| claim["metadata"]["name"].as_str().unwrap().to_owned())
        .collect();
    volumes.extend(claims.iter().map(String::as_str));
    for volume in list(&pods["volumes"]) {
        for (kind, name) in [
            ("ConfigMap", &volume["configMap"]["name"]),
            ("Secret", &volume["secret"]["secretName"]),
            (
                "PersistentVolumeClaim",
                &volume["persistentVolumeClaim"]["claimName"],
            ),
        ] {
            if let Some(name) = name.as_str() {
                assert!(named.contains(&format!("{kind} {name}")), "{kind} {name}");
            }
        }
        volumes.insert(volume["name"].text()?);
    }
    let all = containers(&pods);
    let mounts = all.iter().flat_map(|one| list(&one["volumeMounts"]));
    let mounted: BTreeSet<_> = mounts
        .map(|mount| mount["name"].as_str().unwrap())
        .collect();
    assert_eq!(mounted, volumes, "{file}");
    Ok(())
}

/// The newest release whose schemas are here.
const NEWEST: &str = "1.37";

/// What `kubectl apply -k` would send fits the schemas of the oldest Kubernetes that README.md names, and of the newest.
#[test]
fn what_comes_of_the_manifests_fits_the_schemas_of_kubernetes() -> Tested {
    let mut kustomize = Command::new("kubectl");
    let built = exec::run(kustomize.arg("kustomize").arg(manifests()))?;
    let all: Vec<_> = Yaml::load_from_str(&built)?.iter().map(value).collect();
    // Those of cert-manager are not Kubernetes' own, and have none here.
    let is_own = |one: &&Value| one["apiVersion"] != "cert-manager.io/v1";
    let own: Vec<_> = all.iter().filter(is_own).collect();
    assert!(own.len() > 10 && own.len() < all.len(), "{built}");
    let readme = fs::read_to_string(manifests().join("README.md"))?;
    let oldest = readme.split_once("- Kubernetes ").context("no release")?.1;
    let oldest = oldest.split(',').next().unwrap_or_default();
    for release in [oldest, NEWEST] {
        let said = fitted(&built, release)?;
        let fits = said.iter().filter(|line| line.starts_with("INFO "));
        assert_eq!(fits.count(), own.len(), "{said:#?}");
        let others = said.iter().filter(|line| !line.starts_with("INFO "));
        for other in others {
            assert!(other.contains("cert-manager.io/v1"), "{other}");
        }
        // A field that is none does not.
        let wrong = fitted(
            &built.replace("  replicas: 3\n", "  replicaz: 3\n"),
            release,
        )?;
        assert!(
            wrong.iter().any(|line| line.contains("'replicaz'")),
            "{wrong:#?}"
        );
    }

    // What is mounted has the name that was made for it, and the image is of this version.
    let of_kind = |kind: &'static str| own.iter().filter(move |one| one["kind"] == kind);
    let made: Vec<_> = of_kind("ConfigMap")
        .map(|one| &one["metadata"]["name"])
        .collect();
    let image = format!(":{}", env!("CARGO_PKG_VERSION"));
    let mut mounted = 0;
    for workload in of_kind("StatefulSet").chain(of_kind("Deployment")) {
        let pods = &workload["spec"]["template"]["spec"];
        for one in containers(pods) {
            assert!(
                one["image"]
                    .as_str()
                    .is_some_and(|name| name.ends_with(&image)),
                "{one}"
            );
        }
        for volume in list(&pods["volumes"]) {
            let name = &volume["configMap"]["name"];
            assert!(name.is_null() || made.contains(&name), "{name}");
            mounted += usize::from(!name.is_null());
        }
    }
    assert_eq!(mounted, made.len());
    Ok(())
}

/// What `kubernetes-validate` says of each, line by line.
fn fitted(text: &str, release: &str) -> Tested<Vec<String>> {
    let mut validate = Command::new("python3");
    validate.env("PYTHONPATH", bins::kubernetes()?);
    validate.args(["-m", "kubernetes_validate", "--strict", "-k", release, "-"]);
    let said = exec::output_with(&mut validate, text)?;
    let said = String::from_utf8([said.stdout, said.stderr].concat())?;
    Ok(said.lines().map(str::to_owned).collect())
}

#[test]
fn each_command_has_options_that_its_program_has() -> Tested {
    let readme = fs::read_to_string(manifests().join("README.md"))?;
    let typed = readme.lines().filter_map(|line| {
        let (_, command) = line
            .split_once("-c keep -- ")
            .or_else(|| line.split_once("-c console -- "))?;
        let words = command.split_whitespace().map(str::to_owned);
        Some(words.collect::<Vec<_>>())
    });
    let mut run: Vec<_> = typed.collect();
    for file in WORKLOADS {
        run.extend(commands(file)?);
    }
    let programs = [
        "guard-fleet",
        "guard-console",
        "nats-server",
        "nginx",
        "sh",
        "cat",
    ];
    let mut count = 0;
    for command in run {
        assert!(
            programs.contains(&&*command[0]),
            "{command:?} is in no image"
        );
        count += options(&command)?;
    }
    assert!(count > 8, "{count} options were looked for");
    Ok(())
}

#[test]
fn a_runner_joins_by_commands_that_there_are() -> Tested {
    const EXAMPLE: &str = include_str!("../../../packaging/examples/fleet-runner.yaml");
    assert!(EXAMPLE.starts_with("#cloud-config\n"));
    let documents = Yaml::load_from_str(EXAMPLE)?;
    let example = value(&documents[0]);
    let token = example["write_files"][0]["path"].text()?;
    let run: Vec<_> = list(&example["runcmd"]).iter().map(texts).collect();
    let joins = run.iter().flatten().find(|word| word.contains("join"));
    assert!(
        joins
            .unwrap()
            .contains(&format!("guard-fleet join < {token} "))
    );
    let typed = EXAMPLE
        .lines()
        .filter_map(|line| line.split_once("  guard-fleet "));
    let words = |(_, words): (&str, &str)| {
        let words = words.split_whitespace().map(str::to_owned);
        let words = std::iter::once("guard-fleet".to_owned()).chain(words);
        options(&words.collect::<Vec<_>>())
    };
    let count = typed.map(words).sum::<Tested<usize>>()?;
    assert_eq!(count, 2, "group and time");
    options(&["guard-fleet".to_owned(), "join".to_owned()])?;
    Ok(())
}

/// Looks for the options of a command in what its program says of itself, and gives how many there are.
fn options(command: &[String]) -> Tested<usize> {
    let program = match &*command[0] {
        name @ ("guard-fleet" | "guard-console") => bins::find(name)?,
        "nats-server" => bins::nats()?,
        // nginx has no long help; it runs below.
        _ => return Ok(0),
    };
    let verb = command[1..].iter().take(1);
    let verb = verb.filter(|word| !word.starts_with('-'));
    let help = exec::output(Command::new(program).args(verb).arg("--help"))?;
    assert!(help.status.success(), "{command:?}: {help:?}");
    let help = String::from_utf8([help.stdout, help.stderr].concat())?;
    let options = command.iter().filter(|word| word.starts_with('-'));
    for option in options.clone() {
        let mut words = help.split([' ', ',', '\n', '=', '<']);
        assert!(
            words.any(|word| word == option),
            "{command:?}: no {option} in\n{help}"
        );
    }
    Ok(options.count())
}

/// The pod without Kubernetes: what its containers run, one after the other, below a directory of their own.
#[test]
fn nats_server_takes_the_settings_and_lets_those_in_whom_keep_has_listed() -> Tested {
    let network = Network::new()?;
    let pod = Pod::new(&network)?;
    let person = pod.person()?;
    let key = exec::run(&mut pod.command(&person("key")))?;
    let listed = format!("[[person]]\nkey = \"{}\"\ngroups = [\"ci\"]\n", key.trim());
    fs::write(pod.at("/etc/guard/first.list"), &listed)?;
    let [first, keep, nats] = commands(SERVERS)?.try_into().unwrap();
    exec::run(&mut pod.command(&first))?;
    let list = pod.at("/var/lib/list/fleet.list");
    assert_eq!(fs::read_to_string(&list)?, listed);
    fs::write(pod.at("/etc/guard/first.list"), "")?;
    exec::run(&mut pod.command(&first))?;
    assert_eq!(fs::read_to_string(&list)?, listed, "it is the first alone");

    let mut keep = Running::start(&mut pod.command(&keep))?;
    let rights = pod.at("/run/nats/guard.conf");
    let is_there = || fs::metadata(&rights).is_ok_and(|file| file.len() > 0);
    eventually("the rights are there", is_there)?;
    let mut test = nats.clone();
    test.push("-t".to_owned());
    let tested = exec::output(&mut pod.command(&test))?;
    assert!(tested.status.success(), "{tested:?}");

    // It knows the person, and by a signal of keep's the machine that is invited.
    let mut server = Running::start(&mut pod.command(&nats))?;
    let looks = || exec::run(&mut pod.command(&person("pending")));
    eventually("the server lets the person in", || {
        looks().is_ok_and(|said| said.contains("none is there"))
    })?;
    let invite = ["guard-fleet", "invite", "--group", "ci"].map(str::to_owned);
    let invite = [&invite[..], &["/var/lib/list/fleet.list".to_owned()]].concat();
    exec::run(&mut pod.command(&invite))?;
    eventually("the invitation is a right", || {
        fs::read_to_string(&rights).is_ok_and(|text| text.contains("guard.ci.join.U"))
    })?;
    keep.signal(Signal::TERM)?;
    assert!(keep.wait()?.success());
    server.signal(Signal::TERM)?;
    server.wait()?;
    Ok(())
}

/// The page's pod, in the same way, beside a server and a machine that the list has.
#[test]
fn the_page_is_served_behind_tls_by_what_its_pod_runs() -> Tested {
    let network = Network::new()?;
    let pod = Pod::new(&network)?;
    let scene = SignedScene::new(&network, &format!("origins = [\"https://{NAME}\"]"));
    scene.approver("alice", &[])?;
    let machine = own_id(&scene, &mut scene.shell())?;
    let (_carrier, key) = pod.machine(&scene)?;
    let listed = format!("[[machine]]\nid = \"{machine}\"\nkey = \"{key}\"\ngroup = \"ci\"\n");
    fs::write(pod.at("/etc/guard/first.list"), &listed)?;
    let [first, keep, nats] = commands(SERVERS)?.try_into().unwrap();
    exec::run(&mut pod.command(&first))?;
    let _keep = Running::start(&mut pod.command(&keep))?;
    let rights = pod.at("/run/nats/guard.conf");
    let has_rights = |of: &str| fs::read_to_string(&rights).is_ok_and(|text| text.contains(of));
    eventually("the rights are there", || has_rights(&machine))?;
    let _server = Running::start(&mut pod.command(&nats))?;

    fs::copy(
        bins::clients()?.join("usr/sbin/nginx"),
        pod.at("/bin/nginx"),
    )?;
    let pods = pods(PAGE)?;
    let mut running = Vec::new();
    for one in containers(&pods) {
        let user = one["securityContext"]["runAsUser"][0].as_u64();
        let user = u32::try_from(user.context("it has no user")?)?;
        let log = fs::File::create(pod.log(one))?;
        let mut command = pod.command_as(user, &texts(&one["command"]));
        running.push((user, Running::start(command.stderr(log))?));
    }
    // Its own key, which somebody puts into the list as the log says.
    let said = || fs::read_to_string(pod.log(containers(&pods)[0]));
    let key_in = |log: &str| {
        let mut words = log.split(|c: char| !c.is_ascii_alphanumeric());
        words
            .find(|word| word.len() == 56 && word.starts_with('U'))
            .map(str::to_owned)
    };
    let mut key = None;
    eventually("it says its key", || {
        key = key_in(&said()?);
        Ok(key.is_some())
    })?;
    let key = key.context("no key")?;
    let page = format!("[[person]]\nkey = \"{key}\"\ngroups = [\"ci\"]\nconsole = true\n");
    fs::write(pod.at("/var/lib/list/fleet.list"), listed + &page)?;
    eventually("the rights have it", || has_rights(&key))?;

    let users: Vec<_> = running.iter().map(|(user, _)| *user).collect();
    let login = [
        "guard-console",
        "--config",
        "/etc/guard/console.toml",
        "login",
        "alice",
    ];
    let login = login.map(str::to_owned);
    let mut link = String::new();
    eventually("the machine is heard, and knows alice", || {
        let made = exec::output(&mut pod.command_as(users[1], &login))?;
        link = String::from_utf8(made.stdout)?.trim().to_owned();
        Ok(made.status.success())
    })?;
    let secret = link
        .strip_prefix(&format!("https://{NAME}/login/"))
        .context(link.clone())?;
    let jar = pod.at("/run/nginx").join("cookies");
    let jar = jar.to_str().unwrap();
    let origin = format!("Origin: https://{NAME}");
    let form = format!("secret={secret}");
    let status = ["-o", "/dev/null", "-w", "%{http_code}"];
    let log_in = ["-c", jar, "-H", &origin, "-d", &form, "/login"];
    assert_eq!(pod.curl(&[&status[..], &log_in].concat())?, "303");
    let mut last = String::new();
    let sees = eventually("the page has the machine", || {
        last = pod.curl(&["-b", jar, "/machines"])?;
        Ok(last.contains(&machine) && last.contains("<b>1</b> there"))
    });
    sees.context(last)?;
    // Whoever is not logged in sees nothing of it.
    assert!(!pod.curl(&["/machines"])?.contains(&machine));
    // The key is the one's alone that speaks with servers.
    let key = pod.at("/var/lib/guard-fleet-console/console.nk");
    let read = ["cat".to_owned(), key.to_str().unwrap().to_owned()];
    for user in &users[1..] {
        let read = exec::output(network.dev().command_as(*user, &read[0]).arg(&read[1]))?;
        assert!(!read.status.success(), "{user} may read the key");
    }
    Ok(())
}

/// A directory that stands for the root of a pod's containers.
struct Pod<'n> {
    network: &'n Network,
    root: PathBuf,
}

impl<'n> Pod<'n> {
    const DIRS: [&'static str; 13] = [
        "/etc/guard",
        "/etc/nats/tls",
        "/etc/nginx/tls",
        "/run/guard-console",
        "/run/guard-fleet",
        "/run/nats",
        "/run/nginx",
        "/var/lib/guard-console",
        "/var/lib/guard-fleet-console",
        "/var/lib/guard-fleet",
        "/var/lib/list",
        "/var/lib/nats",
        "/bin",
    ];

    fn new(network: &'n Network) -> Tested<Self> {
        let root = network.tag().dir().join("pod");
        let pod = Self { network, root };
        for dir in Self::DIRS {
            fs::create_dir_all(pod.at(dir))?;
            chown(pod.at(dir), Some(USER), Some(USER))?;
            // As volumes of a pod with that fsGroup are.
            fs::set_permissions(pod.at(dir), fs::Permissions::from_mode(0o2775))?;
        }
        fs::set_permissions(network.tag().dir(), fs::Permissions::from_mode(0o755))?;
        let certificate = documents("certificate.yaml")?;
        let mut certificates = certificate.iter().map(|one| &one["spec"]);
        let of_servers = certificates.find(|one| one["secretName"] == "nats-tls");
        let spec = of_servers.unwrap();
        let names = [texts(&spec["dnsNames"]), texts(&spec["ipAddresses"])].concat();
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        let company = Company::new("fleet")?;
        let issued = company.issue(&names)?;
        for (file, text) in [
            ("tls.crt", &issued),
            ("tls.key", &issued),
            ("ca.crt", &company.pem()),
        ] {
            fs::write(pod.at("/etc/nats/tls").join(file), text)?;
        }
        let page = Company::new("browsers believe it")?;
        let issued = page.issue(&[NAME])?;
        for (file, text) in [
            ("tls.crt", &issued),
            ("tls.key", &issued),
            ("ca.crt", &page.pem()),
        ] {
            fs::write(pod.at("/etc/nginx/tls").join(file), text)?;
        }
        for (file, dir) in [
            ("nats.conf", "/etc/nats"),
            ("fleet.toml", "/etc/guard"),
            ("fleet-console.toml", "/etc/guard"),
            ("console.toml", "/etc/guard"),
            ("nginx.conf", "/etc/guard"),
        ] {
            let text = fs::read_to_string(manifests().join(file))?;
            // One server is there, and no names.
            let text = (0..3).fold(text, |text, number| {
                text.replace(&format!("tls://nats-{number}.nats:"), "tls://127.0.0.1:")
            });
            fs::write(pod.at(dir).join(file), pod.inside(&text))?;
        }
        // By its own name, which keep looks for.
        fs::copy(bins::nats()?, pod.at("/bin/nats-server"))?;
        for name in ["guard-fleet", "guard-console"] {
            fs::copy(bins::find(name)?, pod.at("/bin").join(name))?;
        }
        Ok(pod)
    }

    fn at(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// Text with the pod's directories in it, as they are called here.
    fn inside(&self, text: &str) -> String {
        let dirs = [
            "/etc/guard",
            "/etc/nats",
            "/etc/nginx",
            "/run/guard-console",
            "/run/guard-fleet",
            "/run/nats",
            "/run/nginx",
            "/var/lib",
        ];
        dirs.iter().fold(text.to_owned(), |text, dir| {
            // What is named from another on, as `../../run/nats`, leads there by itself.
            let from = format!("../..{dir}");
            let kept = text.replace(&from, "\0");
            let there = kept.replace(dir, self.at(dir).to_str().unwrap());
            there.replace('\0', &from)
        })
    }

    /// What a container runs.
    fn command(&self, words: &[String]) -> Command {
        self.command_as(USER, words)
    }

    /// The same as a user, in the group of all of them.
    fn command_as(&self, user: u32, words: &[String]) -> Command {
        let program = match &*words[0] {
            "sh" => PathBuf::from("sh"),
            name => self.at("/bin").join(name),
        };
        let mut command = self.network.dev().command("setpriv");
        command
            .args([format!("--reuid={user}"), format!("--regid={USER}")])
            .args(["--clear-groups", "--inh-caps=-all", "--"])
            .arg(program);
        command.args(words[1..].iter().map(|word| self.inside(word)));
        command
            .env("POD_NAME", POD)
            .env("HOME", self.at("/run/nats"));
        command
    }

    /// What a container has logged.
    fn log(&self, container: &Value) -> PathBuf {
        let name = container["name"].as_str().unwrap();
        self.root.join(format!("{name}.log"))
    }

    /// What comes of a page, which is asked for last.
    fn curl(&self, args: &[&str]) -> Tested<String> {
        let mut curl = self.network.dev().command("curl");
        curl.args(["-sS", "--noproxy", "*", "--cacert"]);
        curl.arg(self.at("/etc/nginx/tls/ca.crt"));
        // The service's port is that of https.
        curl.args(["--connect-to", &format!("{NAME}:443:127.0.0.1:{PORT}")]);
        let (place, options) = args.split_last().context("no page")?;
        Ok(exec::run(
            curl.args(options).arg(format!("https://{NAME}{place}")),
        )?)
    }

    /// A machine's side of the fleet, with the key that it is known by.
    fn machine(&self, scene: &SignedScene) -> Tested<(Running, String)> {
        let home = self.at("/var/lib/machine");
        fs::create_dir(&home)?;
        chown(&home, Some(COURIER), Some(COURIER))?;
        let config = home.join("fleet.toml");
        let text = format!(
            "servers = [\"tls://127.0.0.1:4222\"]\nca = {:?}\nkey = {:?}\ngroup = \"ci\"\n",
            self.at("/etc/nats/tls/ca.crt"),
            home.join("key.nk")
        );
        fs::write(&config, text)?;
        let command = |verb: &str| {
            let program = self.at("/bin/guard-fleet");
            let mut command = scene.daemon.on_machine(COURIER, program);
            command.arg("--config").arg(&config).arg("--socket");
            command.arg(scene.daemon.socket()).arg(verb);
            command
        };
        let key = exec::run(&mut command("key"))?.trim().to_owned();
        Ok((Running::start(&mut command("serve"))?, key))
    }

    /// Somebody who looks: gives what to type for a verb.
    fn person(&self) -> Tested<impl Fn(&str) -> Vec<String>> {
        let home = self.at("/var/lib/guard-fleet");
        let text = format!(
            "servers = [\"tls://127.0.0.1:4222\"]\nca = {:?}\nkey = {:?}\ngroup = \"ci\"\n",
            self.at("/etc/nats/tls/ca.crt"),
            home.join("person.nk")
        );
        fs::write(home.join("person.toml"), text)?;
        Ok(|verb: &str| {
            let config = "/var/lib/guard-fleet/person.toml";
            let words = ["guard-fleet", "--config", config, verb];
            words.map(str::to_owned).to_vec()
        })
    }
}

fn manifests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/kubernetes")
}

/// All documents of a file.
fn documents(file: &str) -> Tested<Vec<Value>> {
    let text = fs::read_to_string(manifests().join(file))?;
    let documents = Yaml::load_from_str(&text)?;
    Ok(documents.iter().map(value).collect())
}

/// The same as JSON has it, in which what is not there is null.
fn value(yaml: &Yaml<'_>) -> Value {
    if let Some(all) = yaml.as_sequence() {
        return all.iter().map(value).collect();
    }
    if let Some(all) = yaml.as_mapping() {
        let all = all.iter();
        return all
            .map(|(name, one)| (name.as_str().unwrap().to_owned(), value(one)))
            .collect();
    }
    if let Some(text) = yaml.as_str() {
        return json!(text);
    }
    json!([yaml.as_integer(), yaml.as_bool()])
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn texts(value: &Value) -> Vec<String> {
    let all = list(value).iter();
    all.map(|one| one.as_str().unwrap().to_owned()).collect()
}

/// What all pods of a workload are, which is the first in its file.
fn pods(file: &str) -> Tested<Value> {
    Ok(documents(file)?[0]["spec"]["template"]["spec"].clone())
}

/// What its containers run.
fn commands(file: &str) -> Tested<Vec<Vec<String>>> {
    let pods = pods(file)?;
    let all = containers(&pods).into_iter();
    Ok(all.map(|one| texts(&one["command"])).collect())
}

/// In the order in which they begin.
fn containers(pods: &Value) -> Vec<&Value> {
    let all = ["initContainers", "containers"].map(|name| list(&pods[name]));
    all.into_iter().flatten().collect()
}
