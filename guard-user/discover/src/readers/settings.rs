//! Variables: of an environment, of `.env` files, of shells' files, and of what has an `env` in it.

use std::borrow::Cow;
use std::collections::BTreeSet;

use crate::dsn::{Dsn, HostPort, host_and_port, is_placeholder, scan};
use crate::score::{Clue, Sighting};
use crate::service::{self, Service, home};
use crate::tokens::{StageWords, said};

use super::{MORE, Sink, lines, words_of};

/// One variable.
#[derive(Clone, Copy)]
pub(super) struct Variable<'t> {
    pub(super) line: Option<usize>,
    pub(super) key: &'t str,
    pub(super) value: &'t str,
    /// Whether it is commented out.
    pub(super) dormant: bool,
}

const GITHUB: &str = "api.github.com";
const GITLAB: &str = "gitlab.com";

/// What tokens begin with, whatever their variable is called, and the host that they are for.
const VALUES: [(&str, &str); 9] = [
    ("dop_v1_", "api.digitalocean.com"),
    ("gho_", GITHUB),
    ("ghp_", GITHUB),
    ("github_pat_", GITHUB),
    ("glpat-", GITLAB),
    ("rk_live_", "api.stripe.com"),
    ("rk_test_", "api.stripe.com"),
    ("sk_live_", "api.stripe.com"),
    ("sk_test_", "api.stripe.com"),
];

/// Variables that hold a platform's token, and the host that it is for.
const TOKENS: [(&str, &str); 39] = [
    ("ARM_CLIENT_SECRET", "management.azure.com"),
    ("AZURE_CLIENT_SECRET", "management.azure.com"),
    ("CLOUDSDK_AUTH_ACCESS_TOKEN", service::GOOGLE),
    ("FIREBASE_TOKEN", service::GOOGLE),
    ("GOOGLE_APPLICATION_CREDENTIALS_JSON", service::GOOGLE),
    ("GOOGLE_OAUTH_ACCESS_TOKEN", service::GOOGLE),
    ("LINODE_API_TOKEN", "api.linode.com"),
    ("GH_TOKEN", GITHUB),
    ("GITHUB_TOKEN", GITHUB),
    ("GITHUB_PAT", GITHUB),
    ("GITLAB_ACCESS_TOKEN", GITLAB),
    ("GITLAB_TOKEN", GITLAB),
    ("STRIPE_SECRET_KEY", "api.stripe.com"),
    ("STRIPE_API_KEY", "api.stripe.com"),
    ("DIGITALOCEAN_TOKEN", "api.digitalocean.com"),
    ("DIGITALOCEAN_ACCESS_TOKEN", "api.digitalocean.com"),
    ("DO_PAT", "api.digitalocean.com"),
    ("DO_PAT_TF", "api.digitalocean.com"),
    ("DO_TOKEN", "api.digitalocean.com"),
    ("HCLOUD_TOKEN", "api.hetzner.cloud"),
    ("FLY_API_TOKEN", "api.machines.dev"),
    ("RAILWAY_TOKEN", "backboard.railway.com"),
    ("RAILWAY_API_TOKEN", "backboard.railway.com"),
    ("VERCEL_TOKEN", "api.vercel.com"),
    ("NETLIFY_AUTH_TOKEN", "api.netlify.com"),
    ("CLOUDFLARE_API_TOKEN", "api.cloudflare.com"),
    ("CLOUDFLARE_API_KEY", "api.cloudflare.com"),
    ("HEROKU_API_KEY", "api.heroku.com"),
    ("SUPABASE_ACCESS_TOKEN", "api.supabase.com"),
    ("NEON_API_KEY", "console.neon.tech"),
    ("VULTR_API_KEY", "api.vultr.com"),
    ("LINODE_TOKEN", "api.linode.com"),
    ("LINODE_CLI_TOKEN", "api.linode.com"),
    ("RENDER_API_KEY", "api.render.com"),
    ("SCW_SECRET_KEY", "api.scaleway.com"),
    ("PULUMI_ACCESS_TOKEN", "api.pulumi.com"),
    ("PLANETSCALE_SERVICE_TOKEN", "api.planetscale.com"),
    ("SENDGRID_API_KEY", "api.sendgrid.com"),
    ("TWILIO_AUTH_TOKEN", "api.twilio.com"),
];

/// Addresses that need no scheme: of what, and the port that is meant.
const ADDRESSES: [(&str, Service, u16); 8] = [
    ("ARGOCD_SERVER", Service::Http, 443),
    ("CONSUL_HTTP_ADDR", Service::Http, 8500),
    ("DATABRICKS_HOST", Service::Http, 443),
    ("ETCDCTL_ENDPOINTS", Service::Http, 2379),
    ("GH_HOST", Service::Http, 443),
    ("GITLAB_HOST", Service::Http, 443),
    ("NOMAD_ADDR", Service::Http, 4646),
    ("VAULT_ADDR", Service::Http, 8200),
];

/// Addresses, and the tokens that make those who have them a platform's users there.
const OPENED: [(&str, &[&str]); 7] = [
    ("ARGOCD_SERVER", &["ARGOCD_AUTH_TOKEN"]),
    ("CONSUL_HTTP_ADDR", &["CONSUL_HTTP_TOKEN"]),
    ("DATABRICKS_HOST", &["DATABRICKS_TOKEN"]),
    (
        "GH_HOST",
        &["GH_ENTERPRISE_TOKEN", "GITHUB_ENTERPRISE_TOKEN"],
    ),
    ("GITLAB_HOST", &["GITLAB_TOKEN", "GITLAB_ACCESS_TOKEN"]),
    ("NOMAD_ADDR", &["NOMAD_TOKEN"]),
    ("VAULT_ADDR", &["VAULT_TOKEN"]),
];

/// Words of a key that say what a host is.
const HOSTS: [(&str, Service, u16); 19] = [
    ("pg", Service::Postgres, 5432),
    ("postgres", Service::Postgres, 5432),
    ("postgresql", Service::Postgres, 5432),
    ("pgsql", Service::Postgres, 5432),
    ("mysql", Service::Mysql, 3306),
    ("mariadb", Service::Mysql, 3306),
    ("redis", Service::Redis, 6379),
    ("mongo", Service::Mongodb, 27017),
    ("mongodb", Service::Mongodb, 27017),
    ("rabbitmq", Service::Amqp, 5672),
    ("mssql", Service::Sqlserver, 1433),
    ("sqlsrv", Service::Sqlserver, 1433),
    ("sqlserver", Service::Sqlserver, 1433),
    ("kafka", Service::Kafka, 9092),
    ("smtp", Service::Smtp, 587),
    ("mail", Service::Smtp, 587),
    ("mailer", Service::Smtp, 587),
    ("email", Service::Smtp, 587),
    ("smtps", Service::Smtp, 465),
];

/// A service, and the port that it has where none is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ServicePort {
    pub(super) service: Service,
    pub(super) usual: u16,
}

/// Something that holds data, of which it is not said what it speaks, nor at which port.
const UNKNOWN: ServicePort = ServicePort {
    service: Service::Database,
    usual: 0,
};

/// What holds for variables that stand together.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Around<'t> {
    /// The services of the same file, which run here.
    pub(super) own: &'t [&'t str],
    /// What is said of all of them.
    pub(super) data: StageWords,
}

/// `KEY=value` lines; of a shell's file those that are exported.
pub(super) fn dotenv(sink: &mut Sink, text: &str, exported: bool) {
    let lines = lines(sink, text);
    // Node's dotenv ends a line at a carriage return alone, too.
    let parts = lines
        .iter()
        .flat_map(|(number, line)| line.split('\r').map(move |part| (*number, part)));
    let all: Vec<_> = parts
        .filter_map(|(number, part)| variable(number, part, exported))
        .collect();
    variables(sink, &all, &[]);
}

/// The variables that this process has.
pub(crate) fn of_environment(sink: &mut Sink, environment: &[(String, String)]) {
    let all = environment.iter().map(|(key, value)| Variable {
        line: None,
        key,
        value,
        dormant: false,
    });
    variables(sink, &all.collect::<Vec<_>>(), &[]);
}

fn variable(number: usize, line: &str, exported: bool) -> Option<Variable<'_>> {
    let bare = line.trim();
    let text = bare.trim_start_matches('#').trim_start();
    let dormant = text.len() != bare.len();
    let (key, value) = match text.strip_prefix("export ") {
        Some(rest) => pair(rest.trim_start(), dormant || exported)?,
        None => match text.strip_prefix("set -gx ") {
            Some(rest) => rest.trim_start().split_once(' ')?,
            None if exported => return None,
            None => pair(text, dormant)?,
        },
    };
    // Quarkus has the profile there: `%prod.quarkus.datasource.jdbc.url`.
    let key = key.trim_end();
    let key = key.strip_prefix('%').unwrap_or(key);
    let is_key = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    let is_name =
        key.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && key.bytes().all(is_key);
    let value = unquoted(value.trim());
    is_name.then_some(Variable {
        line: Some(number),
        key,
        value,
        dormant,
    })
}

/// `KEY=value`, or `KEY: value`, which Node's dotenv and Java's properties take for the same. In a comment the latter is prose, and
/// no shell has it.
fn pair(text: &str, is_plain: bool) -> Option<(&str, &str)> {
    let by_colon = || {
        let (key, value) = text.split_once(':')?;
        let is_pair = !key.contains('=') && value.starts_with([' ', '\t']);
        is_pair.then_some((key, value))
    };
    let by_colon = if is_plain { None } else { by_colon() };
    by_colon.or_else(|| text.split_once('='))
}

/// A value without its quotes, or without the comment behind it.
pub(super) fn unquoted(value: &str) -> &str {
    for quote in ['"', '\'', '`'] {
        if let Some(rest) = value.strip_prefix(quote) {
            return within_quotes(rest, quote);
        }
    }
    let kept = value
        .split_once(" #")
        .filter(|(kept, behind)| !is_in_two(kept, behind));
    kept.map_or(value, |(value, _)| value).trim_end()
}

/// What stands before the quote that ends it. Nothing of an address whose line has no such quote: it goes on below.
fn within_quotes(rest: &str, quote: char) -> &str {
    let Some((kept, behind)) = rest.split_once(quote) else {
        return if rest.contains("://") { "" } else { rest };
    };
    let is_comment = behind.trim_start().starts_with('#');
    if is_in_two(kept, behind) && !is_comment {
        rest.rsplit_once(quote).map_or(rest, |(all, _)| all)
    } else {
        kept
    }
}

/// Whether an address may go on behind what ends it: a password may have anything in it, and what stands before that is no host.
pub(super) fn is_in_two(address: &str, behind: &str) -> bool {
    let begins = behind.split_whitespace().next().unwrap_or_default();
    address.contains("://")
        && (begins.contains('@') || (behind.contains('@') && address.contains('@')))
}

/// Clues of variables that stand together. `own` are the services of the same file.
pub(super) fn variables(sink: &mut Sink, all: &[Variable<'_>], own: &[&str]) {
    let around = Around {
        own,
        ..Around::default()
    };
    variables_in(sink, all, &around);
}

/// A setting that is a name in names.
pub(super) struct Setting<'n> {
    pub(super) line: usize,
    pub(super) key: String,
    pub(super) value: Cow<'n, str>,
}

/// Clues of settings that stand together, with what is known of all.
pub(super) fn told(sink: &mut Sink, all: &[Setting<'_>], data: StageWords) {
    let all: Vec<_> = all
        .iter()
        .map(|one| Variable {
            line: Some(one.line),
            key: &one.key,
            value: &one.value,
            dormant: false,
        })
        .collect();
    let around = Around {
        data,
        ..Around::default()
    };
    variables_in(sink, &all, &around);
}

/// So many variables are held against each other.
pub(super) const TOGETHER: usize = 1_024;

/// The same, with what is known of all.
pub(super) fn variables_in(sink: &mut Sink, all: &[Variable<'_>], around: &Around<'_>) {
    if all.len() > TOGETHER {
        sink.pass_over(None, MORE);
    }
    let all: Vec<_> = all
        .iter()
        .take(TOGETHER)
        .map(|one| (one, with_defaults(one.value)))
        .collect();
    let all: Vec<_> = all
        .iter()
        .map(|(one, value)| Variable { value, ..**one })
        .collect();
    let all = &all[..];
    for one in all.iter().filter(|one| !one.value.is_empty()) {
        if sink.is_full() {
            sink.pass_over(None, MORE);
            return;
        }
        sink.name(one);
        let is_opened = is_opened(one, all);
        for lead in leads(sink, one, all) {
            let HostPort { host, port } = lead.at;
            let is_own = host
                .as_ref()
                .is_some_and(|host| around.own.contains(&host.as_str()));
            let seen = Sighting {
                dormant: one.dormant,
                ..sink.seen(one.line, one.key)
            };
            let (service, credential) = if is_opened {
                (Service::Platform, Some("token"))
            } else {
                (lead.service, lead.credential)
            };
            sink.push(Clue {
                host,
                port,
                service,
                seen,
                data: lead.data.and(around.data),
                credential,
                has_sibling: false,
                is_own,
            });
        }
    }
}

/// Returns the value with the default in the place of each `${NAME:-default}` (a shell's, a compose file's) and `${NAME:default}`
/// (Spring's).
fn with_defaults(value: &str) -> Cow<'_, str> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    let (mut text, mut end) = (Cow::Borrowed(value), value.len());
    // The innermost first.
    while let Some(at) = text[..end].rfind("${") {
        end = at;
        let Some(length) = text[at..].find('}') else {
            continue;
        };
        let pair = text[at + 2..at + length].split_once(':');
        // `:?` and `:+` have no default behind them.
        if let Some((name, default)) = pair
            && name.chars().all(is_name)
            && !default.starts_with(['?', '+'])
        {
            let default = default
                .strip_prefix(['-', '='])
                .unwrap_or(default)
                .to_owned();
            text.to_mut().replace_range(at..=at + length, &default);
        }
    }
    text
}

/// Where a variable leads, with what is beside it.
fn leads(sink: &mut Sink, one: &Variable<'_>, all: &[Variable<'_>]) -> Vec<Lead> {
    match token(one, all) {
        Some(lead) => vec![lead],
        None if is_aws(one) => vec![aws(one)],
        None if is_host(one.key) && !one.value.contains("://") => {
            host(sink, one, all).into_iter().collect()
        }
        None if is_kafka(one.key) => kafka(sink, one, all),
        None if is_proxy(one.key) => proxy(one.value).into_iter().map(through).collect(),
        None => terraform(one).map_or_else(|| url(sink, one, all), |lead| vec![lead]),
    }
}

/// Returns true if a variable names a forward proxy, as curl, git and others read it.
fn is_proxy(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    ["all_proxy", "http_proxy", "https_proxy"].contains(&key.as_str())
}

/// Returns where a forward proxy is; its user and password are not read.
fn proxy(value: &str) -> Option<HostPort> {
    let at = value.rsplit('@').next()?;
    let at = at.split_once("://").map_or(at, |(_, at)| at);
    host_and_port(at.split('/').next()?, 1080)
}

fn through(at: HostPort) -> Lead {
    Lead {
        at,
        service: Service::Proxy,
        data: StageWords::default(),
        credential: None,
    }
}

/// Returns the forward proxies that an environment names, each once. What goes through one has the proxy's address.
#[must_use]
pub fn proxies(environment: &[(String, String)]) -> BTreeSet<(crate::Host, u16)> {
    let named = environment.iter().filter(|(key, _)| is_proxy(key));
    let named = named.filter_map(|(_, value)| proxy(value));
    named.filter_map(|at| Some((at.host?, at.port))).collect()
}

/// What values begin with that are kept elsewhere: 1Password's, and those of vals and of Doppler.
const REFERENCES: [&str; 3] = ["op://", "ref+", "doppler://"];

/// Where a setting leads.
pub(super) struct Lead {
    pub(super) at: HostPort,
    pub(super) service: Service,
    pub(super) data: StageWords,
    pub(super) credential: Option<&'static str>,
}

fn url(sink: &mut Sink, one: &Variable<'_>, all: &[Variable<'_>]) -> Vec<Lead> {
    let engine = one.value.strip_prefix("tcp://");
    let engine = engine.filter(|_| one.key.ends_with("DOCKER_HOST"));
    let known = ADDRESSES.iter().find(|(key, _, _)| *key == one.key);
    let found = match (engine, known) {
        (Some(at), _) => Some((at, Service::Docker, 2375)),
        (None, Some((_, service, port))) if !one.value.contains("://") => {
            Some((one.value, *service, *port))
        }
        _ => None,
    };
    if let Some((addresses, service, port)) = found {
        return listed(sink, one.line, addresses, service, port);
    }
    match scan(one.value) {
        Dsn::Other => {
            if REFERENCES.iter().any(|begin| one.value.starts_with(begin)) {
                sink.key("a reference to a vault's", one.line, one.key);
            }
            Vec::new()
        }
        Dsn::Unreadable => {
            sink.pass_over(one.line, "an unreadable connection string");
            Vec::new()
        }
        Dsn::Targets(targets) => {
            let beside = has_secret_beside(one, all).then_some("key");
            let leads = targets.into_iter().map(|target| {
                let service = match target.service {
                    Service::Http => home(one.key, target.port).unwrap_or(Service::Http),
                    service => service,
                };
                Lead {
                    at: HostPort::new(target.host, target.port),
                    service,
                    data: target.data,
                    credential: target.has_password.then_some("password").or(beside),
                }
            });
            // What takes mail of anybody is a developer's.
            let is_place = |lead: &Lead| {
                let is_smtp = lead.service == Service::Smtp;
                !is_smtp || lead.credential.is_some() || lead.at.host.is_none()
            };
            leads.filter(is_place).collect()
        }
    }
}

/// A list of addresses without a scheme, all of one service.
fn listed(
    sink: &mut Sink,
    line: Option<usize>,
    addresses: &str,
    service: Service,
    port: u16,
) -> Vec<Lead> {
    let mut leads = Vec::new();
    // What stands before one may be a piece of a password.
    if addresses.contains(',') && addresses.contains('@') {
        sink.pass_over(line, "an unreadable address");
        return leads;
    }
    for at in addresses.split(',').map(str::trim) {
        match host_and_port(at.split('/').next().unwrap_or_default(), port) {
            Some(at) => leads.push(Lead {
                at,
                service,
                data: StageWords::default(),
                credential: Some("login"),
            }),
            None => sink.pass_over(line, "an unreadable address"),
        }
    }
    leads
}

/// Whether one whose name begins alike holds a secret: `IMMICH_API_KEY` beside `IMMICH_URL`.
fn has_secret_beside(one: &Variable<'_>, all: &[Variable<'_>]) -> bool {
    let first = |key: &str| {
        key.split(['_', '.', '-'])
            .next()
            .unwrap_or_default()
            .to_ascii_lowercase()
    };
    let secret = |key: &str| {
        let key = key.to_ascii_lowercase();
        ["key", "token", "secret", "password", "passwd", "pass"]
            .iter()
            .any(|word| key.ends_with(word))
    };
    let ours = first(one.key);
    all.iter().any(|other| {
        other.key != one.key
            && secret(other.key)
            && first(other.key) == ours
            && !is_placeholder(other.value)
    })
}

/// Whether a variable may hold a token for it.
pub(super) fn has_token(host: &crate::Host) -> bool {
    TOKENS.iter().any(|(_, own)| *own == host.as_str())
}

/// Whether a variable is that one, or that of a part: `PROD_AWS_ACCESS_KEY_ID`.
fn is_called(one: &Variable<'_>, key: &str) -> bool {
    let before = one.key.strip_suffix(key);
    before.is_some_and(|before| before.is_empty() || before.ends_with('_'))
}

/// Where a platform's token leads, by the variable's name or what the value begins with; the token itself goes no further.
fn token(one: &Variable<'_>, all: &[Variable<'_>]) -> Option<Lead> {
    let to = |host: &str, data| Lead {
        at: HostPort::new(crate::Host::parse(host), 443),
        service: Service::Platform,
        data,
        credential: Some("token"),
    };
    let by_value = VALUES
        .iter()
        .find(|(begin, _)| one.value.starts_with(begin));
    let (begin, host) = match by_value {
        Some((begin, host)) => (*begin, *host),
        None if is_google_key(one.value) => {
            return Some(to(service::GOOGLE, StageWords::default()));
        }
        None => {
            let (_, host) = TOKENS.iter().find(|(key, _)| is_called(one, key))?;
            ("", *host)
        }
    };
    let rest = &one.value[begin.len()..];
    if is_placeholder(rest) || rest.len() < 8 {
        return None;
    }
    // It is for a GitLab of one's own.
    let is_elsewhere = host == GITLAB && all.iter().any(|other| other.key == "GITLAB_HOST");
    (!is_elsewhere).then(|| to(host, said(begin)))
}

/// Whether it is a key of Google's, and not where one lies.
fn is_google_key(value: &str) -> bool {
    value.starts_with('{') && value.contains("\"private_key\"")
}

/// Whether the token for that address is beside it.
fn is_opened(one: &Variable<'_>, all: &[Variable<'_>]) -> bool {
    let opened = OPENED.iter().find(|(address, _)| *address == one.key);
    opened.is_some_and(|(_, tokens)| {
        let mut others = all.iter();
        others.any(|other| tokens.contains(&other.key) && !is_placeholder(other.value))
    })
}

/// `TF_TOKEN_app_terraform_io`: the host is in the name, where two lines are a hyphen.
fn terraform(one: &Variable<'_>) -> Option<Lead> {
    let name = one.key.strip_prefix("TF_TOKEN_")?;
    let host = name.replace("__", "-").replace('_', ".");
    let at = host_and_port(&host, 443).filter(|_| !is_placeholder(one.value))?;
    Some(Lead {
        at,
        service: Service::Platform,
        data: StageWords::default(),
        credential: Some("token"),
    })
}

/// A key of AWS, or the name of one.
fn aws(one: &Variable<'_>) -> Lead {
    Lead {
        at: HostPort::new(crate::Host::parse(service::AWS), 443),
        service: Service::Platform,
        // A profile and a role have names, and what a local copy of AWS takes for a key is often the word for it.
        data: said(one.value),
        credential: Some("key"),
    }
}

/// What says that there is a key of AWS, or a role that is taken without one.
const AWS_KEYS: [&str; 6] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_DEFAULT_PROFILE",
    "AWS_PROFILE",
    "AWS_ROLE_ARN",
];

fn is_aws(one: &Variable<'_>) -> bool {
    AWS_KEYS.iter().any(|key| is_called(one, key)) && !is_placeholder(one.value)
}

/// Returns true if a variable's value is a host by itself. What is there may be unknown.
fn is_host(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    let ends = |ends: &[&str]| ends.iter().any(|end| key.ends_with(end));
    let service = kind(&key).map(|known| known.service);
    // `EMAIL_ADDRESS` is somebody's.
    let is_server = service == Some(Service::Smtp) && ends(&["_server", "smtp_address"]);
    let is_host =
        ends(&["_host", "_hostname", ".host"]) || ["pghost", "pghostaddr"].contains(&key.as_str());
    let is_known = |known: &str| key.eq_ignore_ascii_case(known);
    let is_address = ADDRESSES.iter().any(|(known, _, _)| is_known(known));
    is_server || (is_host && key != "docker_host" && !is_address)
}

/// Names of the brokers of Kafka, as its clients and those who set them up have them.
const BROKERS: [&str; 9] = [
    "bootstrap_server",
    "bootstrap_servers",
    "kafka_broker",
    "kafka_broker_list",
    "kafka_broker_url",
    "kafka_brokers",
    "kafka_servers",
    "kafka_url",
    "metadata_broker_list",
];

/// Whether a variable has a list of them.
fn is_kafka(key: &str) -> bool {
    let key = key.to_ascii_lowercase().replace(['.', '-'], "_");
    BROKERS.iter().any(|end| {
        let before = key.strip_suffix(end);
        before.is_some_and(|before| before.is_empty() || before.ends_with('_'))
    })
}

/// Each of them, and whether there is something beside that opens them.
fn kafka(sink: &mut Sink, one: &Variable<'_>, all: &[Variable<'_>]) -> Vec<Lead> {
    let opens = |other: &&Variable<'_>| {
        let key = other.key.to_ascii_lowercase().replace(['.', '-'], "_");
        let is_theirs = ["kafka", "sasl", "confluent"]
            .iter()
            .any(|word| key.contains(word));
        let is_secret = ["password", "secret", "jaas_config", "api_key"]
            .iter()
            .any(|end| key.ends_with(end));
        is_theirs && is_secret && !is_none(other.value)
    };
    let credential = all.iter().any(|other| opens(&other)).then_some("password");
    let mut leads = Vec::new();
    for broker in one.value.split(',').map(str::trim) {
        let at = broker.split_once("://").map_or(broker, |(_, at)| at);
        match host_and_port(at, 9092) {
            Some(at) => leads.push(Lead {
                at,
                service: Service::Kafka,
                data: StageWords::default(),
                credential,
            }),
            None => sink.pass_over(one.line, "an unreadable host"),
        }
    }
    leads
}

/// What stands for nothing.
fn is_none(value: &str) -> bool {
    ["", "null", "none", "false"].contains(&value.to_ascii_lowercase().as_str())
}

pub(super) fn is_database(key: &str) -> bool {
    key.split(['_', '.', '-']).any(|word| {
        [
            "db",
            "database",
            "databases",
            "datasource",
            "externaldatabase",
        ]
        .contains(&word)
    })
}

/// What a key's words say that it is of.
pub(super) fn kind(key: &str) -> Option<ServicePort> {
    let key = key.strip_prefix("pghost").map_or(key, |_| "pg");
    let mut words = key.split(['_', '.', '-']);
    words
        .find_map(|word| {
            // As charts call what they do not bring themselves: `externalRedis.host`.
            let word = word.strip_prefix("external").unwrap_or(word);
            HOSTS.iter().find(|(known, _, _)| *known == word)
        })
        .map(|&(_, service, usual)| ServicePort { service, usual })
}

/// What a driver's name says, or else a port.
pub(super) fn by_driver(driver: &str, port: Option<u16>) -> ServicePort {
    let driver = driver.to_ascii_lowercase();
    let by_driver = HOSTS
        .iter()
        .find(|(word, _, _)| word.len() > 2 && driver.contains(word));
    let by_port = || port.and_then(|port| HOSTS.iter().find(|(_, _, own)| *own == port));
    by_driver
        .or_else(by_port)
        .map_or(UNKNOWN, |&(_, service, usual)| ServicePort {
            service,
            usual,
        })
}

/// What the other keys speak of, where that is one thing: `MYSQL_ROOT_PASSWORD` beside `DB_HOST`.
fn by_others(all: &[Variable<'_>]) -> Option<ServicePort> {
    let databases = [Service::Postgres, Service::Mysql, Service::Sqlserver];
    let mut found = all
        .iter()
        .filter_map(|other| kind(&other.key.to_ascii_lowercase()))
        .filter(|known| databases.contains(&known.service));
    let first = found.next()?;
    found.all(|other| other == first).then_some(first)
}

/// What the name of a host's variable begins with, and that of its port's as well.
fn stem_of(key: &str) -> &str {
    let ends = [
        "_hostname",
        "_host",
        ".host",
        "hostaddr",
        "host",
        "_server",
        "_address",
    ];
    let mut ends = ends.iter();
    ends.find_map(|end| key.strip_suffix(end))
        .unwrap_or_default()
}

/// `DB_HOST`, with what `DB_PORT`, `DB_CONNECTION` and `DB_NAME` beside it say.
fn host(sink: &mut Sink, one: &Variable<'_>, all: &[Variable<'_>]) -> Option<Lead> {
    let key = one.key.to_ascii_lowercase();
    let stem = stem_of(&key);
    let beside = |names: &[&str]| {
        let found = all.iter().find(|other| {
            let rest = other.key.to_ascii_lowercase();
            let rest = rest
                .strip_prefix(stem)
                .map(|rest| rest.trim_start_matches(['_', '.']).to_owned());
            other.dormant == one.dormant && rest.is_some_and(|rest| names.contains(&rest.as_str()))
        });
        found.map_or("", |other| other.value)
    };
    let port: Option<u16> = beside(&["port"]).parse().ok();
    let driver = beside(&[
        "connection",
        "driver",
        "engine",
        "dialect",
        "client",
        "type",
    ])
    .to_ascii_lowercase();
    let by_others = || {
        let told = by_driver(&driver, port);
        let told = (told != UNKNOWN).then_some(told);
        told.or_else(|| by_others(all)).unwrap_or(UNKNOWN)
    };
    let ServicePort { service, usual } = match kind(&key) {
        Some(known) => known,
        None if is_database(&key) => by_others(),
        None => ServicePort {
            service: Service::Other,
            usual: 0,
        },
    };
    let secrets = ["password", "pass", "passwd", "host_password"];
    let secret = beside(&secrets);
    let secret = (!is_none(secret)).then_some("password");
    // Without it nobody sends mail in anybody's name, what takes all mail is a developer's, and an unknown host may be any.
    if [Service::Smtp, Service::Other].contains(&service) && secret.is_none() {
        return None;
    }
    let Some(at) = host_and_port(one.value, port.unwrap_or(usual)) else {
        // A socket's directory is none of these.
        if !one.value.starts_with('/') {
            sink.pass_over(one.line, "an unreadable host");
        }
        return None;
    };
    Some(Lead {
        at,
        service,
        data: words_of(&[beside(&["name", "database", "db", "dbname"])]),
        credential: secret,
    })
}
