//! What a profile sees of a request: one reading of its path.

use guard_policy::{Profile, ProfileLists};

use super::{
    super::{body::Body, facts::Facts, headers, json::Json},
    Opinion,
};

/// A request with one of the readings of its path.
pub(super) struct View<'a> {
    pub(super) facts: &'a Facts<'a>,
    pub(super) path: &'a str,
    pub(super) lists: &'a ProfileLists,
    /// Whether a profile of the rule lists this very request as a read.
    pub(super) is_listed: bool,
}

impl<'a> View<'a> {
    pub(super) fn method(&self) -> &'a str {
        self.facts.method
    }

    pub(super) fn is_post(&self) -> bool {
        self.method() == "POST"
    }

    /// Returns true if the method alone lets the request pass as a read. A server may do by each of these what it does by GET.
    pub(super) fn is_safe(&self) -> bool {
        self.facts.is_safe()
    }

    /// The segments of the path as they are; none of a path that does not begin with `/`.
    pub(super) fn segments(&self) -> Vec<&'a str> {
        match self.path.strip_prefix('/') {
            Some(rest) => rest.split('/').collect(),
            None => Vec::new(),
        }
    }

    /// The segments that are not empty: for what is to be stopped.
    pub(super) fn words(&self) -> Vec<&'a str> {
        self.path
            .split('/')
            .filter(|word| !word.is_empty())
            .collect()
    }

    pub(super) fn media_type(&self) -> Option<String> {
        headers::media_type(self.facts.headers)
    }

    pub(super) fn has_media_type(&self, one_of: &[&str]) -> bool {
        self.media_type()
            .is_some_and(|given| one_of.contains(&given.as_str()))
    }

    /// The one value of a header, where it is there once, by its own name, and text.
    pub(super) fn header(&self, name: &'static str) -> Option<&'a str> {
        let mut given = headers::matching(self.facts.headers, &[name]);
        let (spelt, value) = given.next()?;
        let alone = given.next().is_none() && spelt == name;
        std::str::from_utf8(value).ok().filter(|_| alone)
    }

    /// Whether a header is there, however its name is spelt.
    pub(super) fn has_header(&self, name: &'static str) -> bool {
        headers::matching(self.facts.headers, &[name])
            .next()
            .is_some()
    }

    /// The body, in UTF-8.
    pub(super) fn body(&self, profile: Profile, kind: &str) -> Result<&'a [u8], Opinion> {
        if let Some(why) = headers::encoded(self.facts.headers) {
            return Err(Opinion::doubt(profile, kind, why));
        }
        match self.facts.body {
            Body::Whole(body) => Ok(body),
            Body::Unread => Err(Opinion::Body),
            Body::TooLong => Err(Opinion::doubt(profile, kind, "the body is too long")),
        }
    }

    /// The body, as JSON that every server reads in the same way.
    pub(super) fn json(&self, profile: Profile, kind: &str) -> Result<Json, Opinion> {
        let doubt = || Opinion::doubt(profile, kind, "the body is no JSON, or has a name twice");
        Json::parse(self.body(profile, kind)?).ok_or_else(doubt)
    }

    /// Whether it is for that host, which is given in lower case and without a port or the root's dot.
    pub(super) fn is_at(&self, is_it: impl Fn(&str) -> bool) -> bool {
        let host = self.facts.host.map(str::to_ascii_lowercase);
        host.is_some_and(|host| is_it(host.trim_end_matches('.')))
    }
}
