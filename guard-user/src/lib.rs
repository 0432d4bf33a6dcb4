//! The user half of guard: one library under the two thin binaries `guard` and `guardd`.

<<<<<<< HEAD
pub mod daemon;
=======
pub mod cli;
>>>>>>> main
pub mod datapath;
pub mod policy;
pub mod proto;
pub mod session;
pub mod sys;
