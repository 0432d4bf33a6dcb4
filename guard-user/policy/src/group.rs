//! Groups: destinations that have a name of their own in the language.

use std::{fmt, str::FromStr};

use guard_common::Address;

use super::{
    invalid::{Invalid, nearest, quoted},
    model::Environment,
    prefix::Prefix,
};

/// A set of addresses with a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Group {
    /// This host's own loopback addresses.
    Loopback,
    /// RFC 1918, unique local IPv6 addresses (RFC 4193) and carrier-grade NAT (RFC 6598).
    Private,
    /// Addresses of the local link.
    LinkLocal,
    /// The networks that this machine has a global address in.
    OnLink,
    /// Where clouds hand out the credentials of a machine.
    Metadata,
    /// Multicast of both families, and IPv4's limited broadcast.
    Multicast,
    /// The unicast space of the internet.
    Public,
    /// The resolvers of this machine.
    Dns,
    /// The addresses of this machine.
    GuardedHost,
}

impl Group {
    /// Those to which no name may make a policy more permissive.
    pub const LOCAL: [Self; 5] = [
        Self::Loopback,
        Self::LinkLocal,
        Self::Metadata,
        Self::Multicast,
        Self::GuardedHost,
    ];

    /// The areas of [`Self::Loopback`].
    pub(super) const LOOPBACK: [Prefix; 2] = [
        Prefix::v4([127, 0, 0, 0], 8),
        Prefix::v6([0, 0, 0, 0, 0, 0, 0, 1], 128),
    ];

    /// The networks that a public name does not lead into unless its rule or its hole says so.
    pub const INNER: [Self; 2] = [Self::Private, Self::OnLink];

    /// This machine, and the networks around it.
    pub(super) const INSIDE: [Self; 7] = [
        Self::Loopback,
        Self::Private,
        Self::LinkLocal,
        Self::OnLink,
        Self::Metadata,
        Self::Multicast,
        Self::GuardedHost,
    ];

    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Loopback,
        Self::Private,
        Self::LinkLocal,
        Self::OnLink,
        Self::Metadata,
        Self::Multicast,
        Self::Public,
        Self::Dns,
        Self::GuardedHost,
    ];

    /// The group that a word without its `@` is for: its name, or what it is called elsewhere.
    #[must_use]
    pub fn meant_by(word: &str) -> Option<Self> {
        let is = |name: &str| word.eq_ignore_ascii_case(name);
        let is_own = |group: &Self| group.as_str().strip_prefix('@').is_some_and(is);
        let own = Self::ALL.into_iter().find(is_own);
        let elsewhere = || OTHER_NAMES.iter().find(|(name, _)| is(name));
        own.or_else(|| elsewhere().map(|(_, group)| *group))
    }

    /// As policies write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Loopback => "@loopback",
            Self::Private => "@private",
            Self::LinkLocal => "@link-local",
            Self::OnLink => "@on-link",
            Self::Metadata => "@metadata",
            Self::Multicast => "@multicast",
            Self::Public => "@public",
            Self::Dns => "@dns",
            Self::GuardedHost => "@guarded-host",
        }
    }

    /// The prefixes that rules for this group compete with: the longer a prefix, the more specific.
    /// A rule for `@public` is as specific as one for `0.0.0.0/0` and `2000::/3`, and see
    /// [`Self::is_wide`].
    pub fn areas(self, environment: &Environment) -> Vec<Prefix> {
        let hosts = |hosts: &[_]| hosts.iter().map(|ip| Prefix::from(*ip)).collect();
        match self {
            Self::Loopback => Self::LOOPBACK.to_vec(),
            Self::Private => PRIVATE.to_vec(),
            Self::LinkLocal => LINK_LOCAL.to_vec(),
            Self::OnLink => environment.on_link.clone(),
            Self::Metadata => METADATA.to_vec(),
            Self::Multicast => MULTICAST.to_vec(),
            Self::Public => PUBLIC.to_vec(),
            Self::Dns => hosts(&environment.dns),
            Self::GuardedHost => hosts(&environment.host),
        }
    }

    /// Whether its rules are only a little more specific than those for `@public`, however long its prefixes are. Which
    /// they are depends on where the machine is: what a policy says of a network by its prefix is not to lose to that.
    pub(super) const fn is_wide(self) -> bool {
        matches!(self, Self::OnLink)
    }

    /// Whether it stands for something else on another machine, or in another network.
    #[must_use]
    pub const fn is_of_machine(self) -> bool {
        matches!(self, Self::OnLink | Self::Dns | Self::GuardedHost)
    }

    /// What of its areas does not belong to it.
    pub(super) const fn exceptions(self) -> &'static [Prefix] {
        match self {
            Self::Public => &NOT_PUBLIC,
            _ => &[],
        }
    }

    /// The areas of several, and what a translator makes of them.
    #[must_use]
    pub fn with_translated(groups: &[Self], environment: &Environment) -> Vec<Prefix> {
        let plain = groups.iter().flat_map(|group| group.areas(environment));
        let plain: Vec<_> = plain.collect();
        let translated: Vec<_> = plain.iter().filter_map(Prefix::translated).collect();
        [plain, translated].concat()
    }

    /// Whether an address is in one of these, or reaches one there by way of a translator.
    #[must_use]
    pub fn any_reached(groups: &[Self], address: Address, environment: &Environment) -> bool {
        let areas = Self::with_translated(groups, environment);
        areas.iter().any(|area| area.covers(&address))
    }

    /// Exactly its addresses, as prefixes.
    #[must_use]
    pub fn prefixes(self, environment: &Environment) -> Vec<Prefix> {
        let areas = self.areas(environment).into_iter();
        areas
            .flat_map(|area| area.without(self.exceptions()))
            .collect()
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Group {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let found = Self::ALL.into_iter().find(|group| group.as_str() == text);
        found.ok_or_else(|| {
            let names = Self::ALL.map(Self::as_str);
            let other = text.strip_prefix('@').and_then(Self::meant_by);
            let meant = other.map(Self::as_str).or_else(|| nearest(text, &names));
            let help = match meant {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => format!("the groups are {}", names.join(" ")),
            };
            Invalid::new(format!("there is no group {}", quoted(text))).help(help)
        })
    }
}

/// What groups are called elsewhere.
const OTHER_NAMES: [(&str, Group); 4] = [
    ("imds", Group::Metadata),
    ("internet", Group::Public),
    ("lan", Group::Private),
    ("localnet", Group::Private),
];

const PRIVATE: [Prefix; 5] = [
    Prefix::v4([10, 0, 0, 0], 8),
    Prefix::v4([172, 16, 0, 0], 12),
    Prefix::v4([192, 168, 0, 0], 16),
    Prefix::v4([100, 64, 0, 0], 10),
    Prefix::v6([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7),
];

const LINK_LOCAL: [Prefix; 2] = [
    Prefix::v4([169, 254, 0, 0], 16),
    Prefix::v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10),
];

const METADATA: [Prefix; 9] = [
    // AWS, Azure, Google, Oracle, DigitalOcean, OpenStack and most others.
    Prefix::v4([169, 254, 169, 254], 32),
    // AWS: credentials of ECS tasks, and of EKS pods.
    Prefix::v4([169, 254, 170, 2], 32),
    Prefix::v4([169, 254, 170, 23], 32),
    // Alibaba Cloud.
    Prefix::v4([100, 100, 100, 200], 32),
    // Azure: WireServer.
    Prefix::v4([168, 63, 129, 16], 32),
    // Oracle Cloud.
    Prefix::v4([192, 0, 0, 192], 32),
    // AWS: instances, and EKS pods.
    Prefix::v6([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254], 128),
    Prefix::v6([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23], 128),
    // Google.
    Prefix::v6([0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254], 128),
];

const MULTICAST: [Prefix; 3] = [
    Prefix::v4([224, 0, 0, 0], 4),
    Prefix::v4([255, 255, 255, 255], 32),
    Prefix::v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8),
];

pub(super) const PUBLIC: [Prefix; 2] = [
    Prefix::IPV4,
    // All that IANA has ever given out as global unicast.
    Prefix::v6([0x2000, 0, 0, 0, 0, 0, 0, 0], 3),
];

/// The special-purpose IPv4 blocks (IANA's registry) but those for documentation.
const NOT_PUBLIC: [Prefix; 11] = [
    Prefix::v4([0, 0, 0, 0], 8),
    Prefix::v4([10, 0, 0, 0], 8),
    Prefix::v4([100, 64, 0, 0], 10),
    Prefix::v4([127, 0, 0, 0], 8),
    Prefix::v4([169, 254, 0, 0], 16),
    Prefix::v4([172, 16, 0, 0], 12),
    Prefix::v4([192, 0, 0, 0], 24),
    Prefix::v4([192, 168, 0, 0], 16),
    Prefix::v4([198, 18, 0, 0], 15),
    Prefix::v4([224, 0, 0, 0], 4),
    Prefix::v4([240, 0, 0, 0], 4),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(group: Group, address: &str) -> bool {
        let host: Prefix = address.parse().unwrap();
        let prefixes = group.prefixes(&Environment::default());
        prefixes.iter().any(|prefix| prefix.contains(&host))
    }

    #[test]
    fn public_is_the_internet_only() {
        for inside in [
            "192.0.2.1",
            "1.1.1.1",
            "8.8.8.8",
            "223.255.255.255",
            "2001:db8::1",
        ] {
            assert!(holds(Group::Public, inside), "{inside}");
        }
        for outside in [
            "0.0.0.1",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "169.254.1.1",
            "172.31.0.1",
            "192.168.1.1",
            "198.19.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::1",
            "fc00::1",
            "fe80::1",
            "ff02::1",
            "64:ff9b::1",
        ] {
            assert!(!holds(Group::Public, outside), "{outside}");
        }
    }

    #[test]
    fn names_read_back_and_typing_errors_are_guessed() {
        for group in Group::ALL {
            assert_eq!(group.as_str().parse(), Ok(group));
        }
        for (given, meant) in [
            ("@pubic", "@public"),
            ("@Metadata", "@metadata"),
            ("@lan", "@private"),
            ("@internet", "@public"),
            ("@imds", "@metadata"),
        ] {
            let invalid = given.parse::<Group>().unwrap_err();
            assert_eq!(
                invalid.to_string(),
                format!("there is no group `{given}`: did you mean `{meant}`?")
            );
        }
        assert_eq!(Group::meant_by("On-Link"), Some(Group::OnLink));
        assert_eq!(Group::meant_by("@dns"), None);
    }

    #[test]
    fn what_a_translator_reaches_counts_as_what_it_is() {
        let now = Environment {
            on_link: vec!["198.51.100.0/24".parse().unwrap()],
            host: vec!["192.0.2.10".parse().unwrap()],
            ..Environment::default()
        };
        for (address, is_local, is_inner) in [
            ("169.254.169.254", true, false),
            ("64:ff9b::a9fe:a9fe", true, false),
            ("64:ff9b::127.0.0.1", true, false),
            ("64:ff9b::192.0.2.10", true, false),
            ("10.0.0.5", false, true),
            ("64:ff9b::10.0.0.5", false, true),
            ("64:ff9b::198.51.100.7", false, true),
            ("64:ff9b::8.8.8.8", false, false),
            ("2001:db8::1", false, false),
        ] {
            let prefix: Prefix = address.parse().unwrap();
            let [local, inner] = [&Group::LOCAL[..], &Group::INNER]
                .map(|groups| Group::any_reached(groups, prefix.address(), &now));
            assert_eq!((local, inner), (is_local, is_inner), "{address}");
        }
    }
}
