//! Real clients under a policy of names alone, against a real name server and what stands for registries: each works without the
//! guard and with it, and hears of another name that there is none.

use std::{
    fs,
    io::Read as _,
    os::unix::{
        fs::{PermissionsExt as _, chown},
        net::UnixListener,
    },
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use guard_lab::{
    AGENT, Network, PATIENCE, Running, Scene, Shell, Tested, bins, eventually, exec, holds_scene,
    mounts,
};
use rustix::process::{Pid, Signal, kill_process};

use crate::names::scene::with_resolvers;
use crate::resolver::churn::{self, Churn};
use crate::resolver::place::{ResolverScene, usual};
use crate::together::{cases, each_from};

/// Where the name server and all others are.
const DNS: [&str; 3] = ["192.0.2.53", "192.0.2.54", "2001:db8:7::53"];
const HOST: &str = "192.0.2.10";
const HOST_V6: &str = "2001:db8:7::10";
/// A name that may be asked for, one below the search list, and one that may not.
const NAME: &str = "pkg.api.example.com";
const SHORT: &str = "pkg.api";
/// One with an address of each family.
const BOTH: &str = "both.api.example.com";
const SECRET: &str = "secret.evil.example";

const POLICY: &str = r#"
version = 1
name = "names"
default = "deny"

[[rule]]
name = "registries"
to = ["*.api.example.com"]
ports = ["tcp/80", "tcp/8080-8082"]
action = "allow"
"#;

/// Under which a person is asked about all that goes to such a name.
const CONFIRMS: &str = r#"
version = 1
name = "confirms"
default = "deny"

[[rule]]
name = "registries"
to = ["*.api.example.com"]
action = "confirm"
"#;

/// What libraries read.
const RESOLV: &str = "nameserver 192.0.2.53\nnameserver 192.0.2.54\nnameserver 2001:db8:7::53\n\
                      search lab.example.net example.com\noptions ndots:5 timeout:2\n";

const INDEX: &str = include_str!("../tools/programs/index.py");
const MODEL: &str = include_str!("../tools/programs/model.py");
const C: &str = include_str!("programs/names.c");
const GO: &str = include_str!("programs/names.go");

struct RegistryScene {
    scene: Scene,
    dir: PathBuf,
    /// What else is in other places for its clients.
    places: Vec<(PathBuf, PathBuf)>,
    _dnsmasq: Running,
    _servers: Vec<Running>,
    _kept: tempfile::TempDir,
}

holds_scene!(RegistryScene);

/// What a client said.
#[derive(Debug)]
struct Said {
    code: Option<i32>,
    text: String,
}

impl RegistryScene {
    fn new() -> Tested<Self> {
        let network = Network::new()?;
        let kept = tempfile::Builder::new()
            .prefix("guard-names-")
            .tempdir_in("/tmp")?;
        let dir = kept.path().to_owned();
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o755))?;
        fs::write(dir.join("resolv.conf"), RESOLV)?;
        fs::write(dir.join("index.py"), INDEX)?;
        for (name, text) in [("names.c", C), ("names.go", GO), ("model.py", MODEL)] {
            fs::write(dir.join(name), text)?;
        }
        fs::create_dir(dir.join("files"))?;
        fs::create_dir(dir.join("home"))?;
        chown(dir.join("home"), Some(AGENT), Some(AGENT))?;
        let dnsmasq = dnsmasq(&network, &dir)?;
        let files = python(
            &network,
            &dir,
            &[
                "-m",
                "http.server",
                "--bind",
                "0.0.0.0",
                "-d",
                "files",
                "80",
            ],
        )?;
        let index = python(&network, &dir, &["index.py"])?;
        let config = format!(
            "resolvers = [\"{}:53\", \"{}:53\", \"[{}]:53\"]\n",
            DNS[0], DNS[1], DNS[2]
        );
        let scene = Scene::on(network, |daemon| {
            daemon
                .policy("names", &with_resolvers(POLICY))
                .policy("confirms", &with_resolvers(CONFIRMS))
                .config(&config)
        })?;
        let scene = Self {
            scene,
            places: vec![(dir.join("resolv.conf"), "/etc/resolv.conf".into())],
            dir,
            _dnsmasq: dnsmasq,
            _servers: vec![files, index],
            _kept: kept,
        };
        for port in [80, 8080] {
            let to = format!("{HOST}:{port}").parse()?;
            let connect = || Ok(std::net::TcpStream::connect_timeout(&to, PATIENCE)?);
            eventually("a server listens", || {
                scene.network.dev().enter(connect).is_ok()
            })?;
        }
        Ok(scene)
    }

    fn home(&self) -> PathBuf {
        self.dir.join("home")
    }

    /// A line of shell of the agent's, where the names come from the lab's servers.
    fn mounted(&self, command: &Command) -> Tested<Command> {
        let mut command = mounts::with_all(command, &self.places);
        let path = std::env::var("PATH")?;
        let modules = bins::clients()?.join("usr/lib/python3/dist-packages");
        command
            .env("HOME", self.home())
            .env("DIR", &self.dir)
            .env(
                "PATH",
                format!("{}:/usr/bin:/bin:{path}", self.dir.display()),
            )
            .env("PYTHONPATH", modules)
            .current_dir(self.home());
        Ok(command)
    }

    fn without(&self, line: &str) -> Tested<Said> {
        let mut sh = self.daemon.on_machine(AGENT, "sh");
        said(&mut self.mounted(sh.args(["-c", line]))?)
    }

    fn with(&self, line: &str) -> Tested<Said> {
        let run = self
            .daemon
            .agent(["run", "--policy", "names", "--", "sh", "-c", line]);
        said(&mut self.mounted(&run.command()?)?)
    }

    /// That a line of shell says the same with the guard, and `wanted` is in it.
    fn works(&self, line: &str, wanted: &str) -> Tested {
        let without = self.without(line)?;
        let is_well = without.code == Some(0) && without.text.contains(wanted);
        assert!(
            is_well,
            "it does not work without the guard: {line}: {without:?}"
        );
        let with = self.with(line)?;
        let is_well = with.code == Some(0) && with.text.contains(wanted);
        assert!(is_well, "{line}: {with:?}; without the guard: {without:?}");
        Ok(())
    }

    /// That another name does not exist for it there, and was asked of nobody; without the guard it is asked for.
    fn finds_nothing(&self, line: &str, wanted: &str) -> Tested {
        let with = self.with(line)?;
        assert!(
            with.text.contains(wanted),
            "not {wanted:?}: {line}: {with:?}"
        );
        assert!(!self.was_asked("secret"), "{line}: {}", self.queries());
        let without = self.without(line)?;
        assert!(self.was_asked("secret"), "{line}: {without:?}");
        Ok(())
    }

    fn queries(&self) -> String {
        fs::read_to_string(self.dir.join("queries")).unwrap_or_default()
    }

    fn was_asked(&self, name: &str) -> bool {
        self.queries().contains(name)
    }

    /// The name server writes behind what is there.
    fn forget_queries(&self) -> Tested {
        Ok(fs::write(self.dir.join("queries"), "")?)
    }
}

fn said(command: &mut Command) -> Tested<Said> {
    let output = exec::output(command)?;
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    Ok(Said {
        code: output.status.code(),
        text: text.into_owned(),
    })
}

/// That a command outside of all this is done.
fn done(command: &mut Command) -> Tested {
    let output = exec::output(command)?;
    assert!(output.status.success(), "{command:?}: {output:?}");
    Ok(())
}

/// It writes down what it is asked.
fn dnsmasq(network: &Network, dir: &Path) -> Tested<Running> {
    // Production answers for a whole range, and has this address of it.
    let mut ip = network.prod().command("ip");
    done(ip.args([
        "addr",
        "add",
        &format!("{}/128", DNS[2]),
        "dev",
        "lo",
        "nodad",
    ]))?;
    let mut dnsmasq = dnsmasq_in(network);
    dnsmasq.arg("--log-queries");
    for name in [NAME, "secret.evil.example"] {
        dnsmasq.arg(format!("--host-record={name},{HOST}"));
    }
    dnsmasq.arg(format!("--host-record={BOTH},{HOST},{HOST_V6}"));
    serves(&mut dnsmasq, &DNS, &dir.join("queries"))
}

/// dnsmasq in production, which knows nothing yet.
fn dnsmasq_in(network: &Network) -> Command {
    let mut dnsmasq = network.prod().command("dnsmasq");
    dnsmasq.args([
        "--keep-in-foreground",
        "--conf-file=/dev/null",
        "--no-resolv",
        "--no-hosts",
        "--no-daemon",
        "--bind-interfaces",
        "--local-ttl=1",
        "--user=root",
        "--pid-file=",
        "--local=/#/",
    ]);
    dnsmasq
}

/// Starts it, and waits until it serves.
fn serves(dnsmasq: &mut Command, at: &[&str], log: &Path) -> Tested<Running> {
    dnsmasq.arg(format!("--log-facility={}", log.display()));
    dnsmasq.args(at.iter().map(|at| format!("--listen-address={at}")));
    let running = Running::start(dnsmasq)?;
    eventually("dnsmasq serves", || {
        fs::read_to_string(log).is_ok_and(|log| log.contains("started"))
    })?;
    Ok(running)
}

fn python(network: &Network, dir: &Path, args: &[&str]) -> Tested<Running> {
    let mut python = network.prod().command("/usr/bin/python3");
    let python = python.args(args).current_dir(dir).env("PRODUCTION", NAME);
    Ok(Running::start(python)?)
}

/// Has dnsmasq give another address of a name each second. Returns how many there were.
fn turn(hosts: &Path, dnsmasq: u32, is_over: &AtomicBool) -> u64 {
    // No longer than any test lasts.
    let seconds = (0..900).take_while(|_| !is_over.load(Ordering::Relaxed));
    let each = seconds.map(|number| {
        fs::write(hosts, host(number)).unwrap();
        kill_process(Pid::from_raw(dnsmasq.cast_signed()).unwrap(), Signal::HUP).unwrap();
        thread::sleep(Duration::from_secs(1));
    });
    each.count() as u64
}

fn host(number: u64) -> String {
    format!("{} v1.api.example.com\n", churn::address(number))
}

#[test]
fn addresses_that_dnsmasq_changes_each_second_are_reached() -> Tested {
    addresses_that_dnsmasq_changes(Duration::from_secs(20), 3)
}

#[test]
#[ignore = "it takes ten minutes"]
fn addresses_that_dnsmasq_changes_each_second_are_reached_for_ten_minutes() -> Tested {
    addresses_that_dnsmasq_changes(Duration::from_secs(600), 6)
}

fn addresses_that_dnsmasq_changes(time: Duration, sessions: usize) -> Tested {
    let kept = tempfile::Builder::new()
        .prefix("guard-names-")
        .tempdir_in("/tmp")?;
    let config = format!("resolvers = [\"{}:53\", \"{}:53\"]\n", DNS[0], DNS[1]);
    let place = ResolverScene::build(usual, |daemon| daemon.config(&config))?;
    let hosts = kept.path().join("hosts");
    fs::write(&hosts, host(0))?;
    let mut dnsmasq = dnsmasq_in(&place.network);
    dnsmasq.arg(format!("--addn-hosts={}", hosts.display()));
    let dnsmasq = serves(&mut dnsmasq, &DNS[1..2], &kept.path().join("log"))?;
    let (churn, pid) = (Churn::of(place, DNS[1])?, dnsmasq.pid());
    let is_over = AtomicBool::new(false);
    let (turns, said) = thread::scope(|scope| {
        let turns = scope.spawn(|| turn(&hosts, pid, &is_over));
        let said = churn.run(sessions, time, u64::MAX);
        is_over.store(true, Ordering::Relaxed);
        (turns.join().unwrap(), said)
    });
    let connections = churn.connections(&said);
    println!("{connections} connections to {turns} addresses, none refused");
    assert!(turns > time.as_secs() / 2 && connections > 100, "{said:?}");
    Ok(())
}

/// Set where programs may be missing: their tests are left out with a word.
const MAY_BE_MISSING: &str = "GUARD_CLIENTS_MAY_BE_MISSING";

/// Whether a program is here. `cargo xtask test` installs those of the suite, so that a missing one is a failure, unless whoever
/// runs it says that some may be.
pub(super) fn has(program: &str) -> Tested<bool> {
    let path = std::env::var("PATH")?;
    let found = std::env::split_paths(&path).any(|dir| dir.join(program).exists());
    Ok(found || is_left_out(program))
}

fn is_left_out(program: &str) -> bool {
    let may_be = std::env::var_os(MAY_BE_MISSING).is_some();
    assert!(
        may_be,
        "there is no {program}: install it, or set {MAY_BE_MISSING}=1 to leave its test out"
    );
    eprintln!("not tried: there is no {program}");
    false
}

#[test]
fn glibc() -> Tested {
    let scene = RegistryScene::new()?;
    scene.works(&format!("getent ahostsv4 {NAME}"), HOST)?;
    // Only the search list makes a name of it that exists, and what is not below it is refused on the way.
    scene.works(&format!("getent ahostsv4 {SHORT}"), HOST)?;
    let connects = format!(
        "import socket; s = socket.create_connection(('{NAME}', 80)); print(s.getpeername()[0])"
    );
    scene.works(&format!("/usr/bin/python3 -c \"{connects}\""), HOST)?;
    scene.finds_nothing(&format!("getent ahosts {SECRET} || echo none"), "none")?;
    sorts_and_nobody_is_asked(&scene)
}

/// It tries several addresses of a name by connects to port 0, to sort them. What is sent there is asked about, and nothing before.
fn sorts_and_nobody_is_asked(scene: &RegistryScene) -> Tested {
    let run = scene.daemon.agent(["run", "--policy", "confirms"]);
    let resolv = scene.dir.join("resolv.conf");
    let mut shell = Shell::run_by(&scene.daemon, run.resolv(resolv))?;
    let sorts = format!("test $(getent ahosts {BOTH} | grep -c STREAM) = 2");
    assert_eq!(shell.status_of(&sorts)?, 0);
    let pending = || scene.daemon.list(["pending"]);
    assert!(pending()?.is_empty());
    let sends = format!(
        "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'?', ('{HOST}', 9))"
    );
    let sends = format!("/usr/bin/python3 -c \"{sends}\"");
    assert_ne!(shell.status_of(&sends)?, 0);
    eventually("a person is asked", || Ok(!pending()?.is_empty()))?;
    let ports: Vec<_> = pending()?
        .iter()
        .map(|one| one["destination"]["port"].clone())
        .collect();
    assert_eq!(ports, [9]);
    Ok(())
}

/// What glibc's modules ask by Unix sockets: systemd-resolved, and nscd.
const ASKED_BY_SOCKET: [&str; 2] = ["systemd/resolve/io.systemd.Resolve", "nscd/socket"];

/// Whether a request to nscd is for a user or a group (`request_type` in glibc's nscd-client.h): `guard run` asks outside, too.
fn is_for_users(request: &[u8; 12]) -> bool {
    matches!(request[4], 0..=3 | 11 | 12 | 15)
}

/// Counts who asks for a host at a socket, and hangs up.
fn counts(at: &Path) -> Tested<Arc<AtomicUsize>> {
    let listener = UnixListener::bind(at)?;
    fs::set_permissions(at, fs::Permissions::from_mode(0o666))?;
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::downgrade(&count);
    listener.set_nonblocking(true)?;
    thread::spawn(move || {
        while let Some(count) = counted.upgrade() {
            match listener.accept() {
                Ok((mut asked, _)) => {
                    let mut request = [0; 12];
                    asked.set_nonblocking(false).unwrap();
                    let read = asked.read_exact(&mut request);
                    if read.is_err() || !is_for_users(&request) {
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                }
                Err(_) => thread::sleep(Duration::from_millis(5)),
            }
        }
    });
    Ok(count)
}

/// They would ask for any name, outside of the session: it does not get to them, and glibc goes on by DNS.
#[test]
fn modules_of_glibc_s_that_ask_by_a_socket() -> Tested {
    let mut scene = RegistryScene::new()?;
    let modules = bins::clients()?.join("usr/lib/x86_64-linux-gnu");
    if !modules.join("libnss_resolve.so.2").exists() {
        is_left_out("libnss_resolve.so.2");
        return Ok(());
    }
    let run = scene.dir.join("run");
    let mut counted = Vec::new();
    for socket in ASKED_BY_SOCKET {
        let at = run.join(socket);
        fs::create_dir_all(at.parent().unwrap_or(&run))?;
        counted.push(counts(&at)?);
    }
    let modules_asked = scene.dir.join("nsswitch.conf");
    let text = "passwd: files\ngroup: files\nhosts: resolve [!UNAVAIL=return] dns\n";
    fs::write(&modules_asked, text)?;
    // Networks are found there.
    let networks = run.join("netns");
    fs::create_dir(&networks)?;
    scene.places.extend([
        (modules_asked, "/etc/nsswitch.conf".into()),
        ("/run/netns".into(), networks),
        (run, "/run".into()),
    ]);
    let ask = |name: &str| {
        format!(
            "LD_LIBRARY_PATH={} getent ahostsv4 {name}",
            modules.display()
        )
    };
    let asked = || counted.iter().map(|count| count.load(Ordering::Relaxed));
    let without = scene.without(&ask(NAME))?;
    assert!(without.text.contains(HOST), "{without:?}");
    assert!(
        asked().all(|count| count > 0),
        "without the guard both are asked"
    );
    let before: Vec<_> = asked().collect();
    let with = scene.with(&ask(NAME))?;
    assert!(with.text.contains(HOST), "{with:?}");
    let now: Vec<_> = asked().collect();
    assert_eq!(now, before, "nobody outside is asked: {ASKED_BY_SOCKET:?}");
    scene.finds_nothing(&format!("{} || echo none", ask(SECRET)), "none")
}

/// What a program's own table makes of a name is asked for as that, and judged so.
#[test]
fn aliases_of_glibc_s_own() -> Tested {
    let scene = RegistryScene::new()?;
    let aliases = format!("listed {NAME}\nunlisted {SECRET}\n");
    fs::write(scene.home().join("aliases"), aliases)?;
    let ask = |name: &str| format!("HOSTALIASES=$HOME/aliases getent ahostsv4 {name}");
    scene.works(&ask("listed"), HOST)?;
    scene.finds_nothing(&format!("{} || echo none", ask("unlisted")), "none")
}

#[test]
fn musl() -> Tested {
    if !has("musl-gcc")? {
        return Ok(());
    }
    let scene = RegistryScene::new()?;
    let mut gcc = Command::new("musl-gcc");
    gcc.args(["-static", "-o", "names", "names.c"])
        .current_dir(&scene.dir);
    done(&mut gcc)?;
    scene.works(&format!("names {NAME} 80"), HOST)?;
    scene.works(&format!("names {SHORT} 80"), HOST)?;
    scene.finds_nothing(&format!("names {SECRET} 80"), "no: ")?;
    Ok(())
}

/// Each of these in the one scene, with what the name server was asked by those before it left out.
#[test]
fn together() -> Tested {
    each_from(
        &RegistryScene::new()?,
        cases![go, node, dnspython, dig, curl, git, npm, pip, cargo, apt],
        RegistryScene::forget_queries,
    )
}

fn go(scene: &RegistryScene) -> Tested {
    if !has("go")? {
        return Ok(());
    }
    let mut go = Command::new("go");
    go.args(["build", "-o", "names-go", "names.go"])
        .current_dir(&scene.dir)
        .env("GO111MODULE", "off")
        .env("GOCACHE", scene.dir.join("cache"))
        .env("GOPATH", scene.dir.join("path"))
        .env("CGO_ENABLED", "0");
    done(&mut go)?;
    scene.works(&format!("names-go {NAME} 80"), HOST)?;
    scene.works(&format!("names-go {SHORT} 80"), HOST)?;
    scene.finds_nothing(&format!("names-go {SECRET} 80"), "no such host")?;
    Ok(())
}

fn node(scene: &RegistryScene) -> Tested {
    let by_c_ares =
        format!("require('dns').resolve4('{NAME}', (error, all) => console.log(error || all[0]))");
    scene.works(&format!("node -e \"{by_c_ares}\""), HOST)?;
    let by_libc = format!(
        "require('net').connect(80, '{NAME}', function () {{ console.log(this.remoteAddress); this.destroy() }})"
    );
    scene.works(&format!("node -e \"{by_libc}\""), HOST)?;
    let none = by_c_ares.replace(NAME, SECRET);
    scene.finds_nothing(&format!("node -e \"{none}\""), "ENOTFOUND")?;
    Ok(())
}

fn dnspython(scene: &RegistryScene) -> Tested {
    if scene.without("/usr/bin/python3 -c 'import dns'")?.code != Some(0) {
        is_left_out("dnspython");
        return Ok(());
    }
    for tcp in ["False", "True"] {
        let asks = |name: &str| {
            let asks = "import dns.resolver; print(dns.resolver.resolve";
            format!("/usr/bin/python3 -c \"{asks}('{name}', tcp={tcp})[0])\"")
        };
        scene.works(&asks(NAME), HOST)?;
    }
    let asks = format!("import dns.resolver; dns.resolver.resolve('{SECRET}')");
    scene.finds_nothing(&format!("/usr/bin/python3 -c \"{asks}\""), "NXDOMAIN")?;
    Ok(())
}

fn dig(scene: &RegistryScene) -> Tested {
    if !has("dig")? {
        return Ok(());
    }
    for options in [
        "",
        "+tcp",
        "+dnssec",
        "-b 203.0.113.253",
        "@192.0.2.54",
        "@2001:db8:7::53",
    ] {
        scene.works(&format!("dig +short {options} {NAME}"), HOST)?;
    }
    scene.finds_nothing(&format!("dig {SECRET}"), "status: NXDOMAIN")?;
    Ok(())
}

fn curl(scene: &RegistryScene) -> Tested {
    scene.works(
        &format!("curl -sS http://{NAME}:8080/version"),
        "gitVersion",
    )?;
    let by_address = scene.with("curl -sS --noproxy '*' http://198.51.100.7/")?;
    assert_ne!(by_address.code, Some(0), "{by_address:?}");
    scene.finds_nothing(
        &format!("curl -sS http://{SECRET}/"),
        "Could not resolve host",
    )?;
    Ok(())
}

fn git(scene: &RegistryScene) -> Tested {
    let makes = "cd $DIR/files && git init -q -b main work && cd work && echo text >file && git add file && \
                 git -c user.name=a -c user.email=a@example.com commit -qm first && cd .. && \
                 git clone -q --bare work photos.git && git -C photos.git update-server-info";
    let mut sh = Command::new("sh");
    done(sh.args(["-ec", makes]).env("DIR", &scene.dir))?;
    let clone =
        format!("rm -rf clone && git clone -q http://{NAME}/photos.git clone && cat clone/file");
    scene.works(&clone, "text")?;
    let none = format!("git clone http://{SECRET}/photos.git other");
    scene.finds_nothing(&none, "Could not resolve host")?;
    Ok(())
}

fn npm(scene: &RegistryScene) -> Tested {
    if !has("npm")? {
        return Ok(());
    }
    let install = |name: &str| {
        format!(
            "rm -rf app && mkdir app && cd app && echo '{{}}' >package.json && npm install --no-audit --no-fund \
             --no-update-notifier --fetch-retries=0 --registry http://{name}:8080/npm/ left-pad && ls node_modules"
        )
    };
    scene.works(&install(NAME), "left-pad")?;
    scene.finds_nothing(&install(SECRET), "ENOTFOUND")?;
    Ok(())
}

fn pip(scene: &RegistryScene) -> Tested {
    if scene.without("/usr/bin/python3 -m pip --version")?.code != Some(0) {
        is_left_out("pip");
        return Ok(());
    }
    let download = |name: &str| {
        format!(
            "rm -rf got && /usr/bin/python3 -m pip download -q --disable-pip-version-check --retries 0 -d got \
             --index-url http://{name}:8080/simple/ --trusted-host {name} left-pad && ls got"
        )
    };
    scene.works(&download(NAME), "left_pad-1.0.0")?;
    scene.finds_nothing(&download(SECRET), "ERROR")?;
    Ok(())
}

/// Rust's tools are where no agent may go: they are seen at another place.
fn cargo(scene: &RegistryScene) -> Tested {
    let sysroot = exec::output(Command::new("rustc").args(["--print", "sysroot"]))?;
    let sysroot = String::from_utf8_lossy(&sysroot.stdout).trim().to_owned();
    let rust = scene.dir.join("rust");
    fs::create_dir(&rust)?;
    let fetch = |name: &str| {
        format!(
            "export CARGO_HOME=$HOME/cargo CARGO_NET_RETRY=0; rm -rf app cargo && mkdir -p cargo app/src && cd app && \
             printf '[registries.company]\\nindex = \"sparse+http://{name}:8080/crates/\"\\n' >../cargo/config.toml && \
             printf '[package]\\nname = \"app\"\\nversion = \"1.0.0\"\\n[dependencies]\\nleft-pad = {{ version = \"1\", \
             registry = \"company\" }}\\n' >Cargo.toml && echo 'fn main() {{}}' >src/main.rs && \
             $DIR/rust/bin/cargo fetch && ls $CARGO_HOME/registry/cache/*"
        )
    };
    let place = rust.display().to_string();
    let within = |command: &Command| mounts::with_file(command, Path::new(&sysroot), &place);
    let mut sh = scene.daemon.on_machine(AGENT, "sh");
    let without = said(&mut scene.mounted(&within(sh.args(["-c", &fetch(NAME)])))?)?;
    assert!(without.text.contains("left-pad-1.0.0"), "{without:?}");
    for (name, wanted) in [(NAME, "left-pad-1.0.0"), (SECRET, "ould not resolve host")] {
        let run = scene
            .daemon
            .agent(["run", "--policy", "names", "--", "sh", "-c", &fetch(name)]);
        let with = said(&mut scene.mounted(&within(&run.command()?))?)?;
        assert!(with.text.contains(wanted), "{name}: {with:?}");
    }
    assert!(!scene.was_asked("secret"));
    Ok(())
}

fn apt(scene: &RegistryScene) -> Tested {
    if !has("dpkg-deb")? || !has("apt-get")? {
        return Ok(());
    }
    let makes = "cd $DIR/files && mkdir -p tiny/DEBIAN && printf 'Package: tiny\\nVersion: 1.0\\nArchitecture: all\\n\
                 Maintainer: a <a@example.com>\\nDescription: tiny\\n' >tiny/DEBIAN/control && \
                 dpkg-deb -b tiny tiny.deb >/dev/null && { cat tiny/DEBIAN/control; echo Filename: ./tiny.deb; \
                 echo Size: $(stat -c %s tiny.deb); echo SHA256: $(sha256sum tiny.deb | cut -d' ' -f1); echo; } >Packages";
    let mut sh = Command::new("sh");
    done(sh.args(["-ec", makes]).env("DIR", &scene.dir))?;
    let update = |name: &str| {
        format!(
            "rm -rf apt tiny*.deb && mkdir -p apt/lists/partial apt/cache/archives/partial && \
             echo 'deb [trusted=yes] http://{name}/ ./' >apt/sources && \
             apt=\"-o Dir::State=$PWD/apt -o Dir::State::lists=lists -o Dir::State::status=/dev/null \
             -o Dir::Cache=$PWD/apt/cache -o Dir::Etc::sourcelist=$PWD/apt/sources -o Dir::Etc::sourceparts=/dev/null \
             -o Acquire::Retries=0\" && apt-get $apt update && apt-get $apt download tiny && ls *.deb"
        )
    };
    scene.works(&update(NAME), "tiny_1.0_all.deb")?;
    scene.finds_nothing(&update(SECRET), "Could not resolve")?;
    Ok(())
}

/// With a model that stands in at a name of the policy: what that has it fetch by such a name comes, and by another there is none.
#[test]
#[ignore = "it wants a large package: `cargo xtask test --ignored tools`"]
fn claude_code() -> Tested {
    let npm = std::env::var("GUARD_TOOLS_NPM")?;
    let scene = RegistryScene::new()?;
    fs::write(scene.dir.join("files/file"), "text-of-production\n")?;
    let models = [(8081, NAME), (8082, SECRET)].map(|(port, name)| {
        let command = format!("curl -sS -m 20 http://{name}/file");
        python(
            &scene.network,
            &scene.dir,
            &["model.py", &command, &port.to_string()],
        )
    });
    let place = scene.dir.join("npm");
    fs::create_dir(&place)?;
    let place = place.display().to_string();
    let within = |command: &Command| mounts::with_file(command, Path::new(&npm), &place);
    let claude = |port: u16| {
        format!(
            "export PATH={place}/node_modules/.bin:$PATH ANTHROPIC_BASE_URL=http://{NAME}:{port} ANTHROPIC_API_KEY=none \
             CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1 DISABLE_AUTOUPDATER=1 ENABLE_TOOL_SEARCH=false; \
             claude --print --allowedTools Bash -- 'fetch the file'"
        )
    };
    for (port, wanted) in [(8081, "command: fetched"), (8082, "command: refused")] {
        let run = ["run", "--policy", "names", "--", "sh", "-c", &claude(port)];
        let run = scene.daemon.agent(run);
        let with = said(&mut scene.mounted(&within(&run.command()?))?)?;
        assert!(with.text.contains(wanted), "{port}: {with:?}");
    }
    assert!(!scene.was_asked("secret"), "{}", scene.queries());
    for port in [8081, 8082] {
        let mut sh = scene.daemon.on_machine(AGENT, "sh");
        let without = said(&mut scene.mounted(&within(sh.args(["-c", &claude(port)])))?)?;
        assert!(
            without.text.contains("command: fetched"),
            "{port}: {without:?}"
        );
    }
    models.into_iter().try_for_each(|model| model.map(drop))
}
