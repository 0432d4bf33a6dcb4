//! What is read out of trails, against naive readings of them.

mod chain;
mod learned;
mod records;
mod signed;
mod suggest;
