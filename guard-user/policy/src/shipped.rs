//! The policies that come with guard.

/// Name and text of each, for machines where none is installed.
pub const SHIPPED: &[(&str, &str)] = &[
    ("default", include_str!("../../../policies/default.toml")),
    ("homelab", include_str!("../../../policies/homelab.toml")),
    ("aws-prod", include_str!("../../../policies/aws-prod.toml")),
    ("ci", include_str!("../../../policies/ci.toml")),
];

/// The policy that has this for its file because it has none: it is built in. A file of that name is shown with a directory
/// before it.
#[must_use]
pub fn built_in(file: &str) -> Option<&'static str> {
    let mut names = SHIPPED.iter().map(|(name, _)| *name);
    names.find(|name| file.strip_suffix(".toml") == Some(name))
}

/// A place in a policy: "/etc/guard/policies/homelab.toml:77", "homelab (built in), line 77".
#[must_use]
pub fn place(file: &str, line: Option<usize>) -> String {
    match (built_in(file), line) {
        (Some(name), Some(line)) => format!("{name} (built in), line {line}"),
        (Some(name), None) => format!("{name} (built in)"),
        (None, Some(line)) => format!("{file}:{line}"),
        (None, None) => file.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_built_in_has_no_file() {
        assert_eq!(place("homelab.toml", Some(7)), "homelab (built in), line 7");
        assert_eq!(place("homelab.toml", None), "homelab (built in)");
        assert_eq!(place("./homelab.toml", Some(7)), "./homelab.toml:7");
        assert_eq!(place("agent.toml", Some(7)), "agent.toml:7");
        assert_eq!(
            place("/etc/guard/policies/ci.toml", None),
            "/etc/guard/policies/ci.toml"
        );
    }
}
