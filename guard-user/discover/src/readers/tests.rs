//! Each reader is tried with secrets: a row of `tests/secrets.txt` is for it.

use super::literals::Language;
use super::*;

const PLACES: &str = include_str!("../../tests/secrets.txt");
/// What people are told is read.
const PAGE: &str = include_str!("../../../../docs/reference/sources.md");

/// The names of the rows' files.
fn names() -> impl Iterator<Item = &'static str> {
    let rows = PLACES.strip_prefix("-- ").unwrap_or(PLACES).split("\n-- ");
    let files = rows.filter_map(|row| row.split_once('\n'));
    let files = files.map(|(name, _)| name);
    files.filter(|name| !["env", "/etc/hosts"].contains(name))
}

/// What a row's file is read as.
fn format_of(name: &str) -> Option<Format> {
    if let Some((variable, _)) = name.split_once('=') {
        let mut named = named::NAMED.iter();
        let (_, names) = named.find(|(known, _)| *known == variable)?;
        return match names {
            Names::File(format) | Names::Files(format) => Some(*format),
            Names::Dir(_) => None,
        };
    }
    let Some(file) = name.strip_prefix("~/").map(Path::new) else {
        let path = Path::new(name);
        return Format::of(path).or_else(|| Format::of_prose(path));
    };
    let usual = of_home().find(|(path, _)| *path == file);
    let of_dir = || dirs_of_home().find(|(dir, inner, _)| lies_in(file, dir, inner));
    let by_ending = || HOME_ENDINGS.iter().find(|one| ends_so(file, one));
    usual
        .map(|(_, format)| format)
        .or_else(|| of_dir().map(|(_, _, format)| format))
        .or_else(|| by_ending().map(|(_, _, format)| *format))
}

fn ends_so(file: &Path, (dir, ending, _): &(&str, &str, Format)) -> bool {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    file.parent() == Some(Path::new(dir)) && name.ends_with(ending)
}

/// Those of a kind that have nothing in them, and a match that is compiled only where none is left out.
macro_rules! all {
    ($kind:ty: $($one:path),+; $($with:pat),*) => {{
        let _ = |one: $kind| match one {
            $($one)|+ $(| $with)* => {}
        };
        vec![$($one),+]
    }};
}

fn formats() -> Vec<Format> {
    use Format::{
        Ansible, Aws, Azure, Codex, Compose, DockerContext, Dotenv, Encrypted, Gcloud, Git, Hcl,
        Immich, JsonSettings, Kubeconfig, Kubernetes, Link, Login, Mcp, MyCnf, Netrc, Npmrc,
        PgService, Pgpass, Pipeline, Rails, Shell, Source, Spring, Ssh, TerraformState, Vpn,
    };
    let mut formats = all!(Format:
        Aws, Azure, Codex, Compose, DockerContext, Dotenv, Encrypted, Gcloud, Git, Hcl, Immich, JsonSettings, Kubeconfig, Mcp,
        MyCnf, Netrc, Npmrc, PgService, Pgpass, Pipeline, Rails, Shell, Spring, Ssh, TerraformState, Vpn;
        Ansible(_), Kubernetes(_), Link(_), Login(_), Source(_));
    formats.extend(links().into_iter().map(Link));
    formats.extend(sources().into_iter().map(Source));
    let kinds = all!(ansible::AnsibleFile:
        ansible::AnsibleFile::Config, ansible::AnsibleFile::Inventory, ansible::AnsibleFile::InventoryYaml, ansible::AnsibleFile::Variables;);
    formats.extend(kinds.into_iter().map(Ansible));
    let kinds = all!(kubernetes::KubernetesFile:
        kubernetes::KubernetesFile::Kustomization, kubernetes::KubernetesFile::Manifest, kubernetes::KubernetesFile::Values;);
    formats.extend(kinds.into_iter().map(Kubernetes));
    formats
}

fn links() -> Vec<links::Link> {
    use links::Link::{
        Firebase, Fly, HerokuApp, HerokuProcesses, Netlify, NetlifySite, Pulumi, Railway, Render,
        Sam, Serverless, Supabase, SupabasePooler, SupabaseProject, Vercel, Wrangler, WranglerJson,
    };
    all!(links::Link:
        Firebase, Fly, HerokuApp, HerokuProcesses, Netlify, NetlifySite, Pulumi, Railway, Render, Sam, Serverless, Supabase,
        SupabasePooler, SupabaseProject, Vercel, Wrangler, WranglerJson;)
}

fn sources() -> Vec<Source> {
    use Source::{
        ArgoCd, Backend, Boto, Cargo, Connections, Databricks, Docker, Gh, GitCredentials, Glab,
        GoogleKey, HomeAssistant, Ini, K9s, Kamal, Kept, Markdown, Maven, Minio, Package, Pip,
        Procfile, Program, Pulumi, Recipes, Shell, Stripe, Terraform, TerraformRc, Usql, Vault,
        Workspace, Xml,
    };
    let mut sources = all!(Source:
        ArgoCd, Backend, Boto, Cargo, Connections, Databricks, Docker, Gh, GitCredentials, Glab, GoogleKey, HomeAssistant, Ini,
        K9s, Kamal, Markdown, Maven, Minio, Package, Pip, Procfile, Pulumi, Recipes, Shell, Stripe, Terraform, TerraformRc, Usql, Vault, Workspace, Xml;
        Kept(_), Program(_));
    let languages = all!(Language:
        Language::Elixir, Language::Hocon, Language::JavaScript, Language::Php, Language::Python;);
    sources.extend(languages.into_iter().map(Program));
    sources
}

#[test]
fn each_row_of_secrets_has_a_reader() {
    for name in names() {
        assert!(format_of(name).is_some(), "{name}");
    }
}

#[test]
fn each_reader_has_a_row_of_secrets() {
    let tried: BTreeSet<_> = names().filter_map(format_of).collect();
    let missing = formats().into_iter().filter(|one| !tried.contains(one));
    assert_eq!(missing.collect::<Vec<_>>(), []);
}

#[test]
fn each_place_of_a_home_has_a_row_of_secrets() {
    let rows: Vec<_> = names()
        .filter_map(|name| name.strip_prefix("~/"))
        .map(Path::new)
        .collect();
    let files = of_home().filter(|(path, _)| !rows.contains(path));
    let mut missing: Vec<_> = files.map(|(path, _)| path.display().to_string()).collect();
    let has = |is: &dyn Fn(&Path) -> bool| rows.iter().any(|row| is(row));
    let dirs = dirs_of_home().filter(|(dir, inner, _)| !has(&|row| lies_in(row, dir, inner)));
    missing.extend(dirs.map(|(dir, inner, _)| format!("{dir}/*/{inner}")));
    let endings = HOME_ENDINGS
        .iter()
        .filter(|one| !has(&|row| ends_so(row, one)));
    missing.extend(endings.map(|(dir, ending, _)| format!("{dir}/*{ending}")));
    assert_eq!(missing, Vec::<String>::new());
}

/// What people take for granted is read, or is not, they know by the page alone.
#[test]
fn each_place_that_is_read_is_on_its_page() {
    let mut all: Vec<_> = of_home()
        .map(|(file, _)| file.display().to_string())
        .collect();
    all.extend(dirs_of_home().map(|(dir, _, _)| dir.to_owned()));
    all.extend(HOME_ENDINGS.map(|(dir, ending, _)| match dir {
        "" => format!("*{ending}"),
        dir => format!("{dir}/*{ending}"),
    }));
    all.extend(named::NAMED.map(|(variable, _)| variable.to_owned()));
    all.extend(sources::NAMES.map(|(name, _)| name.to_owned()));
    all.extend(sources::PLACES.map(|(dir, name, _)| format!("{dir}/{name}")));
    let page = PAGE.to_ascii_lowercase();
    let is_there = |place: &String| {
        let place = place.to_ascii_lowercase();
        [format!("`{place}`"), format!("`{place}/*")]
            .iter()
            .any(|shown| page.contains(shown))
    };
    all.retain(|place| !is_there(place));
    assert_eq!(all, Vec::<String>::new());
}
