//! `guard mcp`, as a client of the protocol sees it.

use std::fs;

use guard_lab::{Json as _, NEVER, Tested, V4, eventually};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::agents::scene::{AgentScene, Mcp};

fn names(list: &Value) -> Tested<Vec<&str>> {
    let tools = list["result"]["tools"].list()?.iter();
    Ok(tools.map(|tool| tool["name"].as_str().unwrap()).collect())
}

#[test]
fn a_model_is_told_what_was_stopped_and_asks() -> Tested {
    let scene = AgentScene::new()?;
    let mut mcp = scene.mcp(&[V4, NEVER])?;
    assert_eq!(
        names(&mcp.ask("tools/list", json!({}))?)?,
        ["why", "request", "status"]
    );
    let (why, done) = mcp.tool("why", json!({}))?;
    assert!(done, "{why}");
    for words in [
        V4,
        "its author says: it is production",
        NEVER,
        "Nobody can open it",
        "do not look for another way",
    ] {
        assert!(why.contains(words), "{words}: {why}");
    }
    let asked = json!({"destination": "192.0.2.20:443", "reason": "to read the queue"});
    let (request, done) = mcp.tool("request", asked)?;
    assert!(
        done && request.contains("A person has been asked"),
        "{request}"
    );
    let pending = scene.daemon.json(["pending"])?;
    let mine = pending.list()?.iter().find(|one| one["note"].is_string());
    let mine = mine.unwrap();
    assert_eq!(mine["note"], "to read the queue");
    assert_eq!(mine["destination"]["address"], "192.0.2.20");
    let (status, done) = mcp.tool("status", json!({}))?;
    assert!(done && status.contains("under the policy asks"), "{status}");
    let first = pending[0]["id"].text()?;
    assert!(
        status.contains(&format!("Request {first} waits")),
        "{status}"
    );
    scene.daemon.json(["approve", first])?;
    let (why, _) = mcp.tool("why", json!({}))?;
    assert!(why.contains("A person has opened 192.0.2.10:443"), "{why}");
    Ok(())
}

#[test]
fn nothing_in_it_widens() -> Tested {
    let scene = AgentScene::new()?;
    let mut mcp = scene.mcp(&[V4])?;
    let request = scene.daemon.json(["pending"])?[0]["id"].clone();
    for name in ["approve", "open", "deny", "close", "stop", "run", "Why", ""] {
        let answer = mcp.ask(
            "tools/call",
            json!({"name": name, "arguments": {"id": request}}),
        )?;
        assert_eq!(answer["error"]["code"], -32602, "{name}: {answer}");
    }
    for (name, arguments) in [
        ("request", json!({"destination": V4})),
        ("request", json!({"destination": [V4], "reason": ""})),
        (
            "request",
            json!({"destination": V4, "reason": "x", "for": 3600}),
        ),
        (
            "request",
            json!({"destination": "not a place", "reason": "x"}),
        ),
        ("why", json!({"approve": request})),
    ] {
        let (text, done) = mcp.tool(name, arguments)?;
        assert!(!done && !text.is_empty(), "{text}");
    }
    let answer = mcp.ask("org.guardd.Control.Approve", json!({"id": request}))?;
    assert!(answer["error"].is_object(), "{answer}");
    assert_eq!(scene.daemon.json(["holes"])?, json!([]));
    Ok(())
}

#[test]
fn bad_input_is_bounded_and_does_not_end_it() -> Tested {
    let scene = AgentScene::new()?;
    let mut mcp = scene.mcp(&[V4])?;
    for line in [
        "",
        "no JSON",
        "[]",
        "{}",
        "{\"jsonrpc\":\"2.0\"}",
        "\u{0}\u{1b}[2J",
        "{\"jsonrpc\":\"2.0\",\"id\":{}}",
    ] {
        mcp.line(line)?;
    }
    // Longer than a frame may be, and than anybody keeps.
    let huge = format!(
        "{{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"ping\",\"params\":{{\"x\":\"{}\"}}}}",
        "x".repeat(32 << 20)
    );
    mcp.line(&huge)?;
    mcp.line(&"[".repeat(60_000))?;
    assert!(mcp.tool("why", json!({}))?.1);
    let reason = "a very long reason ".repeat(2000);
    let (text, done) = mcp.tool(
        "request",
        json!({"destination": "192.0.2.21:443", "reason": reason}),
    )?;
    assert!(done, "{text}");
    let most = peak(&scene)?;
    assert!(most < 64 << 10, "it took {most} KiB");
    Ok(())
}

/// The most memory that `guard mcp` had, in KiB.
fn peak(scene: &AgentScene) -> Tested<u64> {
    let session = scene.daemon.json(["sessions"])?[0].clone();
    let cgroup = session["cgroup"].text()?;
    let processes = fs::read_to_string(format!("{cgroup}/cgroup.procs"))?;
    let most = processes.lines().map(|pid| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let peak = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))
            .unwrap();
        peak.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
    });
    Ok(most.max().unwrap())
}

#[test]
fn a_guardd_that_hangs_holds_up_nothing_else_and_calls_can_be_given_up() -> Tested {
    let scene = AgentScene::new()?;
    let mut mcp = scene.mcp(&[V4])?;
    scene.daemon.signal(Signal::STOP)?;
    let call = json!({"name": "why", "arguments": {}});
    let waiting: Vec<_> = (0..40)
        .map(|_| mcp.send("tools/call", call.clone()).unwrap())
        .collect();
    for id in &waiting[..20] {
        mcp.tell(
            "notifications/cancelled",
            json!({"requestId": id, "reason": "no need"}),
        )?;
    }
    assert_eq!(names(&mcp.ask("tools/list", json!({}))?)?.len(), 3);
    scene.daemon.signal(Signal::CONT)?;
    let last = mcp.answer(waiting[39])?;
    assert_eq!(last["result"]["isError"], false, "{last}");
    assert!(mcp.tool("status", json!({}))?.1);
    Ok(())
}

#[test]
fn it_says_what_to_do_where_there_is_no_guardd_and_goes_on_with_the_next() -> Tested {
    let mut scene = AgentScene::new()?;
    let mut mcp = scene.mcp(&[V4])?;
    scene.daemon.kill()?;
    for tool in ["why", "status"] {
        let (text, done) = mcp.tool(tool, json!({}))?;
        assert!(!done && text.contains("guardd"), "{text}");
    }
    scene.daemon.start()?;
    assert!(mcp.tool("why", json!({}))?.1);
    Ok(())
}

#[test]
fn what_it_has_asked_for_waits_on_where_guardd_is_killed_right_after() -> Tested {
    let mut scene = AgentScene::new()?;
    let mut mcp = scene.mcp(&[V4])?;
    let asked = json!({"destination": "192.0.2.20:443", "reason": "to read the queue"});
    assert!(mcp.tool("request", asked)?.1);
    scene.daemon.kill()?;
    scene.daemon.start()?;
    let pending = scene.daemon.json(["pending"])?;
    let is_mine = |one: &Value| one["note"] == "to read the queue";
    assert!(pending.list()?.iter().any(is_mine), "{pending}");
    Ok(())
}

#[test]
fn outside_of_a_session_it_says_so() -> Tested {
    let scene = AgentScene::new()?;
    let mut mcp = Mcp::over(scene.daemon.agent(["mcp"]).spawn()?);
    let about = mcp.begin()?;
    assert_eq!(about["serverInfo"]["name"], "guard");
    assert!(about["instructions"].text()?.contains("`why`"), "{about}");
    let (status, done) = mcp.tool("status", json!({}))?;
    assert!(done && status.contains("guard run -- AGENT"), "{status}");
    for (tool, arguments) in [
        ("why", json!({})),
        ("request", json!({"destination": V4, "reason": "x"})),
    ] {
        let (text, done) = mcp.tool(tool, arguments)?;
        assert!(!done && text.contains("guard run"), "{text}");
    }
    drop(mcp.running);
    Ok(())
}

#[test]
fn it_ends_with_its_agent() -> Tested {
    let scene = AgentScene::new()?;
    let output = scene.daemon.agent(["mcp"]).run()?;
    assert_eq!(output.code(), Some(0), "{output:?}");
    let mut mcp = scene.mcp(&[])?;
    mcp.running.signal(Signal::TERM)?;
    eventually("the session has ended", || {
        Ok(scene.daemon.json(["sessions"])? == json!([]))
    })?;
    Ok(())
}
