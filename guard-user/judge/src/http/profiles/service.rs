//! Servers that people run themselves, and platforms' APIs: what reads there though it is a POST, what acts though it is a GET, and
//! what changes much at once. The lists are data, a file for each, which says the description that it was made from.

use std::sync::LazyLock;

use guard_policy::Profile;

use super::super::glob;
use super::{Opinion, View};

/// At the end of a path: whatever follows.
const REST: &str = "**";

/// What a request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CallEffect {
    /// It reads, though its method does not say so.
    Reads,
    /// It does not read, though its method says so.
    Acts,
    /// It changes much at once, or for good.
    Bulk,
}

/// One line of a list.
#[derive(Debug)]
struct Line {
    effect: CallEffect,
    method: &'static str,
    /// `*` stands for text of one segment, and `**` at the end for all that follows.
    path: &'static str,
    /// What it does, in words.
    does: &'static str,
}

/// Platforms that everybody is a customer of, which all answer by HTTPS.
const PLATFORMS: &[Profile] = &[
    Profile::Aws,
    Profile::Cloudflare,
    Profile::Digitalocean,
    Profile::Github,
    Profile::Google,
    Profile::Heroku,
    Profile::Netlify,
    Profile::Stripe,
    Profile::Supabase,
    Profile::Vercel,
];

struct Service {
    profile: Profile,
    name: &'static str,
    lines: LazyLock<Vec<Line>>,
}

static SERVICES: [Service; 18] = [
    Service {
        profile: Profile::Aws,
        name: "AWS",
        lines: LazyLock::new(|| parse(include_str!("../services/aws.txt"))),
    },
    Service {
        profile: Profile::Cloudflare,
        name: "Cloudflare",
        lines: LazyLock::new(|| parse(include_str!("../services/cloudflare.txt"))),
    },
    Service {
        profile: Profile::Digitalocean,
        name: "DigitalOcean",
        lines: LazyLock::new(|| parse(include_str!("../services/digitalocean.txt"))),
    },
    Service {
        profile: Profile::Gitea,
        name: "Gitea",
        lines: LazyLock::new(|| parse(include_str!("../services/gitea.txt"))),
    },
    Service {
        profile: Profile::Github,
        name: "GitHub",
        lines: LazyLock::new(|| parse(include_str!("../services/github.txt"))),
    },
    Service {
        profile: Profile::Google,
        name: "Google Cloud",
        lines: LazyLock::new(|| parse(include_str!("../services/google.txt"))),
    },
    Service {
        profile: Profile::Grafana,
        name: "Grafana",
        lines: LazyLock::new(|| parse(include_str!("../services/grafana.txt"))),
    },
    Service {
        profile: Profile::Heroku,
        name: "Heroku",
        lines: LazyLock::new(|| parse(include_str!("../services/heroku.txt"))),
    },
    Service {
        profile: Profile::HomeAssistant,
        name: "Home Assistant",
        lines: LazyLock::new(|| parse(include_str!("../services/home-assistant.txt"))),
    },
    Service {
        profile: Profile::Immich,
        name: "Immich",
        lines: LazyLock::new(|| parse(include_str!("../services/immich.txt"))),
    },
    Service {
        profile: Profile::Netlify,
        name: "Netlify",
        lines: LazyLock::new(|| parse(include_str!("../services/netlify.txt"))),
    },
    Service {
        profile: Profile::Nextcloud,
        name: "Nextcloud",
        lines: LazyLock::new(|| parse(include_str!("../services/nextcloud.txt"))),
    },
    Service {
        profile: Profile::Paperless,
        name: "Paperless-ngx",
        lines: LazyLock::new(|| parse(include_str!("../services/paperless.txt"))),
    },
    Service {
        profile: Profile::Portainer,
        name: "Portainer",
        lines: LazyLock::new(|| parse(include_str!("../services/portainer.txt"))),
    },
    Service {
        profile: Profile::Proxmox,
        name: "Proxmox VE",
        lines: LazyLock::new(|| parse(include_str!("../services/proxmox.txt"))),
    },
    Service {
        profile: Profile::Stripe,
        name: "Stripe",
        lines: LazyLock::new(|| parse(include_str!("../services/stripe.txt"))),
    },
    Service {
        profile: Profile::Supabase,
        name: "Supabase",
        lines: LazyLock::new(|| parse(include_str!("../services/supabase.txt"))),
    },
    Service {
        profile: Profile::Vercel,
        name: "Vercel",
        lines: LazyLock::new(|| parse(include_str!("../services/vercel.txt"))),
    },
];

fn parse(text: &'static str) -> Vec<Line> {
    text.lines().filter_map(Line::of).collect()
}

impl Line {
    /// `EFFECT METHOD PATH`, and what it does; none where it is a comment.
    fn of(line: &'static str) -> Option<Self> {
        let (effect, rest) = line.split_once(' ')?;
        let effect = match effect {
            "reads" => CallEffect::Reads,
            "acts" => CallEffect::Acts,
            "bulk" => CallEffect::Bulk,
            _ => return None,
        };
        let (method, rest) = rest.split_once(' ')?;
        let (path, does) = rest.split_once(' ').unwrap_or((rest, ""));
        Some(Self {
            effect,
            method,
            path,
            does: does.trim_start(),
        })
    }

    fn segments(&self) -> impl DoubleEndedIterator<Item = &'static str> + Clone {
        self.path.trim_start_matches('/').split('/')
    }

    /// Its segments that are not empty, without the `**`.
    fn words(&self) -> impl DoubleEndedIterator<Item = &'static str> + Clone {
        self.segments()
            .filter(|word| !word.is_empty() && *word != REST)
    }

    /// Whether a request to read is this one: no server takes another spelling for it.
    fn is(&self, view: &View<'_>) -> bool {
        let path = view.segments();
        let fits = |(pattern, segment): (&str, &&str)| {
            pattern == *segment || (!segment.is_empty() && glob::matches(pattern, segment))
        };
        self.effect == CallEffect::Reads
            && view.method() == self.method
            && path.len() == self.segments().count()
            && self.segments().zip(&path).all(fits)
    }

    /// Whether a request may be this one, below another path and in another spelling as well.
    fn may_be(&self, view: &View<'_>) -> bool {
        let words = view.words();
        let fits = |(pattern, word): (&str, &&str)| glob::matches_any_case(pattern, word);
        let method = match self.effect {
            CallEffect::Reads => false,
            CallEffect::Acts => view.is_safe(),
            CallEffect::Bulk => view.facts.methods.iter().any(|one| one.name == self.method),
        };
        let count = self.words().count();
        let begins = |at: &[&str]| self.words().zip(at).all(fits);
        method
            && if self.path.ends_with(REST) {
                words.windows(count).any(begins)
            } else {
                words.len() >= count && begins(&words[words.len() - count..])
            }
    }
}

impl Service {
    fn of(profile: Profile) -> Option<&'static Self> {
        SERVICES.iter().find(|service| service.profile == profile)
    }
}

pub(super) fn judge(view: &View<'_>, profile: Profile) -> Opinion {
    let Some(service) = Service::of(profile) else {
        return Opinion::None;
    };
    let lines = &service.lines;
    if let Some(line) = lines.iter().find(|line| line.may_be(view)) {
        return Opinion::write(profile, format!("{}: {}", service.name, line.does));
    }
    let is_believed = is_believed(view, profile);
    match lines.iter().find(|line| is_believed && line.is(view)) {
        Some(line) => Opinion::read(profile, &format!("`{}`", line.path)),
        None => Opinion::None,
    }
}

/// Returns true if the server is the one that a profile is for: in clear text a customer's program may answer, which has a platform's
/// address, whatever host the request names.
fn is_believed(view: &View<'_>, profile: Profile) -> bool {
    view.facts.is_secure || !PLATFORMS.contains(&profile)
}

/// Returns true if a profile knows this very request as a read. In Kubernetes' own paths people choose the names.
pub(super) fn lists(view: &View<'_>, profile: Profile) -> bool {
    let is_believed = is_believed(view, profile);
    let is_read = |service: &Service| is_believed && service.lines.iter().any(|line| line.is(view));
    let names_object = || match view.segments()[..] {
        ["api", version, ..] | ["apis", _, version, ..] => version
            .strip_prefix('v')
            .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit())),
        _ => false,
    };
    (profile == Profile::Kubernetes && names_object()) || Service::of(profile).is_some_and(is_read)
}

/// Returns what a request does by the lists of all servers, whichever server it is.
pub(super) fn acts_anywhere(view: &View<'_>) -> Opinion {
    let mut acts = SERVICES.iter().filter_map(|service| {
        let mut lines = service.lines.iter();
        let line = lines.find(|line| line.effect == CallEffect::Acts && line.may_be(view))?;
        Some(Opinion::write(service.profile, line.does))
    });
    acts.next().unwrap_or(Opinion::None)
}

/// What a person is warned of.
pub(super) fn warning(view: &View<'_>, profile: Profile) -> Option<String> {
    let service = Service::of(profile)?;
    let is_bulk = |line: &&Line| line.effect == CallEffect::Bulk && line.may_be(view);
    let line = service.lines.iter().find(is_bulk)?;
    Some(format!("much at once, or for good: {}", line.does))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The operations of the servers' own descriptions, but for Home Assistant, which has none.
    const DESCRIBED: [(Profile, &str); 7] = [
        (Profile::Gitea, include_str!("../services/gitea.operations")),
        (
            Profile::Grafana,
            include_str!("../services/grafana.operations"),
        ),
        (
            Profile::Immich,
            include_str!("../services/immich.operations"),
        ),
        (
            Profile::Nextcloud,
            include_str!("../services/nextcloud.operations"),
        ),
        (
            Profile::Paperless,
            include_str!("../services/paperless.operations"),
        ),
        (
            Profile::Portainer,
            include_str!("../services/portainer.operations"),
        ),
        (
            Profile::Proxmox,
            include_str!("../services/proxmox.operations"),
        ),
    ];

    const TEXTS: [&str; 18] = [
        include_str!("../services/aws.txt"),
        include_str!("../services/cloudflare.txt"),
        include_str!("../services/digitalocean.txt"),
        include_str!("../services/gitea.txt"),
        include_str!("../services/github.txt"),
        include_str!("../services/google.txt"),
        include_str!("../services/grafana.txt"),
        include_str!("../services/heroku.txt"),
        include_str!("../services/home-assistant.txt"),
        include_str!("../services/immich.txt"),
        include_str!("../services/netlify.txt"),
        include_str!("../services/nextcloud.txt"),
        include_str!("../services/paperless.txt"),
        include_str!("../services/portainer.txt"),
        include_str!("../services/proxmox.txt"),
        include_str!("../services/stripe.txt"),
        include_str!("../services/supabase.txt"),
        include_str!("../services/vercel.txt"),
    ];

    /// The operations of a description, `METHOD /path/{parameter}`; what begins with `#` says where they are from.
    fn operations(text: &str) -> Vec<(&str, Vec<&str>)> {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines
            .filter_map(|line| line.split_once(' '))
            .map(|(method, path)| (method, path.split('/').skip(1).collect()))
            .collect()
    }

    /// The operations that a line is about: a star for each parameter, and nothing else but the version of an API.
    fn meant<'o>(line: &Line, all: &'o [(&'o str, Vec<&'o str>)]) -> Vec<&'o Vec<&'o str>> {
        let fits = |(pattern, segment): (&str, &&str)| {
            if segment.starts_with('{') {
                ["*", REST].contains(&pattern)
            } else {
                pattern == *segment || (pattern == "v*.php" && *segment == "v2.php")
            }
        };
        let found = all.iter().filter(|(method, path)| {
            *method == line.method
                && path.len() == line.segments().count()
                && line.segments().zip(path).all(fits)
        });
        found.map(|(_, path)| path).collect()
    }

    #[test]
    fn each_line_is_an_operation_of_the_servers_description() {
        for (profile, text) in DESCRIBED {
            let all = operations(text);
            assert!(all.len() > 150, "{profile}: {}", all.len());
            for line in Service::of(profile).unwrap().lines.iter() {
                assert_eq!(meant(line, &all).len(), 1, "{profile}: {line:?}");
            }
        }
    }

    #[test]
    fn each_line_of_a_file_is_read_and_says_what_it_does() {
        for (service, text) in SERVICES.iter().zip(TEXTS) {
            let written = text
                .lines()
                .filter(|line| !line.is_empty() && !line.starts_with('#'));
            assert_eq!(written.count(), service.lines.len(), "{}", service.name);
            for line in service.lines.iter() {
                let is_read = line.effect == CallEffect::Reads;
                assert_eq!(line.does.is_empty(), is_read, "{line:?}");
                assert!(line.path.starts_with('/'), "{line:?}");
            }
        }
    }
}
