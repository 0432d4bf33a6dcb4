//! What happened to people, once more. The files that led there lie in a project and a home, and what they lead to is in production:
//! databases, servers over HTTP and TLS, and shells, by their own names. Each place is named, and keeps commands from starting, before
//! one packet has left for it. Under the policy that is written then, what was done is stopped, and nothing of it arrives; without the
//! guard it is done.

mod databases;
mod laid;
mod requests;
mod scene;
mod shells;

use guard_lab::Tested;

use laid::{Laid, Play};
use scene::IncidentScene;

/// As the reading's own tests have them: `== thread | what is to be found`, then each file, or the environment, behind `-- `.
const INCIDENTS: &str = include_str!("../../../../guard-user/discover/tests/incidents.txt");

/// What is not played, and why.
const NOT_PLAYED: [(&str, &str); 2] = [
    (
        "anthropics/claude-code#57165",
        "it was this machine's own database: as files tell it, any developer's",
    ),
    (
        "anthropics/claude-code#37439",
        "it was this machine's own database: as files tell it, any developer's",
    ),
];

/// One of them.
#[derive(Clone, Debug)]
struct Incident {
    /// Where it is told, and what happened.
    thread: &'static str,
    /// `production`, or `maybe`.
    label: &'static str,
    /// The host, and the port.
    place: &'static str,
    files: Vec<(&'static str, &'static str)>,
    environment: Vec<(&'static str, &'static str)>,
}

/// All of them.
fn incidents() -> Vec<Incident> {
    INCIDENTS.split("== ").skip(1).map(Incident::of).collect()
}

impl Incident {
    fn of(text: &'static str) -> Self {
        let (head, files) = text.split_once('\n').expect("no files");
        let (thread, found) = head.split_once(" | ").expect("nothing is to be found");
        let mut words = found.split(' ');
        let [label, place] = [words.next(), words.next()].map(|word| word.expect("no place"));
        let files = files.split("-- ").skip(1);
        let files = files.map(|file| file.split_once('\n').expect("no text"));
        let (environment, files): (Vec<_>, Vec<_>) = files.partition(|(path, _)| *path == "env");
        let lines = environment.iter().flat_map(|(_, text)| text.lines());
        Self {
            thread,
            label,
            place,
            files,
            environment: lines.filter_map(|line| line.split_once('=')).collect(),
        }
    }

    /// Whether it is told there.
    fn is(&self, thread: &str) -> bool {
        let rest = self.thread.strip_prefix(thread);
        rest.is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_digit()))
    }
}

/// One, by where it is told.
fn incident(thread: &str) -> Incident {
    let mut all = incidents().into_iter();
    let found = all.find(|one| one.is(thread));
    found.unwrap_or_else(|| panic!("no incident is told at {thread}"))
}

/// Names and keeps each from starting, with nothing sent; then has each done, in the guard and without it.
fn played(
    scene: &IncidentScene,
    plays: &[Play],
    mut play: impl FnMut(&Laid<'_>, &Play) -> Tested,
) -> Tested {
    let mut all = Vec::new();
    for one in plays {
        let incident = incident(one.thread);
        let thread = incident.thread;
        let prepared = || -> Tested<_> {
            let mut laid = Laid::new(scene, incident)?;
            laid.is_told_first()?;
            Ok(laid)
        };
        all.push(prepared().unwrap_or_else(|why| panic!("{thread}: {why:?}")));
    }
    scene.assert_nothing_was_sent()?;
    for (laid, one) in all.iter().zip(plays) {
        play(laid, one).unwrap_or_else(|why| panic!("{}: {why:?}", one.thread));
    }
    Ok(())
}

#[test]
fn each_is_played_or_it_is_said_why_not() -> Tested {
    let plays = [
        databases::plays().to_vec(),
        requests::plays().to_vec(),
        shells::plays().to_vec(),
    ];
    let plays = plays.iter().flatten().map(|play| incident(play.thread));
    let played: Vec<_> = plays.map(|one| one.thread).collect();
    let all = incidents();
    assert_eq!(all.len(), 28);
    for one in all {
        let why = NOT_PLAYED.iter().find(|(thread, _)| one.is(thread));
        assert_ne!(
            played.contains(&one.thread),
            why.is_some(),
            "{}",
            one.thread
        );
        // What is not played is said to be of this machine.
        assert_eq!(
            one.label == "local",
            why.is_some(),
            "{}: {why:?}",
            one.thread
        );
    }
    Ok(())
}
