//! HTTP requests, and statements for a database, which have the same parts.

use serde::{Deserialize, Serialize};

use crate::Endpoint;

/// An HTTP request that was stopped; or a statement for a database, which has the same parts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct HttpRequest {
    /// The method, or a statement's command.
    pub method: String,
    /// `http`, `https` or `postgres`.
    #[serde(default)]
    pub scheme: String,
    /// Path and query; of a statement its text without constants.
    pub path: String,
    /// The Host, or a statement's user and database, and the server that TLS has named where rules for names count.
    pub host: Option<String>,
    /// Body length; null: not known yet.
    pub bytes: Option<u64>,
    /// 2,048 bytes at most.
    pub body_preview: Option<String>,
    /// How the preview came of the body; `unpacked from gzip, 96 bytes`, null: cut.
    #[serde(default)]
    pub body_form: Option<String>,
    /// Those that may matter; `destination: /other`, without credentials.
    #[serde(default)]
    pub headers: Vec<String>,
    /// What kind of write it is.
    #[serde(default)]
    pub kind: String,
    /// What looks bulky or irreversible about it.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// SHA-256; null: body unread.
    #[serde(default)]
    pub digest: Option<String>,
}

impl HttpRequest {
    /// The scheme of statements for `PostgreSQL`.
    pub const POSTGRES: &str = "postgres";

    /// Between two statements in a row, where one line is about both.
    pub const BETWEEN: &str = "; ";

    /// Said of a request whose headers are not all shown.
    pub const CUT_HEADERS: &str = "not all that its headers say is shown";

    /// Said of a statement whose parameters are not all shown.
    pub const CUT_PARAMETERS: &str = "not all of its parameters are shown";

    /// Said of a statement where not all is shown that its batch executes with it.
    pub const CUT_BATCH: &str = "not all is shown of what else its batch executes";

    /// Whether a warning says that something of it is not shown: what that does nobody has seen.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        let says = [Self::CUT_HEADERS, Self::CUT_PARAMETERS, Self::CUT_BATCH];
        let is_one = |warning: &String| says.iter().any(|cut| warning.contains(cut));
        self.warnings.iter().any(is_one)
    }

    /// The pattern that is for its path and no other: a `*` of its own is written `\*`. Of a URL all but the query.
    #[must_use]
    pub fn as_pattern(&self) -> String {
        let path = match (self.is_statement(), self.path.split_once('?')) {
            (false, Some((path, _))) => path,
            _ => self.path.as_str(),
        };
        Self::literal(path)
    }

    /// The pattern for a text as it is: who chooses the text may have put a `*` into it.
    #[must_use]
    pub fn literal(text: &str) -> String {
        text.replace('*', r"\*")
    }

    /// Whether it is a statement for a database.
    #[must_use]
    pub fn is_statement(&self) -> bool {
        self.scheme == Self::POSTGRES
    }

    /// Returns true if a yes to all writes is not for it: a statement that does more than change rows or define tables, as far as its
    /// text says. Those drop what they name, run code that nobody sees, or change who may do what, or the server.
    #[must_use]
    pub fn is_grave(&self) -> bool {
        self.is_statement() && !guard_judge::is_ordinary(&self.method)
    }

    /// Two texts of statements in a row as one.
    #[must_use]
    pub fn in_a_row(one: &str, between: &str, other: &str) -> String {
        let one = one.trim_end_matches(|c: char| c == ';' || c.is_ascii_whitespace());
        format!("{one}{between}{other}")
    }

    /// A statement as a question says it, with its database, which is there.
    #[must_use]
    pub fn statement_at(&self, to: &Endpoint) -> String {
        let (text, scheme) = (&self.path, &self.scheme);
        let database = self.host.as_deref().unwrap_or_default();
        format!("{text} ({scheme}://{database}) at {}", to.place())
    }
}
