//! Words and addresses that are valid in `to`, and written where everything, or this machine, is meant.

use std::net::IpAddr;

use guard_common::Address;

use super::{
    group::Group,
    invalid::{Invalid, quoted},
    source::{Source, TomlValue},
};

/// Names of hosts to the letter, which mean everything to whoever writes them.
const EVERYTHING: &[&str] = &["any", "all", "everything", "internet"];
/// No host is called so (RFC 6761, 6.3).
const LOCALHOST: &str = "localhost";

/// What an entry of `to` is most likely not meant to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Slip {
    /// The unspecified address: as a destination it is the loopback, so nothing is judged by a rule for it.
    Unspecified,
    /// The name of a host, which a search list may well make whole.
    Everything,
    /// A name for the loopback, which no name opens.
    Localhost,
    /// The name of a host, and a group's without its `@`.
    Group(Group),
}

impl Slip {
    pub(super) fn of(text: &str) -> Option<Self> {
        let is = |word: &&str| text.eq_ignore_ascii_case(word);
        // Of a hundred thousand addresses, hardly one is read twice.
        if text.starts_with(['0', ':']) {
            let address = text.parse::<IpAddr>().map(Address::from);
            let is_unspecified = |address: &Address| address.as_connected() != *address;
            return address
                .ok()
                .filter(is_unspecified)
                .map(|_| Self::Unspecified);
        }
        if is(&LOCALHOST) {
            return Some(Self::Localhost);
        }
        if EVERYTHING.iter().any(is) {
            return Some(Self::Everything);
        }
        Group::meant_by(text).map(Self::Group)
    }

    fn invalid(self, text: &str) -> Invalid {
        let text = quoted(text);
        let a_host = format!("{text} is taken for the name of a host, and for nothing else");
        let everything = "write `0.0.0.0/0` and `::/0` for everything";
        match self {
            Self::Unspecified => Invalid::new(format!(
                "{text} alone is no destination: who connects to it reaches this machine"
            ))
            .help(format!(
                "{everything}, `127.0.0.0/8` and `::1` for this machine"
            )),
            Self::Everything => {
                Invalid::new(a_host).help(format!("{everything}, or `@public` for the internet"))
            }
            Self::Localhost => Invalid::new(format!(
                "{text} is a name, and no name opens anything on the loopback"
            ))
            .help("write `127.0.0.0/8` and `::1`"),
            Self::Group(group) => {
                Invalid::new(a_host).help(format!("write `{group}` for the group"))
            }
        }
    }
}

/// Refuses what names nothing, and warns of what may name a host after all.
pub(super) fn tell<'s>(source: &mut Source<'s>, to: &TomlValue<'s>) {
    for item in to.get_ref().as_array().into_iter().flatten() {
        let text = item.get_ref().as_str().unwrap_or_default();
        let Some(slip) = Slip::of(text) else { continue };
        let invalid = slip.invalid(text);
        match slip {
            Slip::Unspecified => source.error(item.span(), invalid),
            Slip::Everything | Slip::Localhost | Slip::Group(_) => {
                source.warn(item.span(), invalid);
            }
        }
    }
}
