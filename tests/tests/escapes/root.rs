//! Root inside, and what is left of root's rights.

use anyhow::Result;
use guard_lab::{Attempt, Cgroup, bins};

use crate::escapes::scene::{WayAddresses, said};
use crate::escapes::way::{Came, Tried, closed, family};

const NONE: &str = "the session has no capability";

family! { "Root inside";
    root: closed("root's session", "cannot run the command as asked", "never as root") => || as_root("");
    user_root: closed("root's session by `--user root`", "cannot run the command as root", "only root of a user namespace")
        => || as_root("--user root");
    user_zero: closed("root's session by `--user 0`", "cannot run the command as root", "only root of a user namespace")
        => || as_root("--user 0");
    namespace: closed("a raw socket as root of its own user namespace", "", "`sock_create`")
        .where_there_is("user namespaces").without("makes the socket") => || {
            let place = WayAddresses::new()?;
            // Without a network namespace of its own, the kernel would refuse it anyway.
            let script = "unshare --user --map-root-user --net sh -c 'ip link set lo up; exec $probe probe raw 127.0.0.1 0'";
            let came = |policy| -> Result<Came> {
                let report = place.scene.script(&[], policy, script)?;
                let is_missing = policy.is_none() && report.detail.contains("unshare");
                Ok(if is_missing {
Came::Missing(report.detail)
} else {
Came::of(&report, report.ok.then(|| report.detail.clone()))
})
            };
            Ok(Tried { with: came(Some("denied"))? , without: came(None)?,})
        };
    cgroups: closed("itself into any cgroup, with `CAP_DAC_OVERRIDE`", "EPERM", NONE) => || {
        let place = WayAddresses::new()?;
        let other = Cgroup::new()?;
        let attempt = Attempt::tcp(&place.v4, 443).args().join(" ");
        let script = format!(
            "echo $$ >{}/cgroup.procs || [ -n \"$GUARD_SESSION\" ] || exit 3; exec $probe {attempt}",
            other.path().display()
        );
        place.scene.scripted(&["dac_override"], &script, &place.v4)
    };
    network: closed("entering another network namespace, with `CAP_SYS_ADMIN`", "EPERM", "no capability") => || {
        let place = WayAddresses::new()?;
        let attempt = Attempt::tcp(&place.v4, 443).args().join(" ");
        let script = format!(
            "unshare --net sh -c 'nsenter --net={} $probe {attempt} || [ -z \"$GUARD_SESSION\" ]' || exec $probe {attempt}",
            place.scene.network.dev().path().display()
        );
        place.scene.scripted(&["sys_admin"], &script, &place.v4)
    };
    repair: closed("TCP without a handshake (`TCP_REPAIR`), with `CAP_NET_ADMIN`", "EPERM", NONE) => || {
        let place = WayAddresses::new()?;
        place.scene.with_rights(&["net_admin"], &Attempt::new("repair", &place.v4, 443), &place.v4)
    };
}

/// Root makes a raw socket, and asks for a session to do it in.
fn as_root(option: &str) -> Result<Tried> {
    let place = WayAddresses::new()?;
    let (scene, to) = (place.scene, &place.v4);
    let probe = bins::for_everybody("guard-lab", scene.daemon.tag())?;
    let attempt = Attempt::new("raw", to, 0);
    let args: Vec<_> = ["run", "--policy", "denied"]
        .into_iter()
        .chain(option.split_whitespace())
        .collect();
    let run = scene
        .daemon
        .root(args)
        .without(["SUDO_UID", "SUDO_GID"])
        .args(["--"]);
    let run = run.args([probe]).args(attempt.args());
    Ok(Tried {
        with: scene.came(to, || said(&mut run.command()?))?,
        without: scene.without(to, || attempt.outside(scene.network.dev(), 0))?,
    })
}
