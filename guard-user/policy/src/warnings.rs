//! What is allowed, and may not do what its author thinks.

use super::{
    invalid::{Invalid, quoted},
    model::Action,
    name::Wildcard,
    prefix::Prefix,
    source::{Source, Value},
    target::{Ambiguous, Target},
};

/// Warns of wildcards that are stricter than the default: they hold for what programs ask for by name.
pub(super) fn wildcards<'s>(
    source: &mut Source<'s>,
    to: &Value<'s>,
    action: Action,
    default: Action,
) {
    let wildcard = |text: &&str| text.starts_with('*') && text.parse::<Wildcard>().is_ok();
    for item in to.get_ref().as_array().into_iter().flatten() {
        if let Some(text) = item.get_ref().as_str().filter(wildcard)
            && action.strictness() > default.strictness()
        {
            source.warn(item.span(), by_address(text, action, default));
        }
    }
}

fn by_address(text: &str, action: Action, default: Action) -> Invalid {
    let (text, wanted, given) = (quoted(text), action.as_str(), default.as_str());
    Invalid::new(format!(
        "{text} holds for who asks for such a name: who knows the address gets `{given}`, the default, instead of `{wanted}`"
    ))
    .help("list the addresses as well, or write `default = \"deny\"`")
}

/// Warns of IPv6 addresses whose end reads as a port: a rule for another address than its author means holds for nobody.
pub(super) fn ports_without_brackets<'s>(source: &mut Source<'s>, to: &Value<'s>) {
    for item in to.get_ref().as_array().into_iter().flatten() {
        if let Some(ambiguous) = item.get_ref().as_str().and_then(Ambiguous::of) {
            source.warn(item.span(), ambiguous.in_a_policy());
        }
    }
}

/// Warns of `::/0` and the like, which look like IPv6 alone: IPv4 lies in them.
pub(super) fn both_families<'s>(source: &mut Source<'s>, value: &Value<'s>, to: &[Target]) {
    let wide = |target: &Target| match target {
        Target::Prefix(prefix) => *prefix != Prefix::IPV4 && prefix.contains(&Prefix::IPV4),
        _ => false,
    };
    // Where an entry was wrong the two lists differ in length, and an error was said.
    let mut items = value.get_ref().as_array().into_iter().flatten().zip(to);
    let Some((item, _)) = items.find(|(_, target)| wide(target)) else {
        return;
    };
    if !to.contains(&Target::Prefix(Prefix::IPV4)) {
        let help = "add \"0.0.0.0/0\" where that is meant, else write \"2000::/3\"";
        let warning = Invalid::new("this prefix has all IPv4 addresses in it too");
        source.warn(item.span(), warning.help(help));
    }
}
