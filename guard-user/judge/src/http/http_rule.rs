//! `[[rule.http]]`: the first that matches decides.
//!
//! What allows must hold for every reading of the request, what asks or denies for any one.

use guard_policy::{HttpAction, HttpRule};

use super::{
    facts::Facts,
    glob::{matches, matches_any_case},
    headers, method, obstacle,
    query::folded,
};

/// The first HTTP rule that matches, and its number, counted from 1.
pub(super) fn first<'r>(rules: &'r [HttpRule], facts: &Facts<'_>) -> Option<(usize, &'r HttpRule)> {
    let numbered = rules.iter().enumerate();
    let mut matching = numbered.filter(|(_, rule)| match rule.action {
        HttpAction::Allow => holds_for_all(rule, facts),
        HttpAction::Confirm | HttpAction::Deny => holds_for_any(rule, facts),
    });
    matching.next().map(|(index, rule)| (index + 1, rule))
}

fn holds_for_all(rule: &HttpRule, facts: &Facts<'_>) -> bool {
    let clear =
        obstacle::elsewhere(facts).is_none() && (rule.method.is_empty() || facts.form.is_read());
    let path = rule.path.as_ref().is_none_or(|path| {
        facts.paths.ambiguous().is_none() && facts.paths.readings().all(|text| matches(path, text))
    });
    let query = rule.query.as_ref().is_none_or(|query| {
        !facts.query.is_odd()
            && facts
                .query
                .readings()
                .iter()
                .all(|text| matches(query, text))
            && each_parameter_fits(query, facts)
    });
    let content_type = rule.content_type.as_ref().is_none_or(|content_type| {
        let given = headers::media_type(facts.headers);
        given.is_some_and(|given| matches(content_type, &given))
    });
    let method = |name: &str| rule.method.is_empty() || rule.method.iter().any(|m| m == name);
    let methods = facts.methods.iter().all(|m| method(&m.name));
    clear && path && query && content_type && methods
}

/// Returns true if each parameter that a pattern names by `name=` has a value that fits, however often it is there. `*` spans
/// parameters: `*method=list*` alone would hold for `method=reboot&x=method=list`.
fn each_parameter_fits(pattern: &str, facts: &Facts<'_>) -> bool {
    let named = pattern
        .split('&')
        .filter_map(|part| part.trim_start_matches('*').split_once('='));
    let mut named = named.filter(|(name, _)| !name.contains('*'));
    named.all(|(name, value)| {
        let name = folded(name);
        let mut given = facts.query.values(&name).peekable();
        given.peek().is_some() && given.all(|given| matches(value, given))
    })
}

fn holds_for_any(rule: &HttpRule, facts: &Facts<'_>) -> bool {
    let holds = |pattern: &Option<String>, texts: &[String]| {
        let pattern = pattern.as_ref();
        pattern.is_none_or(|p| texts.iter().any(|text| matches_any_case(p, text)))
    };
    // A server may take `/admin/` for `/admin`.
    let paths = facts.paths.readings();
    let paths: Vec<String> = paths
        .flat_map(|path| [path, path.trim_end_matches('/')])
        .map(str::to_owned)
        .collect();
    let is_named = |name: &str| {
        let given = rule.method.iter();
        // What a server does by GET it may do by any other method that passes as a read.
        let like_get = method::is_safe(name) && given.clone().any(|m| m == "GET");
        rule.method.is_empty() || like_get || given.clone().any(|m| m.eq_ignore_ascii_case(name))
    };
    let methods = &facts.methods;
    (method::has_more(methods) || methods.iter().any(|m| is_named(&m.name)))
        && (facts.paths.has_more() || holds(&rule.path, &paths))
        && holds(&rule.query, &facts.query.readings())
        && holds(&rule.content_type, &headers::media_types(facts.headers))
}
