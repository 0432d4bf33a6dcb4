//! Zones in which strangers get names: who may reach all names below one may reach theirs, too.

use super::name::DomainName;

/// Zones of clouds, tunnels, pages and the like, from what operators have in the private part of the Public Suffix List
/// (publicsuffix.org), and names that stand for whatever address is in them. `*` is any label, or any end of one.
const ZONES: &[&str] = &[
    // Stores and functions of clouds.
    "s3.amazonaws.com",
    "s3.*.amazonaws.com",
    "s3-*.amazonaws.com",
    "s3-website.*.amazonaws.com",
    "execute-api.*.amazonaws.com",
    "lambda-url.*.on.aws",
    "elb.amazonaws.com",
    "*.elb.amazonaws.com",
    "compute-1.amazonaws.com",
    "*.compute.amazonaws.com",
    "*.awsapprunner.com",
    "amplifyapp.com",
    "cloudfront.net",
    "elasticbeanstalk.com",
    "appspot.com",
    "cloudfunctions.net",
    "firebaseapp.com",
    "firebaseio.com",
    "run.app",
    "storage.googleapis.com",
    "web.app",
    "azure-api.net",
    "azurecr.io",
    "azureedge.net",
    "azurefd.net",
    "azurestaticapps.net",
    "azurewebsites.net",
    "blob.core.windows.net",
    "file.core.windows.net",
    "queue.core.windows.net",
    "table.core.windows.net",
    "*.web.core.windows.net",
    "cloudapp.net",
    "*.cloudapp.azure.com",
    "servicebus.windows.net",
    "trafficmanager.net",
    "*.backblazeb2.com",
    "*.digitaloceanspaces.com",
    "*.linodeobjects.com",
    "ondigitalocean.app",
    "r2.cloudflarestorage.com",
    "r2.dev",
    "supabase.co",
    "*.wasabisys.com",
    // Pages and programs of anybody's.
    "app.github.dev",
    "b-cdn.net",
    "bitbucket.io",
    "blogspot.com",
    "deno.dev",
    "fastly.net",
    "fly.dev",
    "github.io",
    "gitlab.io",
    "glitch.me",
    "herokuapp.com",
    "hf.space",
    "myshopify.com",
    "netlify.app",
    "now.sh",
    "onrender.com",
    "pages.dev",
    "readthedocs.io",
    "repl.co",
    "replit.app",
    "replit.dev",
    "streamlit.app",
    "surge.sh",
    "up.railway.app",
    "vercel.app",
    "wixsite.com",
    "wordpress.com",
    "workers.dev",
    // Tunnels to anybody's machine.
    "lhr.life",
    "loca.lt",
    "ngrok-free.app",
    "ngrok.app",
    "ngrok.dev",
    "ngrok.io",
    "serveo.net",
    "trycloudflare.com",
    "ts.net",
    // Names of anybody's machine at home.
    "ddns.net",
    "duckdns.org",
    "dyndns.org",
    "myfritz.net",
    "no-ip.org",
    "synology.me",
    // Any address, by its name.
    "nip.io",
    "sslip.io",
    "xip.io",
];

/// Domains in which whoever pays gets a name, beside those of countries.
const REGISTRIES: &[&str] = &[
    "app", "biz", "blog", "club", "cloud", "com", "dev", "icu", "info", "link", "live", "net",
    "online", "org", "page", "pro", "shop", "site", "store", "tech", "top", "vip", "world", "xyz",
];
/// The labels that countries have for registries below their own domain.
const SECOND_LEVEL: &[&str] = &["co", "com", "net", "org"];

/// What is to be said of letting programs reach all names below one, if strangers have some there.
pub(super) fn warning(below: &DomainName) -> Option<String> {
    let name = below.as_str();
    if is_registry(name) {
        return Some(format!(
            "`{name}` is a public suffix: whoever registers a name below it is let through"
        ));
    }
    let zone = of_strangers(below)?;
    let names = if is_wider(name, zone) {
        format!("some names below `{name}`, as below `{zone}`")
    } else {
        format!("names below `{zone}`")
    };
    Some(format!(
        "anybody can have {names}: this lets data go to them"
    ))
}

/// Whether anybody may register a name right below that one.
fn is_registry(name: &str) -> bool {
    let is_country =
        |label: &str| label.len() == 2 && label.bytes().all(|b| b.is_ascii_lowercase());
    match name.rsplit_once('.') {
        Some((second, last)) => is_country(last) && SECOND_LEVEL.contains(&second),
        None => is_country(name) || REGISTRIES.contains(&name),
    }
}

/// Whether a zone that lies within a name is not that name itself.
fn is_wider(name: &str, zone: &str) -> bool {
    name.split('.').count() < zone.split('.').count()
}

/// A zone in which strangers get names, all of which lie below that name.
fn of_strangers(below: &DomainName) -> Option<&'static str> {
    let zones = ZONES.iter().copied();
    zones
        .into_iter()
        .find(|zone| is_within(zone, below.as_str()))
}

/// Whether a zone is that name, or lies below it. Below any label there is nothing that is known.
fn is_within(zone: &str, name: &str) -> bool {
    let mut labels = zone.rsplit('.');
    let mut last = "*";
    let is_alike = name.rsplit('.').all(|label| {
        last = labels.next().unwrap_or_default();
        matches(last, label)
    });
    is_alike && (last != "*" || labels.next().is_none())
}

fn matches(pattern: &str, label: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(begin) => label.starts_with(begin),
        None => pattern == label,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_below_which_strangers_have_some_are_known() {
        let zone = |name: &str| of_strangers(&name.parse().unwrap());
        for (name, wanted) in [
            ("s3.amazonaws.com", Some("s3.amazonaws.com")),
            ("s3.eu-west-1.amazonaws.com", Some("s3.*.amazonaws.com")),
            ("s3-us-west-2.amazonaws.com", Some("s3-*.amazonaws.com")),
            ("github.io", Some("github.io")),
            // Wider ones have those below them.
            ("amazonaws.com", Some("s3.amazonaws.com")),
            ("dev", Some("r2.dev")),
            ("us-east-1.elb.amazonaws.com", Some("*.elb.amazonaws.com")),
            ("sqs.amazonaws.com", None),
            // Somebody's own, and others that only read alike.
            ("bucket.s3.amazonaws.com", None),
            ("me.github.io", None),
            ("github.com", None),
            ("mygithub.io", None),
            ("api.example.com", None),
        ] {
            assert_eq!(zone(name), wanted, "{name}");
        }
    }

    #[test]
    fn what_is_warned_of_is_what_was_written() {
        let said = |name: &str| warning(&name.parse().unwrap());
        for suffix in ["com", "de", "dev", "co.uk", "com.au"] {
            let wanted = format!(
                "`{suffix}` is a public suffix: whoever registers a name below it is let through"
            );
            assert_eq!(said(suffix), Some(wanted));
        }
        for (name, wanted) in [
            ("github.io", "names below `github.io`"),
            (
                "s3.eu-west-1.amazonaws.com",
                "names below `s3.*.amazonaws.com`",
            ),
            (
                "amazonaws.com",
                "some names below `amazonaws.com`, as below `s3.amazonaws.com`",
            ),
        ] {
            let wanted = format!("anybody can have {wanted}: this lets data go to them");
            assert_eq!(said(name), Some(wanted));
        }
        // Nobody sells names there, or they are somebody's own.
        for name in [
            "internal",
            "test",
            "lan",
            "example.com",
            "example.co.uk",
            "gov.uk",
        ] {
            assert_eq!(said(name), None, "{name}");
        }
    }

    #[test]
    fn each_zone_is_a_name() {
        for zone in ZONES {
            let name = zone.replace('*', "x");
            assert_eq!(name.parse::<DomainName>().unwrap().as_str(), name);
        }
    }
}
