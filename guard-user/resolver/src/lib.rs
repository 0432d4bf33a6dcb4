//! The resolver: the name server of every session, in a process without rights.
//!
//! The kernel half redirects a session's datagrams and connections to port 53 to this process, and notes which server was meant.
//! In the order of a question's life: [`datagrams`] and [`streams`] take it, [`question`] reads it in one way, [`judge`] and
//! [`budget`] decide whether it may leave, where need be with a person's word ([`link`]), [`exchange`] asks the server that was
//! meant, [`answer`] reads what came, [`teach`] tells the kernel, and only then the program gets it. [`refusal`] writes what it
//! gets otherwise.

mod answer;
mod budget;
mod common;
mod datagrams;
mod exchange;
mod judge;
mod kinds;
mod link;
mod maps;
mod name;
mod networks;
mod paces;
mod process;
mod pulse;
mod question;
mod refusal;
mod reports;
mod serve;
mod sessions;
mod slots;
mod streams;
mod teach;
mod turns;

pub use process::main;

#[cfg(test)]
mod tests;
