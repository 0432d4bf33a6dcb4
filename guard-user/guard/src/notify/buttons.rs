//! The buttons below a request. What each stands for is in its key, so that it is what was on the screen when it was
//! pressed, whatever has become of the request meanwhile.

use std::time::Duration;

use guard_policy::parse_duration;
use guard_proto::{Offer, Request};

use crate::render::requests::lasting;

/// What an HTTP request is answered with: it has no offers of its own.
const USUAL: [Offer; 2] = [offer(900.0), offer(300.0)];

/// A person's answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum ButtonChoice {
    /// Yes.
    Yes {
        /// For how long, and how much.
        offer: Offer,
        /// To what.
        extent: YesExtent,
    },
    No,
}

/// To how much a yes is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum YesExtent {
    /// What was asked.
    Asked,
    /// The first so many addresses of a burst.
    Tried(u32),
    /// All of its prefix.
    Prefix,
}

const fn offer(seconds: f64) -> Offer {
    Offer {
        seconds,
        connections: None,
    }
}

/// The keys of a request's buttons, and what each says.
pub(super) fn of(request: &Request) -> Vec<(String, String)> {
    let offers = match request.offers.as_slice() {
        [] => &USUAL[..],
        some => &some[..some.len().min(2)],
    };
    let mut answers: Vec<(ButtonChoice, String)> = Vec::new();
    let mut add = |offer: Offer, extent, what: &str| {
        let words = format!("{what}, {}", words(&offer));
        answers.push((ButtonChoice::Yes { offer, extent }, words));
    };
    match &request.burst {
        Some(burst) => {
            add(
                offers[0],
                YesExtent::Prefix,
                &format!("All of {}", burst.prefix),
            );
            if let Some(count) = all_shown(burst) {
                let what = format!("Each of the {count} tried");
                add(offers[0], YesExtent::Tried(count), &what);
            }
        }
        None => offers
            .iter()
            .for_each(|offer| add(*offer, YesExtent::Asked, "Yes")),
    }
    answers.push((ButtonChoice::No, "No".to_owned()));
    let keyed = answers.into_iter();
    keyed.map(|(answer, words)| (answer.key(), words)).collect()
}

/// How many were tried, where all of them are known.
fn all_shown(burst: &guard_proto::Burst) -> Option<u32> {
    let count = u32::try_from(burst.count).ok();
    count.filter(|_| burst.count <= burst.addresses.len())
}

/// "15 min, 1 connection"
fn words(offer: &Offer) -> String {
    let seconds = offer.seconds;
    let time = if seconds >= 60.0 && seconds % 60.0 == 0.0 {
        format!("{} min", seconds / 60.0)
    } else {
        lasting(offer)
    };
    match offer.connections {
        None => time,
        Some(1) => format!("{time}, 1 connection"),
        Some(count) => format!("{time}, {count} connections"),
    }
}

impl ButtonChoice {
    /// "yes-900s", "yes-900s-1", "tried-5-900s", "prefix-900s", "no"
    fn key(&self) -> String {
        let Self::Yes { offer, extent } = self else {
            return "no".to_owned();
        };
        let extent = match extent {
            YesExtent::Asked => "yes".to_owned(),
            YesExtent::Tried(count) => format!("tried-{count}"),
            YesExtent::Prefix => "prefix".to_owned(),
        };
        let count = offer.connections.map(|count| format!("-{count}"));
        format!("{extent}-{}{}", lasting(offer), count.unwrap_or_default())
    }

    /// What a button stands for.
    pub(super) fn of(key: &str) -> Option<Self> {
        let mut parts = key.split('-');
        let extent = match parts.next()? {
            "yes" => YesExtent::Asked,
            "tried" => YesExtent::Tried(parts.next()?.parse().ok()?),
            "prefix" => YesExtent::Prefix,
            "no" => return parts.next().is_none().then_some(Self::No),
            _ => return None,
        };
        let time: Duration = parse_duration(parts.next()?).ok()?;
        let connections = parts.next().map(str::parse).transpose().ok()?;
        let seconds = time.as_secs_f64();
        let offer = Offer {
            seconds,
            connections,
        };
        parts
            .next()
            .is_none()
            .then_some(Self::Yes { offer, extent })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::examples;

    #[test]
    fn each_button_is_what_it_says() {
        let held = Request {
            offers: vec![],
            ..examples::request()
        };
        let bare = |pairs: &[(&str, &str)]| {
            let pairs = pairs.iter();
            let pairs = pairs.map(|(key, words)| ((*key).to_owned(), (*words).to_owned()));
            pairs.collect::<Vec<_>>()
        };
        let usual = [
            ("yes-15m", "Yes, 15 min"),
            ("yes-5m", "Yes, 5 min"),
            ("no", "No"),
        ];
        assert_eq!(of(&held), bare(&usual));
        let burst = [
            ("prefix-30m-1", "All of 192.0.2.0/24, 30 min, 1 connection"),
            ("tried-5-30m-1", "Each of the 5 tried, 30 min, 1 connection"),
            ("no", "No"),
        ];
        assert_eq!(of(&examples::burst(5)), bare(&burst));
        assert_eq!(of(&examples::burst(17)).len(), 2, "never a part of them");
        for request in [held, examples::burst(5)] {
            for (key, _) in of(&request) {
                assert_eq!(ButtonChoice::of(&key).unwrap().key(), key);
            }
        }
        let extent = YesExtent::Tried(5);
        let offer = Offer {
            seconds: 1800.0,
            connections: Some(1),
        };
        assert_eq!(
            ButtonChoice::of("tried-5-30m-1"),
            Some(ButtonChoice::Yes { offer, extent })
        );
        for other in [
            "",
            "default",
            "yes",
            "yes-",
            "yes-x",
            "tried-900s",
            "no-1",
            "yes-5m-1-1",
            "yes-5m-x",
        ] {
            assert_eq!(ButtonChoice::of(other), None, "{other}");
        }
    }
}
