//! Read-only destinations that are reached by a name: TLS and HTTP may show only names of which the policy says so.

use guard_lab::{Production, Shell, Tested};

use super::scene::{EVIL, FORGE, Looks, SHARED, SharedAddress};

const READS: &str = r#"
version = 1
name = "shared"
default = "allow"
hold = "0s"

[[rule]]
name = "forge"
to = ["forge.example.com", "*.forge.example.com"]
ports = ["tcp/443", "tcp/80"]
action = "read-only"

[[rule]]
name = "asked"
to = ["*.asked.forge.example.com"]
action = "confirm"
"#;

/// The status, and what the answer says.
fn curl(shell: &mut Shell, scheme: &str, name: &str, args: &str) -> Tested<(String, String)> {
    let port = if scheme == "https" { 443 } else { 80 };
    let line = format!(
        "curl -sS -m 10 --resolve {name}:{port}:{SHARED} -w ' status=%{{http_code}}\\n' {args} {scheme}://{name}/ 2>&1 | tr -d '\\n'; echo"
    );
    shell.tell(&line)?;
    let said = shell.line_with("status=")?;
    let (body, status) = said.trim().rsplit_once("status=").unwrap();
    Ok((status.to_owned(), body.to_owned()))
}

#[test]
fn fronting_gets_an_answer_of_the_guards_own() -> Tested {
    let scene = SharedAddress::new()?;
    let _http = Production::launch(&scene.network, &[80], &[], true)?;
    // Without the guard, anything is answered there.
    for name in [FORGE, EVIL] {
        assert_eq!(scene.says_outside(SHARED, name, "whole")?, "answer");
    }
    let daemon = scene.daemon(READS, Looks::Kernel)?;
    let mut shell = scene.session(&daemon)?;
    let ok = |answer: &(String, String)| answer.0 == "200";
    let first = curl(&mut shell, "https", FORGE, "")?;
    assert!(ok(&first), "{first:?}");
    assert!(ok(&curl(&mut shell, "https", "a.forge.example.com", "")?));
    assert!(ok(&curl(&mut shell, "http", FORGE, "")?));
    // SNI right, Host another: servers may take it for either.
    let fronted = curl(&mut shell, "https", FORGE, &format!("-H 'Host: {EVIL}'"))?;
    assert_eq!(fronted.0, "421", "{fronted:?}");
    // Both another.
    let heard = || -> Vec<String> {
        let log = scene.log();
        let lines = log.lines().filter(|line| !line.starts_with("begun"));
        lines.map(str::to_owned).collect()
    };
    let before = heard();
    for other in [EVIL, "x.asked.forge.example.com"] {
        // The session trusts certificates for the policy's names alone.
        let (status, words) = curl(&mut shell, "https", other, "-k")?;
        assert_eq!(status, "403", "{words}");
        assert!(words.contains(other) && words.contains("forge"), "{words}");
    }
    assert_eq!(heard(), before, "nothing of them has arrived");
    // Without TLS only the host says it.
    for host in [EVIL, "x.asked.forge.example.com", SHARED] {
        let (status, words) = curl(&mut shell, "http", FORGE, &format!("-H 'Host: {host}'"))?;
        assert_eq!(status, "403", "{host}: {words}");
    }
    assert!(ok(&curl(
        &mut shell,
        "http",
        FORGE,
        "-H 'Host: A.Forge.example.com.:80'"
    )?));
    let log = daemon.root(["log", "--session", shell.session()]).run()?;
    assert!(log.stdout.contains(EVIL), "{log:?}");
    Ok(())
}
