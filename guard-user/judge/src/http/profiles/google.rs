//! Google Cloud's services, its models among them.

use std::net::IpAddr;

use guard_policy::Profile;

use super::{Opinion, View, models, service};

const PROFILE: Profile = Profile::Google;
const KIND: &str = "Firestore: may begin a transaction, which locks what it reads";

/// What asks Firestore, and begins a transaction where its body says so (`newTransaction`, with `readWrite` in it).
const ASKS: &[&str] = &["batchGet", "runAggregationQuery", "runQuery"];

/// What such a body says that begins none. Google reads its own spelling of a name, too: `new_transaction`.
const FIELDS: &[&str] = &[
    "documents",
    "explainOptions",
    "mask",
    "readTime",
    "structuredAggregationQuery",
    "structuredQuery",
];

/// What is JSON to Google. Of another type it would be a message in binary, in which the same bytes say something else.
const JSON: &[&str] = &["application/json", "text/plain"];

pub(super) fn judge(view: &View<'_>) -> Opinion {
    let opinion = match service::judge(view, PROFILE) {
        Opinion::None if view.is_post() && models::google(view) => {
            Opinion::read(PROFILE, "a question to a model")
        }
        other => other,
    };
    match opinion {
        Opinion::Read { .. } if !view.facts.is_secure || !view.is_at(is_an_api) => Opinion::None,
        Opinion::Read { .. } if asks_firestore(view) => {
            begins_nothing(view).map_or_else(|stricter| stricter, |()| opinion)
        }
        other => other,
    }
}

/// Whether one of Google's programs answers at a host, in lower case, or one of this machine's. At Cloud Storage a path names an object
/// of somebody's bucket, which a POST may begin to write (`?uploads`).
fn is_an_api(host: &str) -> bool {
    let named = host.strip_suffix(".googleapis.com");
    let is_api = named.is_some_and(|name| !name.contains("storage"));
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
    is_api || host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

fn asks_firestore(view: &View<'_>) -> bool {
    let last = view.segments().last().copied().unwrap_or_default();
    last.rsplit_once(':')
        .is_some_and(|(_, verb)| ASKS.contains(&verb))
}

fn begins_nothing(view: &View<'_>) -> Result<(), Opinion> {
    let doubt = |why| Opinion::doubt(PROFILE, KIND, why);
    if !view.has_media_type(JSON) {
        return Err(doubt("its body is not said to be JSON"));
    }
    if view.json(PROFILE, KIND)?.has_only(FIELDS) {
        Ok(())
    } else {
        Err(doubt("its body says more than what is asked for"))
    }
}
