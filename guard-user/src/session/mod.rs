//! Launching a command under the guard.
