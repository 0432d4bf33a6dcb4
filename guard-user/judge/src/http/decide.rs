//! One judgement by the rules of one policy.

use guard_policy::HttpAction;

use super::{
    BODY_LIMIT, HttpWrite, Judgement, Rules,
    facts::Facts,
    form::Form,
    http_rule, method,
    obstacle::{self, Obstacle, ReadsBody},
    profiles::{self, JointOpinion, Opinion},
    warnings,
};

/// Judges a request: its HTTP rules, then what makes it more than it seems, then its profiles, then its
/// method.
pub(super) fn decide(rules: &Rules, facts: &Facts<'_>) -> Judgement {
    if let Some(connect) = facts.methods.iter().find(|m| m.name == "CONNECT") {
        let by = connect.by.as_deref().unwrap_or("it");
        let because = format!("{by} asks for a tunnel (CONNECT), in which nothing can be judged");
        return Judgement::Denied { because };
    }
    if method::has_more(&facts.methods) {
        let because = "its headers and its query name more methods than anybody reads".to_owned();
        return Judgement::Denied { because };
    }
    let by_method = rules.http.iter().any(|rule| !rule.method.is_empty());
    if by_method && matches!(facts.form, Form::Unread) {
        return Judgement::NeedsBody { limit: BODY_LIMIT };
    }
    let Some((number, rule)) = http_rule::first(&rules.http, facts) else {
        return by_itself(rules, facts);
    };
    let name = rules.name.as_deref().unwrap_or_default();
    let named = format!("HTTP rule {number} of `{name}`");
    match rule.action {
        HttpAction::Allow => Judgement::Read {
            because: format!("{named} allows it"),
        },
        HttpAction::Deny => Judgement::Denied {
            because: format!("{named} denies it"),
        },
        HttpAction::Confirm => write(
            rules,
            facts,
            kind(rules, facts),
            format!("{named} wants it confirmed"),
        ),
    }
}

/// What a request is that no HTTP rule is about.
fn by_itself(rules: &Rules, facts: &Facts<'_>) -> Judgement {
    let JointOpinion {
        opinion,
        body_has_use,
    } = profiles::opinion(rules, facts);
    let (mut obstacle, mut is_unread) = (obstacle::find(facts), false);
    if !body_has_use {
        match obstacle::body(facts) {
            ReadsBody::Plain => {}
            ReadsBody::Unread => is_unread = true,
            ReadsBody::Stops(body) => obstacle = obstacle.or(Some(body)),
        }
    }
    match (opinion, obstacle) {
        (Opinion::Write { kind, because }, _) | (_, Some(Obstacle { kind, because })) => {
            write(rules, facts, kind, because)
        }
        (Opinion::Body, None) => Judgement::NeedsBody { limit: BODY_LIMIT },
        (_, None) if is_unread => Judgement::NeedsBody { limit: BODY_LIMIT },
        (
            Opinion::Read {
                because,
                heeds_forms,
            },
            None,
        ) => match &facts.form {
            Form::Unread if heeds_forms => Judgement::NeedsBody { limit: BODY_LIMIT },
            Form::Unknown(why) if heeds_forms => {
                let Obstacle { kind, because } = obstacle::unknown_form(why);
                write(rules, facts, kind, because)
            }
            _ => Judgement::Read { because },
        },
        (Opinion::None, None) if facts.is_safe() => Judgement::Read {
            because: format!("{} only reads (RFC 9110 9.2.1)", facts.method),
        },
        (Opinion::None, None) => {
            let because = format!(
                "{} may change something, and no rule allows it",
                facts.method
            );
            write(rules, facts, method::kind(facts.method), because)
        }
    }
}

/// What a request does, by what knows it best.
fn kind(rules: &Rules, facts: &Facts<'_>) -> String {
    let strictest = facts.strictest_method().map_or(facts.method, |m| &m.name);
    match (
        profiles::opinion(rules, facts).opinion,
        obstacle::find(facts),
    ) {
        (Opinion::Write { kind, .. }, _) | (_, Some(Obstacle { kind, .. })) => kind,
        _ => method::kind(strictest),
    }
}

fn write(rules: &Rules, facts: &Facts<'_>, kind: String, because: String) -> Judgement {
    let mut all = profiles::warnings(rules, facts);
    all.extend(warnings::of(facts));
    Judgement::Write(HttpWrite {
        kind,
        warnings: all,
        because,
    })
}
