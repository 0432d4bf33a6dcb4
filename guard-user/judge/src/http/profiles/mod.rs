//! Profiles: what reads in a protocol though its method does not say so, and what does not read
//! though its method says that it does. One file each.

mod always;
mod aws;
mod docker;
mod elasticsearch;
mod git;
mod gitea;
mod google;
mod grafana;
mod graphql;
mod graphql_document;
mod grpc;
mod influxdb;
mod jenkins;
mod jsonrpc;
mod kubernetes;
mod kubernetes_target;
mod models;
mod monitoring;
mod portainer;
mod service;
mod tomcat;
mod view;
mod webdav;

use guard_policy::Profile;
use view::View;

use super::{Rules, facts::Facts};

/// What a profile says about a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Opinion {
    /// Nothing: its method decides.
    None,
    /// It reads, though its method does not say so.
    Read {
        because: String,
        /// Whether its server may take the method from the form in its body.
        heeds_forms: bool,
    },
    /// Its body tells.
    Body,
    /// It is not to pass, whatever its method.
    Write { kind: String, because: String },
}

impl Opinion {
    /// Not a read, as this profile knows.
    fn write(profile: Profile, kind: impl Into<String>) -> Self {
        Self::Write {
            kind: kind.into(),
            because: format!("the profile `{profile}` does not list this as a read"),
        }
    }

    /// Not known to read.
    fn doubt(profile: Profile, kind: impl Into<String>, why: &str) -> Self {
        Self::Write {
            kind: kind.into(),
            because: format!("the profile `{profile}` cannot tell that it reads: {why}"),
        }
    }

    fn read(profile: Profile, what: &str) -> Self {
        Self::Read {
            because: format!("the profile `{profile}` knows {what} as a read"),
            heeds_forms: true,
        }
    }

    /// The same, where the server is known, and takes no method from a form: a body may be of any length, and need not say its type.
    fn without_forms(self) -> Self {
        match self {
            Self::Read { because, .. } => Self::Read {
                because,
                heeds_forms: false,
            },
            other => other,
        }
    }

    /// What another profile knows as no read, said by this one, whose server has the same in it. What reads there is not its business.
    fn only_write(self, profile: Profile, server: &str) -> Self {
        match self {
            Self::Write { kind, .. } => Self::write(profile, format!("{server}: {kind}")),
            _ => Self::None,
        }
    }

    const fn strictness(&self) -> u8 {
        match self {
            Self::None => 0,
            Self::Read {
                heeds_forms: false, ..
            } => 1,
            Self::Read { .. } => 2,
            Self::Body => 3,
            Self::Write { .. } => 4,
        }
    }

    fn stricter(self, other: Self) -> Self {
        if other.strictness() > self.strictness() {
            other
        } else {
            self
        }
    }
}

/// What the profiles of a rule say together.
pub(super) struct JointOpinion {
    /// The strictest.
    pub(super) opinion: Opinion,
    /// Whether one of them has a use for a body with any method.
    pub(super) body_has_use: bool,
}

/// What the profiles of a rule say together.
pub(super) fn opinion(rules: &Rules, facts: &Facts<'_>) -> JointOpinion {
    let mut together = Opinion::None;
    let mut body_has_use = false;
    let views = |judge| in_all_readings(judge, rules, facts);
    for profile in &rules.profiles {
        let opinion = views(judge_of(*profile))
            .unwrap_or_else(|why| Opinion::doubt(*profile, AMBIGUOUS, why));
        let may_read = matches!(opinion, Opinion::Read { .. } | Opinion::Body);
        body_has_use |= may_read && *profile == Profile::Elasticsearch;
        together = together.stricter(opinion);
    }
    let always = views(always::judge).unwrap_or_else(|why| Opinion::Write {
        kind: AMBIGUOUS.to_owned(),
        because: why.to_owned(),
    });
    // The word of a profile that the rule names comes first.
    together = match (&together, &always) {
        (Opinion::Read { .. }, Opinion::Read { .. }) => together,
        _ => together.stricter(always),
    };
    JointOpinion {
        opinion: together,
        body_has_use,
    }
}

/// What a person is warned of, as the profiles of a rule know it.
pub(super) fn warnings(rules: &Rules, facts: &Facts<'_>) -> Vec<String> {
    let mut found = Vec::new();
    for path in facts.paths.readings() {
        let view = View {
            facts,
            path,
            lists: &rules.lists,
            is_listed: true,
        };
        let of_profile = |profile: &Profile| service::warning(&view, *profile);
        found.extend(rules.profiles.iter().filter_map(of_profile));
    }
    found.dedup();
    found
}

/// Returns what a judge says, whichever way the path is read.
///
/// # Errors
///
/// Why the readings of the path do not agree, where one of them reads.
fn in_all_readings(
    judge: fn(&View<'_>) -> Opinion,
    rules: &Rules,
    facts: &Facts<'_>,
) -> Result<Opinion, &'static str> {
    let views = facts.paths.readings().map(|path| {
        let view = View {
            facts,
            path,
            lists: &rules.lists,
            is_listed: false,
        };
        let mut profiles = rules.profiles.iter();
        let is_listed = profiles.any(|profile| service::lists(&view, *profile));
        View { is_listed, ..view }
    });
    let opinions: Vec<Opinion> = views.map(|view| judge(&view)).collect();
    let permits = |opinion: &Opinion| matches!(opinion, Opinion::Read { .. } | Opinion::Body);
    let some = opinions.iter().any(permits);
    let all = opinions.iter().all(permits);
    let together = opinions.into_iter().fold(Opinion::None, Opinion::stricter);
    match (together, facts.paths.ambiguous()) {
        (Opinion::Write { kind, because }, _) => Ok(Opinion::Write { kind, because }),
        (_, Some(why)) if some => Err(why),
        (_, None) if some && !all => Err("its path has two readings"),
        (together, _) => Ok(together),
    }
}

const AMBIGUOUS: &str = "reads or writes, as its server reads the path";

fn judge_of(profile: Profile) -> fn(&View<'_>) -> Opinion {
    match profile {
        Profile::Aws => aws::judge,
        Profile::Cloudflare => |view| service::judge(view, Profile::Cloudflare),
        Profile::Digitalocean => |view| service::judge(view, Profile::Digitalocean),
        Profile::Docker => docker::judge,
        Profile::Elasticsearch => |view| elasticsearch::judge(view).without_forms(),
        Profile::Git => git::judge,
        Profile::Gitea => gitea::judge,
        Profile::Github => |view| service::judge(view, Profile::Github),
        Profile::Google => google::judge,
        Profile::Grafana => grafana::judge,
        Profile::Graphql => graphql::judge,
        Profile::Grpc => grpc::judge,
        Profile::Heroku => |view| service::judge(view, Profile::Heroku),
        Profile::HomeAssistant => |view| service::judge(view, Profile::HomeAssistant),
        Profile::Immich => |view| service::judge(view, Profile::Immich),
        Profile::Influxdb => influxdb::judge,
        Profile::Jenkins => jenkins::judge,
        Profile::Jsonrpc => jsonrpc::judge,
        Profile::Kubernetes => kubernetes::judge,
        Profile::Loki => monitoring::loki,
        Profile::Netlify => |view| service::judge(view, Profile::Netlify),
        Profile::Nextcloud => |view| service::judge(view, Profile::Nextcloud),
        Profile::Paperless => |view| service::judge(view, Profile::Paperless),
        Profile::Portainer => portainer::judge,
        // Not HTTP: whoever speaks that where this is expected is not understood.
        Profile::Postgres => |_| {
            let why = "it is for what speaks PostgreSQL's protocol, not HTTP";
            Opinion::doubt(Profile::Postgres, "may change something", why)
        },
        Profile::Prometheus => monitoring::prometheus,
        Profile::Proxmox => |view| service::judge(view, Profile::Proxmox),
        Profile::Stripe => |view| service::judge(view, Profile::Stripe),
        Profile::Supabase => |view| service::judge(view, Profile::Supabase),
        Profile::Tomcat => tomcat::judge,
        Profile::Vercel => |view| service::judge(view, Profile::Vercel),
        Profile::Webdav => webdav::judge,
    }
}
