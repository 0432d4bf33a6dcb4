//! Whether the fleet's servers are reached, by the word of the courier that carries to them. Nothing is judged by it: it is told.

use guard_proto::fleet::FleetLink;
use jiff::SignedDuration;

use super::heard::Heard;

/// A courier says it every half a minute: one that has said nothing for so long is away itself.
const SILENT: SignedDuration = SignedDuration::from_secs(120);

/// What is known of it.
#[derive(Debug)]
pub struct Link {
    /// Whether the settings want a courier to be there.
    is_wanted: bool,
    /// When guardd began to listen.
    began: Heard,
    said: Option<LinkSaid>,
}

#[derive(Debug)]
struct LinkSaid {
    connected: bool,
    /// When that became so.
    since: Heard,
    /// When it was last said.
    at: Heard,
}

impl Link {
    /// Nothing was said yet.
    pub(super) fn new(is_wanted: bool) -> Self {
        Self {
            is_wanted,
            began: Heard::now(),
            said: None,
        }
    }

    /// A courier says it.
    pub(crate) fn hear(&mut self, connected: bool, now: Heard) {
        let before = self.said.as_ref().map(|said| said.stands(&now));
        let since = match before {
            Some((was, since)) if was == connected => since.clone(),
            _ => now.clone(),
        };
        self.said = Some(LinkSaid {
            connected,
            since,
            at: now,
        });
    }

    /// As it is now; none: nobody carries to any.
    #[must_use]
    pub(crate) fn shown(&self, now: &Heard) -> Option<FleetLink> {
        match &self.said {
            Some(said) => {
                let (connected, since) = said.stands(now);
                let since = Some(since.at);
                Some(FleetLink { connected, since })
            }
            None => self.is_wanted.then_some(FleetLink {
                connected: false,
                since: None,
            }),
        }
    }

    /// A warning for `guard status`.
    #[must_use]
    pub(crate) fn warning(&self, now: &Heard) -> Option<String> {
        let last = self.said.as_ref().map_or(&self.began, |said| &said.at);
        let why = match self.shown(now)? {
            link if link.connected => return None,
            _ if is_silent(last, now) => "guard-fleet says nothing: systemctl status guard-fleet",
            // It may have just been started.
            link if link.since.is_none() => return None,
            _ => "guard-fleet reaches no server: journalctl -u guard-fleet",
        };
        Some(format!(
            "the fleet does not hear this machine: {why}; what is asked here is answered here"
        ))
    }
}

impl LinkSaid {
    /// Whether servers are reached, and since when that is so.
    fn stands(&self, now: &Heard) -> (bool, &Heard) {
        match self.connected && is_silent(&self.at, now) {
            true => (false, &self.at),
            false => (self.connected, &self.since),
        }
    }
}

fn is_silent(at: &Heard, now: &Heard) -> bool {
    at.until(now) > SILENT
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    fn at(second: i64) -> Heard {
        Heard {
            at: Timestamp::from_second(second).unwrap(),
            up: None,
        }
    }

    fn shown(link: &Link, second: i64) -> Option<(bool, Option<i64>)> {
        let shown = link.shown(&at(second))?;
        Some((shown.connected, shown.since.map(Timestamp::as_second)))
    }

    #[test]
    fn it_is_so_since_it_was_first_said() {
        let mut link = Link::new(false);
        assert_eq!((shown(&link, 0), link.warning(&at(0))), (None, None));
        for (second, connected, since) in [
            (10, true, 10),
            (40, true, 10),
            (50, false, 50),
            (60, false, 50),
            (70, true, 70),
        ] {
            link.hear(connected, at(second));
            assert_eq!(shown(&link, second), Some((connected, Some(since))));
            let warned = link.warning(&at(second)).unwrap_or_default();
            assert_eq!(warned.contains("reaches no server"), !connected, "{warned}");
        }
    }

    #[test]
    fn a_courier_that_says_nothing_is_away_since_its_last_word() {
        let mut link = Link::new(false);
        link.hear(true, at(10));
        link.hear(true, at(40));
        assert_eq!(shown(&link, 160), Some((true, Some(10))));
        assert_eq!(shown(&link, 161), Some((false, Some(40))));
        let warned = link.warning(&at(161)).unwrap();
        assert!(warned.contains("guard-fleet says nothing"), "{warned}");
        // It is back, with a server and without.
        link.hear(false, at(200));
        assert_eq!(shown(&link, 200), Some((false, Some(40))));
        link.hear(true, at(210));
        assert_eq!(shown(&link, 210), Some((true, Some(210))));
    }

    #[test]
    fn one_that_is_wanted_and_never_spoke_is_missed() {
        let mut link = Link::new(true);
        link.began = at(0);
        assert_eq!(shown(&link, 60), Some((false, None)));
        assert_eq!(link.warning(&at(60)), None);
        assert!(link.warning(&at(121)).unwrap().contains("says nothing"));
    }
}
