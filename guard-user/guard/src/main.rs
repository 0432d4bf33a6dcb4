//! The command: asks guardd, and runs programs under the guard.

use std::process::ExitCode;

fn main() -> ExitCode {
    guard::main(std::env::args_os()).into()
}
