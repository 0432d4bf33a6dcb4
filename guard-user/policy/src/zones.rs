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

/// A zone in which strangers get names, all of which lie below that name.
pub(super) fn of_strangers(below: &DomainName) -> Option<&'static str> {
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
    fn each_zone_is_a_name() {
        for zone in ZONES {
            let name = zone.replace('*', "x");
            assert_eq!(name.parse::<DomainName>().unwrap().as_str(), name);
        }
    }
}
