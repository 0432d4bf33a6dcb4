use guard_lab::{Attempt, Daemon, Json as _, Production, Shell, Tested, eventually, is_sampled};

use super::scene::{
    EVIL, FORGE, Looks, SHARED, SHARED6, SPEAKS, SPEAKS_AT, SharedAddress, WITHOUT, with,
};

const WAYS: [&str; 9] = [
    "whole", "bytes", "last", "last-two", "more", "zerocopy", "sendfile", "splice", "oob",
];

/// Ways in which nobody is understood.
const ODD: [&str; 9] = [
    "two-records",
    "half",
    "no-name",
    "address",
    "ech",
    "two-names",
    "long",
    "no-tls",
    "mptcp",
];

fn curl(
    scene: &SharedAddress,
    shell: &mut Shell,
    name: &str,
    at: &str,
    args: &str,
) -> Tested<String> {
    let at = if at.contains(':') {
        format!("[{at}]")
    } else {
        at.to_owned()
    };
    let company = scene.file("company.pem");
    let line = format!(
        "curl -sS -m 10 --cacert {} --resolve {name}:443:{at} -w 'status=%{{http_code}} exit=%{{exitcode}}\\n' -o /dev/null {args} https://{name}/ 2>/dev/null",
        company.display()
    );
    shell.tell(&line)?;
    let said = shell.line_with("status=")?;
    Ok(said.trim().to_owned())
}

fn the_name_decides(looks: Looks) -> Tested {
    let scene = SharedAddress::new()?;
    if !scene.can(looks)? {
        return Ok(());
    }
    for (at, name) in [(SHARED, FORGE), (SHARED, EVIL), (SHARED6, EVIL)] {
        assert_eq!(
            scene.says_outside(at, name, "whole")?,
            "answer",
            "without the guard"
        );
    }
    // Without the key, the address is enough.
    let daemon = scene.daemon(WITHOUT, looks)?;
    let mut shell = scene.session(&daemon)?;
    for name in [FORGE, EVIL] {
        assert_eq!(scene.says(&mut shell, SHARED, name, "whole")?, "answer");
    }
    daemon.write_policy("shared", &with())?;
    // Until the proxy is there, nothing gets an answer.
    eventually("the new policy holds", || {
        let evil = scene.says(&mut shell, SHARED, EVIL, "whole")?;
        let right = scene.says(&mut shell, SHARED, FORGE, "whole")?;
        Ok(evil != "answer" && right == "answer")
    })?;
    for at in [SHARED, SHARED6] {
        let right = curl(&scene, &mut shell, FORGE, at, "")?;
        assert_eq!(right, "status=200 exit=0", "{at}");
        let right = curl(&scene, &mut shell, "a.forge.example.com", at, "")?;
        assert_eq!(right, "status=200 exit=0", "{at}");
        let before = scene.begun();
        let wrong = curl(&scene, &mut shell, EVIL, at, "")?;
        assert!(wrong.starts_with("status=000"), "{at}: {wrong}");
        let asked = scene.says(&mut shell, at, "x.asked.forge.example.com", "whole")?;
        assert_ne!(asked, "answer");
        eventually("the server sees them end", || {
            scene.begun().1 >= before.1 + 2
        })?;
        assert_eq!(
            scene.begun().0,
            before.0,
            "nothing of it arrived: {}",
            scene.log()
        );
    }
    // OpenSSL's own client.
    let openssl = |shell: &mut Shell, name: &str| -> Tested<_> {
        let line = format!(
            "openssl s_client -connect {SHARED}:443 -servername {name} </dev/null 2>&1 | grep -c 'BEGIN CERT' | sed 's/^/certificates=/'"
        );
        shell.tell(&line)?;
        Ok(shell.line_with("certificates=")?.trim().to_owned())
    };
    assert_eq!(openssl(&mut shell, FORGE)?, "certificates=1");
    assert_eq!(openssl(&mut shell, EVIL)?, "certificates=0");
    let log = daemon.root(["log", "--session", shell.session()]).run()?;
    assert!(log.stdout.contains("SNI"), "{log:?}");
    Ok(())
}

fn however_it_is_sent(looks: Looks) -> Tested {
    let scene = SharedAddress::new()?;
    if !scene.can(looks)? {
        return Ok(());
    }
    let daemon = scene.daemon(&with(), looks)?;
    let mut shell = scene.session(&daemon)?;
    for way in WAYS {
        // No server understands a ClientHello without its first byte.
        let is_read = way != "oob";
        let outside = scene.says_outside(SHARED, EVIL, way)?;
        assert_eq!(outside == "answer", is_read, "{way}");
        let right = scene.says(&mut shell, SHARED, FORGE, way)?;
        assert!(right == "answer" || !is_read, "{way}: {right}");
        let before = scene.begun();
        let came = scene.says(&mut shell, SHARED, EVIL, way)?;
        assert_ne!(came, "answer", "{way}");
        eventually("the server sees it end", || scene.begun().1 > before.1)?;
        assert_eq!(scene.begun().0, before.0, "{way}: {}", scene.log());
    }
    for way in ODD {
        let before = scene.begun();
        let came = scene.says(&mut shell, SHARED, FORGE, way)?;
        if way == "mptcp" && looks == Looks::Proxy {
            assert_eq!(came, "answer");
            continue;
        }
        assert_ne!(came, "answer", "{way}");
        nothing_came(&scene, &mut shell, before, way)?;
    }
    // What is sent before the connection stands meets egress, whatever its name is.
    for way in ["fastopen", "early"] {
        let before = scene.begun();
        let came = scene.says(&mut shell, SHARED, EVIL, way)?;
        assert_ne!(came, "answer", "{way}");
        nothing_came(&scene, &mut shell, before, way)?;
    }
    Ok(())
}

/// What speaks plainly before it speaks TLS, or waits until its server does, is not let in under its rule: nothing shows its name.
fn what_begins_without_tls(looks: Looks) -> Tested {
    let scene = SharedAddress::new()?;
    if !scene.can(looks)? {
        return Ok(());
    }
    let ways = [(SHARED, "ssl-request"), (SPEAKS_AT, "waits")];
    for (at, way) in ways {
        assert_eq!(scene.says_outside(at, FORGE, way)?, "answer", "{way}");
    }
    for (policy, is_let) in [(WITHOUT.to_owned(), true), (with(), false)] {
        let daemon = scene.daemon(&policy, looks)?;
        let mut shell = scene.session(&daemon)?;
        scene.asks(&mut shell, SPEAKS)?;
        for (at, way) in ways {
            let before = scene.begun();
            let came = scene.says(&mut shell, at, FORGE, way)?;
            assert_eq!(came == "answer", is_let, "{way}: {came}");
            if !is_let {
                nothing_came(&scene, &mut shell, before, way)?;
            }
        }
    }
    Ok(())
}

#[test]
fn the_kernel_lets_nothing_begin_without_tls() -> Tested {
    what_begins_without_tls(Looks::Kernel)
}

#[test]
fn the_proxy_lets_nothing_begin_without_tls() -> Tested {
    what_begins_without_tls(Looks::Proxy)
}

/// Nothing of a connection has arrived when all of a later one has.
fn nothing_came(
    scene: &SharedAddress,
    shell: &mut Shell,
    before: (usize, usize),
    way: &str,
) -> Tested {
    assert_eq!(scene.says(shell, SHARED, FORGE, "whole")?, "answer");
    eventually("that one is noted", || scene.begun().0 > before.0)?;
    assert_eq!(scene.begun().0, before.0 + 1, "{way}: {}", scene.log());
    Ok(())
}

#[test]
fn the_kernel_lets_only_allowed_names_be_shown() -> Tested {
    the_name_decides(Looks::Kernel)?;
    Ok(())
}

#[test]
fn the_proxy_lets_only_allowed_names_be_shown() -> Tested {
    the_name_decides(Looks::Proxy)?;
    Ok(())
}

#[test]
fn the_kernel_reads_a_hello_however_it_is_sent() -> Tested {
    however_it_is_sent(Looks::Kernel)?;
    Ok(())
}

#[test]
fn the_proxy_reads_a_hello_however_it_is_sent() -> Tested {
    however_it_is_sent(Looks::Proxy)?;
    Ok(())
}

/// A shell that knows the allowed name, in a session under the policy `shared`, inside one under another policy; and the session.
fn inside(scene: &SharedAddress, daemon: &Daemon, around: &str) -> Tested<(Shell, String)> {
    let around = daemon.write_for_agents("around.toml", around)?;
    let mut shell = Shell::start(daemon, &around.display().to_string())?;
    let (guard, socket) = (daemon.program("guard")?, daemon.socket());
    let (guard, socket) = (guard.display(), socket.display());
    // The outer one reads no line that is for the inner one.
    shell.tell(&format!(
        "exec {guard} --socket {socket} run -q --policy shared -- sh -c 'echo inside; exec sh'"
    ))?;
    shell.line_with("inside")?;
    scene.asks(&mut shell, FORGE)?;
    let sessions = daemon.json(["sessions"])?;
    let mut inner = sessions.list()?.iter();
    let inner = inner.find(|one| one["parent"].is_string());
    let inner = inner.expect("a session inside")["id"].text()?.to_owned();
    Ok((shell, inner))
}

/// Another policy asks about the address, whatever name is shown there: a yes opens it, and the name still decides.
fn where_another_policy_asks(looks: Looks) -> Tested {
    const ASKS: &str = "version = 1\nname = \"asks\"\ndefault = \"allow\"\n[[rule]]\nto = [\"192.0.2.10\"]\naction = \"confirm\"\n";
    let scene = SharedAddress::new()?;
    if !scene.can(looks)? {
        return Ok(());
    }
    let daemon = scene.daemon(&with(), looks)?;
    let (mut shell, inner) = inside(&scene, &daemon, ASKS)?;
    let inner = inner.as_str();
    let open = |more: &[&str]| {
        let open = ["open", SHARED, "--ports", "tcp/443", "--session", inner];
        daemon.json([&open[..], more].concat())
    };
    let says = |shell: &mut Shell, name| scene.says(shell, SHARED, name, "whole");
    assert_ne!(says(&mut shell, FORGE)?, "answer");
    open(&["--connections", "1"])?;
    assert_eq!(says(&mut shell, FORGE)?, "answer");
    assert_ne!(says(&mut shell, FORGE)?, "answer", "once");
    daemon.json(["close", "--all"])?;
    // By bytes, where the kernel looks alone: it is said. Where the proxy does, `connect` would wait until TCP gives up.
    let by_bytes = ["open", SHARED, "--ports", "tcp/443", "--session", inner];
    let counts = daemon.root(by_bytes).args(["--bytes", "1MiB"]).run()?;
    assert!(counts.stderr.contains("counts bytes"), "{counts:?}");
    if looks == Looks::Kernel {
        assert_eq!(says(&mut shell, FORGE)?, "answer");
    }
    daemon.json(["close", "--all"])?;
    open(&[])?;
    assert_eq!(says(&mut shell, FORGE)?, "answer");
    let before = scene.begun();
    assert_ne!(says(&mut shell, EVIL)?, "answer");
    nothing_came(&scene, &mut shell, before, "the other name")
}

#[test]
fn where_another_policy_asks_a_yes_opens_it_and_the_kernel_looks() -> Tested {
    where_another_policy_asks(Looks::Kernel)
}

#[test]
fn where_another_policy_asks_a_yes_opens_it_and_the_proxy_looks() -> Tested {
    where_another_policy_asks(Looks::Proxy)
}

/// Another policy asks about all of the internet, so a yes is for the name. Who shows another one there has begun a connection all the
/// same: it counts, and is not given back.
fn what_shows_another_name_counts(looks: Looks) -> Tested {
    const ASKS: &str = r#"
version = 1
name = "asks"
default = "confirm"
hold = "0s"

[dns]
names = "any"

[[rule]]
to = ["@dns"]
ports = ["udp/53", "tcp/53"]
action = "allow"
"#;
    let scene = SharedAddress::new()?;
    if !scene.can(looks)? {
        return Ok(());
    }
    let daemon = scene.daemon(&with(), looks)?;
    let (mut shell, inner) = inside(&scene, &daemon, ASKS)?;
    let inner = inner.as_str();
    let open = |connections: &str| {
        let open = ["open", FORGE, "--ports", "tcp/443", "--session", inner];
        daemon.json([&open[..], &["--connections", connections]].concat())
    };
    let says = |shell: &mut Shell, name| scene.says(shell, SHARED, name, "whole");
    let refused = |shell: &mut Shell| -> Tested {
        let before = scene.begun();
        assert_ne!(says(shell, EVIL)?, "answer");
        eventually("the server sees it end", || scene.begun().1 > before.1)?;
        assert_eq!(scene.begun().0, before.0, "{}", scene.log());
        Ok(())
    };
    assert_ne!(says(&mut shell, FORGE)?, "answer", "a person is asked");
    let hole = open("1")?;
    assert_eq!(hole["destination"], FORGE, "{hole}");
    refused(&mut shell)?;
    assert_ne!(says(&mut shell, FORGE)?, "answer", "it is used up");
    assert_eq!(daemon.json(["holes"])?[0]["connections_left"], 0);
    open("2")?;
    refused(&mut shell)?;
    assert_eq!(says(&mut shell, FORGE)?, "answer", "one is left");
    assert_ne!(says(&mut shell, FORGE)?, "answer");
    Ok(())
}

#[test]
fn what_shows_another_name_counts_as_a_connection_and_the_kernel_looks() -> Tested {
    what_shows_another_name_counts(Looks::Kernel)
}

#[test]
fn what_shows_another_name_counts_as_a_connection_and_the_proxy_looks() -> Tested {
    what_shows_another_name_counts(Looks::Proxy)
}

/// What began before a policy looked at TLS shows no name: each SYN that it sends again is refused, and takes nothing from the hole that
/// it finds by then.
#[test]
fn what_the_gate_refuses_at_its_first_packet_uses_nothing_up() -> Tested {
    const ASKS: &str = "version = 1\nname = \"asks\"\ndefault = \"allow\"\n[[rule]]\nto = [\"192.0.2.10\", \"2001:db8:7::10\"]\naction = \"confirm\"\n";
    /// Of the kernel's tables: the destination, and that its SYN has no answer yet.
    const BEGINS: [(&str, &str); 2] = [
        ("tcp", "0A0200C0:01BB 02"),
        ("tcp6", "B80D0120000007000000000010000000:01BB 02"),
    ];
    let scene = SharedAddress::new()?;
    if !scene.can(Looks::Kernel)? {
        return Ok(());
    }
    let daemon = scene.daemon(WITHOUT, Looks::Kernel)?;
    let (mut shell, inner) = inside(&scene, &daemon, ASKS)?;
    let open = |at: &str, more: &[&str]| -> Tested<_> {
        let open = ["open", at, "--session", &inner];
        let hole = daemon.json([&open[..], more].concat())?;
        Ok(hole["id"].text()?.to_owned())
    };
    let left = |hole: &str| -> Tested<_> {
        let holes = daemon.list(["holes"])?;
        let hole = holes.iter().find(|one| one["id"] == hole);
        Ok(hole.and_then(|hole| hole["connections_left"].as_u64()))
    };
    let refusals = |at: &str| -> Tested<_> {
        let denied = daemon.logged("denied")?;
        let of_it = denied.iter().filter(|one| {
            let why = one["why"].as_str().unwrap_or_default();
            one["destination"]["address"] == at && why.contains("SNI")
        });
        Ok(of_it.count())
    };
    let both = [SHARED, SHARED6];
    for at in both {
        open(at, &["--all-ports"])?;
        assert_eq!(scene.says(&mut shell, at, FORGE, "whole")?, "answer");
    }
    scene.silence(true)?;
    let client = scene.file("client.py");
    let client = client.display();
    for (at, name) in [(SHARED, "first"), (SHARED6, "second")] {
        shell.tell(&format!("python3 {client} {at} {FORGE} whole & {name}=$!"))?;
    }
    for (table, entry) in BEGINS {
        eventually("it has sent its SYN", || scene.lists(table, entry))?;
    }
    daemon.write_policy("shared", &with())?;
    for at in both {
        eventually("it is refused", || Ok(refusals(at)? > 0))?;
    }
    let once = ["--ports", "tcp/443", "--connections", "1"];
    let holes = [open(SHARED, &once)?, open(SHARED6, &once)?];
    for (at, hole) in both.into_iter().zip(&holes) {
        let before = refusals(at)?;
        eventually("it is refused again", || Ok(refusals(at)? > before))?;
        assert_eq!(left(hole)?, Some(1), "{at}");
    }
    shell.tell("kill $first $second; wait; echo gone")?;
    shell.line_with("gone")?;
    scene.silence(false)?;
    // A new one has the hole for itself.
    scene.asks(&mut shell, FORGE)?;
    for (at, hole) in both.into_iter().zip(&holes) {
        assert_eq!(scene.says(&mut shell, at, FORGE, "whole")?, "answer");
        assert_eq!(left(hole)?, Some(0), "{at}");
    }
    Ok(())
}

#[test]
fn quic_is_refused_where_a_name_decides_and_other_ports_are_open() -> Tested {
    let scene = SharedAddress::new()?;
    let _production = Production::launch(&scene.network, &[22], &[443, 444], true)?;
    for (policy, quic) in [(WITHOUT.to_owned(), true), (with(), false)] {
        let daemon = scene.daemon(&policy, Looks::Kernel)?;
        let mut shell = scene.session(&daemon)?;
        for at in [SHARED, SHARED6] {
            assert_eq!(shell.reaches(&Attempt::udp(at, 443))?, quic, "{at}");
            assert!(shell.reaches(&Attempt::udp(at, 444))?);
            assert!(shell.reaches(&Attempt::tcp(at, 22))?);
        }
    }
    Ok(())
}

#[test]
fn a_blocking_client_goes_on_behind_the_gate() -> Tested {
    let scene = SharedAddress::new()?;
    if !scene.can(Looks::Kernel)? {
        return Ok(());
    }
    let daemon = scene.daemon(&with(), Looks::Kernel)?;
    let mut shell = scene.session(&daemon)?;
    let company = scene.file("company.pem");
    // The gate has the time for some of them.
    let (rounds, handshakes) = if is_sampled() { (5, 100) } else { (20, 400) };
    for round in 0..rounds {
        let line = format!(
            "head -c 3000000 /dev/zero | curl -sS -m 20 --cacert {0} --resolve {FORGE}:443:{SHARED} -T - -H 'Content-Length: 3000000' -H 'Transfer-Encoding:' https://{FORGE}/ | sed 's/^/put=/'; echo; curl -sS -m 20 --cacert {0} --resolve {FORGE}:443:{SHARED} https://{FORGE}/bulk/3000000 | wc -c | sed 's/^/bulk=/'",
            company.display()
        );
        shell.tell(&line)?;
        assert_eq!(
            shell.line_with("put=")?.trim(),
            "put=got 3000000",
            "{round}"
        );
        assert_eq!(shell.line_with("bulk=")?.trim(), "bulk=3000000", "{round}");
    }
    // Handshakes with a blocking socket, one behind the other.
    let line = format!(
        "python3 -c \"
import socket, ssl
c = ssl.create_default_context(cafile='{}')
for n in range({handshakes}):
    with socket.create_connection(('{SHARED}', 443)) as s, c.wrap_socket(s, server_hostname='{FORGE}') as t:
        t.sendall(b'GET / HTTP/1.0\\r\\n\\r\\n')
        assert t.recv(100).startswith(b'HTTP'), n
print('handshakes=all')
\" 2>&1",
        company.display()
    );
    shell.tell(&line)?;
    assert!(shell.line_with("handshakes=")?.contains("all"));
    Ok(())
}

#[test]
fn the_gate_outlives_guardd_and_is_adopted() -> Tested {
    let scene = SharedAddress::new()?;
    if !scene.can(Looks::Kernel)? {
        return Ok(());
    }
    let mut daemon = scene.daemon(&with(), Looks::Kernel)?;
    let mut shell = scene.session(&daemon)?;
    daemon.kill()?;
    assert_eq!(scene.says(&mut shell, SHARED, FORGE, "whole")?, "answer");
    assert_ne!(scene.says(&mut shell, SHARED, EVIL, "whole")?, "answer");
    daemon.start()?;
    assert_eq!(scene.says(&mut shell, SHARED, FORGE, "whole")?, "answer");
    assert_ne!(scene.says(&mut shell, SHARED, EVIL, "whole")?, "answer");
    assert!(daemon.has_hook("gate_hello")? && daemon.has_hook("gate_ops")?);
    Ok(())
}
