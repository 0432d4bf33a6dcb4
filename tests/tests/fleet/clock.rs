//! A machine's clock that jumps, under guardd, guard-fleet and a server of NATS that keeps logs. `packages::fleet` has it do so.

use std::{
    fs,
    process::Command,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use guard_lab::{Network, Production, Tested, eventually, exec};
use serde_json::json;

use super::{
    central::line_of,
    is_asked,
    log::{is_all_kept, is_whole, write},
    scene::{Fleet, GROUP},
};
use crate::{
    console::{passkey::Passkey, scene::ORIGIN},
    signed::scene::agent,
};

const DAY: i64 = 24 * 3600;

/// As long as this value lives, the clock may be anywhere.
struct Clock {
    was: Duration,
    since: Instant,
}

impl Clock {
    fn begin() -> Tested<Self> {
        Ok(Self {
            was: SystemTime::now().duration_since(UNIX_EPOCH)?,
            since: Instant::now(),
        })
    }

    /// Sets it to so many seconds behind what it would say.
    fn jump(&self, by: i64) -> Tested {
        let now = i64::try_from((self.was + self.since.elapsed()).as_secs())?;
        let set = format!("@{}", now + by);
        exec::run(Command::new("date").args(["--utc", "--set", &set]))?;
        Ok(())
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        // The machine is thrown away.
        let _ = self.jump(0);
    }
}

/// On by months and back, and back by months: each time while somebody is asked.
pub(crate) fn jumps() -> Tested {
    let network = Network::new()?;
    let _production = Production::start(&network)?;
    let (fleet, _keeper) = Fleet::keeping(&network, 1)?;
    // A key without ssh-keygen, which not each machine has.
    let alice = Passkey::new("alice");
    let add = ["approver", "add", "alice", "--passkey", &line_of(&alice)];
    let add = fleet
        .scene
        .daemon
        .root(add)
        .args(["--answers-for", &agent()]);
    add.run()?.success()?;
    is_all_kept(&fleet)?;
    fleet.invite(&["--group", GROUP, "--for", "1h"])?;
    let is_invited =
        || fs::read_to_string(fleet.nats.users(0)).is_ok_and(|users| users.contains(".join.U"));
    eventually("the server knows who is invited", is_invited)?;
    let mut look = fleet.look()?;
    look.until(|line| line["state"] == "open")?;
    let clock = Clock::begin()?;
    for days in [100, 0, -100, 0] {
        let (mut shell, request) = is_asked(&fleet, &mut look, 8080)?;
        clock.jump(days * DAY)?;
        let (asked, for_a_while) = (fleet.scene.question(&request), [("for", json!(60))]);
        let answer = fleet.scene.answer(&asked, "alice", &for_a_while);
        let mut signed = alice.sign(&answer, ORIGIN);
        signed["kind"] = json!("passkey");
        let said = exec::run(&mut fleet.answer(&request, &signed)?)?;
        assert_eq!(said, "yes: a hole is open\n", "{days} days");
        assert!(shell.line_with("\"ok\"")?.contains("\"ok\":true"));
        fleet
            .scene
            .daemon
            .root(["close", "--all"])
            .run()?
            .success()?;
        write(&fleet)?;
        is_all_kept(&fleet)?;
        if days > 0 {
            eventually("the invitation is over", || !is_invited())?;
        }
    }
    assert!(!is_invited(), "it is over for good");
    is_whole(&fleet)
}
