//! The advice that a refused program, or the model behind it, gets.

use std::fmt::{self, Display};

use guard_proto::Endpoint;

/// The end of every piece of advice about a refusal.
const NO_DETOUR: &str = "Do not retry in a loop and do not look for another way there: guard refuses \
                         each, and each attempt is written down.";
/// For a request that changes something at a read-only destination, about which a person has been asked.
pub(crate) const HTTP_ASKED: &str = "go on with something else, and send the very same request once more when the person has \
                              said yes; guard why tells what became of it; do not retry in a loop, and do not look \
                              for another way to change it";

/// The same of a request whose body was not read to its end.
pub(crate) const HTTP_ASKED_WHILE_IT_WAITS: &str = "its body was too long or too slow to be read to its end, so a yes for this request alone \
                              counts only while it waits; tell the person to say yes to its path (guard approve \
                              ID --path PATTERN), and send it once more then; do not retry in a loop";

/// As people type it.
#[must_use]
pub(crate) fn destination(to: &Endpoint) -> String {
    match (to.port, to.address.contains(':')) {
        (Some(port), true) => format!("[{}]:{port}", to.address),
        (Some(port), false) => format!("{}:{port}", to.address),
        (None, _) => to.address.clone(),
    }
}

/// Characters of an agent's own words that are repeated to it.
const MAX_SAID_BACK: usize = 200;

/// The beginning of a long text.
#[must_use]
pub(crate) fn short(what: &str) -> String {
    match what.char_indices().nth(MAX_SAID_BACK) {
        Some((at, _)) => format!("{}…", &what[..at]),
        None => what.to_owned(),
    }
}

/// What decides: a rule and its reason, in the words of its author; without one the policy's default.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct DecidingRule<'m> {
    /// Its name.
    pub(crate) name: Option<&'m str>,
    /// Its reason.
    pub(crate) reason: Option<&'m str>,
    /// Whether guardd added it, for what came into reach of the session.
    pub(crate) is_own: bool,
}

impl Display for DecidingRule<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.name, self.reason) {
            (Some(rule), Some(reason)) if self.is_own => {
                write!(f, "the guard's own rule {rule:?} ({reason})")
            }
            (Some(rule), Some(reason)) => {
                write!(f, "the rule {rule:?} (its author says: {reason})")
            }
            (Some(rule), None) => write!(f, "the rule {rule:?}"),
            (None, _) => f.write_str("the policy's default"),
        }
    }
}

/// For a UDP socket that was to be connected, where TCP may pass.
#[must_use]
pub(crate) fn unsent(to: &Endpoint) -> String {
    format!(
        "By UDP {} is denied, and nothing was sent: a UDP socket was to be connected, as a C library does to sort the addresses of a \
         name. If the program came through by TCP, nothing is wrong.",
        destination(to)
    )
}

/// For something that a `deny` rule refused.
#[must_use]
pub(crate) fn denied(to: &Endpoint, by: DecidingRule<'_>) -> String {
    format!(
        "{} is denied by {by}. Nobody can open it for this session. {NO_DETOUR} Go on without it, and \
         say in your answer that it was denied.",
        destination(to),
    )
}

/// For a name server of this machine that the policy denies.
#[must_use]
pub(crate) fn name_server_denied(to: &Endpoint, by: DecidingRule<'_>) -> String {
    format!(
        "{} is a name server, and denied by {by}: no name can be looked up in this session. Nobody can open it for this session. \
         {NO_DETOUR} Say in your answer that the policy lacks a rule for name servers, for a person to weigh: to = [\"@dns\"], \
         ports = [\"udp/53\", \"tcp/53\"], action = \"allow\".",
        destination(to),
    )
}

/// For a Unix socket whose listener is outside of the session.
#[must_use]
pub(crate) fn socket_refused(path: &str) -> String {
    format!(
        "Somebody outside of this session listens at {path}, and could act for it without the guard. Nobody can open it while \
         the session runs. {NO_DETOUR} Go on without it, or say in your answer that it would take `allow = [\"{}\"]` \
         under [unix] in the session's policy, for a person to weigh: whoever listens there can do what it may do.",
        allowed_by(path),
    )
}

/// What a policy allows a socket by. The path of an agent for ssh is another one at each login.
fn allowed_by(path: &str) -> &str {
    let name = path.rsplit('/').next().unwrap_or_default();
    let is_agent = (path.contains("/ssh-") && name.starts_with("agent."))
        || ["ssh-agent.socket", "S.gpg-agent.ssh", "openssh_agent"].contains(&name)
        || path.ends_with("/keyring/ssh");
    if is_agent { "ssh-agent" } else { path }
}

/// For a Unix socket of which it could not be told who listens there.
#[must_use]
pub(crate) fn socket_unknown(path: &str) -> String {
    format!(
        "It could not be told who listens at {path}: this session or somebody outside. {NO_DETOUR} Go on without it. If it is a \
         server of this session's own, have it and its clients see the same files, and try once more; else say in your answer \
         that it would take `allow = [\"{path}\"]` under [unix] in the session's policy, for a person to weigh: whoever listens \
         there can do what it may do.",
    )
}

/// For a connection that the proxy closed for what came first on it.
#[must_use]
pub(crate) fn closed(to: &Endpoint, why: &str) -> String {
    format!(
        "The guard looks into what goes to {}, and closed the connection: {why}. {NO_DETOUR} Speak what the policy looks for there, \
         or say in your answer what you wanted to send, for a person to weigh.",
        destination(to)
    )
}

/// For a socket that is refused for how it was connected.
#[must_use]
pub(crate) fn refused_socket(to: &Endpoint, why: &str) -> String {
    format!(
        "Nothing of what a socket sent to {} left, whatever the rules say: {why}. Open a new socket and send it once more: the \
         rules judge that one.",
        destination(to),
    )
}

/// For a connection of which nothing could be told.
#[must_use]
pub(crate) fn unnamed_refused() -> String {
    format!(
        "A program that keeps others from looking at it was about to connect, and it could not be told where. If that was a \
         Unix socket, it was refused; anything else was judged as ever. {NO_DETOUR} Try once more when this machine is less \
         busy, or say in your answer which program it was.",
    )
}

/// For a socket that somebody outside made and handed over.
#[must_use]
pub(crate) fn handed_refused() -> String {
    format!(
        "Somebody outside of this session made a socket for the network and handed it over: it would serve without the guard. \
         {NO_DETOUR} Make the connection in here, where the policy says what may be reached.",
    )
}

/// For a signal to a process outside of the session.
#[must_use]
pub(crate) fn signal_refused(process: &str) -> String {
    format!(
        "The {process} is none of this session's, and only these can be signalled. {NO_DETOUR} If it must be, say so in your \
         answer, for a person to do it.",
    )
}

/// For a destination that a person may open, and about which the request `request` waits.
#[must_use]
pub(crate) fn asked(to: &Endpoint, by: DecidingRule<'_>, request: &str) -> String {
    format!(
        "{} was stopped by {by}. A person has been asked (request {request}). {NO_DETOUR} Go on with \
         something else, or say that you wait for the answer; when it is yes, the same command works.",
        destination(to),
    )
}

/// For a destination that nothing has tried to reach yet, and about which the request `request` waits.
#[must_use]
pub(crate) fn asked_first(to: &Endpoint, by: DecidingRule<'_>, request: &str) -> String {
    format!(
        "{} takes a person's yes, by {by}. A person has been asked (request {request}), and nothing was tried. Go on with something \
         else, or say that you wait for the answer; when it is yes, connect.",
        destination(to),
    )
}

/// For a destination that was refused and is allowed by now.
#[must_use]
pub(crate) fn allowed_by_now(to: &Endpoint) -> String {
    format!(
        "{} was refused, and is allowed by now: run the same command once more.",
        destination(to)
    )
}

/// For a destination whose name a rule allows, where the time of the name's answer is over.
#[must_use]
pub(crate) fn look_up_again(to: &Endpoint) -> String {
    format!(
        "{} was refused because its name was looked up too long ago. Look the name up again and connect: start the program anew if it \
         keeps addresses. Nobody has to be asked.",
        destination(to)
    )
}

/// For an HTTP request about which the request `request` waits.
#[must_use]
pub(crate) fn http_asked(what: &str, by: DecidingRule<'_>, request: &str) -> String {
    format!(
        "{what} would change something, and was stopped by {by}. Reading there is allowed. A person has been asked about \
         this very request ({request}). {NO_DETOUR} Go on with something else, or say that you wait for the answer; when \
         it is yes, send the same request again.",
    )
}

/// For an HTTP request to which a person has said no.
#[must_use]
pub(crate) fn http_answered_no(what: &str) -> String {
    format!(
        "A person was asked about {what} lately and said no. {NO_DETOUR} Go on without it, and say in your answer that it \
         was refused.",
    )
}

/// For an HTTP request to which a person said no, which is over.
#[must_use]
pub(crate) fn http_may_be_asked(what: &str) -> String {
    format!(
        "A person was asked about {what} and said no, and that no is over. If you send the same request, the person is asked again: send it \
         if it must be, and not in a loop."
    )
}

/// For an HTTP request to which a person has said yes; `ended`: why that is over.
#[must_use]
pub(crate) fn http_answered_yes(what: &str, passed: u64, ended: Option<&str>) -> String {
    match (passed, ended) {
        (_, None) => {
            format!("A person has said yes to {what}: the same request works until that ends.")
        }
        (0, Some(_)) => format!(
            "A person had said yes to {what}, and it was not sent in time. If you send the same request, the person is asked again."
        ),
        (_, Some(_)) => format!(
            "A person said yes to {what}, and it has passed. If you send the same request again, the person is asked again."
        ),
    }
}

/// For a destination that a person may open, but about which no request waits.
#[must_use]
pub(crate) fn askable(to: &Endpoint, by: DecidingRule<'_>) -> String {
    format!(
        "{} was stopped by {by}. To ask a person for it, run: guard request {}{} --reason \
         'why you need it'. {NO_DETOUR}",
        destination(to),
        destination(to),
        ports(to),
    )
}

/// For a destination that a person has opened since.
#[must_use]
pub(crate) fn opened(to: &Endpoint) -> String {
    format!(
        "A person has opened {} for now: the same command works until that ends.",
        destination(to),
    )
}

/// For a destination that a person had opened since, until that ended.
#[must_use]
pub(crate) fn was_open(to: &Endpoint) -> String {
    format!(
        "A person had opened {0}, and that has ended or is used up. To ask for it again, run: guard request {0}{1} --reason 'why you \
         need it'.",
        destination(to),
        ports(to),
    )
}

/// What `guard request` has to be told beside the destination.
fn ports(to: &Endpoint) -> String {
    match (to.protocol.as_str(), to.port) {
        ("tcp", _) => String::new(),
        (other, Some(port)) => format!(" --ports {other}/{port}"),
        (other, None) => format!(" --ports {other}"),
    }
}

/// For a destination that a person has opened for reads alone since.
#[must_use]
pub(crate) fn opened_for_reads(to: &Endpoint) -> String {
    format!(
        "A person has opened {} for now, for reads over HTTP: the same command works if it only reads. A request that \
         changes something there is stopped, and a person is asked about it.",
        destination(to),
    )
}

/// For a destination to which a person has said no.
#[must_use]
pub(crate) fn answered_no(to: &Endpoint) -> String {
    format!(
        "A person was asked about {} lately and said no. {NO_DETOUR} Go on without it, and say in \
         your answer that it was refused.",
        destination(to),
    )
}

/// For a name that a session was not told of.
#[must_use]
pub(crate) fn name_refused(name: &str, why: &str) -> String {
    format!(
        "{} was not asked for: {why}. The program hears that there is no such name. {NO_DETOUR} Go on without it, and say in \
         your answer that it was refused.",
        short(name),
    )
}

/// For a name that was asked for in vain.
#[must_use]
pub(crate) fn name_failed(name: &str, why: &str) -> String {
    format!(
        "{} was asked for, and no answer was passed on: {why}. The program hears that this has failed (SERVFAIL). No rule refuses \
         the name. Try again once; if it fails again, say so in your answer.",
        short(name),
    )
}

/// For a name about which a request waits.
#[must_use]
pub(crate) fn name_asked(name: &str, request: &str) -> String {
    format!(
        "Nothing of {} has left this machine. A person has been asked whether it may be asked for (request {request}). \
         {NO_DETOUR} Go on with something else, or say that you wait for the answer; when it is yes, the same command works.",
        short(name),
    )
}

/// For a name to which a person has said no.
#[must_use]
pub(crate) fn name_answered_no(name: &str) -> String {
    format!(
        "A person was asked about {} lately and said no. {NO_DETOUR} Go on without it, and say in your answer that it was \
         refused.",
        short(name),
    )
}

/// For a name that a person has let be asked for since.
#[must_use]
pub(crate) fn name_opened(name: &str) -> String {
    format!(
        "A person has let {} be asked for now: the same command works until that ends.",
        short(name),
    )
}

/// For something that is allowed now.
#[must_use]
pub(crate) fn allowed(to: &str) -> String {
    format!("{to} is allowed: nothing to ask. If it fails, the guard is not the reason.")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(protocol: &str, port: Option<u16>) -> Endpoint {
        Endpoint {
            address: "2001:db8::1".to_owned(),
            port,
            protocol: protocol.to_owned(),
            host: None,
        }
    }

    #[test]
    fn advice_ends_with_a_command_that_asks_for_just_that() {
        let production = DecidingRule {
            name: Some("photos"),
            reason: Some("production"),
            is_own: false,
        };
        let tcp = askable(&to("tcp", Some(443)), production);
        assert!(
            tcp.contains("guard request [2001:db8::1]:443 --reason"),
            "{tcp}"
        );
        assert!(
            tcp.contains("\"photos\" (its author says: production)"),
            "{tcp}"
        );
        let own = DecidingRule {
            name: Some("in reach: more than is told"),
            reason: Some("more places came"),
            is_own: true,
        };
        let said = "the guard's own rule \"in reach: more than is told\" (more places came)";
        assert!(askable(&to("tcp", Some(443)), own).contains(said));
        let called_so = DecidingRule {
            is_own: false,
            ..own
        };
        assert_eq!(
            called_so.to_string(),
            "the rule \"in reach: more than is told\" (its author says: more places came)"
        );
        let icmp = askable(&to("icmp", None), DecidingRule::default());
        assert!(icmp.contains("2001:db8::1 --ports icmp --reason"), "{icmp}");
    }

    #[test]
    fn what_an_agent_sent_is_said_back_in_short() {
        assert_eq!(short("GET /a"), "GET /a");
        let long = short(&"é".repeat(3000));
        assert_eq!(long.chars().count(), MAX_SAID_BACK + 1);
    }

    #[test]
    fn nobody_is_said_to_listen_where_that_is_not_known() {
        let outside = "Somebody outside of this session listens";
        assert!(socket_refused("/run/x").contains(outside));
        for text in [socket_unknown("/run/x"), unnamed_refused()] {
            assert!(!text.contains(outside), "{text}");
            assert!(text.contains("could not be told"), "{text}");
        }
    }

    #[test]
    fn what_is_denied_is_not_asked_for() {
        let metadata = DecidingRule {
            name: Some("metadata"),
            ..DecidingRule::default()
        };
        let text = denied(&to("tcp", Some(443)), metadata);
        assert!(!text.contains("guard request"), "{text}");
        assert!(text.contains("\"metadata\""), "{text}");
    }
}
