//! The command `guard`: arguments, what each verb asks of guardd, and how the answer reads.

use std::ffi::{OsStr, OsString};
use std::io::Write;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};
use guard_proto::Failure;
use rustix::process::{DumpableBehavior, set_dumpable_behavior};

use self::args::{Cli, PolicyVerb, Verb};
use self::client::Client;
use self::error::{CliError, Exit};
use self::records::Teller;
use self::render::Output;

mod answers;
pub mod args;
mod around;
mod ask;
mod assign;
mod change;
mod client;
mod complete;
mod debug;
mod diff;
mod discover;
mod doctor;
mod elsewhere;
mod embedded;
pub mod error;
mod explain;
mod fleet;
mod flows;
mod generate;
mod gone;
mod held;
mod hook;
mod ids;
mod init;
mod inside;
mod log;
mod mcp;
mod meant;
pub mod metrics;
mod misplaced;
mod notify;
mod person;
mod policy;
mod policy_file;
mod project;
mod records;
pub mod reference;
mod render;
mod report;
mod run;
mod sessions;
mod setup;
mod size;
mod status;
mod sudo;
mod suggest;
mod watch;
mod words;

/// Does what the command line says, and gives the status to exit with.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> Exit {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    if let Some(exit) = complete::answer(&arguments) {
        return exit;
    }
    match Cli::try_parse_from(&arguments) {
        Ok(cli) => {
            let cli = Cli {
                global: cli.global.or_environment(),
                ..cli
            };
            let output = Output::new(cli.global.json);
            if let Verb::Run(run) = &cli.verb
                && let Err(failure) = misplaced::policy_behind_command(&arguments, run)
                    .and_then(|()| meant::word_before_command(&arguments, run))
            {
                return tell(output, &CliError::Local(failure).not_started());
            }
            dispatch(cli, output)
                .unwrap_or_else(|error| tell(output, &misplaced::typed_out(error, &arguments)))
        }
        Err(error) => {
            let (arguments, mut error) = misplaced::asked_about(arguments, error);
            misplaced::nearest_first(&mut error);
            guard_cli::no_value(&mut error);
            usage(&arguments, &error)
        }
    }
}

/// Leaves no core dump, and keeps a program that shows requests for as long as it runs from what runs as the same user, in a session too: that could have
/// the kernel end it first (`/proc/PID/oom_score_adj`). Whoever connects by then has connected: `guard run` connects for none such.
fn keep_to_itself() {
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
}

fn dispatch(cli: Cli, output: Output) -> Result<Exit, CliError> {
    is_session(&cli.verb)?;
    let socket = cli.global.socket();
    let connect = || Client::connect(&socket);
    policy_file::look_where_said_at(&socket);
    match cli.verb {
        Verb::Assign(args) => assign::assign(connect, args, output),
        Verb::Pending(args) => answers::pending(&socket, &args, output),
        Verb::Approve(args) => answers::approve(connect()?, args, output),
        Verb::Approver { verb } => elsewhere::approver(connect()?, verb, output),
        Verb::Question(args) => elsewhere::question(connect()?, args, output),
        Verb::Sign(args) => elsewhere::sign(&args),
        Verb::Fleet { args } => fleet::fleet(args, &cli.global),
        Verb::Answer(args) => elsewhere::answer(connect()?, &args, output),
        Verb::Deny(args) => answers::deny(connect()?, args, output),
        Verb::Notify(args) => notify::notify(socket, &args, output),
        Verb::Open(args) => answers::open(connect()?, args, output),
        Verb::Holes(args) => answers::holes(connect()?, &args, output),
        Verb::Close(args) => answers::close(connect()?, args, output),
        Verb::Sessions => sessions::sessions(connect()?, output),
        Verb::Flows(args) => flows::flows(connect()?, args, output),
        Verb::Stop(args) => sessions::stop(connect()?, args, output),
        Verb::Metrics(args) => metrics::metrics(socket, &args, output),
        Verb::Status(args) => status::status(connect()?, &args, output),
        Verb::Watch(args) => watch::watch(&socket, &args, output),
        Verb::Log(args) => log::log(connect, &socket, args, output),
        Verb::Report(args) => report::report(Teller::at(&socket, output)?, &args, output),
        Verb::Suggest(args) if !args.files.is_empty() => {
            suggest::from_files(&args, &socket, output)
        }
        Verb::Suggest(args) if args.from_flows => {
            suggest::from_flows(connect()?, args, &socket, output)
        }
        Verb::Suggest(args) => {
            suggest::suggest(Teller::at(&socket, output)?, args, &socket, output)
        }
        Verb::Why(args) if args.hook => hook::after_command(&socket, args.since),
        Verb::Why(args) => inside::why(Client::connect_inside(&socket)?, args.since, output),
        Verb::Init(args) => init::init(&args, output),
        Verb::Mcp => mcp::mcp(socket),
        Verb::Request(args) => inside::request(Client::connect_inside(&socket)?, args, output),
        Verb::Run(args) => run::run(&args, &cli.global, output).map_err(CliError::not_started),
        Verb::Check(args) => policy::check(&args, output),
        Verb::Policy(args) => dispatch_policy(args.verb, connect, output),
        Verb::Diff(args) => diff::diff(&args, output),
        Verb::Doctor(args) => doctor::doctor(&args, &cli.global, output),
        Verb::Discover(args) => discover::discover(&args, &socket, output),
        Verb::Trust(args) => project::trust(&args, &socket, output),
        Verb::Setup(args) => setup::setup(&args, &cli.global, output),
        Verb::ExplainError(args) => explain::error(args.code.as_deref(), output),
        Verb::Explain(args) => policy::explain(connect, args, output),
        Verb::Debug { verb } => debug::debug(connect()?, &verb, output),
        Verb::Completions { shell } => generate::completions(shell),
        Verb::Man { dir } => generate::man(&dir),
    }
}

fn dispatch_policy(
    verb: PolicyVerb,
    connect: impl FnOnce() -> Result<Client, CliError>,
    output: Output,
) -> Result<Exit, CliError> {
    match verb {
        PolicyVerb::Offer { file } => policy::fleet::offer(connect()?, &file, output),
        PolicyVerb::Sign(args) => policy::fleet::sign(&args),
        PolicyVerb::Check(args) => policy::check(&args, output),
        PolicyVerb::Apply(args) => policy::apply::apply(&args, output),
        verb => policy::library::policy(verb, output),
    }
}

/// The audit log has nothing of an id of another kind, and would say no more than that.
fn is_session(verb: &Verb) -> Result<(), Failure> {
    let (name, session) = match verb {
        Verb::Log(args) => ("log --session", &args.session),
        Verb::Report(args) => ("report --session", &args.session),
        Verb::Suggest(args) if !args.from_flows => ("suggest --session", &args.session),
        _ => return Ok(()),
    };
    let wrong = session
        .as_deref()
        .and_then(|id| ids::not_an_id(name, 's', id));
    wrong.map_or(Ok(()), Err)
}

fn tell(output: Output, error: &CliError) -> Exit {
    output.error(error);
    error.exit()
}

/// Tells what is wrong with the command line, or prints the help that it asks for.
fn usage(arguments: &[OsString], error: &clap::Error) -> Exit {
    if matches!(
        error.kind(),
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
    ) {
        // That nobody reads it changes nothing.
        let _ = error.print();
        return Exit::DONE;
    }
    if let Some(help) = misplaced::help(arguments) {
        let _ = writeln!(anstream::stdout(), "{}", help.trim_end());
        return Exit::DONE;
    }
    if error.kind() == ErrorKind::MissingSubcommand && !wants_json(arguments) {
        // The same message as for an empty command line.
        let _ = writeln!(
            anstream::stderr(),
            "{}",
            Cli::command().render_help().ansi()
        );
        return Exit::FAILED;
    }
    let verb = verb(arguments);
    let meant = words::meant(arguments, error)
        .or_else(|| misplaced::command_for_verb(arguments, error))
        .or_else(|| meant::meant(arguments, error))
        .or_else(|| misplaced::no_verb(arguments, error));
    if let Some(failure) = meant {
        Output::new(wants_json(arguments)).failure(&failure);
    } else if wants_json(arguments) {
        Output::new(true).failure(&usage_failure(verb, error));
    } else {
        let _ = error.print();
    }
    if verb == Some(OsStr::new("run")) {
        Exit::NOT_STARTED
    } else {
        Exit::FAILED
    }
}

fn usage_failure(verb: Option<&OsStr>, error: &clap::Error) -> Failure {
    let verb = verb
        .and_then(OsStr::to_str)
        .filter(|verb| Cli::command().find_subcommand(verb).is_some());
    let rendered = error.render().to_string();
    let why = rendered
        .split("\n\n")
        .next()
        .unwrap_or_default()
        .trim_start_matches("error: ");
    // All verbs there are, and their other names.
    let why = why.split("[subcommands:").next().unwrap_or_default();
    Failure {
        what: "cannot understand the command line".into(),
        why: why.split_whitespace().collect::<Vec<_>>().join(" "),
        fix: verb.map_or_else(
            || "guard --help".into(),
            |verb| format!("guard {verb} --help"),
        ),
    }
}

/// The verb of a command line that clap has refused: the first word that is no option.
fn verb(arguments: &[OsString]) -> Option<&OsStr> {
    let mut words = arguments.iter().skip(1);
    while let Some(word) = words.next() {
        if word == "--socket" {
            words.next();
        } else if !word.as_encoded_bytes().starts_with(b"-") {
            return Some(word);
        }
    }
    None
}

/// Whether `--json` stands among the options, before what belongs to a command of `guard run`.
fn wants_json(arguments: &[OsString]) -> bool {
    arguments
        .iter()
        .take_while(|word| *word != "--")
        .any(|word| word == "--json")
}

#[cfg(test)]
mod tests;
