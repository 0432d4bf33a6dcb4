use std::collections::BTreeMap;
use std::fs;

use super::super::authority::tests::{OURS, THEIRS, ours};
use super::super::jks;
use super::*;

const SYSTEM: &str = "-----BEGIN CERTIFICATE-----\nBwgJ\n-----END CERTIFICATE-----\n";
const PLACE: &str = "/place";

struct Scene {
    dir: tempfile::TempDir,
    variables: Vec<(&'static str, OsString)>,
    has_view: bool,
    bundle: Option<&'static str>,
}

impl Scene {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            variables: Vec::new(),
            has_view: false,
            bundle: Some(SYSTEM),
        }
        .java()
        .naming("SYSTEM_WGETRC", "quota = inf")
    }

    /// With a Java, so that nothing depends on the machine's.
    fn java(self) -> Self {
        let security = self.dir.path().join("lib/security");
        fs::create_dir_all(&security).unwrap();
        let store = jks::of([&[9][..]].into_iter(), jks::PASSWORD);
        fs::write(security.join("cacerts"), store).unwrap();
        let home = self.dir.path().into();
        self.with("JAVA_HOME", home)
    }

    fn with(mut self, name: &'static str, value: OsString) -> Self {
        self.variables.push((name, value));
        self
    }

    /// With a variable that names a file with that in it.
    fn naming(self, name: &'static str, content: impl AsRef<[u8]>) -> Self {
        let path = self.dir.path().join(format!("their {name}"));
        fs::write(&path, content).unwrap();
        self.with(name, path.into())
    }

    fn plan(&self) -> (VariablesPlan, BTreeMap<String, String>) {
        let variable = |name: &str| {
            let mut all = self.variables.iter().rev();
            all.find(|(one, _)| *one == name)
                .map(|(_, value)| value.clone())
        };
        let before = UnguardedState {
            variable: &variable,
            bundle: self.bundle.map(Into::into),
            has_view: self.has_view,
        };
        let plan = VariablesPlan::make(&ours(), &before, PLACE.as_ref());
        let text = |text: OsString| text.into_string().unwrap();
        let pairs = plan.environment.clone().into_iter();
        let pairs = pairs.map(|(name, value)| (text(name), text(value)));
        let pairs = pairs.collect();
        (plan, pairs)
    }
}

fn text(plan: &VariablesPlan, name: &str) -> String {
    String::from_utf8(plan.files.content(name).to_vec()).unwrap()
}

#[test]
fn where_nothing_is_set_all_that_need_it_are() {
    let (plan, environment) = Scene::new().plan();
    let lines: Vec<_> = environment
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    insta::assert_snapshot!(lines.join("\n"), @r"
    DENO_CERT=/place/authority.pem
    GIT_SSL_CAINFO=/place/bundle.pem
    GRPC_DEFAULT_SSL_ROOTS_FILE_PATH=/place/bundle.pem
    HTTPLIB2_CA_CERTS=/place/bundle.pem
    JAVA_TOOL_OPTIONS=-Djavax.net.ssl.trustStore=/place/java.jks
    NODE_EXTRA_CA_CERTS=/place/authority.pem
    PGCHANNELBINDING=disable
    REQUESTS_CA_BUNDLE=/place/bundle.pem
    SSL_CERT_FILE=/place/bundle.pem
    SYSTEM_WGETRC=/place/wgetrc
    ");
    assert_eq!(text(&plan, "bundle.pem"), format!("{SYSTEM}{OURS}"));
    assert_eq!(text(&plan, "authority.pem"), OURS);
    let store = jks::of([&[9][..]].into_iter(), jks::PASSWORD);
    let store = jks::with(&store, ours().der(), jks::PASSWORD).unwrap();
    assert_eq!(plan.files.content("java.jks"), store);
    assert!(plan.warnings.is_empty());
}

#[test]
fn what_is_set_is_extended() {
    for variable in VARIABLES {
        let scene = Scene::new().naming(variable.name, THEIRS);
        let (plan, environment) = scene.plan();
        let name = file_name(variable.name);
        assert_eq!(environment[variable.name], format!("{PLACE}/{name}"));
        assert_eq!(text(&plan, &name), format!("{THEIRS}\n{OURS}"));
    }
}

#[test]
fn what_a_program_reads_first_stays_first() {
    let (plan, environment) = Scene::new().naming("CURL_CA_BUNDLE", THEIRS).plan();
    let theirs = format!("{PLACE}/curl_ca_bundle.pem");
    assert_eq!(environment["REQUESTS_CA_BUNDLE"], theirs);
    assert_eq!(environment["CURL_CA_BUNDLE"], theirs);
    assert_eq!(
        text(&plan, "curl_ca_bundle.pem"),
        format!("{THEIRS}\n{OURS}")
    );
    assert_eq!(environment["SSL_CERT_FILE"], format!("{PLACE}/bundle.pem"));
}

#[test]
fn what_cannot_be_read_stays_and_is_told() {
    let scene = Scene::new().with("CURL_CA_BUNDLE", "/nonexistent".into());
    let (plan, environment) = scene.plan();
    assert!(!environment.contains_key("CURL_CA_BUNDLE"));
    assert!(!environment.contains_key("REQUESTS_CA_BUNDLE"));
    insta::assert_snapshot!(plan.warnings.join("\n"), @"CURL_CA_BUNDLE stays as it is, so programs that go by it refuse HTTPS to read-only destinations: cannot read /nonexistent: No such file or directory (os error 2); let it name a file of certificates that can be read, or unset it");
}

#[test]
fn an_empty_variable_is_none() {
    let scene = Scene::new().with("SSL_CERT_FILE", "".into());
    let (plan, environment) = scene.with("PIP_CERT", "".into()).plan();
    assert_eq!(environment["SSL_CERT_FILE"], format!("{PLACE}/bundle.pem"));
    assert!(!environment.contains_key("PIP_CERT"));
    assert!(plan.warnings.is_empty());
}

#[test]
fn a_session_in_a_session_keeps_what_has_it() {
    let both = format!("{THEIRS}\n{OURS}");
    let store = java::of_bundle(&ours(), SYSTEM.as_bytes());
    let mut scene = Scene::new();
    for variable in VARIABLES.iter().filter(|one| !matches!(one.unset, Leave)) {
        scene = scene.naming(variable.name, &both);
    }
    let options = java::naming("".as_ref(), &scene.dir.path().join("store"));
    fs::write(scene.dir.path().join("store"), store).unwrap();
    let settings = wget::naming(b"", Path::new(&scene.variables.last().unwrap().1));
    let scene = scene.naming("SYSTEM_WGETRC", settings);
    let scene = scene.with("PGCHANNELBINDING", "disable".into());
    let (plan, environment) = scene.with("JAVA_TOOL_OPTIONS", options).plan();
    assert!(environment.is_empty(), "{environment:?}");
    assert!(plan.files.is_empty() && plan.warnings.is_empty());
}

#[test]
fn where_the_systems_files_have_it_git_keeps_its_settings() {
    let mut scene = Scene::new();
    scene.has_view = true;
    let (_, environment) = scene.plan();
    assert!(!environment.contains_key("GIT_SSL_CAINFO"));
    assert!(!environment.contains_key("SYSTEM_WGETRC"));
    assert!(environment.contains_key("SSL_CERT_FILE"));
}

#[test]
fn without_a_bundle_nothing_is_replaced() {
    let mut scene = Scene::new();
    scene.bundle = None;
    let (_, environment) = scene.plan();
    let names: Vec<_> = environment.keys().map(String::as_str).collect();
    let expected = "DENO_CERT JAVA_TOOL_OPTIONS NODE_EXTRA_CA_CERTS PGCHANNELBINDING SYSTEM_WGETRC";
    assert_eq!(names.join(" "), expected);
}

#[test]
fn javas_other_options_stay() {
    let scene = Scene::new().with("JAVA_TOOL_OPTIONS", "-Xmx1g -Da=b".into());
    let (_, environment) = scene.plan();
    let expected = format!("-Xmx1g -Da=b -Djavax.net.ssl.trustStore={PLACE}/java.jks");
    assert_eq!(environment["JAVA_TOOL_OPTIONS"], expected);
}

#[test]
fn a_store_of_the_users_own_is_extended() {
    let scene = Scene::new();
    let theirs = jks::of([&[8][..]].into_iter(), "secret");
    let path = scene.dir.path().join("own");
    fs::write(&path, &theirs).unwrap();
    let path = path.display();
    let options =
        format!("-Djavax.net.ssl.trustStore={path} -Djavax.net.ssl.trustStorePassword=secret");
    let (plan, environment) = scene.with("JAVA_TOOL_OPTIONS", options.into()).plan();
    let store = format!("-Djavax.net.ssl.trustStore={PLACE}/java.jks");
    assert!(environment["JAVA_TOOL_OPTIONS"].ends_with(&store));
    let more = jks::with(&theirs, ours().der(), "secret").unwrap();
    assert_eq!(plan.files.content("java.jks"), more);
}

#[test]
fn a_store_with_a_password_stays_and_is_told() {
    let scene = Scene::new();
    let security = scene.dir.path().join("lib/security/cacerts");
    fs::write(security, "x").unwrap();
    let (plan, environment) = scene.plan();
    assert!(!environment.contains_key("JAVA_TOOL_OPTIONS"));
    assert_eq!(plan.warnings.len(), 1);
    assert!(plan.warnings[0].contains("PKCS #12"));
}

#[test]
fn wgets_other_settings_stay() {
    let (plan, environment) = Scene::new().plan();
    assert_eq!(environment["SYSTEM_WGETRC"], format!("{PLACE}/wgetrc"));
    let alone = format!("quota = inf\nca_certificate = {PLACE}/authority.pem\n");
    assert_eq!(text(&plan, "wgetrc"), alone);
    let scene = Scene::new().naming("THEIRS", THEIRS);
    let (_, theirs) = scene.variables.last().unwrap().clone();
    let settings = wget::naming(b"", Path::new(&theirs));
    let (plan, _) = scene.naming("SYSTEM_WGETRC", settings).plan();
    assert!(text(&plan, "wgetrc").ends_with(&format!("ca_certificate = {PLACE}/wget.pem\n")));
    assert_eq!(text(&plan, "wget.pem"), format!("{THEIRS}\n{OURS}"));
}
