//! The meaning of a statement beyond its text: the tables of its names, and the values of its constants.
//!
//! An agent sets both for itself, and a yes is for what a person has seen. So the server is asked each time: a setting may have
//! been undone with a transaction, or cancelled.

use std::io;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{
    asking::{Login, escaped},
    client::PostgresClient,
    judge::MEANING,
    refusal::OwnQuery,
    sum::{digest, sum},
};

/// The default search path: the user's own schema, and the public one.
const USUAL: &str = "\"$user\", public";
/// The defaults of the first settings, and the warnings about other values.
const TOLD: [(&str, &str); 4] = [
    (USUAL, "names are looked up by search_path"),
    ("ISO, MDY", "dates are read by datestyle"),
    ("none", "it is done by role"),
    ("UTF8", "its text is read by client_encoding"),
];
/// The index of those that count for a yes to similar statements.
const PATH: usize = 0;
const ROLE: usize = 2;
const ENCODING: usize = 3;
/// Bytes of a path, or a role, that are shown as a part of a statement's target.
const MAX_PATH: usize = 100;

/// The settings by which a server reads what comes next; none if they are unknown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Meaning(Option<Vec<Bytes>>);

impl Meaning {
    /// For a statement without names.
    pub(super) fn usual() -> Self {
        Self(Some(TOLD.map(|(usual, _)| usual.into()).to_vec()))
    }

    /// Whether the settings are known.
    pub(super) fn is_known(&self) -> bool {
        self.0.is_some()
    }

    /// SHA-256 of the settings by which constants become values when a statement is prepared; its names are looked up again.
    /// Empty if they are unknown.
    pub(super) fn values(&self) -> Bytes {
        let settings = self.0.as_deref().unwrap_or_default();
        match settings.split_at_checked(PATH + 1) {
            Some((_, values)) => sum(values),
            None => Bytes::new(),
        }
    }

    /// The digest of a statement with this meaning, if it can have one.
    pub(super) fn digest(&self, login: &Login, parts: &[&Bytes]) -> Option<String> {
        let settings = self.0.as_ref()?;
        let all: Vec<_> = parts.iter().copied().chain(settings).collect();
        Some(digest(login, &all))
    }

    /// The target, as in a URL without the host: a yes to similar statements is for the same role and path.
    pub(super) fn at(&self, login: &Login) -> String {
        let at = login.at();
        if !self.is_known() {
            return format!("{at}?search_path=…");
        }
        let named = [("role", ROLE), ("search_path", PATH)];
        let named = named
            .into_iter()
            .filter_map(|(name, setting)| Some((name, self.unusual(setting)?)));
        let named: Vec<_> = named
            .map(|(name, value)| format!("{name}={}", escaped(&value)))
            .collect();
        if named.is_empty() {
            at
        } else {
            format!("{at}?{}", named.join("&"))
        }
    }

    /// One of the first settings, if it is not the default.
    fn unusual(&self, setting: usize) -> Option<String> {
        let value = self.0.as_ref()?.get(setting)?;
        let (usual, _) = TOLD.get(setting)?;
        (value[..] != *usual.as_bytes()).then(|| String::from_utf8_lossy(value).into_owned())
    }

    /// Returns the warnings about it for a text. An encoding means nothing to one in ASCII.
    pub(super) fn warnings(&self, is_ascii: bool) -> Vec<String> {
        if !self.is_known() {
            return vec!["by which settings its names and values are read is not known".to_owned()];
        }
        let told = TOLD.iter().enumerate();
        let told = told.filter(|(setting, _)| !is_ascii || *setting != ENCODING);
        let told = told.filter_map(|(setting, (_, told))| {
            let value = self.unusual(setting)?;
            Some(format!("{told} = {value}"))
        });
        told.collect()
    }
}

impl<R, W> PostgresClient<'_, R, W>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    /// The settings by which the server reads what comes next. `is_set`: an earlier message of the batch may change them.
    pub(super) async fn meaning(&mut self, is_set: bool) -> io::Result<Meaning> {
        // Some replication connections know no SHOW, and an error would end the client's transaction.
        if is_set || self.is_open || self.shared.ledger.borrow().replicates {
            return Ok(Meaning::default());
        }
        // Earlier messages may change them.
        self.idle().await?;
        let (status, skips) = {
            let ledger = self.shared.ledger.borrow();
            (ledger.status, ledger.skips())
        };
        if status == b'E' && !skips {
            // A failed transaction answers nothing, and does nothing: a yes to this is for what is sent in another one, if
            // the settings are the same there.
            return Ok(self.last_meaning.clone());
        }
        if !matches!(status, b'I' | b'T') || skips {
            return Ok(Meaning::default());
        }
        // No query: after one, a transaction that has just begun could not be made to write.
        let questions = MEANING.map(|setting| OwnQuery::from(&*format!("SHOW {setting}")));
        let told = self.asked(&questions).await?;
        let said = self.told(told).await?;
        let settings = said.ok().filter(|rows| rows.len() == MEANING.len());
        let is_short = |settings: &Vec<Bytes>| {
            [PATH, ROLE]
                .into_iter()
                .all(|at| settings[at].len() <= MAX_PATH)
        };
        self.last_meaning = Meaning(settings.filter(is_short));
        Ok(self.last_meaning.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::{super::unit::Unit, *};

    fn login() -> Login {
        Login {
            user: "app".to_owned(),
            database: "shop".to_owned(),
            server: None,
        }
    }

    fn with(settings: [&'static str; 4]) -> Meaning {
        Meaning(Some(settings.map(Bytes::from).to_vec()))
    }

    #[test]
    fn what_is_not_usual_is_told() {
        let usual = Meaning::usual();
        assert_eq!(usual.at(&login()), "app@shop");
        assert_eq!(usual.warnings(false), [""; 0]);
        let other = with(["archive", "SQL, DMY", "owner", "LATIN1"]);
        assert_eq!(
            other.at(&login()),
            "app@shop?role=owner&search_path=archive"
        );
        assert_eq!(
            other.warnings(false),
            [
                "names are looked up by search_path = archive",
                "dates are read by datestyle = SQL, DMY",
                "it is done by role = owner",
                "its text is read by client_encoding = LATIN1",
            ]
        );
        assert_eq!(other.warnings(true), other.warnings(false)[..3]);
        let unknown = Meaning::default();
        assert_eq!(unknown.at(&login()), "app@shop?search_path=…");
        assert_eq!(unknown.warnings(true).len(), 1);
    }

    #[test]
    fn constants_are_of_the_settings_in_force_when_they_are_read() {
        let prepared = Unit::of(
            &"delete from t".into(),
            &[],
            super::super::judge::Release::default(),
        )
        .prepared_by(&with(["a", "b", "", ""]));
        let now = |settings| prepared.meaning(with(settings)).is_known();
        assert!(now(["a", "b", "", ""]));
        // Names are looked up at execution.
        assert!(now(["c", "b", "", ""]));
        assert!(!now(["a", "c", "", ""]));
        assert!(!prepared.meaning(Meaning::default()).is_known());
        let unknown = prepared.prepared_by(&Meaning::default());
        assert!(!unknown.meaning(Meaning::usual()).is_known());
    }

    #[test]
    fn a_yes_is_for_one_meaning() {
        let text = Bytes::from_static(b"delete from t");
        let of = |meaning: &Meaning| meaning.digest(&login(), &[&text]);
        let [one, dates, path] = ["a b", "a c", "c b"].map(|settings| {
            let (path, dates) = settings.split_once(' ').unwrap();
            with([path, dates, "none", "UTF8"])
        });
        assert_eq!(of(&one), of(&one.clone()));
        assert_ne!(of(&one), of(&dates));
        assert_ne!(of(&one), of(&path));
        assert_eq!(of(&Meaning::default()), None);
    }

    #[test]
    fn a_yes_is_for_the_server_that_was_named() {
        let text = Bytes::from_static(b"delete from t");
        let usual = Meaning::usual();
        let named = |server: &str| Login {
            server: Some(server.to_owned()),
            ..login()
        };
        let [staging, production] = ["staging.example", "db.example"].map(named);
        assert_eq!(usual.at(&production), "app@db.example/shop");
        let of = |login: &Login| usual.digest(login, &[&text]);
        assert_ne!(of(&staging), of(&production));
        assert_ne!(of(&login()), of(&production));
    }
}
