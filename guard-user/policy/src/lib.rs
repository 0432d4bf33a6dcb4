//! Policies: pure, without I/O. [`parse`] makes a model ([`Policy`]) of a text, [`compile`] makes tables ([`Compiled`]) of a
//! model and an [`Environment`], and [`plan`] makes of two tables the steps from the one to the other.
//!
//! Nothing here knows the kernel: `guard-datapath` makes a plan from the trie that it has kept of the version before, where a policy is
//! large, and applies it there.

mod compile;
pub mod contrib;
mod coverage;
mod diagnostic;
mod diff;
mod duration;
mod explain;
mod group;
mod http;
mod invalid;
mod keys;
mod known;
mod lookup;
mod misread;
mod model;
mod name;
mod on_link;
mod parse;
mod parts;
mod plan;
mod ports;
mod prefix;
mod profile;
mod profiles;
mod rules;
mod shadowed;
mod shipped;
mod slips;
mod socket;
mod source;
mod spans;
mod syntax;
mod target;
#[cfg(test)]
mod tests;
pub mod unseen;
mod warnings;
mod widens;
mod zones;

pub use compile::{Compiled, ListIndex, PortRanges, Value, compile};
pub use coverage::{Coverage, Met, Opening, over, over_known};
pub use diagnostic::{Diagnostic, Severity, render};
pub use diff::{
    AddressChange, HoleChange, Opens, PatternChange, Side, WordChange, diff, diff_by_name,
    diff_holes, diff_names, diff_replies, diff_words,
};
pub use duration::{LONGEST, format_duration, parse_duration};
pub use explain::{
    ExplainedVerdict, beside, explain, explain_known, joined, may_ask_for_names, strictness,
};
pub use group::Group;
pub use invalid::Invalid;
pub use invalid::{nearest, quoted};
pub use known::{Barred, NamedAt, barred};
pub use lookup::{Lookup, range_list};
pub use model::{
    Action, DEFAULT_HOLD, DEFAULT_MAX_HOLE, DnsNames, Environment, HttpAction, HttpRule,
    LONGEST_HOLD, Policy, Rule, SourceSpan,
};
pub use name::{DomainName, NamePattern, Wildcard};
pub use on_link::networks_around;
pub use parse::{Parsed, parse};
pub use plan::{Plan, plan};
pub use ports::{PortSpec, protocol_name, protocol_number};
pub use prefix::Prefix;
pub use profile::{Profile, ProfileLists};
pub use shipped::{SHIPPED, built_in, place};
pub use socket::SocketName;
pub use target::{Destination, Target, as_word, place_of_url};
pub use warnings::{WRITTEN, left_open, unasked, written};
pub use widens::{widens, widens_but_for_names};
