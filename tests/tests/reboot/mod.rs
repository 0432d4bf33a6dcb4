//! What holds across a boot. `cargo xtask vm` runs `before` when the package was just installed, and `after` when the
//! machine has booted again: once in good order, once after its power was cut.

mod after;
mod before;
mod machine;
