//! Which request gets which page, where there are many machines.

use std::rc::Rc;

use guard_courier::Refusal;
use guard_proto::{
    approvers::Taken,
    central::{FleetCall, Over, ReachedThere},
};
use http::{StatusCode, header, request::Parts};
use hyper::body::Incoming;
use jiff::Timestamp;

use super::{Browser, Central, events, mirror::MirroredMachine};
use crate::{
    Console,
    both::{self, AnswerSigned, frame, nothing_here, parsed, refused, refused_page},
    files::Identity,
    gate,
    login::LoginSigned,
    pages::{
        self, Tab,
        central::{self as shown, AskedQuestion},
    },
    reply::{self, Reply},
};

/// Answers a request.
pub(crate) async fn route(
    console: &Console,
    central: &Central,
    parts: &Parts,
    path: &[&str],
    is_post: bool,
    body: Incoming,
) -> Reply {
    if let Some(reply) = open_to_all(console, central, is_post, path, parts) {
        return reply;
    }
    let body = match both::body_of(is_post, body).await {
        Ok(body) => body,
        Err(reply) => return reply,
    };
    match (is_post, path) {
        (true, ["login"]) => return both::login(console, &body),
        (true, ["login", "passkey"]) => return login_by_passkey(console, central, &body),
        _ => {}
    }
    let visitor = gate::cookie(&parts.headers, &console.settings.origin).map(|secret| Browser {
        files: console.files.clone(),
        secret: secret.to_owned(),
    });
    let known = visitor.and_then(|visitor| Some((visitor.identity()?, visitor)));
    let Some((identity, visitor)) = known else {
        return both::logged_out(console, parts, is_post);
    };
    let visit = Visit {
        is_post,
        path,
        body: &body,
    };
    inside(console, central, &identity, visitor, visit).await
}

/// What a browser asks for.
struct Visit<'v> {
    is_post: bool,
    path: &'v [&'v str],
    body: &'v [u8],
}

/// The same for somebody who is logged in.
async fn inside(
    console: &Console,
    central: &Central,
    identity: &Identity,
    visitor: Browser,
    visit: Visit<'_>,
) -> Reply {
    let body = visit.body;
    match (visit.is_post, visit.path) {
        (true, ["logout"]) => {
            console.files.end_session(&visitor.secret);
            let cookie = gate::set_cookie(&console.settings.origin, None);
            reply::and(reply::to("/login"), header::SET_COOKIE, &cookie)
        }
        (true, ["logout", "everywhere"]) => {
            // Each of their passkeys has sessions of its own here.
            both::log_out_everywhere(console, &central.mirror.with_all_keys(identity))
        }
        (true, ["q", machine, id, "no"]) => {
            deny(console, central, identity, machine, id, body).await
        }
        (true, ["q", machine, id, "answer"]) => hand_in(central, machine, id, body).await,
        (true, ["machines", machine, "holes", hole, "close"]) => {
            let hole = HoleOfMachine {
                machine,
                hole,
                session: field(body, "session"),
            };
            close(console, central, identity, hole).await
        }
        // A visitor who tries again what was refused.
        (false, ["machines", machine, "holes", _, "close"]) => {
            reply::to(&format!("/machines/{machine}"))
        }
        (false, ["events"]) => events::stream(&central.mirror, visitor),
        (false, [""]) => {
            let _looker = central.mirror.look_at(|_| false).await;
            let machines = central.mirror.machines();
            reply::page(
                StatusCode::OK,
                shown::questions(&frame(console, Some(Tab::Fleet)), &machines, identity),
            )
        }
        (false, ["machines"]) => {
            let machines = central.mirror.machines();
            let origin = console.settings.origin.as_str();
            let frame = frame(console, Some(Tab::Machines));
            reply::page(
                StatusCode::OK,
                shown::machines(&frame, &machines, identity, origin),
            )
        }
        (false, ["machines", machine]) => one_machine(console, central, identity, machine).await,
        (false, ["machines", machine, "flows"]) => {
            reached(console, central, identity, machine).await
        }
        (false, ["q", machine, id]) => question(console, central, identity, machine, id).await,
        _ => nothing_here(),
    }
}

/// What takes no session: the assets, and the ways to one.
fn open_to_all(
    console: &Console,
    central: &Central,
    is_post: bool,
    path: &[&str],
    parts: &Parts,
) -> Option<Reply> {
    if is_post {
        return None;
    }
    match path {
        // A machine's own invitation leads here, too, where its settings name this page's origin.
        ["enrol"] | ["enrol", _] => Some(reply::page(
            StatusCode::OK,
            shown::enrol(&frame(console, None)),
        )),
        ["login"] if !gate::is_visit(&parts.headers) => {
            let nonce = console.logins.begin();
            let ids = central.mirror.passkeys();
            let login = pages::login::choose(&frame(console, None), &nonce, &ids);
            Some(reply::page(StatusCode::OK, login))
        }
        _ => both::assets_and_links(console, path, parts),
    }
}

fn login_by_passkey(console: &Console, central: &Central, body: &[u8]) -> Reply {
    let signed: LoginSigned = match parsed(body) {
        Ok(signed) => signed,
        Err(reply) => return *reply,
    };
    let known = central.mirror.people_with(signed.key());
    let identity = console
        .logins
        .person(&signed, &known, &console.settings.origin);
    both::logged_in(console, identity.map(Identity::by_key))
}

/// The page of a machine, with the sessions, holes and flows of the users for whom this approver answers.
async fn one_machine(
    console: &Console,
    central: &Central,
    identity: &Identity,
    machine: &str,
) -> Reply {
    let mirror = &central.mirror;
    let seen = || mirror.machine_of(identity, machine);
    let is_told =
        |seen: Rc<MirroredMachine>| seen.told.away_since.is_some() || seen.told.sessions.is_some();
    let _looker = mirror.look_at(|_| seen().is_some_and(is_told)).await;
    let frame = frame(console, Some(Tab::Machines));
    match seen() {
        Some(seen) => {
            let origin = console.settings.origin.as_str();
            reply::page(
                StatusCode::OK,
                shown::one_machine(&frame, &seen, identity, origin),
            )
        }
        None => reply::page(StatusCode::NOT_FOUND, shown::no_machine(&frame, machine)),
    }
}

/// What was reached there by those for whom somebody answers. The machine is asked now: its own page does not wait for that.
async fn reached(
    console: &Console,
    central: &Central,
    identity: &Identity,
    machine: &str,
) -> Reply {
    let mirror = &central.mirror;
    let frame = frame(console, Some(Tab::Machines));
    let none = || reply::page(StatusCode::NOT_FOUND, shown::no_machine(&frame, machine));
    let Some(seen) = mirror.machine_of(identity, machine) else {
        return none();
    };
    let Some(person) = seen.person(identity) else {
        return none();
    };
    let call = FleetCall::Reached {
        group: seen.told.group.clone(),
        machine: machine.to_owned(),
        // As that machine names whoever has one of these keys.
        by: person.name.clone(),
        keys: identity.keys.clone(),
    };
    let said = central.fleet.call::<ReachedThere>(&call).await;
    // It may list the key no more by now.
    let Some(seen) = mirror.machine_of(identity, machine) else {
        return none();
    };
    match said {
        Ok(there) => reply::page(StatusCode::OK, shown::reached(&frame, &seen, &there)),
        Err(refusal) => refused_page(console, Tab::Machines, &refusal),
    }
}

/// The page of a request, or of its answer.
async fn question(
    console: &Console,
    central: &Central,
    identity: &Identity,
    machine: &str,
    id: &str,
) -> Reply {
    let mirror = &central.mirror;
    let seen = || mirror.machine_of(identity, machine);
    let _looker = mirror
        .look_at(|_| {
            seen().is_some_and(|seen| seen.asks(identity).any(|open| open.asked.request == id))
        })
        .await;
    let frame = frame(console, Some(Tab::Fleet));
    let Some(seen) = seen() else {
        return reply::page(StatusCode::NOT_FOUND, shown::no_machine(&frame, machine));
    };
    let open = seen.asks(identity).find(|open| open.asked.request == id);
    match open {
        Some(open) => {
            let place = AskedQuestion { seen: &seen, open };
            let origin = console.settings.origin.as_str();
            reply::page(
                StatusCode::OK,
                shown::question(&frame, place, identity, origin),
            )
        }
        None => {
            let mut over = seen.told.over.iter().rev();
            let over = over.find(|over| over.request == id && over.answer != "part");
            let status = match over {
                Some(_) => StatusCode::OK,
                None => StatusCode::NOT_FOUND,
            };
            reply::page(status, shown::over(&frame, &seen, id, over))
        }
    }
}

/// Carries a signed answer to the machine's guardd, which looks at the signature.
async fn hand_in(central: &Central, machine: &str, id: &str, body: &[u8]) -> Reply {
    let signed: AnswerSigned = match parsed(body) {
        Ok(signed) => signed,
        Err(reply) => return *reply,
    };
    let question = signed.question();
    let call = FleetCall::AnswerSigned {
        machine: machine.to_owned(),
        request: id.to_owned(),
        answer: signed.answer,
        key: signed.key,
        signature: signed.signature,
        authenticator_data: signed.authenticator_data,
        client_data: signed.client_data,
    };
    match central.fleet.call::<Taken>(&call).await {
        Ok(taken) => {
            note(central, machine, question, &taken);
            both::taken(&taken)
        }
        Err(refusal) => refused(&refusal),
    }
}

/// Carries the no of somebody who is logged in, and may see what it is about.
async fn deny(
    console: &Console,
    central: &Central,
    identity: &Identity,
    machine: &str,
    id: &str,
    body: &[u8],
) -> Reply {
    let meant = field(body, "question");
    let mirror = &central.mirror;
    let asks = |seen: &MirroredMachine| {
        let mut asks = seen.asks(identity);
        asks.any(|open| open.asked.request == id && open.asked.hash == meant)
    };
    // Without script nobody has looked since the page was loaded.
    let is_there = || mirror.machine(machine).is_some_and(|seen| asks(&seen));
    let _looker = mirror.look_at(|_| is_there()).await;
    let seen = mirror.machine(machine);
    let may = seen.as_ref().and_then(|seen| {
        let person = seen.person(identity)?;
        asks(seen).then_some(person)
    });
    let Some(person) = may else {
        return reply::page(
            StatusCode::NOT_FOUND,
            shown::no_question(&frame(console, Some(Tab::Fleet)), id),
        );
    };
    let call = FleetCall::Deny {
        machine: machine.to_owned(),
        request: id.to_owned(),
        question: meant.clone(),
        by: person.name.clone(),
    };
    match central.fleet.call::<Taken>(&call).await {
        Ok(taken) => {
            note(central, machine, Some(meant), &taken);
            reply::to("/")
        }
        Err(refusal) => denied_not(console, &refusal),
    }
}

/// A form's field; empty: it has none of that name.
fn field(body: &[u8], name: &str) -> String {
    let mut fields = form_urlencoded::parse(body);
    let found = fields.find(|(key, _)| key == name);
    found.map_or_else(String::new, |(_, value)| value.into_owned())
}

/// A hole that a page has listed.
struct HoleOfMachine<'h> {
    machine: &'h str,
    hole: &'h str,
    session: String,
}

/// Has a machine close a hole for somebody who is logged in, and may see it. What came of it, the next page says.
async fn close(
    console: &Console,
    central: &Central,
    identity: &Identity,
    HoleOfMachine {
        machine,
        hole,
        session,
    }: HoleOfMachine<'_>,
) -> Reply {
    let mirror = &central.mirror;
    let seen = || mirror.machine_of(identity, machine);
    let is_open = |seen: &MirroredMachine| {
        let mut holes = seen.holes(identity);
        holes.any(|one| one.id == hole && one.session == session)
    };
    // Without script nobody has looked since the page was loaded.
    let _looker = mirror
        .look_at(|_| seen().is_some_and(|seen| is_open(&seen)))
        .await;
    let frame = frame(console, Some(Tab::Machines));
    let Some(seen) = seen() else {
        return reply::page(StatusCode::NOT_FOUND, shown::no_machine(&frame, machine));
    };
    let person = seen.person(identity).filter(|_| is_open(&seen));
    let Some(person) = person else {
        return reply::page(StatusCode::NOT_FOUND, shown::no_hole(&frame, &seen, hole));
    };
    let call = FleetCall::Close {
        machine: machine.to_owned(),
        hole: hole.to_owned(),
        session,
        by: person.name.clone(),
    };
    match central.fleet.call::<Taken>(&call).await {
        Ok(taken) => {
            mirror.note_closed(machine, hole);
            reply::page(StatusCode::OK, shown::closed(&frame, &seen, hole, &taken))
        }
        Err(refusal) => refused_page(console, Tab::Machines, &refusal),
    }
}

fn denied_not(console: &Console, refusal: &Refusal) -> Reply {
    refused_page(console, Tab::Fleet, refusal)
}

/// What the machine has said, for the next page.
fn note(central: &Central, machine: &str, question: Option<String>, taken: &Taken) {
    let Some(question) = question else {
        return;
    };
    let over = Over {
        request: taken.request.clone(),
        question,
        answer: taken.answer.clone(),
        by: taken.by.clone(),
        approvals: taken.approvals,
        wanted: taken.wanted,
        holes: taken.holes.len(),
        warnings: taken.warnings.clone(),
        at: Timestamp::now(),
    };
    central.mirror.note(machine, over);
}
