//! Java's trust store, which an option names.

use std::env;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use super::authority::{AuthorityCertificate, certificates};
use super::{jks, pkcs12, system};

/// Options for every Java virtual machine, before those of the command line: JVM Tool Interface, "Tool Options".
pub(super) const VARIABLE: &str = "JAVA_TOOL_OPTIONS";

const STORE: &str = "-Djavax.net.ssl.trustStore=";
const STORE_PASSWORD: &str = "-Djavax.net.ssl.trustStorePassword=";

/// The options that name the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Options {
    /// The store that they name.
    pub(super) store: Option<PathBuf>,
    password: Option<String>,
}

impl Options {
    /// Parses them. Of several of a kind the last counts.
    pub(super) fn parse(options: &str) -> Self {
        let words = words(options);
        let last = |name: &str| {
            let mut values = words
                .iter()
                .rev()
                .filter_map(|word| word.strip_prefix(name));
            values.next().map(str::to_owned)
        };
        Self {
            store: last(STORE).map(PathBuf::from),
            password: last(STORE_PASSWORD),
        }
    }

    pub(super) fn password(&self) -> &str {
        self.password.as_deref().unwrap_or(jks::PASSWORD)
    }
}

/// The options with one more, which names a store.
pub(super) fn naming(options: &OsStr, store: &Path) -> OsString {
    let store = store.as_os_str();
    let is_plain = |byte: &u8| !byte.is_ascii_whitespace() && !b"'\"".contains(byte);
    let quote = if store.as_encoded_bytes().iter().all(is_plain) {
        ""
    } else {
        "\""
    };
    let mut all = options.to_owned();
    if !all.is_empty() {
        all.push(" ");
    }
    for part in [quote.as_ref(), STORE.as_ref(), store, quote.as_ref()] {
        all.push(part);
    }
    all
}

/// As the virtual machine splits them: at blanks that are not between quotes.
fn words(options: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut open = None;
    for letter in options.chars() {
        match open {
            Some(quote) if quote == letter => open = None,
            None if matches!(letter, '"' | '\'') => open = Some(letter),
            None if letter.is_ascii_whitespace() => words.push(std::mem::take(&mut word)),
            _ => word.push(letter),
        }
    }
    words.push(word);
    words.retain(|word| !word.is_empty());
    words
}

/// The store of the default Java: that of `JAVA_HOME` and PATH, then the system's.
pub(super) fn default_store(variable: &dyn Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let home = variable("JAVA_HOME").map(PathBuf::from);
    let path = variable("PATH").unwrap_or_default();
    let program = env::split_paths(&path).map(|dir| dir.join("java"));
    let program = program.filter_map(|java| java.canonicalize().ok()).next();
    let beside = program.and_then(|java| Some(java.ancestors().nth(2)?.to_owned()));
    let homes = [home, beside].into_iter().flatten();
    let stores = homes
        .flat_map(|home| ["lib", "jre/lib"].map(|lib| home.join(lib).join("security/cacerts")));
    let systems = system::JAVA.iter().map(PathBuf::from);
    stores.chain(systems).find(|store| store.is_file())
}

/// A store with all that `store` has and the authority; `None` if it has that already.
///
/// # Errors
///
/// Why that cannot be made.
pub(super) fn beside(
    authority: &AuthorityCertificate,
    store: &[u8],
    password: &str,
) -> Result<Option<Vec<u8>>, &'static str> {
    let ours = authority.der();
    if memchr::memmem::find(store, ours).is_some() {
        return Ok(None);
    }
    if jks::is_one(store) {
        let more = jks::with(store, ours, password);
        return more.map(Some).ok_or("it is cut short");
    }
    let theirs = pkcs12::certificates(store);
    let theirs = theirs.ok_or("it is neither JKS nor PKCS #12 without a password")?;
    let all = jks::of(theirs.into_iter().chain([ours]), password);
    Ok(Some(all))
}

/// A store of what is in a bundle, and the authority.
pub(super) fn of_bundle(authority: &AuthorityCertificate, bundle: &[u8]) -> Vec<u8> {
    let theirs: Vec<_> = certificates(bundle).collect();
    let theirs = theirs.iter().map(AsRef::as_ref);
    let theirs = theirs.filter(|one| *one != authority.der());
    jks::of(theirs.chain([authority.der()]), jks::PASSWORD)
}

#[cfg(test)]
mod tests {
    use super::super::authority::tests::{OURS, THEIRS, ours};
    use super::*;

    #[test]
    fn options_are_split_as_java_does() {
        let all = r#" -Da=b  "-Dc=d e" -D'f g'=h	-Xmx1g "#;
        assert_eq!(words(all), ["-Da=b", "-Dc=d e", "-Df g=h", "-Xmx1g"]);
        assert!(words("  ").is_empty());
    }

    #[test]
    fn the_last_option_counts() {
        let named = "-Djavax.net.ssl.trustStore=/a -Djavax.net.ssl.trustStorePassword=pw \
                     '-Djavax.net.ssl.trustStore=/b c'";
        let options = Options::parse(named);
        assert_eq!(options.store.as_deref(), Some(Path::new("/b c")));
        assert_eq!(options.password(), "pw");
        let none = Options::parse("-Djavax.net.ssl.trustStoreType=JKS");
        assert_eq!((none.store.as_ref(), none.password()), (None, "changeit"));
    }

    #[test]
    fn what_names_the_store_is_read_back() {
        for path in ["/run/x/java.jks", "/a b/java.jks", "/it's/java.jks"] {
            let options = naming("-Xmx1g".as_ref(), Path::new(path));
            let options = options.to_str().unwrap();
            assert!(options.starts_with("-Xmx1g "));
            let read = Options::parse(options);
            assert_eq!(read.store.as_deref(), Some(Path::new(path)));
        }
    }

    #[test]
    fn a_store_is_extended_once() {
        let theirs = of_bundle(&ours(), THEIRS.as_bytes());
        assert_eq!(beside(&ours(), &theirs, "changeit"), Ok(None));
        let theirs = jks::of([&[9, 9][..]].into_iter(), jks::PASSWORD);
        let more = beside(&ours(), &theirs, "changeit").unwrap().unwrap();
        assert_eq!(beside(&ours(), &more, "changeit"), Ok(None));
        assert!(beside(&ours(), b"x", "changeit").is_err());
        assert!(beside(&ours(), &theirs[..20], "changeit").is_err());
    }

    #[test]
    fn a_bundle_becomes_a_store() {
        let both = format!("{OURS}{THEIRS}");
        let store = of_bundle(&ours(), both.as_bytes());
        let expected = [&[4, 5, 6][..], &[1, 2, 3]];
        assert_eq!(store, jks::of(expected.into_iter(), jks::PASSWORD));
    }
}
