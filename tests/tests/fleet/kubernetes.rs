//! What `packaging/kubernetes` says is what the programs take.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::{PermissionsExt as _, chown},
    path::{Path, PathBuf},
    process::Command,
};

use guard_lab::{Company, Network, Running, Tested, bins, eventually, exec};
use rustix::process::Signal;
use saphyr::{LoadableYamlNode as _, Yaml};
use serde_json::{Value, json};

/// The pod whose containers run here, and the user that all of them are.
const POD: &str = "nats-0";
const USER: u32 = 61000;

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
            let kind = document["kind"].as_str().unwrap();
            let name = document["metadata"]["name"].as_str().unwrap();
            let is_new = named.insert(format!("{kind} {name}"));
            assert!(is_new, "{kind} {name} is there twice");
            if kind == "Certificate" {
                let secret = document["spec"]["secretName"].as_str().unwrap();
                named.insert(format!("Secret {secret}"));
            }
        }
    }
    for made in list(&kustomization["configMapGenerator"]) {
        for file in texts(&made["files"]) {
            assert!(manifests().join(&file).exists(), "{file}");
        }
        named.insert(format!("ConfigMap {}", made["name"].as_str().unwrap()));
    }

    let pods = pods()?;
    let mut volumes = BTreeSet::new();
    let servers = &documents("nats.yaml")?[0]["spec"];
    let claims: Vec<_> = list(&servers["volumeClaimTemplates"])
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
        volumes.insert(volume["name"].as_str().unwrap());
    }
    let all = containers(&pods);
    let mounts = all.iter().flat_map(|one| list(&one["volumeMounts"]));
    let mounted: BTreeSet<_> = mounts
        .map(|mount| mount["name"].as_str().unwrap())
        .collect();
    assert_eq!(mounted, volumes);
    let images = list(&kustomization["images"]).iter();
    let images: Vec<_> = images.map(|image| &image["name"]).collect();
    for one in all {
        assert!(images.contains(&&one["image"]), "{one}");
    }
    Ok(())
}

#[test]
fn each_command_has_options_that_its_program_has() -> Tested {
    let readme = fs::read_to_string(manifests().join("README.md"))?;
    let typed = readme.lines().filter_map(|line| {
        let (_, command) = line.split_once("-c keep -- ")?;
        let words = command.split_whitespace().map(str::to_owned);
        Some(words.collect::<Vec<_>>())
    });
    let pods = pods()?;
    let run = containers(&pods)
        .into_iter()
        .map(|one| texts(&one["command"]));
    let mut count = 0;
    for command in run.chain(typed) {
        assert!(
            ["guard-fleet", "nats-server", "sh", "cat"].contains(&&*command[0]),
            "{command:?} is in no image"
        );
        count += options(&command)?;
    }
    assert!(count > 4, "{count} options were looked for");
    Ok(())
}

#[test]
fn a_runner_joins_by_commands_that_there_are() -> Tested {
    const EXAMPLE: &str = include_str!("../../../packaging/examples/fleet-runner.yaml");
    assert!(EXAMPLE.starts_with("#cloud-config\n"));
    let documents = Yaml::load_from_str(EXAMPLE)?;
    let example = value(&documents[0]);
    let token = example["write_files"][0]["path"].as_str().unwrap();
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
        "guard-fleet" => bins::find("guard-fleet")?,
        "nats-server" => bins::nats()?,
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
    let pods = pods()?;
    let [first, keep, nats] = containers(&pods)
        .into_iter()
        .map(|one| texts(&one["command"]))
        .collect::<Vec<_>>()
        .try_into()
        .unwrap();
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

/// A directory that stands for the root of a pod's containers.
struct Pod<'n> {
    network: &'n Network,
    root: PathBuf,
}

impl<'n> Pod<'n> {
    const DIRS: [&'static str; 7] = [
        "/etc/guard",
        "/etc/nats/tls",
        "/run/nats",
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
        for (file, dir) in [("nats.conf", "/etc/nats"), ("fleet.toml", "/etc/guard")] {
            let text = fs::read_to_string(manifests().join(file))?;
            fs::write(pod.at(dir).join(file), pod.inside(&text))?;
        }
        // By its own name, which keep looks for.
        fs::copy(bins::nats()?, pod.at("/bin/nats-server"))?;
        fs::copy(bins::find("guard-fleet")?, pod.at("/bin/guard-fleet"))?;
        Ok(pod)
    }

    fn at(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// Text with the pod's directories in it, as they are called here.
    fn inside(&self, text: &str) -> String {
        let dirs = ["/etc/guard", "/etc/nats", "/run/nats", "/var/lib"];
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
        let program = match &*words[0] {
            "sh" => PathBuf::from("sh"),
            name => self.at("/bin").join(name),
        };
        let mut command = self.network.dev().command_as(USER, program);
        command.args(words[1..].iter().map(|word| self.inside(word)));
        command
            .env("POD_NAME", POD)
            .env("HOME", self.at("/run/nats"));
        command
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

/// What all three pods are.
fn pods() -> Tested<Value> {
    Ok(documents("nats.yaml")?[0]["spec"]["template"]["spec"].clone())
}

/// In the order in which they begin.
fn containers(pods: &Value) -> Vec<&Value> {
    let all = ["initContainers", "containers"].map(|name| list(&pods[name]));
    all.into_iter().flatten().collect()
}
