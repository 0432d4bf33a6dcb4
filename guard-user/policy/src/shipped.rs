//! The policies that come with guard.

/// Name and text of each, for machines where none is installed.
pub const SHIPPED: &[(&str, &str)] = &[
    ("default", include_str!("../../../policies/default.toml")),
    ("homelab", include_str!("../../../policies/homelab.toml")),
    ("aws-prod", include_str!("../../../policies/aws-prod.toml")),
    ("ci", include_str!("../../../policies/ci.toml")),
];
