//! Five machines and one colleague: each answer is for one question of one machine, whichever server carries it.

use guard_lab::{Hub, Json as _, Network, Tested, eventually, exec};

use super::machines::{Machine, Machines};

#[test]
fn one_colleague_answers_five_machines_each_for_itself_also_when_a_server_is_killed() -> Tested {
    let networks: Vec<_> = (0..6).map(|_| Network::new()).collect::<Result<_, _>>()?;
    let hub = Hub::between(networks.iter().map(Network::dev))?;
    let (colleague, guarded) = networks.split_last().unwrap();
    let mut fleet = Machines::start(guarded, colleague, &hub)?;
    for (machine, network) in fleet.all.iter().zip(guarded) {
        machine.is_open(network, 8080)?;
        machine.is_open(network, 1500)?;
    }
    fleet.are_there()?;
    let before = reached(&fleet, 8080)?;

    // From here on machines know that somebody looks.
    let mut look = fleet.look()?;
    fleet.asked(&mut look, 443)?;
    for machine in &mut fleet.all {
        Machine::begin(&mut machine.shell, 8080)?;
    }
    let asked = fleet.asked(&mut look, 8080)?;
    for machine in &fleet.all {
        eventually("it waits", || machine.waits(8080))?;
    }
    assert_eq!(reached(&fleet, 8080)?, before, "nothing passes unanswered");

    // Two get a yes, one a no, one nothing, and one is answered where it is.
    let ids: Vec<_> = fleet.all.iter().map(|machine| machine.id.clone()).collect();
    let mut yes = Vec::new();
    for id in &ids[..2] {
        let signed = fleet.signed(&asked[id], "yes")?;
        let said = exec::run(&mut fleet.answer(id, &asked[id], &signed)?)?;
        assert_eq!(said, "yes: a hole is open\n");
        yes.push(signed);
    }
    let no = fleet.signed(&asked[&ids[2]], "no")?;
    let said = exec::run(&mut fleet.answer(&ids[2], &asked[&ids[2]], &no)?)?;
    assert_eq!(said, "no: it stays closed\n");
    let request = asked[&ids[4]]["request"].text()?;
    let approve = ["approve", request, "--for", "60s"];
    fleet.all[4].scene.daemon.root(approve).run()?.success()?;
    for number in [0, 1, 4] {
        let machine = &mut fleet.all[number];
        assert!(Machine::has_reached(&mut machine.shell)?, "{number}");
        assert_eq!(machine.scene.holes(), ["tcp/8080"], "{number}");
        assert!(machine.reached(8080)? > before[number], "{number}");
    }
    assert!(!Machine::has_reached(&mut fleet.all[2].shell)?);
    assert!(fleet.all[3].waits(8080)?, "nobody has answered it");

    // A signature for one machine is worth nothing at another, no matter who carries it there.
    assert_eq!(asked[&ids[0]]["request"], asked[&ids[3]]["request"]);
    fleet.all[3]
        .scene
        .refused(&yes[0], "it is for the machine")?;
    let elsewhere = exec::output(&mut fleet.answer(&ids[3], &asked[&ids[3]], &yes[0])?)?;
    let why = String::from_utf8_lossy(&elsewhere.stderr);
    assert_eq!(elsewhere.status.code(), Some(2), "{why}");
    assert!(why.contains("the answer is to another"), "{why}");
    for number in [2, 3] {
        assert!(fleet.all[number].scene.holes().is_empty(), "{number}");
        assert_eq!(fleet.all[number].reached(8080)?, before[number]);
    }

    // Whoever was connected to it goes on by another.
    fleet.nats.kill(0);
    let before = reached(&fleet, 1500)?;
    for machine in &mut fleet.all {
        Machine::begin(&mut machine.asks, 1500)?;
    }
    let again = fleet.asked(&mut look, 1500)?;
    assert_eq!(reached(&fleet, 1500)?, before);
    for (id, number) in ids.iter().zip(0..) {
        let signed = fleet.signed(&again[id], "yes")?;
        let said = exec::run(&mut fleet.answer(id, &again[id], &signed)?)?;
        assert_eq!(said, "yes: a hole is open\n");
        let machine = &mut fleet.all[number];
        assert!(Machine::has_reached(&mut machine.asks)?, "{number}");
        assert!(machine.reached(1500)? > before[number], "{number}");
    }
    fleet.are_there()?;
    let status = fleet.status()?;
    assert_eq!(status["machines"], 5, "{status}");
    assert_eq!(status["enforcing"], 5, "{status}");

    // Each machine's log says who answered it, and where that was.
    for (machine, by) in fleet
        .all
        .iter()
        .zip(["alice", "alice", "alice", "", "root"])
    {
        let answered = machine.scene.log("answered");
        let mut answered = answered.iter();
        let about = answered.find(|one| one["request"] == asked[&machine.id]["request"]);
        let said = about.map_or("", |one| one["by"].as_str().unwrap());
        assert_eq!(said, by, "{}: {about:?}", machine.id);
    }
    Ok(())
}

/// What production has seen, behind each machine.
fn reached(fleet: &Machines<'_>, port: u16) -> Tested<Vec<usize>> {
    fleet.all.iter().map(|one| one.reached(port)).collect()
}
