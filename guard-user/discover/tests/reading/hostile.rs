use std::collections::BTreeMap;
use std::env;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::process::Command;
use std::time::Duration;

use guard_discover::{Host, OUT_OF_TIME};
use proptest::prelude::*;
use rustix::fs::{CWD, FileType, Mode, OFlags, inotify, mknodat};
use rustix::io::Errno;

use super::*;

fn says(found: &Discovery, expected: &str) {
    let all = passed_over(found);
    assert!(
        all.iter().any(|line| line == expected),
        "{expected}: {all:?}"
    );
}

#[test]
fn what_holds_a_reader_up_or_leads_it_elsewhere_is_passed_over() -> Tested {
    let scene = Scene::new()?.with("~/secret.env", "A=postgres://a:b@db.example.net/a\n")?;
    let at = |name: &str| scene.project.path().join(name);
    mknodat(CWD, at(".env"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
    symlink(scene.home.path().join("secret.env"), at("link.env"))?;
    symlink("/dev/zero", at("zero.env"))?;
    symlink(at("loop.env"), at("loop.env"))?;
    symlink(scene.home.path(), at("elsewhere"))?;
    fs::create_dir(at("directory.env"))?;
    let found = scene.look()?;
    assert_eq!(lines(&found), Vec::<String>::new());
    for expected in [
        ".env: not a regular file",
        "link.env: a link",
        "zero.env: a link",
        "loop.env: a link",
        "elsewhere: a link to elsewhere",
    ] {
        says(&found, expected);
    }
    Ok(())
}

/// What leads to what is walked anyway, to a file, or to what a tool has built hides nothing.
#[test]
fn a_link_to_a_directory_that_no_walk_enters_is_said() -> Tested {
    let scene = Scene::new()?
        .with("~/shop/prod.env", "A=postgres://a:b@db.example.net/a\n")?
        .with("settings/dev.env", "A=1\n")?
        .with("target/conf/prod.env", "A=1\n")?
        .with("packages/one/a.txt", "")?
        .with("env/bin/activate", "")?;
    let at = |name: &str| scene.project.path().join(name);
    for (link, to) in [
        ("conf", Path::new("settings")),
        ("packages/one/conf", Path::new("../../settings")),
        ("whole", &at("settings")),
        ("notes.md", Path::new("../notes.md")),
        ("LICENSE", Path::new("../LICENSE")),
        ("env/bin/python3", Path::new("/usr/local/python/python3")),
        ("lib", Path::new("/usr/lib/shop.so")),
        ("node_modules", Path::new("/usr/share/nodejs")),
        ("result", Path::new("/nix/store/0-shop")),
        (
            "bazel-bin",
            Path::new("/root/.cache/bazel/_bazel_root/0/bin"),
        ),
    ] {
        symlink(to, at(link))?;
    }
    assert_eq!(passed_over(&scene.look()?), Vec::<String>::new());
    symlink(scene.home.path().join("shop"), at("shop"))?;
    symlink("../../../shop", at("packages/one/shop.d"))?;
    symlink("target/conf", at("built"))?;
    symlink("/srv/conf.prod", at("conf.prod"))?;
    // Capitals make no notice of it.
    symlink("../shop", at("PROD"))?;
    symlink("/srv/PROD", at("settings.d"))?;
    let found = scene.look()?;
    let expected = [
        "PROD",
        "built",
        "conf.prod",
        "packages/one/shop.d",
        "settings.d",
        "shop",
    ]
    .map(|link| format!("{link}: a link to elsewhere"));
    assert_eq!(passed_over(&found), expected);
    let [before, after] = [&found, &{
        fs::remove_file(at("built"))?;
        symlink("target", at("built"))?;
        scene.look()?
    }]
    .map(|found| {
        found
            .passed_over
            .iter()
            .map(|one| one.sha256.clone())
            .collect::<Vec<_>>()
    });
    assert!(before.iter().all(Option::is_some));
    let [is_same, changed] = [0, 1].map(|at| before[at] == after[at]);
    assert!(
        is_same && !changed && before[2..] == after[2..],
        "{before:?} {after:?}"
    );
    Ok(())
}

/// To list what a link leads to may mount it, or never end.
#[test]
fn a_directory_that_a_project_names_is_not_listed_through_a_link() -> Tested {
    let scene = Scene::new()?.with("~/meta/x/meta.json", "{}\n")?;
    let at = |name: &str| scene.project.path().join(name);
    fs::write(at(".env"), "DOCKER_CONFIG=tools\n")?;
    fs::create_dir_all(at("tools/contexts"))?;
    let meta = at("tools/contexts/meta");
    symlink(scene.home.path().join("meta"), &meta)?;
    let found = scene.look()?;
    says(&found, "tools/contexts/meta: a link");
    fs::remove_file(&meta)?;
    fs::create_dir(&meta)?;
    assert_eq!(passed_over(&scene.look()?), Vec::<String>::new());
    Ok(())
}

/// Who writes to it is told, and may ask a person for what is to be read.
#[test]
fn a_fifo_is_not_opened() -> Tested {
    let scene = Scene::new()?;
    let file = scene.project.path().join(".env");
    mknodat(CWD, &file, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
    let opened = inotify::init(inotify::CreateFlags::NONBLOCK)?;
    inotify::add_watch(&opened, &file, inotify::WatchFlags::OPEN)?;
    says(&scene.look()?, ".env: not a regular file");
    let heard = |file| rustix::io::read(file, &mut [0; 256]);
    assert_eq!(heard(&opened), Err(Errno::AGAIN));
    // The watch hears of it where it is.
    let _opened = rustix::fs::open(&file, OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty())?;
    assert!(heard(&opened).is_ok());
    Ok(())
}

#[test]
fn a_place_that_is_not_kept_leaves_the_others_as_they_are() -> Tested {
    let contexts: String = (0..300)
        .map(|at| format!("- {{name: c{at}, context: {{cluster: c{at}}}}}\n"))
        .collect();
    let clusters: String = (0..300)
        .map(|at| format!("- {{name: c{at}, cluster: {{server: 'https://c{at}.example.io'}}}}\n"))
        .collect();
    let with = |current: &str| -> Tested<Discovery> {
        let text =
            format!("current-context: {current}\ncontexts:\n{contexts}clusters:\n{clusters}");
        Scene::new()?.with("~/.kube/config", text)?.look()
    };
    let (none, dropped) = (with("other")?, with("c299")?);
    assert_eq!(none.findings.len(), 256);
    assert_eq!(none.findings, dropped.findings);
    Ok(())
}

#[test]
fn what_is_too_long_is_read_so_far_and_said() -> Tested {
    let place = "A=postgres://a:b@db.example.net/a\n";
    let scene = Scene::new()?
        .with("lines.env", format!("{place}{}", "x=1\n".repeat(1_000_000)))?
        .with(
            "line.env",
            format!(
                "X={}\nB=redis://:p@cache.example.net\n",
                "x".repeat(100_000)
            ),
        )?
        .with("binary.env", b"A=\0")?
        .with("kubeconfig", "a: b\n".repeat(1 << 20))?
        .with("compose.yaml", format!("services: {}", "[".repeat(100_000)))?
        .with(".mcp.json", "[".repeat(100_000))?;
    let sparse = fs::File::create(scene.project.path().join("sparse.env"))?;
    sparse.set_len(1 << 30)?;
    let found = scene.look()?;
    assert_eq!(found.findings.len(), 2, "{:?}", lines(&found));
    for expected in [
        "lines.env: too long: the rest of it",
        "line.env:1: a line that is too long",
        "binary.env: not text",
        "kubeconfig: too long",
        "sparse.env: not text",
        "compose.yaml: unreadable YAML",
        ".mcp.json: unreadable JSON",
    ] {
        says(&found, expected);
    }
    Ok(())
}

#[test]
fn lines_that_are_no_places_take_the_time_of_so_many() -> Tested {
    let good = "A=postgres://a:b@db.example.net/a\n";
    let found = Scene::new()?
        .with(".env", format!("{good}{}", "DB_HOST=:x\n".repeat(20_000)))?
        .look()?;
    assert_eq!(found.findings.len(), 1);
    says(
        &found,
        ".env: more places than are kept: is this file yours?",
    );
    assert!(found.passed_over.len() < 300, "{}", found.passed_over.len());
    Ok(())
}

#[test]
fn files_that_fill_the_list_do_not_hide_what_comes_later() -> Tested {
    let many: String = (0..256)
        .map(|n| format!("X{n}_URL=postgres://u@localhost:{}/app\n", 6000 + n))
        .collect();
    let mut scene = Scene::new()?;
    for number in 0..16 {
        scene = scene.with(&format!(".env.t{number}"), many.as_str())?;
    }
    let found = scene
        .with("deploy/deploy.sh", "ssh root@prod.example.net\n")?
        .look()?;
    says(
        &found,
        "deploy/deploy.sh: more places than are kept: is this file yours?",
    );
    Ok(())
}

#[test]
fn an_address_beside_a_server_hides_nothing() -> Tested {
    let knex = "module.exports = {client: 'pg', host: 'db.example.net', port: 5432, password: 'x', \
                database: 'app', u: 'redis://db.example.net:6379/test'}";
    let found = Scene::new()?.with("knexfile.js", knex)?.look()?;
    let all = lines(&found);
    for place in ["db.example.net:5432", "db.example.net:6379"] {
        assert!(all.iter().any(|one| one.contains(place)), "{all:?}");
    }
    Ok(())
}

#[test]
fn a_name_that_is_an_address_is_not_shown() -> Tested {
    let servers = r#"{"Servers": {"1": {"Name": "Server=db.example.net;Password=abc/S3cretTail",
        "Host": "db.example.net", "Port": 5432, "Username": "u", "MaintenanceDB": "a"}}}"#;
    let knex = "module.exports = {'https://hooks.example.net/x/S3cretTok': 'postgres://u:p@pg.example.net/a'}";
    let found = Scene::new()?
        .with("servers.json", servers)?
        .with("knexfile.js", knex)?
        .look()?;
    let said = format!("{found:?}");
    assert!(
        said.contains("pg.example.net") && !said.contains("S3cret"),
        "{said}"
    );
    Ok(())
}

#[test]
fn a_heap_of_namespaces_is_refused() -> Tested {
    let many: String = (0..100)
        .map(|n| format!("<a xmlns:a{n}=\"u{n}\">"))
        .collect();
    let found = Scene::new()?.with("web.config", many)?.look()?;
    says(&found, "web.config: more namespaces than are read");
    Ok(())
}

#[test]
fn a_bomb_of_aliases_is_refused() -> Tested {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let before = format!("*a{}", level - 1);
        bomb += &format!(
            "a{level}: &a{level} [{}]\n",
            [before.as_str(); 9].join(", ")
        );
    }
    let found = Scene::new()?.with("compose.yaml", bomb)?.look()?;
    says(&found, "compose.yaml: unreadable YAML");
    Ok(())
}

#[test]
fn no_number_of_files_below_hides_one_at_the_top() -> Tested {
    let mut scene = Scene::new()?.with(".env", "A=redis://:p@cache.example.net\n")?;
    // The walk ends at three times as many as are read.
    for dir in 0..40 {
        for file in [".env", "compose.yaml", "main.tf"] {
            scene = scene.with(&format!("d{dir}/e/{file}"), "")?;
        }
    }
    let found = scene.look_within(Bounds {
        files: 4,
        depth: 12,
        ..WITHOUT_END
    })?;
    says(&found, ".: more files than are read");
    let hosts: Vec<_> = found.findings.iter().map(|one| one.host.as_str()).collect();
    assert_eq!(hosts, ["cache.example.net"]);
    Ok(())
}

#[test]
fn more_than_is_read_is_said() -> Tested {
    let mut scene = Scene::new()?;
    for number in 0..6 {
        scene = scene.with(&format!("{number}.env"), "")?;
    }
    scene = scene.with("a/b/c/.env", "A=redis://:p@cache.example.net\n")?;
    let found = scene.look_within(Bounds {
        files: 4,
        depth: 2,
        ..WITHOUT_END
    })?;
    says(&found, ".: more files than are read");
    says(&found, "a/b: too deep");
    assert_eq!(found.project_files, 4);
    let many: String = (0..300)
        .map(|n| format!("A{n}=redis://:p@c{n}.example.net\n"))
        .collect();
    let found = Scene::new()?.with(".env", many)?.look()?;
    assert_eq!(found.findings.len(), 256);
    says(
        &found,
        ".env: more places than are kept: is this file yours?",
    );
    Ok(())
}

/// What makes readers go further than noise does.
const PIECES: &str = "(machine |password |url: |\\[remote \"a\"\\]\n|url = |registry=|//|<<|EOT|provider \"mysql\" |endpoint = |\\{\n|\\}\n|\
    \"\"\"|`|'|\\(|\\)|=> |#|/\\*|\\*/|define\\(|class A:\n|config :a, A.Repo,\n|return |hosts:|token: |credentials \"a\"|accessTokens|aliases|\"scripts\"|\t|a: b\n|psql -h |--context |kubectl |sshpass | && |<a name=\"b\">|</a>|<!DOCTYPE a \\[<!ENTITY b \"c\">\\]>|&b;|key=\"parameterValues\"|\
    production:\n|<<: \\*a|&a|resources|attributes|jobs:|run: |ssh a@|spring:|ConnectionStrings|DATABASE_URL=|DB_HOST=|export |postgres://|jdbc:|sqlserver://|://|@|:|\\[|\\]|;|Server=|host=|Host |k9s: |readOnly: true|```\n|~~~\n|\\]\\(|\
    HostName |Include |KUBECONFIG=|TF_WORKSPACE=|insteadOf = x\n|\\[url \"a@b:\"\\]\n|index = |internal_url: |currentContext|auths|region = eu-west-1\n|aws_access_key_id = |\\{|\\}|\"|mcpServers|args|services:|environment:|- |\n|  |[a-z]{1,4}|[0-9]{1,5}|\\\\|\\$|%h|\u{1b}|é){0,40}";

proptest! {
    #![proptest_config(rounds(24))]

    #[test]
    fn no_reader_panics(bytes in prop::collection::vec(any::<u8>(), 0..400), text in PIECES) {
        for content in [&bytes[..], text.as_bytes()] {
            let scene = secrets::everywhere(content).unwrap();
            plain_in_all(&scene.look_within(DEEP).unwrap())?;
        }
    }
}

/// Whatever files say, what is told of them are letters, digits and some signs, and hosts are hosts.
pub(super) fn plain_in_all(found: &Discovery) -> Result<(), TestCaseError> {
    for one in &found.findings {
        let plain = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
        prop_assert!(one.found.iter().all(|seen| seen.key.chars().all(plain)));
        let host = one.host.as_str();
        let (address, bits) = host.split_once('/').unwrap_or((host, "0"));
        let is_host = Host::parse(address).is_some_and(|host| host.as_str() == address);
        prop_assert!(is_host && bits.parse::<u8>().is_ok(), "{}", host);
    }
    Ok(())
}

/// A project's own settings, and what is said of each of them.
const SETTINGS: [(&str, &str); 3] = [
    (
        "app/.env",
        "DATABASE_URL=postgres://app:p@db.example.net/app\nREDIS_URL=redis://:p@cache.prod.example.com\n",
    ),
    (
        "~/.kube/config",
        "clusters: [{name: a, cluster: {server: 'https://203.0.113.40:6443'}}]\ncontexts: [{name: prod, context: {cluster: a}}]\n",
    ),
    ("~/.railway/config.json", "{\"token\": \"p\"}"),
];

/// What a hostile project says to have them look harmless.
const PLANTED: [&str; 12] = [
    "DATABASE_URL=postgres://app:p@localhost/app",
    "DEV_DATABASE_URL=postgres://app:p@db.example.net/app",
    "DATABASE_URL=postgres://app:p@db.example.net/app_test",
    "STAGING_DATABASE_URL=postgres://app:p@db.example.net/staging",
    "#DATABASE_URL=postgres://app:p@db.example.net/app",
    "REDIS_URL=redis://:p@cache.dev.example.com",
    "LOCAL_REDIS_URL=redis://cache.prod.example.com",
    "RAILWAY_TOKEN=your-token",
    "KUBECONFIG=/nonexistent",
    "clusters: [{name: dev, cluster: {server: 'https://203.0.113.40:6443'}}]",
    "contexts: [{name: dev, context: {cluster: dev}}]",
    "services: {db.example.net: {environment: {DATABASE_URL: 'postgres://app:p@db.example.net/app'}}}",
];
const PLANTED_IN: [&str; 9] = [
    ".env",
    ".env.development",
    ".env.example",
    "app/.env.test",
    "app/.env.local",
    "app/compose.yaml",
    "app/kubeconfig",
    "kubeconfig.dev",
    "tests/fixtures/.env",
];

proptest! {
    #![proptest_config(rounds(64))]

    /// What a project plants makes what is found elsewhere no less: it is still there, as grave, and its rule as strict.
    #[test]
    fn more_files_make_nothing_less(
        files in prop::collection::btree_map(0..PLANTED_IN.len(), prop::collection::vec(0..PLANTED.len(), 1..6), 1..4)
    ) {
        let mut scene = Scene::new().unwrap();
        for (path, text) in SETTINGS {
            scene = scene.with(path, text).unwrap();
        }
        let alone = scene.look().unwrap();
        prop_assert_eq!(alone.findings.len(), 4, "{:?}", lines(&alone));
        for (file, planted) in &files {
            let text: Vec<_> = planted.iter().map(|line| PLANTED[*line]).collect();
            scene = scene.with(PLANTED_IN[*file], text.join("\n") + "\n").unwrap();
        }
        let all = scene.look().unwrap();
        for one in &alone.findings {
            let is_it = |other: &&Finding| {
                (&other.host, other.port, other.service) == (&one.host, one.port, one.service)
            };
            let other = all.findings.iter().find(is_it);
            prop_assert!(
                other.is_some_and(|other| other.label >= one.label && other.proposed == one.proposed),
                "{:?} beside {:?}: {:?}", one, files, other
            );
        }
    }
}

/// How strict what is proposed for each place is: nothing, `read-only`, `confirm`, `deny`.
fn strictness(found: &Discovery) -> BTreeMap<(String, u16), Option<usize>> {
    let actions = ["read-only", "confirm", "deny"];
    let of = |action| actions.iter().position(|known| *known == action);
    let places = found.findings.iter();
    let places = places.map(|one| {
        let place = (one.host.to_string(), one.port);
        (place, one.proposed.and_then(|rule| of(rule.action)))
    });
    places.collect()
}

/// With what nothing here needs denied, where no limit keeps that from being known.
fn strictly(mut found: Discovery) -> Discovery {
    found.be_strict();
    found
}

/// Which limit a hostile project has a look reach is its own choice.
#[test]
fn strictly_a_limit_that_is_reached_makes_no_rule_less_and_too_deep_lifts_none() -> Tested {
    let commented = "#A_URL=postgres://u:word@old.example.net/a\n";
    let with_login = || -> Tested<Scene> {
        Scene::new()?
            .with(".env", commented)?
            .with("~/.railway/config.json", "{\"token\": \"hunter2hunter2\"}")
    };
    let bounds = Bounds {
        files: 4,
        depth: 2,
        ..WITHOUT_END
    };
    let alone = with_login()?.look_within(bounds)?;
    let plain = strictness(&alone);
    let denied = strictness(&strictly(alone));
    assert_eq!(plain.len(), 2);
    assert!(
        denied.values().all(|strict| *strict == Some(2)),
        "{denied:?}"
    );

    let planted: String = (0..300)
        .map(|n| format!("#X{n}_URL=postgres://u:word@planted{n}.example.net/a\n"))
        .collect();
    let json = format!("{}1{}", "[".repeat(100), "]".repeat(100));
    for (file, text, why, lifts) in [
        ("a/b/c/.env", "A=1\n", "a/b: too deep", false),
        (
            "ormconfig.json",
            &*json,
            "ormconfig.json:1: too deep",
            false,
        ),
        (
            "x.env",
            &*planted,
            "x.env: more places than are kept: is this file yours?",
            true,
        ),
    ] {
        let found = with_login()?.with(file, text)?.look_within(bounds)?;
        says(&found, why);
        let before = strictness(&found);
        let after = strictness(&strictly(found));
        for (place, strict) in &before {
            assert!(
                after[place] >= *strict,
                "{why}: {place:?}: {before:?} {after:?}"
            );
        }
        for place in plain.keys() {
            let expected = if lifts { plain[place] } else { denied[place] };
            assert_eq!(after[place], expected, "{why}: {place:?}");
        }
        // Nor does a planted name get what no other of its kind gets.
        let is_planted = |host: &str| host.starts_with("planted");
        let own = after.iter().filter(|((host, _), _)| is_planted(host));
        assert!(
            own.clone().all(|(_, strict)| *strict >= Some(0)),
            "{after:?}"
        );
        assert_eq!(own.count(), if lifts { 256 } else { 0 });
    }
    Ok(())
}

#[test]
fn each_of_the_later_formats_is_read_so_far_and_said() -> Tested {
    let deep =
        |open: &str, close: &str| format!("{}{}", open.repeat(100_000), close.repeat(100_000));
    let lines = |line: &str| line.repeat(1_000_000);
    // Each alias has the one before in 40 sequences.
    let chain = (1..100).map(|at| {
        format!(
            "a{at}: &a{at} {}*a{}{}\n",
            "[".repeat(40),
            at - 1,
            "]".repeat(40)
        )
    });
    let chain = "a0: &a0 b\n".to_owned() + &chain.collect::<String>();
    let scene = Scene::new()?
        .with("deep/main.tf", lines("a {\n"))?
        .with("long/main.tf", lines("a = \"b\"\n"))?
        .with("deep/terraform.tfstate", deep("{\"a\":", "}"))?
        .with("long/terraform.tfstate", vec![b' '; 9 << 20])?
        .with("deep/appsettings.json", deep("{\"a\":", "}"))?
        .with("deep/application.yml", deep("[", "]"))?
        .with("deep/docker-compose.yml", "- ".repeat(100_000))?
        .with("chain/docker-compose.yml", chain)?
        .with(".github/workflows/a.yml", format!("a: {}", deep("[", "]")))?
        .with("config/database.yml", lines("a:\n"))?
        .with(".gitlab-ci.yml", lines("a: b\n"))?
        .with("~/.netrc", lines("machine a.example.net\n"))?
        .with(".npmrc", lines("registry=https://a.example.net\n"))?
        .with(
            ".git/config",
            lines("[remote \"a\"]\nurl = a@b.example.net:c\n"),
        )?
        .with("~/.azure/azureProfile.json", deep("[", "]"))?;
    let nested: String = (0..200)
        .map(|level| format!("{}a:\n", "  ".repeat(level)))
        .collect();
    let scene = scene.with("nested/.github/workflows/a.yml", nested)?;
    let sparse = fs::File::create(scene.project.path().join("sparse.tfstate"))?;
    sparse.set_len(1 << 30)?;
    mknodat(
        CWD,
        scene.project.path().join("fifo.tf"),
        FileType::Fifo,
        Mode::RUSR | Mode::WUSR,
        0,
    )?;
    symlink(
        scene.project.path().join("loop.tfvars"),
        scene.project.path().join("loop.tfvars"),
    )?;
    let found = scene.look()?;
    for expected in [
        "deep/main.tf: too long: the rest of it",
        "long/main.tf: too long: the rest of it",
        "deep/terraform.tfstate: unreadable JSON",
        "long/terraform.tfstate: too long",
        "deep/appsettings.json: too long",
        "deep/application.yml: unreadable YAML",
        "deep/docker-compose.yml: too deep",
        "chain/docker-compose.yml: too deep",
        ".github/workflows/a.yml: unreadable YAML",
        "config/database.yml: too long: the rest of it",
        ".gitlab-ci.yml: too long",
        "~/.netrc: too long: the rest of it",
        ".npmrc: too long: the rest of it",
        ".git/config: too long: the rest of it",
        "~/.azure/azureProfile.json: unreadable JSON",
        "sparse.tfstate: not text",
        "fifo.tf: not a regular file",
        "loop.tfvars: a link",
    ] {
        says(&found, expected);
    }
    assert!(
        found.passed_over.iter().any(|one| one.why == "too deep"),
        "{:?}",
        passed_over(&found)
    );
    Ok(())
}

#[test]
fn each_of_the_other_sources_is_read_so_far_and_said() -> Tested {
    let many = |piece: &str| piece.repeat(1_000_000 / piece.len());
    let scene = Scene::new()?
        .with("deep/settings.py", "{".repeat(100_000))?
        .with("wide/settings.py", "a={b:1},\n".repeat(20_000))?
        .with("long/settings.py", many("A = 'b'\n"))?
        .with("open/knexfile.js", "host: `db.example.net\n")?
        .with(
            "open/wp-config.php",
            "/* define('DB_HOST', 'db.example.net');\n",
        )?
        .with(
            "deep/ormconfig.json",
            format!("{}1{}", "[".repeat(100), "]".repeat(100)),
        )?
        .with(
            "bomb/web.config",
            "<!DOCTYPE a [<!ENTITY b \"cc\"><!ENTITY c \"&b;&b;\">]><a>&c;</a>",
        )?
        .with(
            "wide/web.config",
            "<a>".to_owned() + &"<b/>".repeat(65_000) + "</a>",
        )?
        .with("deep/web.config", "<a>".repeat(60_000))?
        .with("long/web.config", many("<a>"))?
        .with("long/Makefile", many("a:\n\tssh a@b.example.net\n"))?
        .with(
            "line/Makefile",
            "a:\n\tssh a@b.example.net \\\n".to_owned() + &"x \\\n".repeat(50_000),
        )?
        .with("long/package.json", many("[[[["))?
        .with(
            "~/.config/gh/hosts.yml",
            "a: ".to_owned() + &"[".repeat(100_000),
        )?
        .with("~/.mysql/workbench/connections.xml", "<a")?;
    let found = scene.look()?;
    for expected in [
        "deep/settings.py:1: a line that is too long",
        "wide/settings.py:4097: more brackets than are read, and what is behind them",
        "long/settings.py: too long: the rest of it",
        "open/knexfile.js: a text or a comment without an end",
        "open/wp-config.php: a text or a comment without an end",
        "deep/ormconfig.json:1: too deep",
        "bomb/web.config: unreadable XML",
        "deep/web.config: unreadable XML",
        "long/web.config: too long",
        "long/Makefile: too long: the rest of it",
        "long/package.json: too long",
        "~/.config/gh/hosts.yml: unreadable YAML",
        "~/.mysql/workbench/connections.xml: unreadable XML",
    ] {
        says(&found, expected);
    }
    let nested = Scene::new()?
        .with("knexfile.js", "{\n".repeat(100))?
        .look()?;
    says(&nested, "knexfile.js:65: too deep");
    Ok(())
}

#[test]
fn what_there_was_no_time_for_is_said() -> Tested {
    let scene = Scene::new()?
        .with(".env", "A=redis://:p@cache.example.net\n")?
        .with("~/.bashrc", "export A=redis://:p@cache.example.org\n")?;
    let found = scene.look_within(Bounds {
        time: Some(Duration::ZERO),
        ..Bounds::default()
    })?;
    assert_eq!((found.home_files, found.project_files), (0, 0));
    let late = found
        .passed_over
        .iter()
        .filter(|one| one.why == OUT_OF_TIME);
    assert_eq!(late.count(), 2, "{:?}", passed_over(&found));
    Ok(())
}

/// Files that cost more than time is given for, each in another way.
fn costly() -> Vec<(&'static str, String)> {
    let many = |piece: &str, bytes: usize| piece.repeat(bytes / piece.len());
    let contexts = many("- {name: c, context: {cluster: x}}\n", 150_000);
    let clusters = many("- {name: a, cluster: {}}\n", 150_000);
    let peers: String = (0..14_000)
        .map(|at| format!("AllowedIPs = 198.{}.{}.1\n", at / 256, at % 256))
        .collect();
    let tasks: String = (0..3_500)
        .map(|at| format!("  j{at}: {{services: {{a: b}}}}\n"))
        .collect();
    let services: String = (0..7_000).map(|at| format!("  s{at}: x\n")).collect();
    vec![
        (
            "beside/web.config",
            format!("<a>{}</a>", many("<b key=\"parameterValues\"/>", 240_000)),
        ),
        (
            "lines/web.config",
            format!("<a>{}</a>", many("<b>;</b>", 240_000)),
        ),
        (
            "kubeconfig",
            format!("contexts:\n{contexts}clusters:\n{clusters}"),
        ),
        (
            "inventory/long.yml",
            format!("all: {{hosts: {{'{}': {{}}}}}}\n", many("[1:1]", 240_000)),
        ),
        (
            "inventory/lines",
            format!(
                "[a]\n{}",
                many(&("h".to_owned() + &many("[1:1]", 16_000) + "\n"), 240_000)
            ),
        ),
        (
            "wg0.conf",
            format!("[Interface]\nPrivateKey = x\n[Peer]\nEndpoint = 192.0.2.1:1\n{peers}"),
        ),
        (
            "package.json",
            format!(
                "{{\"scripts\": {{\"a\": \"{}\"}}}}",
                many("DB_HOST=/x ", 240_000)
            ),
        ),
        (
            ".github/workflows/a.yml",
            format!("services:\n{services}jobs:\n{tasks}"),
        ),
        (
            "~/.ssh/config",
            many(&format!("Host {}\n", many("a ", 16_000)), 240_000),
        ),
    ]
}

#[test]
fn no_file_takes_more_than_its_time() -> Tested {
    for (name, text) in costly() {
        let scene = Scene::new()?.with(name, text)?;
        let found = scene.look_within(Bounds {
            time: Some(Duration::from_millis(100)),
            ..Bounds::default()
        })?;
        // It was read to its end, or the time was up: that is said by its name.
        let late = found
            .passed_over
            .iter()
            .filter(|one| one.why == OUT_OF_TIME);
        let is_named = |one: &str| one.starts_with(name) || one == ".";
        let files: Vec<_> = late.map(|one| one.file.as_str()).collect();
        println!("{name}: {:?}, {:?}", found.took, passed_over(&found));
        let is_read = found.home_files + found.project_files == 1;
        assert!(is_read || !files.is_empty(), "{name}: {found:?}");
        assert!(
            files
                .iter()
                .all(|one| is_named(one) || one.starts_with("~/")),
            "{name}: {files:?}"
        );
    }
    Ok(())
}

#[test]
fn what_parsers_take_long_for_is_refused() -> Tested {
    let aliases = format!(
        "a: &a \"\\n{}\"\nb:\n{}",
        "x".repeat(100_000),
        "- *a\n".repeat(20_000)
    );
    let attributes: String = (0..20_000).map(|at| format!("a{at}='' ")).collect();
    let found = Scene::new()?
        .with("compose.yaml", aliases)?
        .with("web.config", format!("<a {attributes}/>"))?
        .look()?;
    says(&found, "compose.yaml: more aliases than are read");
    says(&found, "web.config: more attributes than are read");
    Ok(())
}

#[test]
fn nothing_is_left_out_without_a_word() -> Tested {
    let deep = |levels: usize| {
        format!(
            "{}\"DATABASE_URL\": \"postgres://u:p@deep.example.net/a\"{}",
            "{\"a\": ".repeat(levels) + "{",
            "}".repeat(levels + 1)
        )
    };
    let long = "k".repeat(300);
    let inventories: String = (0..70).map(|at| format!("i{at},")).collect();
    let hosts: String = (0..40)
        .map(|at| format!("h{at}.example.net:5432,"))
        .collect();
    let mut scene = Scene::new()?
        .with("appsettings.json", deep(10))?
        .with("far/appsettings.json", deep(100))?
        .with("mcp.json", deep(100))?
        .with(
            "long/appsettings.json",
            format!("{{\"{long}\": {{\"DATABASE_URL\": \"postgres://u:p@a.example.net\"}}}}"),
        )?
        .with(
            "application.yml",
            format!("{long}:\n  url: postgres://u:p@a.example.net\n"),
        )?
        .with(
            "chart/values.yaml",
            format!("{long}:\n  url: postgres://u:p@a.example.net\n"),
        )?
        .with(
            "ansible.cfg",
            format!("[defaults]\ninventory = {inventories}\n"),
        )?
        .with("many.env", format!("A_URL=postgres://u:p@{}h/a\n", hosts))?
        .with("shut.env", "A=postgres://u:1[/2@db.example.net/a\n")?
        .with(
            "percent/knexfile.js",
            "module.exports = {a: 'postgres://u:%/x@db.example.net/a'}\n",
        )?
        .with("hosts", b"203.0.113.9 \xff\n203.0.113.8 known.example.io\n")?
        .with("known.env", "A_URL=postgres://u:p@known.example.io/a\n")?;
    let odd = OsStr::from_bytes(b"odd-\xff.env");
    fs::write(
        scene.project.path().join(odd),
        "B_URL=postgres://u:p@odd.example.net/a\n",
    )?;
    scene.hosts = Some(scene.project.path().join("hosts"));
    let found = scene.look()?;
    for expected in [
        "far/appsettings.json:1: too deep",
        "mcp.json:1: too deep",
        "long/appsettings.json:1: a name that is too long, and what is below it",
        "application.yml:2: a name that is too long, and what is below it",
        "chart/values.yaml:2: a name that is too long, and what is below it",
        "ansible.cfg: more inventories than are read",
        "shut.env:1: an unreadable connection string",
        "percent/knexfile.js:1: an unreadable connection string",
    ] {
        says(&found, expected);
    }
    for host in ["deep.example.net", "odd.example.net", "h39.example.net"] {
        let is_found = found.findings.iter().any(|one| one.host.as_str() == host);
        assert!(is_found, "{host}: {:?}", lines(&found));
    }
    let known = found
        .findings
        .iter()
        .find(|one| one.host.as_str() == "known.example.io");
    assert_eq!(known.map(|one| one.addresses.len()), Some(1));
    scene.hosts = Some(scene.project.path().to_owned());
    let text = format!("{}: it cannot be read", scene.project.path().display());
    says(&scene.look()?, &text);
    let nobody = discover(&Inputs {
        project: scene.project.path(),
        home: None,
        hosts: None,
        environment: &[],
        routes: None,
        uid: rustix::process::geteuid().as_raw(),
        bounds: Bounds::default(),
    })?;
    says(&nobody, "~: it is not known where that is");
    Ok(())
}

#[test]
fn what_may_not_be_listed_is_said() -> Tested {
    let scene = Scene::new()?.with("~/.ssh/config.d/a", "Host a\nHostName 203.0.113.9\n")?;
    let dirs = ["", ".ssh", ".ssh/config.d"].map(|dir| scene.home.path().join(dir));
    let set = |mode| {
        let mut all = dirs.iter();
        all.try_for_each(|dir| fs::set_permissions(dir, fs::Permissions::from_mode(mode)))
    };
    set(0o311)?;
    fs::set_permissions(scene.project.path(), fs::Permissions::from_mode(0o755))?;
    let found = as_nobody(&scene);
    set(0o700)?;
    let found = found?;
    says(&found, "~/: it may not be listed");
    says(&found, "~/.ssh/config.d: it may not be listed");
    Ok(())
}

#[test]
fn what_settings_of_ssh_include_is_read() -> Tested {
    let host = |name: &str, at: u8| format!("Host {name}\nHostName 203.0.113.{at}\n");
    let scene = Scene::new()?
        .with("~/.ssh/config", "Include config.d/*\nInclude ~/work/ssh-*\nInclude once \"with words\"\nInclude /etc/ssh/more\nInclude %h/x\nInclude absent\n")?
        .with("~/.ssh/config.d/a", host("a", 1))?
        .with("~/work/ssh-b", host("b", 2))?
        .with("~/work/other", host("none", 9))?
        .with("~/.ssh/once", "Include once\nInclude thrice\n")?
        .with("~/.ssh/with words", host("d", 4))?
        .with("~/.ssh/thrice", host("c", 3))?;
    let found = scene.look()?;
    let mut places: Vec<_> = found.findings.iter().map(|one| one.host.as_str()).collect();
    places.sort_unstable();
    assert_eq!(
        places,
        ["203.0.113.1", "203.0.113.2", "203.0.113.3", "203.0.113.4"]
    );
    assert_eq!(
        passed_over(&found),
        [
            "~/.ssh/config:4: an Include outside of the home",
            "~/.ssh/config:5: an Include that is not followed",
        ]
    );
    Ok(())
}

#[test]
fn what_a_project_plants_hides_no_key_of_the_home() -> Tested {
    let key = |found: &Discovery| found.keys.iter().any(|one| one.what == "a token of Vault");
    for planted in [
        "http://localhost:8200",
        "https://vault.example.io:8200",
        "$X",
    ] {
        let found = Scene::new()?
            .with("~/.vault-token", "hvs.word")?
            .with(".env", format!("VAULT_ADDR={planted}\n"))?
            .look()?;
        assert!(key(&found), "{planted}: {found:?}");
    }
    let own = Scene::new()?
        .with("~/.vault-token", "hvs.word")?
        .with(
            "~/.bashrc",
            "export VAULT_ADDR=https://vault.example.io:8200\n",
        )?
        .look()?;
    assert!(!key(&own));
    // Nor does one that fills the list, or takes all of the time.
    let many: String = (0..256)
        .map(|n| format!("X{n}_URL=postgres://u@localhost:{}/app\n", 6000 + n))
        .collect();
    let mut scene =
        Scene::new()?.with("~/.aws/credentials", "[default]\naws_access_key_id = A\n")?;
    for number in 0..17 {
        scene = scene.with(&format!(".env.t{number}"), many.as_str())?;
    }
    let found = scene.look()?;
    assert!(
        found
            .findings
            .iter()
            .any(|one| one.host.as_str() == "sts.amazonaws.com")
    );
    Ok(())
}

/// Where the one that is tried within a namespace of mounts finds its project.
const MOUNTED: &str = "GUARD_TEST_MOUNTED";

#[test]
fn another_file_system_is_said() -> Tested {
    if let Some(project) = env::var_os(MOUNTED) {
        let found = Scene::new()?.look_at(Path::new(&project), WITHOUT_END)?;
        assert_eq!(lines(&found).len(), 1, "{:?}", lines(&found));
        assert_eq!(passed_over(&found), ["mounted: another file system"]);
        return Ok(());
    }
    let scene = Scene::new()?
        .with("mounted/.env", "A=redis://:p@cache.example.net\n")?
        .with(".env", "B=redis://:p@cache.example.org\n")?;
    let before = scene.look()?;
    assert_eq!((lines(&before).len(), passed_over(&before).len()), (2, 0));
    let mut apart = Command::new("unshare");
    apart.arg("--mount");
    if !rustix::process::geteuid().is_root() {
        apart.arg("--map-root-user");
    }
    let script = "mount -t tmpfs tmpfs \"$0\" && exec \"$@\"";
    apart.args(["sh", "-c", script]);
    apart.arg(scene.project.path().join("mounted"));
    apart.arg(env::current_exe()?);
    apart.args(["--exact", "hostile::another_file_system_is_said"]);
    let output = apart.env(MOUNTED, scene.project.path()).output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{output:?}"
    );
    Ok(())
}
