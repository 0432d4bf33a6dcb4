//! The documents name what the code has: nothing that people rely on comes, goes or is renamed
//! without its page.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use clap::{Command, CommandFactory as _};
use guard as cli;
use guard_proto::{LogKind, varlink};
use guardd::{args, config::Config};

mod reference;

/// Where the objects are that people and programs read.
const JSON: &str = "docs/reference/json.md";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn page(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

/// That a page has each name, whole, in what it shows as code.
fn has_all(path: &str, kind: &str, names: impl IntoIterator<Item = String>) {
    let text = page(path);
    let spans: Vec<_> = prose(&text).flat_map(code).collect();
    let names: BTreeSet<_> = names.into_iter().collect();
    assert!(!names.is_empty(), "no {kind} was found in the code");
    let missing = names
        .iter()
        .filter(|name| !spans.iter().any(|span| has(span, name)));
    let missing: Vec<_> = missing.collect();
    assert!(missing.is_empty(), "{path} has no {kind} {missing:?}");
}

/// The lines outside of blocks of code.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    text.split("```").step_by(2).flat_map(str::lines)
}

/// What stands between backticks in a line.
fn code(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

/// Whether a piece of code has a name that is not a part of a longer one.
fn has(span: &str, name: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || "-_".contains(c);
    span.match_indices(name).any(|(at, _)| {
        let (before, after) = (&span[..at], &span[at + name.len()..]);
        !before.ends_with(is_part) && !after.starts_with(is_part)
    })
}

/// The names that serde says it would have understood: `unknown …, expected one of `a`, `b``.
fn expected(error: &str) -> Vec<String> {
    let (_, names) = error.split_once("expected one of ").unwrap();
    let names = names.lines().next().unwrap();
    let quoted = names.split('`').skip(1).step_by(2);
    quoted.map(str::to_owned).collect()
}

#[test]
fn the_guardd_toml_that_ships_shows_every_key_with_its_default() {
    let text = page("packaging/etc/guardd.toml");
    let file = tempfile::NamedTempFile::new().unwrap();
    let read = |text: &str| {
        fs::write(&file, text).unwrap();
        Config::read(file.path(), false)
    };
    assert_eq!(
        read(&text).unwrap(),
        Config::default(),
        "it changes something"
    );

    // A comment has a space behind its mark; a key has none. Tables, which are examples, come last.
    let bare = |text: &str| text.replace("\n#", "\n").replace("\n ", "\n# ");
    read(&bare(&text)).unwrap();
    let (keys, _) = text.split_once("\n#[").unwrap_or((&text, ""));
    let mut shown = read(&bare(keys)).unwrap();
    // Without a default, these have an example.
    assert!(shown.default_policy.take().is_some());
    assert!(shown.resolvers.take().is_some());
    assert!(shown.on_request.take().is_some());
    assert!(shown.on_request_user.take().is_some());
    assert!(shown.proxy.user.take().is_some());
    assert!(shown.answers.couriers.take().is_some());
    assert!(!std::mem::take(&mut shown.answers.origins).is_empty());
    assert!(shown.fleet.group.take().is_some() && shown.fleet.lasts.take().is_some());
    assert!(shown.fleet.log.take().is_some());
    assert!(!std::mem::take(&mut shown.proxy.ca).is_empty());
    assert!(!std::mem::take(&mut shown.assign).is_empty());
    assert_eq!(shown, Config::default(), "it shows other defaults");

    let error = read("no_such_key = 1\n").unwrap_err().to_string();
    let (_, names) = error.split_once("unknown field").unwrap();
    // Those of the last release are ignored.
    for name in expected(names).iter().filter(|name| *name != "metrics") {
        let forms = [
            format!("#{name} = "),
            format!("#[{name}]"),
            format!("#[[{name}]]"),
        ];
        let shown = text
            .lines()
            .filter(|line| forms.iter().any(|form| line.starts_with(form)));
        assert_eq!(shown.count(), 1, "{name}");
    }
}

/// A manual page, as people read it.
fn manual(path: &str) -> String {
    page(path).replace("\\-", "-")
}

#[test]
fn every_option_of_guardd_is_in_its_manual() {
    let manual = manual("packaging/man/guardd.8");
    let guardd = args::Cli::command();
    // What guardd starts of itself is nobody's to type.
    let verbs = || guardd.get_subcommands().filter(|verb| !verb.is_hide_set());
    let seen = |command: &Command| {
        let options = command
            .get_arguments()
            .filter(|option| !option.is_hide_set());
        options
            .filter_map(|option| Some(format!("--{}", option.get_long()?)))
            .collect::<Vec<_>>()
    };
    for option in verbs().flat_map(seen).chain(seen(&guardd)) {
        assert!(has(&manual, &option), "{option}");
    }
    for verb in verbs() {
        assert!(has(&manual, verb.get_name()), "{}", verb.get_name());
    }
}

#[test]
fn every_key_of_a_policy_is_in_its_manual() {
    let manual = manual("packaging/man/guard-policy.5");
    let reference = page("docs/policy.md");
    for section in ["## Keys of the policy", "## Keys of a rule"] {
        let (_, rest) = reference.split_once(section).unwrap();
        let rows = rest
            .lines()
            .skip_while(|line| !line.starts_with("|---"))
            .skip(1);
        let rows: Vec<_> = rows.take_while(|line| line.starts_with('|')).collect();
        assert!(rows.len() > 3, "{section}");
        for key in rows.iter().filter_map(|row| code(row).next()) {
            assert!(manual.contains(&format!("\n.B {key}\n")), "{key}");
        }
    }
}

/// What a manual that is written by hand shows one how to type.
fn examples(path: &str) -> String {
    let manual = manual(path);
    let (_, rest) = manual.split_once("\n.SH EXAMPLES\n").expect(path);
    let (_, rest) = rest.split_once(".EX\n").expect(path);
    rest.split_once(".EE\n").expect(path).0.to_owned()
}

#[test]
fn manuals_written_by_hand_have_examples() {
    for (path, program) in [
        ("packaging/man/guardd.8", "guardd "),
        ("packaging/console/guard-console.8", "guard-console "),
        ("packaging/fleet/guard-fleet.8", "guard-fleet "),
    ] {
        let examples = examples(path);
        assert!(examples.contains(program), "{path}: {examples}");
    }
    let policy = examples("packaging/man/guard-policy.5");
    let parsed = guard_policy::parse("example", &policy).unwrap();
    assert!(parsed.warnings.is_empty(), "{:?}", parsed.warnings);
}

#[test]
fn every_kind_of_record_is_in_the_reference() {
    let error = serde_json::from_str::<LogKind>("\"no-such-kind\"").unwrap_err();
    has_all(JSON, "kind", expected(&error.to_string()));
}

#[test]
fn every_field_of_the_interface_is_in_the_reference() {
    let code = |line: &&str| !line.starts_with('#');
    let lines = varlink::DESCRIPTION.lines().filter(code);
    let lines: Vec<_> = lines
        .skip_while(|line| !line.starts_with("type "))
        .collect();
    let description = lines.join("\n");
    // The parameters of methods are for introspection.
    let types = description.split("\nmethod ").next().unwrap();
    let before_colons = types.split(':').rev().skip(1);
    let fields = before_colons.filter_map(|text| text.rsplit([' ', '(', '\n']).next());
    has_all(JSON, "field", fields.map(str::to_owned));
}

#[test]
fn every_invariant_is_in_the_architecture_with_its_test() {
    let tests = page("tests/tests/invariants.rs");
    let names = tests.split("#[test]\nfn ").skip(1);
    let names = names.filter_map(|text| text.split('(').next());
    has_all("docs/architecture.md", "test", names.map(str::to_owned));
}

/// All Markdown files, but for what is built or hidden.
fn documents(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap().flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            documents(&path, found);
        } else if name.ends_with(".md") {
            found.push(path);
        }
    }
}

/// What a line links to as `[text](target)`.
fn links(line: &str) -> impl Iterator<Item = &str> {
    let targets = line.split("](").skip(1);
    targets.filter_map(|rest| rest.split(')').next())
}

/// A heading as links name it: `## What it's for` is `#what-its-for`.
fn anchors(text: &str) -> Vec<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    let anchor = |heading: &str| {
        let heading = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = heading
            .chars()
            .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    headings.map(anchor).collect()
}

#[test]
fn every_link_between_documents_leads_somewhere() {
    let mut all = Vec::new();
    documents(&root(), &mut all);
    assert!(all.iter().any(|path| path.ends_with("README.md")));
    for document in all {
        let text = fs::read_to_string(&document).unwrap();
        for link in prose(&text)
            .flat_map(links)
            .filter(|link| !link.contains("://"))
        {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = match file {
                "" => document.clone(),
                file => document.parent().unwrap().join(file),
            };
            let shown = document.display();
            assert!(target.exists(), "{shown}: {link} leads nowhere");
            if !anchor.is_empty() {
                let there = anchors(&fs::read_to_string(&target).unwrap());
                assert!(there.contains(&anchor.to_owned()), "{shown}: no {link}");
            }
        }
    }
}

/// Of a manifest, what its crate uses of this workspace, tests aside.
fn uses(manifest: &str) -> BTreeSet<String> {
    let (_, dependencies) = manifest.split_once("[dependencies]\n").unwrap_or_default();
    let dependencies = dependencies.split("\n[").next().unwrap_or_default();
    let names = dependencies.lines().filter_map(|line| {
        let name = line.split(['.', ' ']).next()?;
        name.starts_with("guard").then(|| name.to_owned())
    });
    names.collect()
}

#[test]
fn the_arrows_of_the_architecture_are_those_of_the_manifests() {
    let text = page("docs/architecture.md");
    let block = text
        .split("```text\n")
        .find(|block| block.starts_with("guard  "));
    let block = block.unwrap().split("```").next().unwrap();
    let package = |name: &str| match name {
        name if name.starts_with("guard") => name.to_owned(),
        name => format!("guard-{name}"),
    };
    let mut drawn = BTreeSet::new();
    for line in block.lines() {
        let (from, to) = line.split_once(" -> ").unwrap();
        let to = to.split(", ").filter(|to| !to.starts_with("and "));
        let to = to.map(|to| package(to.split(' ').next().unwrap()));
        drawn.insert((package(from.trim()), to.collect::<BTreeSet<_>>()));
    }
    let dirs = fs::read_dir(root().join("guard-user")).unwrap();
    let dirs = dirs.map(|dir| dir.unwrap().path());
    let mut held = BTreeSet::new();
    for dir in dirs.chain([root().join("guard-ebpf")]) {
        let manifest = fs::read_to_string(dir.join("Cargo.toml")).unwrap();
        let name = manifest
            .lines()
            .find_map(|line| line.strip_prefix("name = "));
        let uses = uses(&manifest);
        if !uses.is_empty() {
            held.insert((name.unwrap().trim_matches('"').to_owned(), uses));
        }
    }
    assert_eq!(drawn, held);
}

/// Crates that parse what a session or a destination sends. ring is none: guardd checks the signatures of approvers with it.
const PARSERS: [&str; 6] = [
    "guard-proxy",
    "rustls",
    "hyper",
    "h2",
    "pg_query",
    "sqlparser",
];

#[test]
fn guardd_links_no_parser_of_an_attackers_bytes() {
    let (guardd, proxy) = (tree("guardd"), tree("guard-proxy"));
    assert!(proxy.contains("rustls") && proxy.contains("pg_query"));
    for parser in PARSERS {
        assert!(!guardd.contains(parser), "{parser}");
    }
}

/// The crates that a package is made of, but for those that only make code.
fn tree(package: &str) -> BTreeSet<String> {
    let output = std::process::Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--offline"])
        .args(["--edges", "normal,no-proc-macro"])
        .args(["--prefix", "none", "--package", package])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let names = text.lines().filter_map(|line| line.split(' ').next());
    names
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

/// What root runs, with the reason for each crate.
const CRATES: &str = "guard-user/guardd/crates.txt";

/// What the list has: a line says why a crate is there, and lines that are set in say what comes with it.
fn crates_of_root(list: &str) -> BTreeSet<String> {
    let lines = list.lines().filter(|line| !line.starts_with('#'));
    let names = lines.flat_map(|line| match line.split_once(": ") {
        Some((name, why)) if !why.is_empty() => vec![name],
        _ if line.starts_with("    ") => line.split_whitespace().collect(),
        _ => panic!("{CRATES}: {line}: no reason"),
    });
    let mut all = BTreeSet::new();
    for name in names {
        assert!(
            all.insert(name.to_owned()),
            "{CRATES}: {name} is there twice"
        );
    }
    all
}

#[test]
fn each_crate_that_root_runs_is_there_for_a_reason() {
    let listed = crates_of_root(&page(CRATES));
    let mut linked = tree("guardd");
    linked.retain(|name| !name.starts_with("guard"));
    let new: Vec<_> = linked.difference(&listed).collect();
    let gone: Vec<_> = listed.difference(&linked).collect();
    assert!(
        new.is_empty(),
        "{new:?} would run as root: say why in {CRATES}, or do without"
    );
    assert!(
        gone.is_empty(),
        "{gone:?} run no more: take them off {CRATES}"
    );
    let with_another = tree("guard-console");
    assert!(with_another.contains("maud") && !listed.contains("maud"));
}

/// All files of Rust in a directory, and below it.
fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            found.push(path);
        }
    }
}

/// Names that several public types may have: what several layers know of one thing, and what each program has of its own.
const SHARED_NAMES: [(&str, &str); 10] = [
    ("AnswerArgs", "clap's options of a program's verb"),
    ("Burst", "as a request shows it, and as guardd collects it"),
    ("Cli", "clap's command line of a program"),
    ("Flow", "the map's value, and as guardd shows it"),
    ("Hole", "as guardd shows it, and as it keeps it"),
    ("LogArgs", "clap's options of a program's verb"),
    ("NotifyArgs", "clap's options of a program's verb"),
    ("Session", "the value of a map, as shown, and as kept"),
    ("Settings", "a program's own"),
    ("Verb", "clap's verbs of a program"),
];

/// Whether a file has tests and nothing else.
fn is_of_tests(file: &Path) -> bool {
    file.iter()
        .any(|part| part == "tests" || part == "tests.rs")
}

/// The name of the type that an item defines.
fn defined(item: &str) -> Option<String> {
    let kinds = ["struct ", "enum ", "trait ", "type ", "union "];
    let rest = kinds.iter().find_map(|kind| item.strip_prefix(kind))?;
    let name: String = rest.chars().take_while(|c| c.is_alphanumeric()).collect();
    (!name.is_empty()).then_some(name)
}

/// An item without its visibility.
fn behind_visibility(item: &str) -> &str {
    let Some(rest) = item.strip_prefix("pub") else {
        return item;
    };
    let in_scope = rest
        .strip_prefix('(')
        .and_then(|scope| scope.split_once(')'));
    in_scope.map_or(rest, |(_, rest)| rest).trim_start()
}

/// The types that code defines, of any visibility, within functions too.
fn types(code: &str) -> Vec<String> {
    let items = code.lines().filter_map(|line| {
        let item = behind_visibility(line.trim_start());
        // One that is indented belongs to a trait or its implementation.
        let is_associated = line.starts_with(' ') && item.starts_with("type ");
        (!is_associated).then(|| defined(item)).flatten()
    });
    items.collect()
}

/// The directories of all crates.
fn crates() -> Vec<PathBuf> {
    let tops = ["bench", "guard-common", "guard-ebpf", "tests", "xtask"];
    let mut all: Vec<_> = tops.iter().map(|name| root().join(name)).collect();
    let entries = fs::read_dir(root().join("guard-user")).unwrap();
    let users = entries.map(|entry| entry.unwrap().path());
    all.extend(users.filter(|path| path.join("Cargo.toml").exists()));
    all
}

/// Where the types of one name are.
type TypesByName = BTreeMap<String, Vec<PathBuf>>;

fn types_by_name(files: &[PathBuf], of: impl Fn(&str) -> Vec<String>) -> TypesByName {
    let mut found = TypesByName::new();
    for file in files {
        for name in of(&fs::read_to_string(file).unwrap()) {
            found.entry(name).or_default().push(file.clone());
        }
    }
    found
}

#[test]
fn no_two_types_of_a_crate_have_one_name() {
    let some =
        "pub(crate) struct A;\nimpl Of for A {\n    type B = ();\n}\ntype C = A;\n    enum D {}\n";
    assert_eq!(types(some), ["A", "C", "D"]);
    let code = |text: &str| types(text.split("#[cfg(test)]\nmod tests {").next().unwrap());
    for directory in crates() {
        let mut files = Vec::new();
        sources(&directory.join("src"), &mut files);
        files.retain(|file| !is_of_tests(file));
        let mut found = types_by_name(&files, code);
        found.retain(|_, files| files.len() > 1);
        assert!(found.is_empty(), "{}: {found:#?}", directory.display());
    }
}

/// Names that say nothing of what a type holds: at most one type of the workspace has each, of those in tests, too.
const GENERAL_NAMES: [&str; 4] = ["Answer", "Place", "Terms", "Told"];

#[test]
fn at_most_one_type_has_a_general_name() {
    let mut files = Vec::new();
    for directory in crates() {
        sources(&directory, &mut files);
    }
    let mut found = types_by_name(&files, types);
    found.retain(|name, files| GENERAL_NAMES.contains(&name.as_str()) && files.len() > 1);
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn no_two_public_types_have_one_name() {
    let mut files = Vec::new();
    sources(&root().join("guard-common/src"), &mut files);
    sources(&root().join("guard-user"), &mut files);
    files.retain(|file| !is_of_tests(file));
    let guardd = root().join("guard-user/guardd/src");
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        // guardd's are public to its own modules alone.
        let is_of_guardd = file.starts_with(&guardd);
        let public = text.lines().filter_map(|line| {
            let of_guardd = line.strip_prefix("pub(crate) ").filter(|_| is_of_guardd);
            of_guardd.or_else(|| line.strip_prefix("pub "))
        });
        for name in public.filter_map(defined) {
            let places = found.entry(name).or_default();
            places.push(file.display().to_string());
        }
    }
    found.retain(|_, places| places.len() > 1);
    for (name, why) in SHARED_NAMES {
        let places = found.remove(name);
        assert!(places.is_some(), "{name} has one type: {why}");
    }
    assert!(found.is_empty(), "{found:#?}");
}

/// What a file uses of its own crate, by the first part of the path; comments and tests left aside.
fn own_modules(code: &str) -> BTreeSet<String> {
    let name = |text: &str| {
        let end = text.find(|c: char| !c.is_alphanumeric() && c != '_');
        text[..end.unwrap_or(text.len())].to_owned()
    };
    let mut used = BTreeSet::new();
    for text in code.split("crate::").skip(1) {
        let Some(group) = text.strip_prefix('{') else {
            used.insert(name(text));
            continue;
        };
        let (mut depth, mut is_first) = (0, true);
        for (at, c) in group.char_indices() {
            match c {
                '}' if depth == 0 => break,
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 0 => is_first = true,
                c if is_first && !c.is_whitespace() => {
                    used.insert(name(&group[at..]));
                    is_first = false;
                }
                _ => {}
            }
        }
    }
    used
}

/// The arrows of a drawing, in its order.
fn arrows(block: &str) -> Vec<(String, BTreeSet<String>)> {
    let lines = block.lines().filter_map(|line| line.split_once(" -> "));
    let arrows = lines.map(|(from, to)| {
        let to = to.split(", ").map(|to| to.trim().to_owned());
        (from.trim().to_owned(), to.collect())
    });
    arrows.collect()
}

#[test]
fn the_owners_of_guardds_state_use_each_other_as_the_architecture_draws_it() {
    let text = page("docs/architecture.md");
    let mut blocks = text.split("```text\n").skip(1);
    let block = blocks.find(|block| block.starts_with("unix  "));
    let drawn = arrows(block.unwrap().split("```").next().unwrap());
    for (at, (from, _)) in drawn.iter().enumerate() {
        let mut below = drawn[at..].iter();
        assert!(
            below.all(|(_, to)| !to.contains(from)),
            "an arrow up to {from}"
        );
    }
    let dir = root().join("guard-user/guardd/src");
    let mut files = Vec::new();
    sources(&dir, &mut files);
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        let lines = code.lines().map(|line| line.split("//").next().unwrap());
        let code = lines.collect::<Vec<_>>().join("\n");
        // What needs all of the state may use all of it.
        let mut words = code.split(|c: char| !c.is_alphanumeric() && c != '_');
        if words.any(|word| ["State", "Shared"].contains(&word)) {
            continue;
        }
        let file = file.strip_prefix(&dir).unwrap().with_extension("");
        let module = file.iter().next().unwrap().to_str().unwrap().to_owned();
        let mut used = own_modules(&code);
        used.remove(&module);
        found.entry(module).or_default().extend(used);
    }
    found.retain(|_, used| !used.is_empty());
    assert_eq!(drawn.into_iter().collect::<BTreeMap<_, _>>(), found);
}
