//! What each platform's API has judged under the rule that is proposed for its credential: each operation of its own description.

use std::fmt::Write as _;

use guard_judge::http::{Judgement, RequestHead, Rules, judge};
use guard_policy as policy;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};

use super::page::toml;
use super::tests::{Tested, discovered};

/// A platform, and what its API does.
struct Platform {
    /// As people write it.
    name: &'static str,
    host: &'static str,
    /// What leads there: a file, and what is in it. Nothing where no rule is proposed: what is worked with all day.
    credential: Option<(&'static str, &'static str)>,
    /// The profiles of the rule. Where none knows the platform, each connection is to be asked about, and somebody may write `read-only`.
    profiles: &'static [&'static str],
    /// What its profile knows beyond the method.
    list: &'static str,
    operations: &'static str,
}

macro_rules! services {
    ($name:literal) => {
        include_str!(concat!("../../../judge/src/http/services/", $name))
    };
}

const PLATFORMS: [Platform; 12] = [
    Platform {
        name: "AWS",
        host: "sts.amazonaws.com",
        credential: Some((
            "~/.aws/config",
            "[default]\nsso_session = a\nregion = eu-west-1\n",
        )),
        profiles: &["aws"],
        list: services!("aws.txt"),
        operations: services!("aws.operations"),
    },
    Platform {
        name: "Cloudflare",
        host: "api.cloudflare.com",
        credential: Some(("env", "CLOUDFLARE_API_TOKEN=hunter2hunter2\n")),
        profiles: &["cloudflare", "graphql"],
        list: services!("cloudflare.txt"),
        operations: services!("cloudflare.operations"),
    },
    Platform {
        name: "DigitalOcean",
        host: "api.digitalocean.com",
        credential: Some(("env", "DIGITALOCEAN_TOKEN=hunter2hunter2\n")),
        profiles: &["digitalocean"],
        list: services!("digitalocean.txt"),
        operations: services!("digitalocean.operations"),
    },
    Platform {
        name: "GitHub",
        host: "api.github.com",
        credential: None,
        profiles: &["github", "graphql"],
        list: services!("github.txt"),
        operations: services!("github.operations"),
    },
    Platform {
        name: "Google Cloud",
        host: "cloudresourcemanager.googleapis.com",
        credential: Some((
            "~/.config/gcloud/application_default_credentials.json",
            "{\"refresh_token\": \"p\"}",
        )),
        profiles: &["google"],
        list: services!("google.txt"),
        operations: services!("google.operations"),
    },
    Platform {
        name: "Heroku",
        host: "api.heroku.com",
        credential: Some(("env", "HEROKU_API_KEY=hunter2hunter2\n")),
        profiles: &["heroku"],
        list: services!("heroku.txt"),
        operations: services!("heroku.operations"),
    },
    Platform {
        name: "Hetzner",
        host: "api.hetzner.cloud",
        credential: Some(("env", "HCLOUD_TOKEN=hunter2hunter2\n")),
        profiles: &[],
        list: "",
        operations: services!("hetzner.operations"),
    },
    Platform {
        name: "Neon",
        host: "console.neon.tech",
        credential: Some(("env", "NEON_API_KEY=hunter2hunter2\n")),
        profiles: &[],
        list: "",
        operations: services!("neon.operations"),
    },
    Platform {
        name: "Netlify",
        host: "api.netlify.com",
        credential: Some(("env", "NETLIFY_AUTH_TOKEN=hunter2hunter2\n")),
        profiles: &["netlify"],
        list: services!("netlify.txt"),
        operations: services!("netlify.operations"),
    },
    Platform {
        name: "Stripe",
        host: "api.stripe.com",
        credential: Some(("env", "STRIPE_SECRET_KEY=sk_live_hunter2hunter2\n")),
        profiles: &["stripe"],
        list: services!("stripe.txt"),
        operations: services!("stripe.operations"),
    },
    Platform {
        name: "Supabase",
        host: "api.supabase.com",
        credential: Some(("env", "SUPABASE_ACCESS_TOKEN=hunter2hunter2\n")),
        profiles: &["supabase"],
        list: services!("supabase.txt"),
        operations: services!("supabase.operations"),
    },
    Platform {
        name: "Vercel",
        host: "api.vercel.com",
        credential: Some(("env", "VERCEL_TOKEN=hunter2hunter2\n")),
        profiles: &["vercel"],
        list: services!("vercel.txt"),
        operations: services!("vercel.operations"),
    },
];

const OPEN: &str = "version = 1\ndefault = \"allow\"\n";

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RequestFate {
    Passes,
    Asked { warned: bool },
}

/// How many operations pass, and how many are asked about.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    pass: usize,
    /// Those that pass though they are no GET.
    read: usize,
    asked: usize,
    /// Those that are asked about though they are a GET.
    act: usize,
}

impl Platform {
    /// The rule for it, in force: as it is proposed, else as somebody writes it.
    fn rules(&self) -> Tested<Rules> {
        let mut written = format!(
            "[[rule]]\nname = \"a\"\nto = [\"{}\"]\naction = \"read-only\"\n",
            self.host
        );
        if !self.profiles.is_empty() {
            writeln!(written, "profile = {:?}", self.profiles)?;
        }
        let Some(credential) = self.credential else {
            return rules_of(&written);
        };
        let find = |policy: &str| -> Tested<super::InReach> {
            let all = discovered(&[credential], policy, false)?;
            let mut items = all.items.into_iter();
            Ok(items.find(|one| one.host == self.host).ok_or(self.name)?)
        };
        let found = find(OPEN)?;
        assert_eq!(found.now.verdict, "allow", "{}", self.name);
        let proposed = found.proposed.clone().ok_or(self.name)?;
        assert_eq!(proposed.profile, self.profiles, "{}", self.name);
        let rule = toml(&found, &found.name(), &proposed);
        let after = find(&format!("{OPEN}{rule}"))?;
        let is_known = !self.profiles.is_empty();
        let expected = if is_known { "read-only" } else { "confirm" };
        assert_eq!(after.now.verdict, expected, "{}: {rule}", self.name);
        rules_of(if is_known { &rule } else { &written })
    }

    /// The operations of its description: a method, a path, and whether it says that an action does not only read.
    fn operations(&self) -> impl Iterator<Item = (&'static str, &'static str, bool)> {
        let lines = self
            .operations
            .lines()
            .filter(|line| !line.starts_with('#'));
        lines.filter_map(|line| {
            let mut words = line.split(' ');
            Some((words.next()?, words.next()?, words.next().is_some()))
        })
    }

    /// The lines of its list: what it says, a method and a path.
    fn lines(&self) -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
        self.list.lines().filter_map(|line| {
            let mut words = line.split_whitespace();
            let line = (words.next()?, words.next()?, words.next()?);
            ["reads", "acts", "bulk"].contains(&line.0).then_some(line)
        })
    }

    /// What its list says of an operation.
    fn effect(&self, method: &str, path: &str) -> Option<&'static str> {
        let mut lines = self.lines();
        let line = lines.find(|(_, verb, pattern)| *verb == method && is_of(pattern, path))?;
        Some(line.0)
    }

    /// Each operation is judged as its list says, else as its method does.
    fn counted(&self) -> Tested<Count> {
        let rules = self.rules()?;
        let (mut count, mut wrong) = (Count::default(), Vec::new());
        for (method, path, is_more) in self.operations() {
            let effect = self.effect(method, path);
            let passes = match (method, effect) {
                ("ACTION", _) => !is_more,
                (_, Some(effect)) => effect == "reads",
                (_, None) => ["GET", "HEAD"].contains(&method),
            };
            for request in requests(method, path)? {
                let outcome = request.outcome(&rules);
                let says = format!("{}: {method} {path}: {outcome:?}", self.name);
                if (outcome == RequestFate::Passes) != passes {
                    wrong.push(says.clone());
                }
                if effect == Some("bulk") {
                    assert_eq!(outcome, RequestFate::Asked { warned: true }, "{says}");
                }
            }
            count.add(method == "GET" || method == "HEAD", passes);
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
        for (number, passes, is_get) in left_out(self.operations) {
            for _ in 0..number {
                count.add(is_get, passes);
            }
        }
        Ok(count)
    }

    /// Where its operations are from.
    fn description(&self) -> Option<&'static str> {
        let mut lines = self.operations.lines();
        lines.find_map(|line| line.strip_prefix("# By ")?.strip_suffix('.'))
    }
}

impl Count {
    fn add(&mut self, is_get: bool, passes: bool) {
        if passes {
            self.pass += 1;
            self.read += usize::from(!is_get);
        } else {
            self.asked += 1;
            self.act += usize::from(is_get);
        }
    }
}

fn rules_of(rule: &str) -> Tested<Rules> {
    let parsed = policy::parse("a.toml", &format!("{OPEN}{rule}"));
    let parsed = parsed.map_err(|all| format!("{all:?}"))?;
    Ok(Rules::of(&parsed.policy.rules[0]))
}

/// `# 12 more pass: GETs that only read.`, or `are asked about`: how many, and whether they pass.
fn said(line: &str) -> Option<(usize, bool)> {
    let (number, rest) = line.strip_prefix("# ")?.split_once(" more ")?;
    Some((number.parse().ok()?, rest.starts_with("pass")))
}

/// What a description has, and a file leaves out: how many, whether they pass, and whether they are GETs.
fn left_out(operations: &str) -> impl Iterator<Item = (usize, bool, bool)> {
    operations.lines().filter_map(|line| {
        let (number, passes) = said(line)?;
        Some((
            number,
            passes,
            line.contains(": GETs") || line.contains("S3's"),
        ))
    })
}

/// Whether a line of a list is about an operation.
fn is_of(pattern: &str, path: &str) -> bool {
    let (pattern, path) = (pattern.split('/'), path.split('/'));
    pattern.clone().count() == path.clone().count()
        && pattern.zip(path).all(|(pattern, segment)| {
            let is_parameter = segment.starts_with('{') && segment.ends_with('}');
            match (pattern, segment.split_once('}')) {
                ("*" | "**", _) => is_parameter,
                (_, Some((_, rest))) => pattern.strip_prefix('*') == Some(rest),
                (_, None) => pattern == segment,
            }
        })
}

struct Sent {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Sent {
    fn new(method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Tested<Self> {
        let mut all = HeaderMap::new();
        for (name, value) in headers {
            all.append(HeaderName::try_from(*name)?, HeaderValue::try_from(*value)?);
        }
        Ok(Self {
            method: method.parse()?,
            uri: path.parse()?,
            headers: all,
            body: body.as_bytes().to_vec(),
        })
    }

    /// As the proxy judges it.
    fn outcome(&self, rules: &Rules) -> RequestFate {
        let request = RequestHead {
            method: &self.method,
            uri: &self.uri,
            headers: &self.headers,
            has_body: !self.body.is_empty(),
            is_secure: true,
        };
        let judgement = match judge(rules, &request, None) {
            Judgement::NeedsBody { .. } => judge(rules, &request, Some(&self.body)),
            judgement => judgement,
        };
        match judgement {
            Judgement::Read { .. } => RequestFate::Passes,
            Judgement::Write(write) => RequestFate::Asked {
                warned: write
                    .warnings
                    .iter()
                    .any(|one| one.starts_with("much at once")),
            },
            other => panic!("{other:?}"),
        }
    }
}

/// An operation as clients send it: an action in each of AWS's protocols.
fn requests(method: &str, path: &str) -> Tested<Vec<Sent>> {
    const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");
    const JSON: (&str, &str) = ("content-type", "application/json");
    // Where Google's are; the others are told by their paths.
    const HOST: (&str, &str) = ("host", "example.googleapis.com");
    if method == "ACTION" {
        let target = format!("Service_20260101.{path}");
        let json = [
            ("content-type", "application/x-amz-json-1.1"),
            ("x-amz-target", &target),
        ];
        let cbor = [
            ("content-type", "application/cbor"),
            ("smithy-protocol", "rpc-v2-cbor"),
        ];
        let form = format!("Action={path}&Version=2016-11-15");
        let named = format!("/service/Service/operation/{path}");
        return Ok(vec![
            Sent::new("POST", "/", &json, "{}")?,
            Sent::new("POST", "/", &[FORM], &form)?,
            Sent::new("POST", &named, &cbor, "x")?,
        ]);
    }
    let filled = path
        .split('/')
        .map(|segment| match segment.split_once('}') {
            Some((_, rest)) => format!("x1{rest}"),
            None => segment.to_owned(),
        });
    let filled = filled.collect::<Vec<_>>().join("/");
    Ok(vec![match method {
        "GET" | "HEAD" => Sent::new(method, &filled, &[], "")?,
        _ => Sent::new(method, &filled, &[JSON, HOST], "{}")?,
    }])
}

#[test]
fn nothing_that_writes_passes_unasked_and_what_is_sure_to_read_does() -> Tested {
    let mut table = String::from(
        "| platform | description | operations | pass | of them no GET | asked about | of them GETs |\n\
         |---|---|---|---|---|---|---|\n",
    );
    for platform in &PLATFORMS {
        let count = platform.counted()?;
        writeln!(
            table,
            "| {} | {} | {} | {} | {} | {} | {} |",
            platform.name,
            platform.description().ok_or(platform.name)?,
            count.pass + count.asked,
            count.pass,
            count.read,
            count.asked,
            count.act
        )?;
    }
    let page = services!("README.md");
    assert!(
        page.contains(&table),
        "README.md of the lists has another table than\n{table}"
    );
    Ok(())
}

#[test]
fn each_line_of_a_list_is_one_operation_of_the_platforms_description() {
    for platform in &PLATFORMS {
        let all: Vec<_> = platform.operations().collect();
        assert!(all.len() > 150, "{}: {}", platform.name, all.len());
        for (_, method, pattern) in platform.lines() {
            let meant = |one: &&(&str, &str, bool)| one.0 == method && is_of(pattern, one.1);
            let count = all.iter().filter(meant).count();
            assert_eq!(count, 1, "{}: {method} {pattern}", platform.name);
        }
    }
}

/// What acts though it is a GET does so for HEAD, too: a server may take the one for the other.
#[test]
fn a_head_of_what_acts_is_asked_about() -> Tested {
    for platform in &PLATFORMS {
        let rules = platform.rules()?;
        for (_, _, path) in platform.lines().filter(|line| line.0 == "acts") {
            let path = path.replace("**", "x1").replace('*', "x1");
            let outcome = Sent::new("HEAD", &path, &[], "")?.outcome(&rules);
            assert_eq!(outcome, RequestFate::Asked { warned: false }, "{path}");
        }
    }
    Ok(())
}

/// Platforms with GraphQL: a query passes, a mutation is asked about, beside what the others of their profiles know.
#[test]
fn queries_pass_and_mutations_are_asked_about() -> Tested {
    let railway = Platform {
        name: "Railway",
        host: "backboard.railway.com",
        credential: Some(("env", "RAILWAY_TOKEN=hunter2hunter2\n")),
        profiles: &["graphql"],
        list: "",
        operations: "",
    };
    let fly = Platform {
        name: "Fly",
        host: "api.machines.dev",
        credential: Some(("env", "FLY_API_TOKEN=hunter2hunter2\n")),
        ..railway
    };
    let with_graphql = |one: &&Platform| one.profiles.contains(&"graphql");
    let mut count = 0;
    for platform in PLATFORMS
        .iter()
        .filter(with_graphql)
        .chain([&railway, &fly])
    {
        let path = match platform.name {
            "Cloudflare" => "/client/v4/graphql",
            "Railway" => "/graphql/v2",
            _ => "/graphql",
        };
        let rules = platform.rules()?;
        let outcome = |query: &str| -> Tested<RequestFate> {
            let body = format!("{{\"query\":\"{query}\"}}");
            let json = ("content-type", "application/json");
            Ok(Sent::new("POST", path, &[json], &body)?.outcome(&rules))
        };
        let says = platform.name;
        assert_eq!(outcome("{ viewer { id } }")?, RequestFate::Passes, "{says}");
        for write in [
            "mutation { volumeDelete(volumeId: 1) }",
            "query { a } mutation { b }",
            "subscription { c }",
        ] {
            let asked = RequestFate::Asked { warned: false };
            assert_eq!(outcome(write)?, asked, "{says}: {write}");
        }
        count += 1;
    }
    assert_eq!(count, 4);
    Ok(())
}
