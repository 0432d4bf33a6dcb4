//! What helps to find out why guard decides as it does.

use guard_proto::{Call, status::KernelLog};

use super::{
    args::DebugVerb,
    client::Client,
    error::{CliError, Exit},
    ids::not_an_id,
    render::{Output, page::Page},
};

/// `guard debug`
pub(crate) fn debug(client: Client, verb: &DebugVerb, output: Output) -> Result<Exit, CliError> {
    match verb {
        DebugVerb::KernelLog { of } => kernel_log(client, of, output),
    }
}

fn kernel_log(mut client: Client, of: &str, output: Output) -> Result<Exit, CliError> {
    const OFF: &str = "off";
    if let Some(wrong) = not_an_id("debug kernel-log", 's', of) {
        return Err(wrong.into());
    }
    let of = (of != OFF).then(|| of.to_owned());
    let answer: KernelLog = client.call(&Call::KernelLog { of })?;
    output.print(&answer, |answer, _| {
        let mut page = Page::default();
        match answer.of.as_deref() {
            Some(of) => page.line(format_args!(
                "the kernel half logs what it decides for {of}, to guardd's log: journalctl -fu guardd"
            )),
            None => page.line("the kernel half logs nothing"),
        };
        page
    })?;
    Ok(Exit::DONE)
}
