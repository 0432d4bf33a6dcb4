//! `profile` and what belongs to it, from TOML to the model.

use guard_common::Verdict;

use super::{
    contrib,
    http::path,
    invalid::{Invalid, nearest, printable, quoted},
    model::Action,
    profile::{Profile, ProfileLists},
    source::{Source, Table, TomlValue},
};

/// The lists of a rule, and the profile that each means something with.
const LISTS: &[(&str, Profile)] = &[
    ("graphql_paths", Profile::Graphql),
    ("grpc_methods", Profile::Grpc),
    ("jsonrpc_methods", Profile::Jsonrpc),
    ("jsonrpc_paths", Profile::Jsonrpc),
    ("postgres_functions", Profile::Postgres),
    ("postgres_settings", Profile::Postgres),
];

/// The profiles that are of no use without a list, and it.
const NEEDED: &[(Profile, &str)] = &[
    (Profile::Grpc, "grpc_methods = [\"*/Get*\", \"*/List*\"]"),
    (Profile::Jsonrpc, "jsonrpc_methods = [\"eth_call\"]"),
];

/// The profiles of a rule, and their lists.
pub(super) fn read<'s>(
    source: &mut Source<'s>,
    rule: &Table<'_, 's>,
    action: Action,
) -> (Vec<Profile>, ProfileLists) {
    let profiles = profiles(source, rule);
    if let (Some(value), true) = (rule.get("profile"), action != Verdict::ReadOnly) {
        let misplaced = Invalid::new("`profile` means something under `read-only` only")
            .help("write `action = \"read-only\"` in the rule, or remove this");
        source.error(value.span(), misplaced);
    }
    not_with_http(source, rule, &profiles);
    misplaced_lists(source, rule, &profiles);
    missing_lists(source, rule, &profiles);
    let lists = ProfileLists {
        graphql_paths: list(
            source,
            rule,
            "graphql_paths",
            "a path like \"/api/*\"",
            path,
        ),
        grpc_methods: list(source, rule, "grpc_methods", GRPC, grpc_method),
        jsonrpc_methods: list(source, rule, "jsonrpc_methods", JSONRPC, printable),
        jsonrpc_paths: list(source, rule, "jsonrpc_paths", "a path like \"/rpc\"", path),
        postgres_functions: list(source, rule, "postgres_functions", FUNCTION, function),
        postgres_settings: list(source, rule, "postgres_settings", SETTING, setting),
    };
    (profiles, lists)
}

const GRPC: &str = "a method like \"package.Service/Get*\"";
const JSONRPC: &str = "a method like \"eth_call\"";
const SETTING: &str = "a setting like \"myapp.user\" or \"myapp.*\"";
const FUNCTION: &str = "a function like \"public.total\" or \"st_*\"";

/// What speaks another protocol than HTTP speaks it alone.
fn not_with_http<'s>(source: &mut Source<'s>, rule: &Table<'_, 's>, profiles: &[Profile]) {
    if !profiles.contains(&Profile::Postgres) {
        return;
    }
    let help = "make two rules of it, each with its own ports";
    if let (Some(value), 2..) = (rule.get("profile"), profiles.len()) {
        let mixed = Invalid::new("`postgres` is no protocol on top of HTTP, and the others are");
        source.error(value.span(), mixed.help(help));
    }
    if let Some(value) = rule.get("http") {
        let mixed = Invalid::new("`[[rule.http]]` means nothing with `profile = \"postgres\"`");
        source.error(value.span(), mixed.help(help));
    }
}

fn profiles<'s>(source: &mut Source<'s>, rule: &Table<'_, 's>) -> Vec<Profile> {
    let expected = "a profile like \"kubernetes\"";
    let Some(value) = rule.get("profile") else {
        return Vec::new();
    };
    if value.get_ref().is_str() {
        let one = source.parsed(value, expected, str::parse);
        return one.into_iter().collect();
    }
    refuse_empty(source, value, "profile", "leave it out where none is meant");
    let mut profiles: Vec<Profile> = source.list(value, expected, str::parse).unwrap_or_default();
    profiles.sort_unstable();
    profiles.dedup();
    profiles
}

fn refuse_empty<'s>(source: &mut Source<'s>, value: &TomlValue<'s>, key: &str, help: &str) {
    if value
        .get_ref()
        .as_array()
        .is_some_and(|list| list.is_empty())
    {
        let empty = Invalid::new(format!("`{key}` is empty"));
        source.error(value.span(), empty.help(help));
    }
}

fn list<'s>(
    source: &mut Source<'s>,
    rule: &Table<'_, 's>,
    key: &str,
    expected: &str,
    parse: impl Fn(&str) -> Result<String, Invalid>,
) -> Vec<String> {
    let Some(value) = rule.get(key) else {
        return Vec::new();
    };
    refuse_empty(source, value, key, "leave it out, or say what is meant");
    source.list(value, expected, parse).unwrap_or_default()
}

fn misplaced_lists<'s>(source: &mut Source<'s>, rule: &Table<'_, 's>, profiles: &[Profile]) {
    for (key, profile) in LISTS {
        let value: Option<&TomlValue<'s>> = rule.get(key);
        if let (Some(value), false) = (value, profiles.contains(profile)) {
            let alone = format!("`{key}` means something with `profile = \"{profile}\"` only");
            let help = "add that profile, or remove this";
            source.error(value.span(), Invalid::new(alone).help(help));
        }
    }
}

fn missing_lists<'s>(source: &mut Source<'s>, rule: &Table<'_, 's>, profiles: &[Profile]) {
    for (profile, example) in NEEDED {
        let key = example.split(' ').next().unwrap_or(example);
        if let (Some(value), true, None) = (
            rule.get("profile"),
            profiles.contains(profile),
            rule.get(key),
        ) {
            let missing = format!("the profile `{profile}` does not know which methods read");
            source.error(
                value.span(),
                Invalid::new(missing).help(format!("write `{example}`")),
            );
        }
    }
}

/// The name of a function, with its schema or without.
fn function(text: &str) -> Result<String, Invalid> {
    let text = printable(text)?;
    if text.starts_with('@') {
        return extension(text);
    }
    match text.strip_suffix('*').unwrap_or(&text) {
        "" | "pg_catalog." => Err(
            Invalid::new(format!("{} is for all functions", quoted(&text)))
                .help("name those that read"),
        ),
        name if name.contains(['*', '(', ' ']) => Err(Invalid::new(format!(
            "{} is no function's name",
            quoted(&text)
        ))
        .help("write `schema.name` or `name`; a `*` may stand at its end")),
        _ => Ok(text),
    }
}

/// The functions of an extension that only read.
fn extension(text: String) -> Result<String, Invalid> {
    if contrib::functions(&text).is_some() {
        return Ok(text);
    }
    let names: Vec<_> = contrib::names().collect();
    let help = match nearest(&text, &names) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => format!(
            "there are {}; of others name the functions",
            names.join(" ")
        ),
    };
    Err(Invalid::new(format!("there is no list {}", quoted(&text))).help(help))
}

/// A setting of an application, which has a dot in it: none of the server's own has.
fn setting(text: &str) -> Result<String, Invalid> {
    let text = printable(text)?;
    let is_part = |part: &str| {
        let mut letters = part.chars();
        let first = letters.next();
        first.is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
            && letters.all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '$'))
    };
    let (parts, any) = match text.strip_suffix(".*") {
        Some(stem) => (stem, true),
        None => (&*text, false),
    };
    let count = parts.split('.').count();
    if !parts.split('.').all(is_part) {
        return Err(
            Invalid::new(format!("{} is no setting's name", quoted(&text)))
                .help("write `application.name`, or `application.*`"),
        );
    }
    if count < 2 && !any {
        let own = Invalid::new(format!(
            "{} may be a setting of the server's own",
            quoted(&text)
        ));
        return Err(own.help("those of applications have a dot, as in `myapp.user`"));
    }
    Ok(text.to_ascii_lowercase())
}

/// `package.Service/Method`: the path of a gRPC request without its first slash.
fn grpc_method(text: &str) -> Result<String, Invalid> {
    let text = printable(text)?;
    let parts: Vec<_> = text.split('/').collect();
    match parts[..] {
        [service, method] if !service.is_empty() && !method.is_empty() => Ok(text),
        ["", service, method] => Err(Invalid::new(format!("{} begins with `/`", quoted(&text)))
            .help(format!("write `{service}/{method}`"))),
        _ => Err(
            Invalid::new(format!("{} does not say service and method", quoted(&text)))
                .help("write `package.Service/Get*`, or `*/Get*` for every service"),
        ),
    }
}
