//! What a request is, in every reading of it.

use super::{
    RequestHead,
    body::Body,
    form::Form,
    headers, hosts,
    method::{self, Effective},
    path::Paths,
    query::Query,
};

/// What is known of a request, read once for all rules.
pub(super) struct Facts<'a> {
    /// The method that was sent.
    pub(super) method: &'a str,
    /// What the server may take the method for, the sent one first. No two are the same.
    pub(super) methods: Vec<Effective>,
    pub(super) paths: Paths,
    pub(super) query: Query,
    /// The host that it is for, as it says.
    pub(super) host: Option<&'a str>,
    pub(super) headers: &'a http::HeaderMap,
    pub(super) has_body: bool,
    pub(super) is_secure: bool,
    pub(super) body: Body<'a>,
    /// The form in the body of a POST, from which servers take another method.
    pub(super) form: Form,
}

impl<'a> Facts<'a> {
    pub(super) fn of(request: &RequestHead<'a>, body: Body<'a>) -> Self {
        let query = Query::of(request.uri.query().unwrap_or_default());
        let elsewhere = headers::other_paths(request.headers);
        let form = Form::of(request, body);
        Self {
            method: request.method.as_str(),
            methods: method::effective(
                request.method.as_str(),
                request.headers,
                &query,
                form.fields(),
            ),
            paths: Paths::of(request.uri.path(), &elsewhere),
            query,
            host: hosts::asked(request),
            headers: request.headers,
            has_body: request.has_body || headers::announce_body(request.headers),
            is_secure: request.is_secure,
            body,
            form,
        }
    }

    /// Whether the method is one of those that read by default.
    pub(super) fn is_safe(&self) -> bool {
        method::is_safe(self.method)
    }

    /// The effective method that does most.
    pub(super) fn strictest_method(&self) -> Option<&Effective> {
        let unsafe_one = self.methods.iter().find(|m| !method::is_safe(&m.name));
        unsafe_one.or_else(|| self.methods.first())
    }
}
