//! A socket from elsewhere.

use std::net::{IpAddr, SocketAddr};

use anyhow::Result;
use guard_lab::network::DEV_V4;
use guard_lab::{AGENT, Attempt, Report, Running, Shell, bins};

use crate::escapes::helpers::{unheard, untouched};
use crate::escapes::layer::Layer;
use crate::escapes::scene::{EscapeScene, PATIENCE, WayAddresses, line};
use crate::escapes::way::{Came, Tried, Way, closed, family};

pub(super) const MADE_OUTSIDE: &str =
    "a program at the top of the hierarchy refuses it; with security hooks it does not arrive";
pub(super) const ARRIVING: &str = "with security hooks it does not arrive";

family! { "A socket from elsewhere";
    standard_input: closed(
        "an earlier connection as standard input", "standard input is a network socket",
        "not started",
    ).without("is answered") => || shell(|to| format!("exec $guard $probe probe given {to} 80 0 <>/dev/tcp/{to}/80"));
    standard_output: closed(
        "as standard output", "standard output is a network socket",
        "not started",
    ).without("is answered") => || shell(|to| {
        format!("exec 3>&1 1<>/dev/tcp/{to}/80; exec $guard sh -c '$probe probe given {to} 80 4 4>&1 1>&3'")
    });
    descriptor: closed("as descriptor 7", "EBADF", "all above 2 are closed")
        .without("is answered") => || shell(|to| format!("exec 7<>/dev/tcp/{to}/80; exec $guard $probe probe given {to} 80 7"));
    datagram: closed(
        "an earlier UDP socket, not connected, as descriptor 7", "EBADF", "all above 2 are closed",
    ).without("is answered") => || shell(|to| {
        format!("exec $probe hand datagram bash -c 'exec 7<&0 </dev/null; exec $guard $probe probe given {to} 53 7'")
    });
    ring: closed(
        "an earlier `io_uring` as standard input", "standard input is a kernel object",
        "not started",
    ).where_there_is("`io_uring`").without("is answered") => || shell(|to| {
        format!("exec $probe hand ring bash -c 'exec $guard $probe probe given-ring {to} 53'")
    });
    session_stream: closed(
        "another session's TCP socket, which may reach production", "",
        "it reaches what both may",
    ) => || from_session("stream", 443);
    session_datagram: closed(
        "a UDP socket of such a session", "",
        "it reaches what both may",
    ) => || from_session("datagram", 53);
    outside_stream: unheard("a TCP socket fetched from a process outside (`SCM_RIGHTS`)")
        => || from_outside("stream", 443);
    outside_datagram: unheard("a UDP socket fetched so")
        => || from_outside("datagram", 53);
    outside_connected: unheard("a connection fetched so")
        => || from_outside("connected", 443);
    brought_stream: closed(
        "a TCP socket that a process outside brings in", "EPERM (", MADE_OUTSIDE,
    ).by_layers(&[Layer::MadeOutside]) => || brought("stream", 443);
    brought_datagram: closed(
        "a UDP socket brought so", "EPERM (", MADE_OUTSIDE,
    ).by_layers(&[Layer::MadeOutside]) => || brought("datagram", 53);
    brought_connected: kept_out("a connection brought so") => || brought("connected", 443);
    brought_ping: kept_out("a ping socket brought so")
        .where_there_is("`net.ipv4.ping_group_range`") => || brought("ping", 0);
    brought_lite: kept_out("a UDP-Lite socket brought so")
        .where_there_is("UDP-Lite") => || brought("lite", 53);
    stolen: untouched("a connection taken out of another process (`pidfd_getfd`)", "EPERM (pidfd_getfd")
        .by_layers(&[Layer::Domain, Layer::Arriving]) => stolen;
    inbound: closed(
        "production connects to the session's server, under `inbound = false`", "nobody answers",
        "egress",
    ).without("is answered") => || called("closed");
    turned: closed(
        "a client's connection, dissolved and connected to production", "",
        "judged anew each time",
    ) => || turned("turn");
    turned_listener: closed(
        "a socket that has listened, connected to production", "",
        "judged anew each time",
    ) => || turned("turn-listener");
}

/// A socket that only arrives where nobody judges what comes in.
const fn kept_out(how: &'static str) -> Way {
    closed(how, "EPERM (SCM_RIGHTS", ARRIVING).by_layers(&[Layer::Arriving])
}

fn shell(script: impl Fn(&str) -> String) -> Result<Tried> {
    let place = WayAddresses::new()?;
    place.scene.answered(&script(&place.v4))
}

/// A helper in a session that may reach all, and one who asks it in a session that may not.
fn from_session(verb: &str, port: u16) -> Result<Tried> {
    let place = WayAddresses::new()?;
    let scene = place.scene;
    let at = scene.socket(&place)?;
    let to = &place.v4;
    let helper = |at: &str| Attempt::new("helper", to, port).other(at);
    let asked = |at: &str| Attempt::new("by-helper", to, port).other(&format!("{verb}:{at}"));
    let inside = format!("{at}.inside");
    let mut shell = Shell::start(&scene.daemon, "open")?;
    shell.begin(&helper(&inside))?;
    shell.line_with("listening")?;
    let with = scene.came(to, || asked(&inside).under(&scene.daemon, "denied"))?;
    let mut outside = scene.outside(&helper(&at))?;
    line(&mut outside)?;
    let without = scene.without(to, || asked(&at).outside(scene.network.dev(), AGENT))?;
    Ok(Tried { without, with })
}

/// The same with a helper that is in no session.
fn from_outside(verb: &str, port: u16) -> Result<Tried> {
    let place = WayAddresses::new()?;
    let scene = place.scene;
    let at = scene.socket(&place)?;
    let mut helper = scene.outside(&Attempt::new("helper", &place.v4, port).other(&at))?;
    line(&mut helper)?;
    let attempt = Attempt::new("by-helper", &place.v4, port).other(&format!("{verb}:{at}"));
    scene.answer(&attempt)
}

/// Somebody outside who comes to a server of the session's with a socket.
fn brought(verb: &str, port: u16) -> Result<Tried> {
    let place = WayAddresses::new()?;
    let (scene, to) = (place.scene, &place.v4);
    let at = scene.socket(&place)?;
    let mut willing = scene.outside(&Attempt::new("bring", to, port).other(&at))?;
    line(&mut willing)?;
    let attempt = Attempt::new("brought", to, port).other(&format!("{verb}:{at}"));
    // A connection has come to production without the session.
    if verb == "connected" {
        return scene.answer(&attempt);
    }
    Ok(Tried {
        with: scene.came(to, || attempt.under(&scene.daemon, "denied"))?,
        without: scene.without(to, || attempt.outside(scene.network.dev(), AGENT))?,
    })
}

fn stolen() -> Result<Tried> {
    let place = WayAddresses::new()?;
    let scene = place.scene;
    let mut victim = scene.outside(&Attempt::new("hold", &place.v4, 443))?;
    let held = line(&mut victim)?;
    let which = format!("{}:{}", held["pid"], held["fd"]);
    scene.answer(&Attempt::new("steal", &place.v4, 443).other(&which))
}

/// A server of the agent's, which somebody in production calls.
fn called(policy: &str) -> Result<Tried> {
    let place = WayAddresses::new()?;
    let scene = place.scene;
    let probe = bins::for_everybody("guard-lab", scene.daemon.tag())?;
    let listen = Attempt::new("listen", &DEV_V4.to_string(), 0);
    let from: IpAddr = place.v4.parse()?;
    let call = |mut server: Running| -> Result<Came> {
        let port = u16::try_from(line(&mut server)?["listening"].as_u64().unwrap_or(0))?;
        let called = scene.network.call(from, SocketAddr::from((DEV_V4, port)))?;
        Ok(match called {
            Ok(()) => Came::Through("answered".to_owned()),
            Err(error) => Came::Stopped(format!("nobody answers: {error}")),
        })
    };
    let run = scene.daemon.agent(["run", "--policy", policy, "--"]);
    Ok(Tried {
        with: call(run.args([probe]).args(listen.args()).spawn()?)?,
        without: call(scene.outside(&listen)?)?,
    })
}

/// A server that turns around, once it has been called by somebody whom it may answer.
fn turned(kind: &str) -> Result<Tried> {
    let place = WayAddresses::new()?;
    let scene = place.scene;
    let probe = bins::for_everybody("guard-lab", scene.daemon.tag())?;
    let port = 10_000 + u16::from(place.at);
    let attempt = Attempt::new(kind, &place.v4, 443).other(&port.to_string());
    let turn = |mut server: Running| -> Result<Report> {
        line(&mut server)?;
        let from: IpAddr = place.open_v4.parse()?;
        scene
            .network
            .call(from, SocketAddr::from((DEV_V4, port)))??;
        Report::parse(&server.line(PATIENCE)?)
    };
    let run = scene.daemon.agent(["run", "--policy", "denied", "--"]);
    let run = run.args([probe]).args(attempt.args());
    Ok(Tried {
        with: scene.came(&place.v4, || turn(run.spawn()?))?,
        without: scene.without(&place.v4, || turn(scene.outside(&attempt)?))?,
    })
}

impl EscapeScene {
    /// Where a helper of the ordinary user's can listen.
    pub(crate) fn socket(&self, place: &WayAddresses) -> Result<String> {
        use std::os::unix::fs::{PermissionsExt as _, chown};
        let dir = self.daemon.dir().join(format!("helper{}", place.at));
        std::fs::create_dir_all(&dir)?;
        std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o700))?;
        chown(&dir, Some(AGENT), Some(AGENT))?;
        Ok(dir.join("socket").display().to_string())
    }

    /// An attempt of the ordinary user's that is answered or not, where what does it is outside.
    pub(crate) fn answer(&self, attempt: &Attempt) -> Result<Tried> {
        let outside = attempt.outside(self.network.dev(), AGENT)?;
        let inside = attempt.under(&self.daemon, "denied")?;
        let came = |report: Report| Came::of(&report, report.ok.then(|| report.detail.clone()));
        Ok(Tried {
            with: came(inside),
            without: came(outside),
        })
    }
}
