//! The variables of the environment by which programs find the certificates that they trust.
//!
//! The file of a variable that is set is extended, never replaced. Variables that programs need even if nothing is set are set:
//! to the system's certificates and the guard's, or to the guard's alone if their readers add it to built-in ones.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use super::authority::AuthorityCertificate;
use super::files::Files;
use super::{java, system, wget};

/// A variable that names a file of certificates, as PEM.
struct Variable {
    name: &'static str,
    unset: Unset,
}

/// What is done if it is not set.
enum Unset {
    /// Set it to the system's certificates and the guard's: its readers have certificates of their own.
    Bundle,
    /// The same, if the system's own files do not have the guard's.
    BundleWithoutView,
    /// The same, but extending one of these if it is set: its readers use it then.
    After(&'static [&'static str]),
    /// Set it to the guard's alone: its readers add it to their own.
    Alone,
    /// Leave it: its readers use another variable, or the system's files.
    Leave,
}

use Unset::{After, Alone, Bundle, BundleWithoutView, Leave};

const VARIABLES: &[Variable] = &[
    // OpenSSL, and so Python, Ruby, PHP, Perl and curl(1); Go; rustls-native-certs (uv, Codex); .NET; httpx
    variable("SSL_CERT_FILE", Bundle),
    // requests, and so pip, botocore and the AWS CLI, Azure CLI: certifi's
    variable("REQUESTS_CA_BUNDLE", After(&["CURL_CA_BUNDLE"])),
    // httplib2: certifi's
    variable("HTTPLIB2_CA_CERTS", Bundle),
    // gRPC but for Go and Java: built in
    variable("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", Bundle),
    // libcurl in git reads the system's file and no variable
    variable("GIT_SSL_CAINFO", BundleWithoutView),
    // Node.js, npm, Bun, and Deno from 2.8 on
    variable("NODE_EXTRA_CA_CERTS", Alone),
    variable("DENO_CERT", Alone),
    variable("AWS_CA_BUNDLE", Leave),
    variable("BUNDLE_SSL_CA_CERT", Leave),
    variable("CARGO_HTTP_CAINFO", Leave),
    variable("CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE", Leave),
    variable("CURL_CA_BUNDLE", Leave),
    variable("HEX_CACERTS_PATH", Leave),
    variable("HTTPS_CA_FILE", Leave),
    variable("JULIA_SSL_CA_ROOTS_PATH", Leave),
    variable("NIX_SSL_CERT_FILE", Leave),
    variable("NPM_CONFIG_CAFILE", Leave),
    variable("PERL_LWP_SSL_CA_FILE", Leave),
    // libpq. If it were set, sslmode=require would verify what it does not verify without.
    variable("PGSSLROOTCERT", Leave),
    variable("PIP_CERT", Leave),
    variable("YARN_HTTPS_CA_FILE_PATH", Leave),
    variable("npm_config_cafile", Leave),
];

const fn variable(name: &'static str, unset: Unset) -> Variable {
    Variable { name, unset }
}

/// By default libpq binds a password's proof to the certificate that it has seen (SCRAM-SHA-256-PLUS, RFC 5802 6), which is
/// the guard's and not the server's.
const CHANNEL_BINDING: (&str, &str) = ("PGCHANNELBINDING", "disable");

/// The file with the guard's certificate and no other.
const ALONE: &str = "authority.pem";

/// The state without the guard.
pub(super) struct UnguardedState<'a> {
    /// The environment.
    pub(super) variable: &'a dyn Fn(&str) -> Option<OsString>,
    /// The system's bundle of certificates.
    pub(super) bundle: Option<Vec<u8>>,
    /// Whether the session will see the system's files with the guard's certificate in them.
    pub(super) has_view: bool,
}

impl UnguardedState<'_> {
    /// The value of a variable. An empty one counts as none, as for its readers.
    fn named(&self, name: &str) -> Option<PathBuf> {
        let value = (self.variable)(name).filter(|value| !value.is_empty());
        value.map(PathBuf::from)
    }
}

/// The plan for a session's variables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct VariablesPlan {
    pub(super) files: Files,
    /// The variables, with their new values.
    pub(super) environment: Vec<(OsString, OsString)>,
    /// Warnings for the person.
    pub(super) warnings: Vec<String>,
}

impl VariablesPlan {
    /// Makes the plan, from what this thread's rights allow to read. The files will be in `place`.
    pub(super) fn make(
        authority: &AuthorityCertificate,
        before: &UnguardedState<'_>,
        place: &Path,
    ) -> Self {
        let mut plan = Self::default();
        for variable in VARIABLES {
            if let Some((file, content)) = plan.content(variable, authority, before) {
                let path = place.join(plan.files.add(&file, content));
                plan.set(variable.name, path);
            }
        }
        let (name, value) = CHANNEL_BINDING;
        if before.named(name).is_none() {
            plan.set(name, value);
        }
        if let Some((options, store)) = plan.store(authority, before) {
            let path = place.join(plan.files.add("java.jks", store));
            plan.set(java::VARIABLE, java::naming(&options, &path));
        }
        if !before.has_view
            && let Some((settings, file, content)) = plan.wget(authority, before)
        {
            let certificates = place.join(plan.files.add(&file, content));
            let settings = wget::naming(&settings, &certificates);
            let path = place.join(plan.files.add("wgetrc", settings));
            plan.set(wget::VARIABLE, path);
        }
        plan
    }

    fn set(&mut self, name: &str, value: impl Into<OsString>) {
        self.environment.push((name.into(), value.into()));
    }

    /// The file for a variable, and its name. `None` if the variable stays as it is.
    fn content(
        &mut self,
        variable: &Variable,
        authority: &AuthorityCertificate,
        before: &UnguardedState<'_>,
    ) -> Option<(String, Vec<u8>)> {
        let name = variable.name;
        if let Some(path) = before.named(name) {
            let theirs = self.read(name, &path)?;
            return Some((file_name(name), authority.beside(&theirs)?));
        }
        let (name, theirs) = match variable.unset {
            Leave => return None,
            BundleWithoutView if before.has_view => return None,
            Alone => (ALONE.to_owned(), Vec::new()),
            After(others) => match first_set(others, before) {
                // An error in it is reported when that variable is planned itself.
                Some((other, path)) => (file_name(other), system::read(&path).ok()?),
                None => bundle(before)?,
            },
            Bundle | BundleWithoutView => bundle(before)?,
        };
        let all = authority.beside(&theirs).unwrap_or(theirs);
        Some((name, all))
    }

    /// Java's options with a store for it.
    fn store(
        &mut self,
        authority: &AuthorityCertificate,
        before: &UnguardedState<'_>,
    ) -> Option<(OsString, Vec<u8>)> {
        let variable = java::VARIABLE;
        let options = (before.variable)(variable).unwrap_or_default();
        let Some(read) = options.to_str().map(java::Options::parse) else {
            self.stays(variable, "it is no text");
            return None;
        };
        let is_named = read.store.is_some();
        let path = read.store.clone();
        let path = path.or_else(|| java::default_store(before.variable));
        let Some(path) = path else {
            let (_, theirs) = bundle(before)?;
            return Some((options, java::of_bundle(authority, &theirs)));
        };
        let theirs = self.read(variable, &path)?;
        match java::beside(authority, &theirs, read.password()) {
            Ok(Some(store)) => Some((options, store)),
            Ok(None) if is_named => None,
            Ok(None) => Some((options, theirs)),
            Err(why) => {
                self.stays(variable, format!("{}: {why}", path.display()));
                None
            }
        }
    }

    /// Wget's settings with the certificates that they are to name.
    fn wget(
        &mut self,
        authority: &AuthorityCertificate,
        before: &UnguardedState<'_>,
    ) -> Option<(Vec<u8>, String, Vec<u8>)> {
        let variable = wget::VARIABLE;
        let settings = match before.named(variable) {
            Some(path) => self.read(variable, &path)?,
            None if Path::new(wget::SETTINGS).exists() => {
                self.read(variable, Path::new(wget::SETTINGS))?
            }
            None => Vec::new(),
        };
        let (file, theirs) = match wget::certificates(&settings) {
            Some(path) => ("wget.pem", self.read(variable, &path)?),
            None => (ALONE, Vec::new()),
        };
        let all = authority.beside(&theirs)?;
        Some((settings, file.to_owned(), all))
    }

    fn read(&mut self, name: &str, path: &Path) -> Option<Vec<u8>> {
        let refused = |why: io::Error| format!("cannot read {}: {why}", path.display());
        match system::read(path).map_err(refused) {
            Ok(content) => Some(content),
            Err(why) => {
                self.stays(name, why);
                None
            }
        }
    }

    fn stays(&mut self, name: &str, why: impl AsRef<str>) {
        self.warnings.push(format!(
            "{name} stays as it is, so programs that go by it refuse HTTPS to read-only destinations: {}; let it name \
             a file of certificates that can be read, or unset it",
            why.as_ref()
        ));
    }
}

fn bundle(before: &UnguardedState<'_>) -> Option<(String, Vec<u8>)> {
    Some(("bundle.pem".to_owned(), before.bundle.clone()?))
}

fn first_set<'a>(names: &[&'a str], before: &UnguardedState<'_>) -> Option<(&'a str, PathBuf)> {
    let mut set = names
        .iter()
        .filter_map(|name| Some((*name, before.named(name)?)));
    set.next()
}

fn file_name(variable: &str) -> String {
    format!("{}.pem", variable.to_ascii_lowercase())
}

#[cfg(test)]
mod tests;
