//! What was reached, asked and stopped in each hour of a day: bars in the page itself, and a table of the same numbers.

use guard_courier::day::HOURS;
use guard_proto::central::Hour;
use jiff::{SignedDuration, Timestamp};
use maud::{Markup, html};

/// Units of the picture: of an hour, of its bars, and of the height of all.
const WIDTH: usize = 30;
const BAR: usize = 7;
const HEIGHT: u64 = 96;

/// The chart.
pub(crate) fn chart(hours: &[Hour; HOURS], now: Timestamp) -> Markup {
    let all = hours
        .iter()
        .flat_map(|hour| [hour.reached, hour.asked, hour.stopped]);
    let most = all.max().unwrap_or_default().max(1);
    // A machine of a fleet counts as it likes.
    let sum = |count: fn(&Hour) -> u64| hours.iter().map(count).fold(0, u64::saturating_add);
    let sums = [
        sum(|one| one.reached),
        sum(|one| one.asked),
        sum(|one| one.stopped),
    ];
    let of_hour = |index: usize| {
        let ago = i64::try_from(HOURS - 1 - index).unwrap_or_default();
        let then = now
            .checked_sub(SignedDuration::from_hours(ago))
            .unwrap_or(now);
        then.strftime("%H").to_string()
    };
    html! {
        figure.chart {
            figcaption {
                span.key.reached { b { (sums[0]) } " newly reached" }
                span.key.asked { b { (sums[1]) } " asked" }
                span.key.stopped { b { (sums[2]) } " stopped" }
            }
            svg viewBox={ "0 0 " (WIDTH * HOURS) " " (HEIGHT + 1) } role="img" preserveAspectRatio="none"
                aria-label={ "In the last 24 hours " (sums[0]) " destinations were first reached, " (sums[1]) " requests made, "
                    (sums[2]) " refusals recorded" } {
                line.base x1="0" x2=(WIDTH * HOURS) y1=(HEIGHT) y2=(HEIGHT) {}
                @for (index, hour) in hours.iter().enumerate() {
                    @for (place, (count, kind)) in bars(hour).into_iter().enumerate() {
                        @if count > 0 { (bar(index * WIDTH + 3 + place * (BAR + 1), count, most, kind)) }
                    }
                }
            }
            div.hours aria-hidden="true" {
                @for index in (5..HOURS).step_by(6) { span { (of_hour(index)) } }
            }
            (table(hours, of_hour))
        }
    }
}

/// The same numbers.
fn table(hours: &[Hour; HOURS], of_hour: impl Fn(usize) -> String) -> Markup {
    let hours = hours.iter().enumerate();
    let hours = hours.filter(|(_, hour)| **hour != Hour::default());
    html! {
        details {
            summary { "As a table (UTC)" }
            div.scroll tabindex="0" role="region" aria-label="The day by hours" {
                table {
                    thead { tr { th scope="col" { "Hour" } th scope="col" { "Reached" } th scope="col" { "Asked" } th scope="col" { "Stopped" } } }
                    tbody {
                        @for (index, hour) in hours {
                            tr { th scope="row" { (of_hour(index)) } td { (hour.reached) } td { (hour.asked) } td { (hour.stopped) } }
                        }
                    }
                }
            }
        }
    }
}

fn bars(hour: &Hour) -> [(u64, &'static str); 3] {
    [
        (hour.reached, "reached"),
        (hour.asked, "asked"),
        (hour.stopped, "stopped"),
    ]
}

/// The smallest is seen, too.
fn bar(left: usize, count: u64, most: u64, kind: &str) -> Markup {
    let height = (count.saturating_mul(HEIGHT) / most).clamp(2, HEIGHT);
    html! { rect class=(kind) x=(left) y=(HEIGHT - height) width=(BAR) height=(height) rx="1.5" {} }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_is_as_high_as_the_chart_and_the_least_is_seen() {
        let mut hours = [Hour::default(); HOURS];
        hours[23] = Hour {
            reached: 1,
            asked: 0,
            stopped: 100_000,
        };
        let now = "2026-11-25T12:30:00Z".parse().unwrap();
        let drawn = chart(&hours, now).into_string();
        assert_eq!(drawn.matches("<rect").count(), 2, "{drawn}");
        assert!(drawn.contains("height=\"96\"") && drawn.contains("height=\"2\""));
        assert!(drawn.contains("<th scope=\"row\">12</th>"), "{drawn}");
        let empty = chart(&[Hour::default(); HOURS], now).into_string();
        assert!(!empty.contains("<rect"));
    }
}
