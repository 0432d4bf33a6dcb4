//! What was most likely meant by what is no destination. It is asked only where something is wrong already.

use super::{
    invalid::{Invalid, blanks, quoted},
    name::DomainName,
    ports::{PortSpec, behind_a_colon},
    prefix::Prefix,
    target::{Destination, Target, host_of, split_port},
};

/// Of an entry of `to`, or of a host on a command line.
pub(super) fn target(text: &str) -> Option<Invalid> {
    if text.contains("://") {
        return Some(url(text));
    }
    blanks(text)
        .or_else(|| ports_in_a_rule(text))
        .or_else(|| brackets(text))
        .or_else(|| exception(text))
        .or_else(|| stars(text))
        .or_else(|| missing_parts(text))
        .or_else(|| port_alone(text))
        .or_else(|| path(text))
}

/// Of what stands behind the colon of a destination, where it is no port.
pub(super) fn ports_behind(target: &Target, text: &str, invalid: Invalid) -> Invalid {
    let bare = text.split('/').next().unwrap_or(text);
    let is_one = match target {
        Target::Prefix(prefix) => prefix.is_host(),
        Target::Name(_) | Target::Group(_) => true,
        // There is more to say of it.
        Target::Wildcard(_) => return invalid,
    };
    let target = target.clone();
    let meant = match behind_a_colon(bare).as_deref() {
        Some([one]) if is_one && one.low == one.high => {
            let port = Some(one.low);
            Destination { target, port }.to_string()
        }
        Some(ports) => {
            let ports: Vec<_> = ports.iter().map(ToString::to_string).collect();
            format!("{target} --ports {}", ports.join(","))
        }
        None => return invalid,
    };
    invalid.help(format!("write `{meant}`"))
}

fn url(text: &str) -> Invalid {
    let rest = text.split_once("://").map_or(text, |(_, rest)| rest);
    let host = host_of(rest);
    let (name, port) = split_port(host).unwrap_or((host, None));
    let invalid = Invalid::new(format!("{} is a URL", quoted(text)));
    match port.and_then(behind_a_colon) {
        Some(ports) => invalid.help(apart(name, &ports)),
        None => invalid.help(format!("write {}", quoted(name))),
    }
}

/// Ports behind a colon, which a rule has in `ports`.
fn ports_in_a_rule(text: &str) -> Option<Invalid> {
    let (bare, port) = text.rsplit_once(':')?;
    let port = port.split('/').next().unwrap_or(port);
    let ports = behind_a_colon(port)?;
    let bracketed = bare.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
    let host = bracketed.unwrap_or(bare);
    // The groups of an IPv6 address are no ports.
    let is_whole = bracketed.is_some() || bare.contains('/') || !bare.contains(':');
    let is_target = is_whole && Target::read(host).is_ok();
    let invalid = Invalid::new(format!("{} has a port in it", quoted(text)));
    is_target.then(|| invalid.help(apart(host, &ports)))
}

/// What a rule has of a host and its ports.
fn apart(host: &str, ports: &[PortSpec]) -> String {
    let ports: Vec<_> = ports.iter().map(|spec| format!("\"{spec}\"")).collect();
    let (host, ports) = (quoted(host), ports.join(", "));
    format!("write {host}, and `ports = [{ports}]` in the rule")
}

/// Brackets, which only a port behind them needs.
fn brackets(text: &str) -> Option<Invalid> {
    let bare = text.strip_prefix('[')?.replacen(']', "", 1);
    let is_prefix = bare.parse::<Prefix>().is_ok();
    let invalid = Invalid::new(format!("{} has brackets around it", quoted(text)));
    is_prefix.then(|| invalid.help(format!("write `{bare}`")))
}

/// What is to be left out of the others.
fn exception(text: &str) -> Option<Invalid> {
    let rest = text.strip_prefix('!')?;
    let is_target = Target::read(rest).is_ok();
    let text = quoted(text);
    let invalid = Invalid::new(format!(
        "{text} looks like an exception, and lists have none"
    ));
    is_target.then(|| {
        invalid.help(format!(
            "write a rule of its own for `{rest}`, with another action: the narrower one decides"
        ))
    })
}

/// A star for the last parts of an IPv4 address.
fn stars(text: &str) -> Option<Invalid> {
    let first = text.trim_end_matches(".*");
    let invalid = Invalid::new(format!("{} is not a wildcard name", quoted(text)));
    let parts = first.split('.').count();
    let prefix = padded(first).filter(|_| first.len() < text.len() && parts < 4)?;
    Some(invalid.help(format!("write `{prefix}/{}`", 8 * parts)))
}

/// A prefix without the parts of its address that are 0, such as `10/8`.
fn missing_parts(text: &str) -> Option<Invalid> {
    let (first, length) = text.split_once('/')?;
    let meant = format!("{}/{length}", padded(first)?);
    let is_prefix = meant.parse::<Prefix>().is_ok();
    let invalid = Invalid::new(format!("{} is not an IPv4 or IPv6 address", quoted(first)));
    is_prefix.then(|| invalid.help(format!("write `{meant}`")))
}

/// The first parts of an IPv4 address, with 0 for the others.
fn padded(first: &str) -> Option<String> {
    let parts: Vec<&str> = first.split('.').collect();
    let is_part = |part: &&str| part.parse::<u8>().is_ok_and(|it| it.to_string() == **part);
    let is_first = parts.len() < 4 && parts.iter().all(is_part);
    is_first.then(|| format!("{first}{}", ".0".repeat(4 - parts.len())))
}

/// Ports in the place of a destination.
fn port_alone(text: &str) -> Option<Invalid> {
    let spec = text
        .parse::<PortSpec>()
        .ok()
        .filter(|_| text.contains('/'))?;
    let invalid = Invalid::new(format!("{} is a port, and no destination", quoted(text)));
    Some(invalid.help(format!("in a rule, write `ports = [\"{spec}\"]`")))
}

/// What of a URL follows the name.
fn path(text: &str) -> Option<Invalid> {
    let (name, _) = text.split_once('/')?;
    // A name without a dot may be anything.
    let is_name = name.contains('.') && name.parse::<DomainName>().is_ok();
    let invalid = Invalid::new(format!("{} has a path in it", quoted(text)));
    is_name.then(|| invalid.help(format!("write {}", quoted(name))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_rule_does_not_take_says_what_to_write() {
        for (given, said) in [
            (
                "https://h.example:8080/x",
                "`https://h.example:8080/x` is a URL: write `h.example`, and `ports = [\"tcp/8080\"]` in the rule",
            ),
            (
                "https://[2001:db8::1]/x",
                "`https://[2001:db8::1]/x` is a URL: write `2001:db8::1`",
            ),
            (
                "@private:443",
                "`@private:443` has a port in it: write `@private`, and `ports = [\"tcp/443\"]` in the rule",
            ),
            (
                "192.0.2.1:443",
                "`192.0.2.1:443` has a port in it: write `192.0.2.1`, and `ports = [\"tcp/443\"]` in the rule",
            ),
            (
                "192.0.2.0/24:80-90",
                "`192.0.2.0/24:80-90` has a port in it: write `192.0.2.0/24`, and `ports = [\"tcp/80-90\"]` in the rule",
            ),
            (
                "db.example.com:https",
                "`db.example.com:https` has a port in it: write `db.example.com`, and `ports = [\"tcp/443\"]` in the rule",
            ),
            (
                "example.com:443/x",
                "`example.com:443/x` has a port in it: write `example.com`, and `ports = [\"tcp/443\"]` in the rule",
            ),
            (
                "[2001:db8::1]:443",
                "`[2001:db8::1]:443` has a port in it: write `2001:db8::1`, and `ports = [\"tcp/443\"]` in the rule",
            ),
            (
                "[2001:db8::1]",
                "`[2001:db8::1]` has brackets around it: write `2001:db8::1`",
            ),
            (
                "[2001:db8::]/32",
                "`[2001:db8::]/32` has brackets around it: write `2001:db8::/32`",
            ),
            (
                "!10.0.0.0/8",
                "`!10.0.0.0/8` looks like an exception, and lists have none: write a rule of its own for `10.0.0.0/8`, with another action: \
                 the narrower one decides",
            ),
            (
                "192.0.2.*",
                "`192.0.2.*` is not a wildcard name: write `192.0.2.0/24`",
            ),
            (
                "10.*.*.*",
                "`10.*.*.*` is not a wildcard name: write `10.0.0.0/8`",
            ),
            (
                "10/8",
                "`10` is not an IPv4 or IPv6 address: write `10.0.0.0/8`",
            ),
            (
                "0/0",
                "`0` is not an IPv4 or IPv6 address: write `0.0.0.0/0`",
            ),
            (
                "192.168/16",
                "`192.168` is not an IPv4 or IPv6 address: write `192.168.0.0/16`",
            ),
            (
                "tcp/443",
                "`tcp/443` is a port, and no destination: in a rule, write `ports = [\"tcp/443\"]`",
            ),
            (
                "example.com/path",
                "`example.com/path` has a path in it: write `example.com`",
            ),
            (
                " 192.0.2.9",
                "` 192.0.2.9` begins or ends with a blank: write `192.0.2.9`",
            ),
            (
                "@metadata ",
                "`@metadata ` begins or ends with a blank: write `@metadata`",
            ),
        ] {
            assert_eq!(given.parse::<Target>().unwrap_err().to_string(), said);
        }
    }

    #[test]
    fn what_is_written_so_is_taken_when_it_is_written_as_said() {
        for given in [
            "192.0.2.*",
            "10/8",
            "192.168/16",
            "[2001:db8::1]",
            "example.com/path",
            "https://[2001:db8::1]/x",
            " 192.0.2.9",
        ] {
            let help = given.parse::<Target>().unwrap_err().help.unwrap();
            let meant = help.strip_prefix("write `").unwrap();
            assert!(meant.trim_end_matches('`').parse::<Target>().is_ok());
        }
        // What is wrong in another way is not talked about.
        for given in ["", "a b", "2001:db8::1:99999", "db.example.com:", "10/33"] {
            assert!(target(given).is_none(), "{given}");
        }
    }
}
