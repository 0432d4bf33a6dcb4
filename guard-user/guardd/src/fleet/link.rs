//! Whether the fleet's servers are reached, by the word of the courier that carries to them. Nothing is judged by it: it is told, and
//! by whom. No courier speaks for another one.

use std::collections::BTreeMap;

use guard_proto::fleet::FleetLink;
use jiff::SignedDuration;

use super::heard::HeardAt;

/// The user of the courier that is missed where none has spoken.
const COURIER: &str = "guard-fleet";
/// A courier says it every half a minute: one that has said nothing for so long is away itself.
const SILENT: SignedDuration = SignedDuration::from_secs(120);

/// What is known of it.
#[derive(Debug)]
pub(crate) struct CourierLink {
    /// Whether the settings want a courier to be there: they name the one that carries the audit log to them.
    pub(crate) is_wanted: bool,
    /// When guardd began to listen.
    began: HeardAt,
    /// The last word of each courier, by its user.
    said: BTreeMap<String, LinkSaid>,
}

#[derive(Debug)]
struct LinkSaid {
    connected: bool,
    /// When that became so.
    since: HeardAt,
    /// When it was last said.
    at: HeardAt,
}

/// What one courier says.
struct SaidBy<'s> {
    by: &'s str,
    said: &'s LinkSaid,
    link: FleetLink,
}

impl CourierLink {
    /// Nothing was said yet.
    pub(super) fn new(is_wanted: bool) -> Self {
        Self {
            is_wanted,
            began: HeardAt::now(),
            said: BTreeMap::new(),
        }
    }

    /// A courier of that user says it.
    pub(crate) fn hear(&mut self, by: String, connected: bool, now: HeardAt) {
        let before = self.said.get(&by).map(|said| said.stands(&now));
        let since = match before {
            Some((was, since)) if was == connected => since.clone(),
            _ => now.clone(),
        };
        let said = LinkSaid {
            connected,
            since,
            at: now,
        };
        self.said.insert(by, said);
    }

    /// The courier with the worst link, whether it reaches servers, and since when: one without a server comes before one with.
    fn worst(&self, now: &HeardAt) -> Option<SaidBy<'_>> {
        let all = self.said.iter().map(|(by, said)| {
            let (connected, since) = said.stands(now);
            let link = FleetLink {
                connected,
                since: Some(since.at),
                by: Some(by.clone()),
            };
            SaidBy {
                by: by.as_str(),
                said,
                link,
            }
        });
        all.min_by_key(|one| (one.link.connected, one.link.since))
    }

    /// As it is now; none: nobody carries to any.
    #[must_use]
    pub(crate) fn shown(&self, now: &HeardAt) -> Option<FleetLink> {
        match self.worst(now) {
            Some(worst) => Some(worst.link),
            None => self.is_wanted.then_some(FleetLink {
                connected: false,
                since: None,
                by: None,
            }),
        }
    }

    /// A warning for `guard status`.
    #[must_use]
    pub(crate) fn warning(&self, now: &HeardAt) -> Option<String> {
        let link = self.shown(now)?;
        let worst = self.worst(now).map(|one| (one.by, &one.said.at));
        let (by, last) = worst.unwrap_or((COURIER, &self.began));
        let why = match link {
            link if link.connected => return None,
            _ if is_silent(last, now) => format!("{by} says nothing: systemctl status {COURIER}"),
            // It may have just been started.
            link if link.since.is_none() => return None,
            _ => format!("{by} reaches no server: journalctl -u {COURIER}"),
        };
        Some(format!(
            "the fleet does not hear this machine: {why}; what is asked here is answered here"
        ))
    }
}

impl LinkSaid {
    /// Whether servers are reached, and since when that is so.
    fn stands(&self, now: &HeardAt) -> (bool, &HeardAt) {
        if self.connected && is_silent(&self.at, now) {
            (false, &self.at)
        } else {
            (self.connected, &self.since)
        }
    }
}

fn is_silent(at: &HeardAt, now: &HeardAt) -> bool {
    at.until(now) > SILENT
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    const FLEET: &str = COURIER;

    fn at(second: i64) -> HeardAt {
        HeardAt {
            at: Timestamp::from_second(second).unwrap(),
            up: None,
        }
    }

    fn shown(link: &CourierLink, second: i64) -> Option<(bool, Option<i64>)> {
        let shown = link.shown(&at(second))?;
        Some((shown.connected, shown.since.map(Timestamp::as_second)))
    }

    #[test]
    fn it_is_so_since_it_was_first_said() {
        let mut link = CourierLink::new(false);
        assert_eq!((shown(&link, 0), link.warning(&at(0))), (None, None));
        for (second, connected, since) in [
            (10, true, 10),
            (40, true, 10),
            (50, false, 50),
            (60, false, 50),
            (70, true, 70),
        ] {
            link.hear(FLEET.to_owned(), connected, at(second));
            assert_eq!(shown(&link, second), Some((connected, Some(since))));
            let warned = link.warning(&at(second)).unwrap_or_default();
            assert_eq!(warned.contains("reaches no server"), !connected, "{warned}");
        }
    }

    #[test]
    fn a_courier_that_says_nothing_is_away_since_its_last_word() {
        let mut link = CourierLink::new(false);
        link.hear(FLEET.to_owned(), true, at(10));
        link.hear(FLEET.to_owned(), true, at(40));
        assert_eq!(shown(&link, 160), Some((true, Some(10))));
        assert_eq!(shown(&link, 161), Some((false, Some(40))));
        let warned = link.warning(&at(161)).unwrap();
        assert!(warned.contains("guard-fleet says nothing"), "{warned}");
        // It is back, with a server and without.
        link.hear(FLEET.to_owned(), false, at(200));
        assert_eq!(shown(&link, 200), Some((false, Some(40))));
        link.hear(FLEET.to_owned(), true, at(210));
        assert_eq!(shown(&link, 210), Some((true, Some(210))));
    }

    #[test]
    fn one_that_is_wanted_and_never_spoke_is_missed() {
        let mut link = CourierLink::new(true);
        link.began = at(0);
        assert_eq!(shown(&link, 60), Some((false, None)));
        assert_eq!(link.warning(&at(60)), None);
        assert!(link.warning(&at(121)).unwrap().contains("says nothing"));
    }

    /// A courier that may speak at all, as a console may, speaks for itself.
    #[test]
    fn a_courier_speaks_for_no_other_one() {
        let mut link = CourierLink::new(false);
        link.hear(FLEET.to_owned(), true, at(10));
        link.hear(FLEET.to_owned(), false, at(40));
        link.hear("guard-console".to_owned(), true, at(50));
        let said = |link: &CourierLink, second| link.shown(&at(second)).and_then(|shown| shown.by);
        assert_eq!(shown(&link, 50), Some((false, Some(40))));
        assert_eq!(said(&link, 50).as_deref(), Some(FLEET));
        link.hear(FLEET.to_owned(), true, at(60));
        assert_eq!(shown(&link, 60), Some((true, Some(50))));
        assert_eq!(said(&link, 60).as_deref(), Some("guard-console"));
        // Nor does it hide that another one is silent, and its own word is told as its own.
        link.hear("guard-console".to_owned(), true, at(181));
        assert_eq!(shown(&link, 181), Some((false, Some(60))));
        assert!(
            link.warning(&at(181))
                .unwrap()
                .contains("guard-fleet says nothing")
        );
        link.hear(FLEET.to_owned(), true, at(190));
        link.hear("guard-console".to_owned(), false, at(190));
        let warned = link.warning(&at(190)).unwrap();
        assert!(
            warned.contains("guard-console reaches no server"),
            "{warned}"
        );
    }
}
