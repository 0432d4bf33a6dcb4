//! What is wrong, hostile or full: each a clear error, nothing half done, nothing let through.

mod full;
mod machine;
mod socket;
mod starting;
