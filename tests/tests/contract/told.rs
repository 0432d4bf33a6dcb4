//! What `guard why` tells of a person's answers, and of what was stopped before guardd was started again.

use super::{Lab, POLICY, id, say};
use guard_lab::{Json as _, NEVER, Running, Tested, V4, eventually};
use rustix::process::Signal;
use serde_json::Value;

/// What `guard why` says of an address, inside.
fn why(lab: &Lab, shell: &mut Running, to: &str) -> Tested<Value> {
    let said = say(shell, &format!("{} why --json", lab.guard()?))?;
    let report: Value = serde_json::from_str(&said.text)?;
    let stopped = report["stopped"].list()?;
    let found = stopped
        .iter()
        .find(|one| one["destination"]["address"] == to);
    Ok(found.cloned().unwrap_or_default())
}

fn words(lab: &Lab, shell: &mut Running) -> Tested<String> {
    let said = say(shell, &format!("{} why", lab.guard()?))?;
    let words: Vec<_> = said.text.split_whitespace().collect();
    Ok(words.join(" "))
}

/// An older yes, which has ended, does not hide it.
#[test]
fn the_last_answer_is_told_also_where_it_is_no() -> Tested {
    let mut lab = Lab::new()?;
    let _production = lab.production()?;
    let mut shell = lab.shell()?;
    let first = lab.asked(&mut shell)?;
    lab.daemon
        .json(["approve", id(&first), "--connections", "1"])?;
    assert!(lab.reaches(&mut shell, V4)?);
    // The kernel tells of one refusal a second.
    let mut second = Value::Null;
    eventually("it is asked about once more", || {
        assert!(!lab.reaches(&mut shell, V4)?);
        second = lab.daemon.list(["pending"])?.pop().unwrap_or_default();
        Ok(second.is_object())
    })?;
    assert_eq!(
        why(&lab, &mut shell, V4)?["outcome"]["request"],
        id(&first).to_owned()
    );
    lab.daemon.json(["deny", id(&second)])?;
    assert!(!lab.reaches(&mut shell, V4)?);
    // The next guardd knows both, too.
    for _ in 0..2 {
        let told = why(&lab, &mut shell, V4)?;
        assert_eq!(told["outcome"], Value::Null, "{told}");
        assert_eq!(told["refused"]["request"], id(&second).to_owned(), "{told}");
        let text = words(&lab, &mut shell)?;
        let answer = format!("answer no to {} by ", id(&second));
        assert!(text.contains(&answer), "{text}");
        assert!(text.contains("said no"), "{text}");
        assert!(!text.contains("guard request"), "{text}");
        let asked = say(&mut shell, &format!("{} request {V4}:443", lab.guard()?))?;
        assert_eq!(asked.status, 1, "{asked:?}");
        lab.daemon.kill()?;
        lab.daemon.start()?;
    }
    Ok(())
}

/// The author of a policy names its rules as they like.
#[test]
fn a_rule_that_is_called_as_the_guards_own_is_its_authors() -> Tested {
    let mut lab = Lab::new()?;
    let other = POLICY.replace("\"production\"", "\"in reach: production\"");
    assert_ne!(other, POLICY);
    lab.daemon.write_policy("asks", &other)?;
    let mut shell = lab.shell()?;
    assert!(!lab.reaches(&mut shell, V4)?);
    let by = "the rule \"in reach: production\" (its author says: it is production)";
    for _ in 0..2 {
        let text = words(&lab, &mut shell)?;
        assert!(text.contains(by), "{text}");
        lab.daemon.kill()?;
        lab.daemon.start()?;
    }
    Ok(())
}

/// guardd may be started again, and another policy may come: what was stopped before was stopped by what decided then.
#[test]
fn what_was_stopped_before_a_restart_is_told_as_it_was() -> Tested {
    let mut lab = Lab::new()?;
    let _production = lab.production()?;
    let mut shell = lab.shell()?;
    let asked = lab.asked(&mut shell)?;
    lab.daemon
        .json(["approve", id(&asked), "--connections", "1"])?;
    assert!(lab.reaches(&mut shell, V4)?);
    assert!(!lab.reaches(&mut shell, V4)?);
    assert!(!lab.reaches(&mut shell, NEVER)?);
    let open = why(&lab, &mut shell, V4)?;
    let never = why(&lab, &mut shell, NEVER)?;
    assert_eq!(
        (&open["rule"], &never["rule"]),
        (&"production".into(), &"never".into())
    );
    assert_eq!(open["outcome"]["passed"], 1, "{open}");
    lab.daemon.kill()?;
    lab.daemon.start()?;
    let other = POLICY.replace("\"production\"", "\"later\"");
    lab.daemon
        .write_policy("asks", &other.replace("\"never\"", "\"at-no-time\""))?;
    lab.daemon.signal(Signal::HUP)?;
    eventually("the other policy decides", || {
        let told = lab.daemon.json(["explain", V4, "--session", "s1"])?;
        Ok(told.to_string().contains("\"later\""))
    })?;
    let starts = lab.daemon.logged("daemon-start")?;
    let again = starts
        .last()
        .map(|one| one["at"].clone())
        .unwrap_or_default();
    for (to, before, rule) in [(V4, &open, "later"), (NEVER, &never, "at-no-time")] {
        let after = why(&lab, &mut shell, to)?;
        for field in ["verdict", "rule", "policy", "count", "destination"] {
            assert_eq!(after[field], before[field], "{field} of {to}: {after}");
        }
        for field in ["request", "by", "hole", "passed", "ended", "again"] {
            let [then, now] = [before, &after].map(|one| &one["outcome"][field]);
            assert_eq!(then, now, "{field} of {to}: {after}");
        }
        assert!(after["at"].text()? < again.text()?, "{after}");
        assert_eq!(after["before_restart"], false, "{after}");
        assert_eq!(after["now"]["rule"], rule, "{after}");
    }
    let text = words(&lab, &mut shell)?;
    assert!(
        text.contains("now confirm, by later: that has changed since"),
        "{text}"
    );
    Ok(())
}

/// Where the log is gone, nobody knows any more what decided.
#[test]
fn what_cannot_be_known_after_a_restart_is_said_to_be_so() -> Tested {
    let mut lab = Lab::new()?;
    let mut shell = lab.shell()?;
    lab.asked(&mut shell)?;
    lab.daemon.kill()?;
    std::fs::write(lab.daemon.audit(), "")?;
    lab.daemon.start()?;
    let told = why(&lab, &mut shell, V4)?;
    assert_eq!(told["before_restart"], true, "{told}");
    let text = words(&lab, &mut shell)?;
    assert!(text.contains("that was before guardd restarted"), "{text}");
    eventually("the next refusal is known", || {
        assert!(!lab.reaches(&mut shell, V4)?);
        let told = why(&lab, &mut shell, V4)?;
        Ok(told["before_restart"] == false)
    })?;
    Ok(())
}
