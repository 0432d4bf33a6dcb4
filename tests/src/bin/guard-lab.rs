//! The lab's processes: production's server, attempts to reach it, and the one that takes a lab down.

use std::env;
use std::io;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use guard_lab::{bench, hand, probe, reap, server, services, steps};

const HELP: &str = "\
guard-lab probe KIND ADDRESS PORT [OTHER]   one attempt to reach the network; see guard-lab probe --help
guard-lab serve [--tcp PORT]… [--udp PORT]… [--tls FILE] [--sniff]   production, until its input ends
guard-lab bench [PROXY [AUTHORIZATION]]   the client of a measurement, which does what its input says
guard-lab sink PORT   the other side of one, until its input ends
guard-lab steps [--kill N] COMMAND…   runs it, tells its steps, and kills it after one
guard-lab desktop [--hang] [--plain]   a notification server that does what its input says
guard-lab authority   polkit's authority, which answers what its input says
guard-lab hand datagram|stream|ring COMMAND…   becomes it, with such a thing as standard input
guard-lab fit   whether this machine can run the lab
guard-lab reap   takes down what its input names, once that ends
";

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("guard-lab: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Which way HTTP goes: by a proxy, where one is named.
fn way(mut args: impl Iterator<Item = String>) -> Result<bench::Way> {
    match args.next() {
        Some(proxy) => Ok(bench::Way::by(proxy.parse()?, args.next().as_deref())),
        None => Ok(bench::Way::default()),
    }
}

fn run() -> Result<bool> {
    let mut args = env::args().skip(1);
    let verb = args.next().unwrap_or_default();
    match verb.as_str() {
        "probe" if env::args().any(|arg| arg == "--help") => print!("{}", probe::HELP),
        "probe" => return probe::probe(args),
        "serve" => server::serve(args)?,
        "bench" => bench::client(&way(args)?)?,
        "sink" => bench::sink(args.next().context("which port?")?.parse()?)?,
        "steps" => steps::steps(args)?,
        "hand" => hand::hand(args)?,
        "fit" => guard_lab::fit()?,
        "reap" => reap::reap(io::stdin().lock())?,
        "desktop" => services::desktop(args)?,
        "authority" => services::authority()?,
        "--help" => print!("{HELP}"),
        _ => bail!("what to do?\n{HELP}"),
    }
    Ok(true)
}
