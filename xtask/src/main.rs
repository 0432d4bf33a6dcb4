//! Developers' commands: build, run, demo, test, bench, lint.
fn main() {}
