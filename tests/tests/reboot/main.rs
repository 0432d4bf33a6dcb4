//! What holds across a boot. `cargo xtask vm` runs `before` when the package was just installed, and `after` when the
//! machine has booted again: once in good order, once after its power was cut.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod after;
mod before;
mod machine;
