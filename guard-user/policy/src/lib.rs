//! Policies: pure, without I/O. Text becomes a model ([`parse`]), a model becomes tables
//! ([`compile`]), and two tables become the steps from one to the other ([`plan`]).
//!
//! Nothing here knows the kernel: another room applies what this one yields.

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
mod lookup;
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
mod shipped;
mod socket;
mod source;
mod spans;
mod target;
#[cfg(test)]
mod tests;
mod warnings;

pub use compile::{Compiled, ListIndex, Value, compile};
pub use coverage::{Coverage, Met, Opening, over};
pub use diagnostic::{Diagnostic, Severity, render};
pub use diff::{Change, Opens, Side, diff};
pub use duration::{LONGEST, format_duration, parse_duration};
pub use explain::{Explanation, explain, joined};
pub use group::Group;
pub use invalid::Invalid;
pub use invalid::quoted;
pub use lookup::{Lookup, range_list};
pub use model::{
    Action, DEFAULT_HOLD, DEFAULT_MAX_HOLE, Environment, HttpAction, HttpRule, Place, Policy, Rule,
};
pub use name::{DomainName, Wildcard};
pub use on_link::networks_around;
pub use parse::{Parsed, parse};
pub use plan::{Plan, plan};
pub use ports::PortSpec;
pub use prefix::Prefix;
pub use profile::{Profile, ProfileLists};
pub use shipped::SHIPPED;
pub use socket::SocketName;
pub use target::{Destination, Target, as_word};
